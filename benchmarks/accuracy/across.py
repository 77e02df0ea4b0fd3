"""The command `python -m benchmarks across`: to a place or study that is left out."""

import click

from benchmarks.accuracy.cells import Cell
from benchmarks.accuracy.shared import (
    FIGURES,
    NOTE,
    chosen,
    computed,
    table_of,
    yardstick,
)
from benchmarks.accuracy.targets import read_samples, values_of
from benchmarks.measure import tell

#: Samples that a value needs to be left out; those of others are only fitted to.
FEWEST = 30


@click.command(help=__doc__)
@yardstick
@click.option("--by", required=True, help="Column whose values are left out in turn.")
@FIGURES
def main(targets, only, contender, by, seed, jobs, results, figures) -> None:
    """Compute the cells that are not there, and print the table."""
    parts = []
    for target in chosen(targets, only):
        samples = read_samples(target, False)
        sizes = values_of(target, by, samples).value_counts().sort_index()
        for value in sizes.index[sizes >= FEWEST]:
            cells = [
                Cell(target, "all", who, s, 0, 1, left_out=(by, value))
                for s in seed
                for who in contender
            ]
            head = {"target": target.name, by: value}
            parts.append((samples, cells, head))
    computed([cell for _, cells, _ in parts for cell in cells], results, jobs)
    rows = [
        row
        for samples, cells, head in parts
        for row in table_of(samples, cells, contender, seed, results, head)
    ]
    path = results / f"across-{by}.json"
    tell("across", {"by": by, "seeds": len(seed)}, rows, [NOTE, WHAT], path=path)
    if figures is not None:
        from benchmarks.accuracy.figures import across, save

        units = {t.name: t.unit for t in chosen(targets, only)}
        rows = [row | {"unit": units[row["target"]]} for row in rows]
        save(across(rows, by), figures / f"across-{by}.svg")


WHAT = (
    "Each is fitted to the samples of all other values. The forest reads features that "
    "3 % of the training samples have, whatever the others are."
)
