"""The command `python -m benchmarks curves`: errors with fewer labelled samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks.accuracy.cells import Cell
from benchmarks.accuracy.scores import ERRORS, scores_of
from benchmarks.accuracy.shared import (
    FIGURES,
    FOLDS,
    NOTE,
    chosen,
    computed,
    found_of,
    table_of,
    yardstick,
)
from benchmarks.accuracy.targets import Samples, Target, read_samples
from benchmarks.measure import tell

#: Training samples of a fold beyond this fraction of all are as good as all.
NEARLY_ALL = 0.9


@click.command(help=__doc__)
@yardstick
@click.option(
    "--labels",
    multiple=True,
    default=(25, 50, 100),
    show_default=True,
    help="Training samples, as near as whole groups come; all are measured besides.",
)
@FOLDS
@FIGURES
def main(targets, only, contender, labels, folds, seed, jobs, results, figures) -> None:
    """Compute the cells that are not there, and print and draw the curves."""
    samples = {t: read_samples(t, False) for t in chosen(targets, only)}
    cells = {
        (target, number): [
            Cell(target, "all", who, s, fold, folds, number)
            for s in seed
            for who in contender
            for fold in range(folds)
        ]
        for target in samples
        for number in numbers(labels, len(samples[target].labels), folds)
    }
    computed([cell for part in cells.values() for cell in part], results, jobs)
    rows, points = [], []
    for (target, number), part in cells.items():
        of = samples[target]
        head = {"target": target.name, "labels": number or "all"}
        rows += table_of(of, part, contender, seed, results, head)
        points += points_of(target, of, part, contender, seed, results)
    sizes = {"folds": folds, "seeds": len(seed)}
    path = results / "curves.json"
    tell("curves", sizes, rows, [NOTE, DRAWN], path=path, details=points)
    if figures is not None:
        from benchmarks.accuracy.figures import curves, save

        save(curves(points), figures / "learning-curves.svg")


DRAWN = (
    "labels: training samples. Whole groups are drawn, at least three, whose labels "
    "are like those of all training samples of the fold; what is held out is the same."
)


def numbers(labels: Sequence[int], samples: int, folds: int) -> list[int | None]:
    """The numbers of training samples that are clearly fewer than all; then all."""
    most = NEARLY_ALL * samples * (folds - 1) / folds
    return [*(n for n in sorted(labels) if n < most), None]


def points_of(
    target: Target,
    samples: Samples,
    cells: Sequence[Cell],
    contenders: Sequence[str],
    seeds: Sequence[int],
    results: Path,
) -> list[dict[str, Any]]:
    """Mean and SD of the error over seeds, of each contender, as figures have them."""
    score, points = ERRORS[target.task], []
    for who in contenders:
        if not (found := found_of(cells, who, seeds, results)):
            continue
        errors = pd.Series([scores_of(samples.labels, f)[score] for f, _ in found])
        points.append(
            {
                "target": target.name,
                "contender": who,
                "score": f"{score}, {target.unit}".removesuffix(", "),
                "samples": len(samples.labels),
                "labels": sum(cost["training"] for _, cost in found) / len(found),
                "error": errors.mean(),
                "sd": errors.std(ddof=1) if len(errors) > 1 else 0.0,
            }
        )
    return points
