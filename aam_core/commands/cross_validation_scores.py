"""Scores of a cross-validation, and who predicts better.

Shapes: N samples, B draws, C classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aam_core.bootstrap import (
    ERRORS,
    Estimate,
    classification_scores,
    compared,
    drawn,
    log_losses,
    mean_of_known,
    regression_scores,
)
from aam_core.commands.evaluate import Evaluation, Predicted, evaluate
from aam_core.commands.evaluation_tables import mean_of
from aam_core.io.cross_validation import (
    ALL,
    FOREST,
    METHODS,
    NAMES,
    OURS,
    CrossValidated,
)
from aam_core.reporting import silent

#: The score that decides, and what people like to see beside it, by task.
MAIN = {"regression": "mae", "classification": "log_loss"}
SIDES = ("lower", "upper")  #: of an interval
BESIDE = {"regression": "r2", "classification": "balanced_accuracy"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """q2-aam and the forest on the same folds.

    Attributes
    ----------
    run : dict
        Of `CrossValidated`.
    folds : pandas.DataFrame
        Scores of each fold: `labels`, `repeat`, `fold`, `set` (who predicted),
        `training` and `samples` (how many), and each score.
    repeats : pandas.DataFrame
        The same of all folds of a repeat together, of repeats that are whole.
    paired : dict
        By score, `difference` (q2-aam less forest) and, of errors, `ratio`: means over
        repeats, with bootstrap intervals over groups (or samples).
    wins : dict
        Of `folds` and `repeats`: in how many q2-aam has the lower error, of how many.
    evaluation : Evaluation
        Of the means of the predictions over repeats; `paired` and `better` are those
        of the errors that are averaged over repeats.
    coverage : Estimate or None
        Fraction of all predictions of q2-aam whose interval holds the truth.
    curve : pandas.DataFrame or None
        By number of labels and set: `training`, mean and SD of the error over repeats.
    """

    run: Mapping[str, Any]
    folds: pd.DataFrame
    repeats: pd.DataFrame
    paired: dict[str, dict[str, Estimate]]
    wins: dict[str, tuple[int, int]]
    evaluation: Evaluation
    coverage: Estimate | None
    curve: pd.DataFrame | None

    @property
    def main(self) -> str:
        """The score that decides."""
        return MAIN[self.run["task"]]


def compare(found: CrossValidated) -> Comparison:
    """Score a cross-validation.

    Only rows that both methods predict count, so that they are scored on the same
    samples.

    Parameters
    ----------
    found : CrossValidated
        What `cross_validate` returned.
    """
    run, rows = found.run, found.predictions
    known = rows[[f"{who}_predicted" for who in METHODS]].notna().all(axis=1)
    rows = rows[known]
    folds = _table(run, rows, ["labels", "repeat", "fold"])
    whole = rows[_of_whole_repeats(run, rows)]
    repeats = folds.iloc[:0].drop(columns="fold")  # none is whole
    if len(whole):
        repeats = _table(run, whole, ["labels", "repeat"])
    every = whole[whole["labels"] == ALL]
    if every.empty:  # stopped within the first repeat
        every = rows[rows["labels"] == ALL]
    paired = _paired(run, every)
    evaluation = _of_means(run, every)
    evaluation = dataclasses.replace(
        evaluation, paired=paired, better=_better(run, every)
    )
    return Comparison(
        run=run,
        folds=folds,
        repeats=repeats,
        paired=paired,
        wins={"folds": _wins(run, folds), "repeats": _wins(run, repeats)},
        evaluation=evaluation,
        coverage=_coverage(every),
        curve=_curve(run, repeats),
    )


def headline(result: Mapping[str, Any], target: pd.Series) -> str:
    """The error of both methods in a cell that was just computed."""
    regression = pd.api.types.is_numeric_dtype(target)
    parts = []
    for who in METHODS:
        frame = pd.DataFrame(result[who]["columns"], result[who]["ids"])
        true = target[frame.index]
        if regression:
            error = (frame["predicted"] - true).abs().mean()
            parts.append(f"{NAMES[who]} {error:.3g}")
        else:
            right = (frame["predicted"] == true).mean()
            parts.append(f"{NAMES[who]} {right:.2f}")
    return f"{'mean absolute error' if regression else 'accuracy'} {', '.join(parts)}"


def scores_of(
    run: Mapping[str, Any], rows: pd.DataFrame, who: str, weights_BN: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of a method on rows of the table, in each draw."""
    predicted = rows[f"{who}_predicted"]
    if run["task"] == "regression":
        true = rows["true"].to_numpy(dtype=float)
        return regression_scores(true, predicted.to_numpy(dtype=float), weights_BN)
    return classification_scores(
        rows["true"].to_numpy(dtype=str),
        predicted.to_numpy(dtype=str),
        weights_BN,
        _probabilities(run, rows, who),
        run["classes"],
    )


def _probabilities(run: Mapping[str, Any], rows: pd.DataFrame, who: str) -> np.ndarray:
    names = [f"{who}_probability_{label}" for label in run["classes"]]
    return rows[names].to_numpy(dtype=float)


def errors_of(run: Mapping[str, Any], rows: pd.DataFrame, who: str) -> np.ndarray:
    """(N,) absolute error, or negative log probability of the true class."""
    if run["task"] == "regression":
        return (rows[f"{who}_predicted"] - rows["true"]).abs().to_numpy(dtype=float)
    true = rows["true"].to_numpy(dtype=str)
    return log_losses(true, _probabilities(run, rows, who), run["classes"])


def _table(
    run: Mapping[str, Any], rows: pd.DataFrame, by: Sequence[str]
) -> pd.DataFrame:
    """Scores of each part of the rows, a row a method."""
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        ones = np.ones((1, len(part)))
        for who in METHODS:
            head = dict(zip(by, key, strict=True)) | {"set": NAMES[who]}
            head |= {"training": part["training"].mean(), "samples": len(part)}
            scores = scores_of(run, part, who, ones)
            found.append(head | {n: float(v[0]) for n, v in scores.items()})
    return pd.DataFrame(found)


def _of_whole_repeats(run: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a repeat all of whose folds are there."""
    folds = rows.groupby(["labels", "repeat"])["fold"].transform("nunique")
    return folds == run["folds"]


def _paired(
    run: Mapping[str, Any], rows: pd.DataFrame
) -> dict[str, dict[str, Estimate]]:
    """Differences of scores that are means over repeats, in draws of whole groups."""
    ids = pd.Index(rows["id"].unique())
    groups = None
    if "group" in rows:
        groups = rows.drop_duplicates("id").set_index("id")["group"][ids].to_numpy()
    parts = [part for _, part in rows.groupby("repeat")]
    places = [ids.get_indexer(part["id"]) for part in parts]

    def scores(who: str) -> dict[str, np.ndarray]:
        def score(weights_BN: np.ndarray) -> dict[str, np.ndarray]:
            each = [
                scores_of(run, part, who, weights_BN[:, place])
                for part, place in zip(parts, places, strict=True)
            ]
            names = each[0]
            return {n: mean_of_known([one[n] for one in each]) for n in names}

        return drawn(score, len(ids), groups)

    return compared(scores(OURS), scores(FOREST))


def _better(run: Mapping[str, Any], rows: pd.DataFrame) -> tuple[int, int, int]:
    """How many groups (or samples) each predicts better on average, and of how many."""
    differ = errors_of(run, rows, OURS) - errors_of(run, rows, FOREST)
    unit = rows["group"] if "group" in rows else rows["id"]
    differ = pd.Series(differ, rows.index).groupby(unit).mean()
    return int((differ < 0).sum()), int((differ > 0).sum()), len(differ)


def _wins(run: Mapping[str, Any], table: pd.DataFrame) -> tuple[int, int]:
    """In how many parts of all training samples q2-aam has the lower error."""
    pairs = differences(run, table, MAIN[run["task"]])
    return int((pairs < 0).sum()), len(pairs)


def differences(run: Mapping[str, Any], table: pd.DataFrame, score: str) -> pd.Series:
    """A score of q2-aam less that of the forest, of all training samples."""
    every = table[table["labels"] == ALL]
    by = [name for name in ("repeat", "fold") if name in every]
    sides = [every[every["set"] == NAMES[who]].set_index(by) for who in METHODS]
    return (sides[0][score] - sides[1][score]).rename("difference")


def _of_means(run: Mapping[str, Any], rows: pd.DataFrame) -> Evaluation:
    """Evaluation of the predictions that are means over repeats."""
    first = rows.drop_duplicates("id").set_index("id").rename_axis("id")
    sets = [Predicted(NAMES[who], *_means(run, rows, who)) for who in METHODS]
    return evaluate(
        sets[0],
        first["true"].rename(run["column"]),
        other=sets[1],
        groups=first.get("group"),
        report=silent,
    )


def _means(
    run: Mapping[str, Any], rows: pd.DataFrame, who: str
) -> tuple[pd.Series, pd.DataFrame | None]:
    """Mean prediction of each sample, and means of intervals or probabilities."""
    own = [n for n in rows if n.startswith(f"{who}_") and n != f"{who}_predicted"]
    if run["task"] == "regression":
        names = [f"{who}_predicted", *own]
        means = rows.groupby("id", sort=False)[names].mean()
        details = means[own].rename(columns=lambda n: n.removeprefix(f"{who}_"))
        details = details.add_prefix(f"{run['column']}_")
        return means[f"{who}_predicted"], details if own else None
    names = [f"{who}_probability_{label}" for label in run["classes"]]
    chances = rows.groupby("id", sort=False)[names].mean()
    chances = chances.set_axis(run["classes"], axis=1)
    return chances.idxmax(axis=1), chances


def _coverage(rows: pd.DataFrame) -> Estimate | None:
    """How often intervals hold the truth, over groups (or samples)."""
    limits = [next((n for n in rows if f"{OURS}_{s}_" in n), None) for s in SIDES]
    if None in limits:
        return None
    rows = rows.dropna(subset=limits)
    hits = rows["true"].between(rows[limits[0]], rows[limits[1]])
    return mean_of(hits, rows["group" if "group" in rows else "id"].to_numpy())


def _curve(run: Mapping[str, Any], repeats: pd.DataFrame) -> pd.DataFrame | None:
    """Mean and SD of the error over repeats, by number of training samples."""
    if repeats.empty or repeats["labels"].nunique() < 2:
        return None
    groups = repeats.groupby(["labels", "set"], sort=False)
    error = groups[MAIN[run["task"]]]
    table = pd.DataFrame(
        {
            "training": groups["training"].mean(),
            "repeats": error.size(),
            "error": error.mean(),
            "sd": error.std(ddof=1),
        }
    )
    return table.reset_index().sort_values("training", kind="stable")


def summary(found: Comparison) -> pd.DataFrame:
    """Each score: mean and SD over repeats of both, and the paired difference.

    Where no repeat is whole, means are over folds.
    """
    table = found.repeats[found.repeats["labels"] == ALL]
    if table.empty:
        table = found.folds[found.folds["labels"] == ALL]
    rows = []
    for score, kinds in found.paired.items():
        row: dict[str, Any] = {"score": score}
        for who in METHODS:
            values = table.loc[table["set"] == NAMES[who], score]
            row |= {f"{who}_mean": values.mean(), f"{who}_sd": values.std(ddof=1)}
        for kind, value in kinds.items():
            row |= {
                kind: value.value,
                f"{kind}_low": value.low,
                f"{kind}_high": value.high,
            }
        sign = 1 if score in ERRORS else -1
        for part, frame in (("folds", found.folds), ("repeats", found.repeats)):
            pairs = sign * differences(found.run, frame, score)
            row |= {f"better_in_{part}": int((pairs < 0).sum()), part: len(pairs)}
        rows.append(row)
    return pd.DataFrame(rows).set_index("score")
