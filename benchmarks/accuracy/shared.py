"""What the commands of the yardstick share: options, cells, rows of a table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from aam_core.bootstrap import error_ratio
from benchmarks.accuracy.cells import OURS, Cell, compute_all, predictions
from benchmarks.accuracy.opponents import OPPONENTS
from benchmarks.accuracy.scores import ERRORS, error_of, scores_of
from benchmarks.accuracy.targets import Samples, Target, read_targets
from benchmarks.measure import RESULTS

#: Whom the others are compared with.
REFERENCE = "forest"
NOTE = (
    f"Mean ± SD over seeds, each with folds of its own. × {REFERENCE}: error (MAE, or "
    "log loss with probabilities of at least 0.001) over the forest's, with a 95 % "
    "bootstrap interval over groups. seconds: all folds of a seed."
)
FOLDER = click.Path(file_okay=False, path_type=Path)


FIGURES = click.option("--figures", type=FOLDER, help="Folder of figures (SVG).")
FOLDS = click.option(
    "--folds", default=5, show_default=True, help="Folds of each seed."
)
_OPTIONS = (
    click.argument(
        "targets", type=click.Path(exists=True, dir_okay=False, path_type=Path)
    ),
    click.option(
        "--only", multiple=True, help="Targets as STUDY or STUDY-COLUMN; else all."
    ),
    click.option(
        "--contender",
        multiple=True,
        default=(OURS, *OPPONENTS),
        show_default=True,
        help="Whom to measure: an opponent, or q2-aam, also as 'q2-aam: "
        "option=value …'.",
    ),
    click.option("--seed", multiple=True, default=(0, 1, 2), show_default=True),
    click.option(
        "--jobs",
        default=1,
        show_default=True,
        help="Cells at a time; with 0 only what is there is shown.",
    ),
    click.option(
        "--results",
        type=FOLDER,
        default=RESULTS / "accuracy",
        help="Folder of the cells; what is there is not computed again.",
    ),
)


def yardstick(function: Callable) -> Callable:
    """The argument and options that all commands of the yardstick have."""
    return reduce(lambda f, option: option(f), reversed(_OPTIONS), function)


def chosen(path: Path, only: Sequence[str]) -> list[Target]:
    """The targets that are asked for."""
    found = [t for t in read_targets(path) if not only or {t.study, t.name} & {*only}]
    if not found:
        raise click.UsageError(f"{path} has none of {', '.join(only)}.")
    return found


def computed(cells: Sequence[Cell], results: Path, jobs: int) -> None:
    """Compute the cells that are not there, and tell each."""
    for cell, error in compute_all(cells, results, jobs) if jobs else ():
        place = f"{cell.target.name} {cell.reads} {cell.name}"
        click.echo(f"{place} {cell.contender} {error}".rstrip())


def found_of(
    cells: Sequence[Cell], who: str, seeds: Sequence[int], results: Path
) -> list[tuple[pd.DataFrame, dict[str, float]]]:
    """Predictions and costs of a contender by seed; none where a cell is not there."""
    mine = [c for c in cells if c.contender == who]
    if not all(c.path(results).exists() for c in mine):
        return []
    return [predictions([c for c in mine if c.seed == s], results) for s in seeds]


def groups_of(samples: Samples) -> pd.Series:
    """The group of each sample, or the sample itself."""
    ids = samples.labels.index
    return pd.Series(ids if samples.groups is None else samples.groups, ids)


def table_of(
    samples: Samples,
    cells: Sequence[Cell],
    contenders: Iterable[str],
    seeds: Sequence[int],
    results: Path,
    head: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """A row for each contender whose cells are all there.

    Parameters
    ----------
    samples : Samples
        Those that the cells predict, perhaps with others.
    cells : sequence of Cell
        Of one target and kind of reads.
    contenders, seeds
        Those of the cells.
    results : Path
        Where these are.
    head : mapping
        What rows start with.
    """
    groups, errors, rows = groups_of(samples), {}, []
    for who in contenders:
        if not (found := found_of(cells, who, seeds, results)):
            continue
        frames, costs = zip(*found, strict=True)
        scores = [scores_of(samples.labels, frame) for frame in frames]
        of_seeds = [error_of(samples.labels, frame) for frame in frames]
        errors[who] = pd.concat(of_seeds, axis=1).mean(axis=1)
        row = {**head, "samples": len(errors[who]), "contender": who}
        rows.append(row | _summary(scores) | _cost(costs))
    for row in rows:
        ours = errors[row["contender"]]
        if REFERENCE in errors and row["contender"] != REFERENCE:
            theirs = errors[REFERENCE][ours.index].to_numpy()
            units = groups[ours.index].to_numpy()
            found = error_ratio(ours.to_numpy(), theirs, units)
            row[f"× {REFERENCE}"] = "{:.3f} [{:.3f}, {:.3f}]".format(*found)
    return rows


def _summary(scores: Sequence[dict[str, float]]) -> dict[str, str]:
    frame = pd.DataFrame(scores)
    digits = 1 if ERRORS["regression"] in frame and frame["MAE"].mean() > 10 else 3
    return {
        name: f"{frame[name].mean():.{digits if name == 'MAE' else 3}f} ± "
        f"{frame[name].std(ddof=1) if len(frame) > 1 else np.nan:.3f}"
        for name in frame
    }


def _cost(costs: Sequence[dict[str, float]]) -> dict[str, Any]:
    frame = pd.DataFrame(costs)
    return {
        "seconds": float(frame["seconds"].mean()),
        "memory": int(frame["memory"].max()),
    }
