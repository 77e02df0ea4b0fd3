"""Scores with bootstrap intervals over groups, and paired differences of two sets.

Whole groups are drawn, so that samples of one subject do not count as independent. A
draw is a weight of each sample, by which every score is computed as scikit-learn does
with `sample_weight`.

Shapes: N samples, B draws, C classes. The first draw has each sample once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aam_core.metrics import LEAST_PROBABILITY

DRAWS = 1000
AT_ONCE = 5_000_000  #: weights of draws in memory
LEVEL = 0.95  #: of the intervals
FEW = 30  #: samples, or groups, below which scores prove little
#: Below it no difference is more than noise: all of 5 go one way in 2 of 2^5 cases.
FEWEST = 6
#: Scores that are errors: lower is better, and a ratio of two means something.
ERRORS = ("mae", "rmse", "log_loss")


class Estimate(NamedTuple):
    """A score of all samples, with the limits of its bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values_B: np.ndarray) -> "Estimate":
        """The first draw, and the limits of the others; NaN where nothing is known."""
        drawn = values_B[1:][np.isfinite(values_B[1:])]
        low = high = np.nan
        if len(drawn):
            tail = (1 - LEVEL) / 2
            low, high = np.quantile(drawn, [tail, 1 - tail])
        return cls(float(values_B[0]), float(low), float(high))


def drawn(
    score: Callable[[np.ndarray], dict[str, np.ndarray]],
    number: int,
    groups: Sequence | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Scores of all samples, and of draws of them.

    Parameters
    ----------
    score : callable
        Takes (b, N) weights, how often each sample is in each of b draws; returns (b,)
        numbers by name.
    number : int
        N.
    groups : sequence, optional
        (N,) group of each sample; without, each sample is one.
    seed : int
        Of the draws.

    Returns
    -------
    dict
        (B,) numbers by name, B = 1 + `DRAWS`; the first is of all samples.
    """
    unit_N = np.arange(number)
    if groups is not None:
        unit_N = np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
    units = int(unit_N.max()) + 1
    generator = np.random.default_rng(seed)
    parts = [score(np.ones((1, number)))]
    at_once = max(AT_ONCE // number, 1)
    for start in range(0, DRAWS, at_once):
        size = min(at_once, DRAWS - start)
        weights = generator.multinomial(units, np.full(units, 1 / units), size=size)
        parts.append(score(weights[:, unit_N].astype(np.float64)))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def error_ratio(
    ours: np.ndarray, theirs: np.ndarray, groups: Sequence | None = None, seed: int = 0
) -> Estimate:
    """Our mean error over theirs, with a bootstrap interval over groups.

    Parameters
    ----------
    ours, theirs : numpy.ndarray
        (N,) errors of the same samples.
    groups, seed
        As for `drawn`.
    """
    pair_N2 = np.stack([ours, theirs], axis=1)

    def score(weights_BN: np.ndarray) -> dict[str, np.ndarray]:
        sums_B2 = weights_BN @ pair_N2
        return {"ratio": sums_B2[:, 0] / sums_B2[:, 1]}

    return Estimate.of(drawn(score, len(pair_N2), groups, seed)["ratio"])


def regression_scores(
    true_N: np.ndarray, predicted_N: np.ndarray, weights_BN: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of predicted numbers in each draw.

    Returns
    -------
    dict
        `mae`, `rmse` and `r2`, (B,) each; r2 is NaN where the truth is constant.
    """
    error_N = np.abs(predicted_N - true_N)
    total_B = weights_BN.sum(axis=1)
    squares_B = weights_BN @ error_N**2
    centred_N = true_N - true_N.mean()
    varies_B = weights_BN @ centred_N**2 - (weights_BN @ centred_N) ** 2 / total_B
    with np.errstate(divide="ignore", invalid="ignore"):
        r2_B = 1 - squares_B / np.where(varies_B > 1e-12, varies_B, np.nan)
    return {
        "mae": weights_BN @ error_N / total_B,
        "rmse": np.sqrt(squares_B / total_B),
        "r2": r2_B,
    }


def classification_scores(
    true_N: np.ndarray,
    predicted_N: np.ndarray,
    weights_BN: np.ndarray,
    probabilities_NC: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Scores of predicted classes in each draw.

    Parameters
    ----------
    true_N, predicted_N : numpy.ndarray
        Labels.
    weights_BN : numpy.ndarray
        (B, N) how often each sample is in each draw.
    probabilities_NC : numpy.ndarray, optional
        Of the `classes`, among which all true ones are.
    classes : sequence of str
        Labels of the columns.

    Returns
    -------
    dict
        `accuracy` and `balanced_accuracy`, (B,) each, and with probabilities
        `log_loss` (of probabilities that are at least `LEAST_PROBABILITY`) and
        `roc_auc` (the mean over classes, each against the rest). Classes that a draw
        lacks do not count in it.
    """
    right_N = (true_N == predicted_N).astype(np.float64)
    total_B = weights_BN.sum(axis=1)
    recalls = []
    for label in np.unique(true_N):
        of_class_N = (true_N == label).astype(np.float64)
        with np.errstate(invalid="ignore"):
            recalls.append(
                weights_BN @ (right_N * of_class_N) / (weights_BN @ of_class_N)
            )
    found = {
        "accuracy": weights_BN @ right_N / total_B,
        "balanced_accuracy": mean_of_known(recalls),
    }
    if probabilities_NC is not None:
        losses_N = log_losses(true_N, probabilities_NC, classes)
        areas = [
            area_under_roc(true_N == label, probabilities_NC[:, number], weights_BN)
            for number, label in enumerate(classes)
        ]
        found["log_loss"] = weights_BN @ losses_N / total_B
        found["roc_auc"] = mean_of_known(areas)
    return found


def log_losses(
    true_N: np.ndarray, probabilities_NC: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """(N,) negative log probability of the true class, clipped and renormalised."""
    clipped = np.asarray(probabilities_NC, dtype=np.float64).clip(LEAST_PROBABILITY)
    clipped = clipped / clipped.sum(axis=1, keepdims=True)
    place = {label: number for number, label in enumerate(classes)}
    codes = np.array([place[label] for label in true_N])
    return -np.log(clipped[np.arange(len(codes)), codes])


def area_under_roc(
    hit_N: np.ndarray, score_N: np.ndarray, weights_BN: np.ndarray
) -> np.ndarray:
    """(B,) probability that a hit scores higher than another sample, ties by half.

    Notes
    -----
    The Mann-Whitney statistic (Hanley & McNeil 1982,
    doi:10.1148/radiology.143.1.7063747), for all draws at once; NaN where a draw lacks
    hits or others.
    """
    order = np.argsort(score_N, kind="stable")
    starts = np.unique(score_N[order], return_index=True)[1]
    weights_BN = weights_BN[:, order]
    hit_N = hit_N[order].astype(np.float64)
    hits_BK = np.add.reduceat(weights_BN * hit_N, starts, axis=1)
    others_BK = np.add.reduceat(weights_BN * (1 - hit_N), starts, axis=1)
    below_BK = np.cumsum(others_BK, axis=1) - others_BK / 2
    pairs_B = hits_BK.sum(axis=1) * others_BK.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (hits_BK * below_BK).sum(axis=1) / np.where(pairs_B > 0, pairs_B, np.nan)


def compared(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Estimate]]:
    """Paired differences of the scores of two sets in the same draws.

    Returns
    -------
    dict
        By score: `difference` (ours less theirs), and of errors also their `ratio`.
    """
    found = {}
    for name in ours:
        if name not in theirs:
            continue
        found[name] = {"difference": Estimate.of(ours[name] - theirs[name])}
        if name in ERRORS:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio_B = ours[name] / theirs[name]
            found[name]["ratio"] = Estimate.of(ratio_B)
    return found


def mean_of_known(values: Sequence[np.ndarray]) -> np.ndarray:
    """(B,) mean over what is not NaN; NaN where nothing is."""
    values_KB = np.array(values)
    known_KB = np.isfinite(values_KB)
    with np.errstate(invalid="ignore"):
        return np.where(known_KB, values_KB, 0.0).sum(axis=0) / known_KB.sum(axis=0)
