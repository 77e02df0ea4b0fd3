"""The command `python -m benchmarks accuracy`."""

import click

from benchmarks.accuracy.cells import READS, Cell
from benchmarks.accuracy.shared import (
    FOLDS,
    NOTE,
    chosen,
    computed,
    table_of,
    yardstick,
)
from benchmarks.accuracy.targets import read_samples
from benchmarks.measure import tell


@click.command(help=__doc__)
@yardstick
@click.option(
    "--reads",
    multiple=True,
    default=("all",),
    type=click.Choice(READS),
    show_default=True,
)
@FOLDS
def main(targets, only, contender, reads, folds, seed, jobs, results) -> None:
    """Compute the cells that are not there, and print the table."""
    cells = {
        (target, kind): [
            Cell(target, kind, who, number, fold, folds)
            for number in seed
            for who in contender
            for fold in range(folds)
        ]
        for target in chosen(targets, only)
        for kind in reads
    }
    computed([cell for part in cells.values() for cell in part], results, jobs)
    rows = [
        row
        for (target, kind), part in cells.items()
        for row in table_of(
            read_samples(target, False),
            part,
            contender,
            seed,
            results,
            {"target": target.name, "reads": kind},
        )
    ]
    sizes = {"folds": folds, "seeds": len(seed)}
    tell("accuracy", sizes, rows, [NOTE], path=results / "accuracy.json")
