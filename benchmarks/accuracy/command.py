"""The command `python -m benchmarks accuracy`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from aam_core.metrics import error_ratio
from benchmarks.accuracy.cells import OURS, READS, Cell, compute_all, predictions
from benchmarks.accuracy.opponents import OPPONENTS
from benchmarks.accuracy.scores import ERRORS, error_of, scores_of
from benchmarks.accuracy.targets import Target, read_samples, read_targets
from benchmarks.measure import RESULTS, tell

#: Whom the others are compared with.
REFERENCE = "forest"


@click.command(help=__doc__)
@click.argument("targets", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--only", multiple=True, help="Targets as STUDY or STUDY-COLUMN; else all."
)
@click.option(
    "--contender",
    multiple=True,
    default=(OURS, *OPPONENTS),
    show_default=True,
    help="Whom to measure: an opponent, or q2-aam, also as 'q2-aam: option=value …'.",
)
@click.option(
    "--reads",
    multiple=True,
    default=("all",),
    type=click.Choice(READS),
    show_default=True,
)
@click.option("--folds", default=5, show_default=True, help="Folds of each seed.")
@click.option("--seed", multiple=True, default=(0, 1, 2), show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Cells at a time.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS / "accuracy",
    help="Folder of the cells; what is there is not computed again.",
)
def main(targets, only, contender, reads, folds, seed, jobs, results) -> None:
    """Compute the cells that are not there, and print the table."""
    chosen = [
        t for t in read_targets(targets) if not only or {t.study, t.name} & {*only}
    ]
    if not chosen:
        raise click.UsageError(f"{targets} has none of {', '.join(only)}.")
    cells = [
        Cell(target, kind, who, number, fold, folds)
        for target in chosen
        for kind in reads
        for number in seed
        for who in contender
        for fold in range(folds)
    ]
    for cell, error in compute_all(cells, results, jobs):
        place = f"{cell.target.name} {cell.reads} seed {cell.seed} fold {cell.fold}"
        click.echo(f"{place} {cell.contender} {error}".rstrip())
    rows = [
        row
        for target in chosen
        for kind in reads
        for row in table_of(target, kind, contender, seed, cells, results)
    ]
    sizes = {"folds": folds, "seeds": len(seed)}
    tell("accuracy", sizes, rows, [NOTE], path=results / "accuracy.json")


NOTE = (
    f"Mean ± SD over seeds, each with folds of its own. × {REFERENCE}: error (MAE, or "
    "log loss with probabilities of at least 0.001) over the forest's, with a 95 % "
    "bootstrap interval over groups. seconds: all folds of a seed."
)


def table_of(
    target: Target,
    reads: str,
    contenders: Sequence[str],
    seeds: Sequence[int],
    cells: Sequence[Cell],
    results: Path,
) -> list[dict[str, Any]]:
    """A row for each contender whose cells are all there."""
    samples = read_samples(target, False)
    groups = (
        None
        if samples.groups is None
        else pd.Series(samples.groups, samples.labels.index)
    )
    errors, rows = {}, []
    for who in contenders:
        mine = [
            c for c in cells if (c.target, c.reads, c.contender) == (target, reads, who)
        ]
        if not all(c.path(results).exists() for c in mine):
            continue
        scores, costs, of_seeds = [], [], []
        for seed in seeds:
            found, cost = predictions([c for c in mine if c.seed == seed], results)
            scores.append(scores_of(samples.labels, found))
            of_seeds.append(error_of(samples.labels, found))
            costs.append(cost)
        errors[who] = pd.concat(of_seeds, axis=1).mean(axis=1)
        head = {"target": target.name, "reads": reads, "samples": len(errors[who])}
        rows.append(head | {"contender": who} | _summary(scores) | _cost(costs))
    for row in rows:
        ours = errors[row["contender"]]
        if REFERENCE in errors and row["contender"] != REFERENCE:
            units = None if groups is None else groups[ours.index].to_numpy()
            theirs = errors[REFERENCE][ours.index]
            found = error_ratio(ours.to_numpy(), theirs.to_numpy(), units)
            row[f"× {REFERENCE}"] = "{:.3f} [{:.3f}, {:.3f}]".format(*found)
    return rows


def _summary(scores: list[dict[str, float]]) -> dict[str, str]:
    frame = pd.DataFrame(scores)
    digits = 1 if ERRORS["regression"] in frame and frame["MAE"].mean() > 10 else 3
    return {
        name: f"{frame[name].mean():.{digits if name == 'MAE' else 3}f} ± "
        f"{frame[name].std(ddof=1) if len(frame) > 1 else np.nan:.3f}"
        for name in frame
    }


def _cost(costs: list[dict[str, float]]) -> dict[str, Any]:
    frame = pd.DataFrame(costs)
    return {
        "seconds": float(frame["seconds"].mean()),
        "memory": int(frame["memory"].max()),
    }
