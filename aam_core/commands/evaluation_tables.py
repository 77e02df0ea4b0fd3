"""Tables of an evaluation: by group, coverage, curves, reliability, confusion.

Shapes: N samples, C classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn import metrics

from aam_core.bootstrap import Estimate, drawn

BINS = 10  #: of probabilities
#: Points of a curve that a page shows; a curve of more is thinned.
POINTS = 200

#: Probabilities of a set: (N, C).
Chances = dict[str, np.ndarray]


def errors_of(samples: pd.DataFrame, number: int) -> pd.Series:
    """The error of each sample: absolute, or whether the class is wrong.

    Parameters
    ----------
    samples : pandas.DataFrame
        As of `Evaluation`.
    number : int
        Of the set, from 1.
    """
    if f"error_{number}" in samples:
        return samples[f"error_{number}"].abs()
    return 1.0 - samples[f"right_{number}"]


def better(samples: pd.DataFrame) -> tuple[int, int, int]:
    """How many groups (or samples) each set predicts better, and of how many."""
    differ = errors_of(samples, 1) - errors_of(samples, 2)
    if "group" in samples:
        differ = differ.groupby(samples["group"]).mean()
    return int((differ < 0).sum()), int((differ > 0).sum()), len(differ)


def by_group(samples: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame | None:
    """Mean error of each group by each set; None without groups."""
    if "group" not in samples:
        return None
    parts = []
    for number, name in enumerate(names, start=1):
        errors = errors_of(samples, number).groupby(samples["group"])
        part = pd.DataFrame({"samples": errors.size(), "error": errors.mean()})
        if f"error_{number}" in samples:
            bias = samples[f"error_{number}"].groupby(samples["group"]).mean()
            part["bias"] = bias
        parts.append(part.assign(set=name).reset_index())
    return pd.concat(parts, ignore_index=True)


def coverage(
    samples: pd.DataFrame, names: Sequence[str], unit: np.ndarray | None
) -> dict[str, Estimate]:
    """The fraction of samples whose truth is within the interval, by set.

    Samples without an interval do not count.
    """
    found = {}
    for number, name in enumerate(names, start=1):
        columns = [f"lower_{number}", f"upper_{number}"]
        if not {*columns} <= {*samples}:
            continue
        has_N = samples[columns].notna().all(axis=1).to_numpy()
        if has_N.any():
            own = samples[has_N]
            hits = own["true"].between(*(own[column] for column in columns))
            found[name] = mean_of(hits, None if unit is None else unit[has_N])
    return found


def mean_of(hits: pd.Series | np.ndarray, unit: np.ndarray | None) -> Estimate:
    """The fraction that is true, with its interval over groups."""
    hits_N = np.asarray(hits, dtype=float)

    def score(weights_BN: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return {"mean": weights_BN @ hits_N / weights_BN.sum(axis=1)}

    return Estimate.of(drawn(score, len(hits_N), unit)["mean"])


def curves(
    chances: Chances, true: pd.Series, classes: Sequence[str]
) -> pd.DataFrame | None:
    """ROC and precision-recall of each class against the rest, by set."""
    parts = []
    for name, full_NC in chances.items():
        for number, label in enumerate(classes):
            hit_N, given_N = (true == label).to_numpy(), full_NC[:, number]
            if not 0 < hit_N.sum() < len(hit_N):
                continue
            false, found, _ = metrics.roc_curve(hit_N, given_N)
            precision, recall, _ = metrics.precision_recall_curve(hit_N, given_N)
            area = metrics.roc_auc_score(hit_N, given_N)
            average = metrics.average_precision_score(hit_N, given_N)
            head = {"set": name, "class": label, "samples": int(hit_N.sum())}
            for kind, x, y, score in (
                ("ROC", false, found, area),
                ("precision-recall", recall[::-1], precision[::-1], average),
            ):
                kept = _thinned(len(x))
                part = pd.DataFrame({"x": x[kept], "y": y[kept], "place": kept})
                parts.append(part.assign(kind=kind, score=score, **head))
    return pd.concat(parts, ignore_index=True) if parts else None


def _thinned(number: int) -> np.ndarray:
    """Places of at most `POINTS` points of a curve, both ends among them."""
    places = np.linspace(0, number - 1, min(number, POINTS))
    return np.unique(places.round().astype(int))


def reliability(
    chances: Chances,
    true: pd.Series,
    classes: Sequence[str],
    unit: np.ndarray | None,
) -> pd.DataFrame | None:
    """Of the class with the highest probability: accuracy over probability, in bins."""
    rows = []
    for name, full_NC in chances.items():
        highest_N = full_NC.max(axis=1)
        right_N = np.array(classes)[full_NC.argmax(axis=1)] == true.to_numpy(str)
        bins_N = np.minimum((highest_N * BINS).astype(int), BINS - 1)
        for number in np.unique(bins_N):
            inside = bins_N == number
            found = mean_of(right_N[inside], None if unit is None else unit[inside])
            row = {"set": name, "samples": int(inside.sum())}
            row |= {"probability": highest_N[inside].mean(), "accuracy": found.value}
            rows.append(row | {"low": found.low, "high": found.high})
    return pd.DataFrame(rows) if rows else None


def confusion(
    predicted: dict[str, pd.Series], true: pd.Series, classes: Sequence[str]
) -> pd.DataFrame:
    """How many samples of each true class are predicted as each class, by set."""
    parts = []
    for name, labels in predicted.items():
        counts = metrics.confusion_matrix(true, labels, labels=list(classes))
        frame = pd.DataFrame(counts, pd.Index(classes, name="true"), list(classes))
        part = frame.reset_index().melt("true", None, "predicted", "samples")
        total = part.groupby("true")["samples"].transform("sum")
        part["fraction"] = part["samples"] / total.where(total > 0)
        parts.append(part.assign(set=name))
    return pd.concat(parts, ignore_index=True)
