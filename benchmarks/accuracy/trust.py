"""The command `python -m benchmarks trust`: coverage of intervals, calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks.accuracy import calibration
from benchmarks.accuracy.cells import Cell
from benchmarks.accuracy.shared import (
    FIGURES,
    FOLDS,
    chosen,
    computed,
    found_of,
    groups_of,
    yardstick,
)
from benchmarks.accuracy.targets import Target, read_samples
from benchmarks.measure import tell

#: Name of all targets together.
POOLED = "all"


@click.command(help=__doc__)
@yardstick
@FOLDS
@FIGURES
def main(targets, only, contender, folds, seed, jobs, results, figures) -> None:
    """Compute the cells that are not there, and tell how far to trust predictions."""
    cells = {
        target: [
            Cell(target, "all", who, s, fold, folds)
            for s in seed
            for who in contender
            for fold in range(folds)
        ]
        for target in chosen(targets, only)
    }
    computed([cell for part in cells.values() for cell in part], results, jobs)
    found = {"regression": {}, "classification": {}}
    for target, part in cells.items():
        for who in contender:
            long = long_of(target, part, who, seed, results)
            if long is not None:
                found[target.task].setdefault(who, []).append(long)
    intervals, classes = (
        {who: pd.concat(parts) for who, parts in of_task.items()}
        for of_task in found.values()
    )
    covered = each(intervals, calibration.coverage)
    gaps = each(classes, calibration.gap)
    bins = [
        {"contender": who} | row
        for who, long in classes.items()
        for row in calibration.reliability(long)
    ]
    sizes = {"folds": folds, "seeds": len(seed)}
    tell("coverage", sizes, covered, [COVERAGE], path=results / "coverage.json")
    tell("calibration", sizes, gaps, [GAP], path=results / "calibration.json")
    tell("reliability", sizes, bins, [BINS], path=results / "reliability.json")
    if figures is not None:
        from benchmarks.accuracy.figures import coverage, reliability, save

        if covered:
            save(coverage(covered), figures / "coverage.svg")
        if bins:
            save(reliability(bins), figures / "calibration.svg")


COVERAGE = (
    "Fraction of held-out samples inside of their intervals, each group (or sample) "
    "with the same weight, with a 95 % bootstrap interval over groups. narrow, wide: "
    "of the third of samples with the narrowest and widest intervals of their target. "
    "width, score (interval score, lower is better): means, in units of the mean "
    "absolute error of the target's mean."
)
GAP = (
    "Of the class with the highest probability: gap is mean probability less accuracy, "
    "with a 95 % bootstrap interval over groups (samples); ECE is the expected "
    "calibration error in ten bins, ECE by chance that of labels that are drawn from "
    "the probabilities."
)
BINS = "All targets together; a bin holds where its probability is in the interval."


def long_of(
    target: Target, cells: Sequence[Cell], who: str, seeds: Sequence[int], results: Path
) -> pd.DataFrame | None:
    """What one contender's predictions of all seeds say of themselves, if they do."""
    samples = read_samples(target, False)
    frames = [frame for frame, _ in found_of(cells, who, seeds, results)]
    measure = (
        calibration.intervals
        if target.task == "regression"
        else calibration.confidences
    )
    parts = [measure(frame, samples.labels) for frame in frames]
    if not parts or not len(long := pd.concat(parts)):
        return None
    groups = groups_of(samples)
    return long.assign(
        target=target.name, unit=[f"{target.name}/{groups[i]}" for i in long.index]
    )


def each(of: dict[str, pd.DataFrame], measure) -> list[dict[str, Any]]:
    """A row for each target and for all together, of each contender."""
    rows = []
    for who, long in of.items():
        parts = list(long.groupby("target", sort=False))
        if len(parts) > 1:
            parts.append((POOLED, long))
        for name, part in parts:
            samples = pd.MultiIndex.from_arrays([part["target"], part.index])
            sizes = {"samples": samples.nunique(), "groups": part["unit"].nunique()}
            rows.append({"contender": who, "target": name} | sizes | measure(part))
    return rows
