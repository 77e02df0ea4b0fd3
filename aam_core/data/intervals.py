"""Conformal prediction intervals, wider where the members of an ensemble disagree.

Shapes: n samples, T target columns.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

COVERAGE = 0.9  #: fraction of new samples that an interval should hold
#: Groups (or samples) of which an interval can hold that: coverage · (1 + 1 / n) ≤ 1.
FEWEST = round(COVERAGE / (1 - COVERAGE))
PRIOR = 10  #: samples that speak for intervals of one width
MOST = 50.0  #: times that a mean disagreement may widen an interval


def interval_half_widths(
    true: np.ndarray,
    predicted: np.ndarray,
    groups: Sequence[str] | None = None,
    spread: np.ndarray | None = None,
) -> tuple[float, ...]:
    """Half widths of conformal prediction intervals.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        (n, T) of samples that the prediction was not fitted to.
    groups : sequence of str, optional
        Of the samples. Each group weighs the same, since a new sample is one of a new
        group; without, each sample is a group.
    spread : numpy.ndarray, optional
        (n, T) by how much wider the interval of a sample is than those returned.

    Returns
    -------
    tuple of float
        For each target the half width that, times the spread, holds a sample of a new,
        exchangeable group with probability `COVERAGE`; empty where there are too few
        groups for one.

    Notes
    -----
    Without groups the ceil((n + 1) · coverage)-th smallest absolute residual (Lei et
    al. 2018, doi:10.1080/01621459.2017.1307116). With groups the smallest width that
    holds, on average over groups, a fraction coverage · (1 + 1 / m) of a group's
    samples (pooled distribution functions, Dunn et al. 2022,
    doi:10.1080/01621459.2022.2060112). m is the number of independent samples that the
    G groups are worth (`_worth`). With m = G coverage would be guaranteed, but by more
    than is asked for: 96 instead of 90 of 100 samples, for 13 groups of 12 that differ
    little. Residuals over a spread give locally wider intervals with the same coverage
    (Lei et al. 2018, section 5.2).
    """
    number = len(true)
    if not number:
        return ()
    unit, sizes = _units(number, groups)
    if len(sizes) < FEWEST:
        return ()
    scores = np.abs(true - predicted)
    if spread is not None:
        scores = scores / spread
    return tuple(_width(column, unit, sizes) for column in scores.T)


def _width(scores: np.ndarray, unit: np.ndarray, sizes: np.ndarray) -> float:
    order = np.argsort(scores)
    reached = (1 / sizes[unit] / len(sizes))[order].cumsum()

    def holding(fraction: float) -> float:
        place = np.searchsorted(reached, min(fraction, 1) - 1e-9)
        return float(scores[order][min(place, len(scores) - 1)])

    worth = _worth(scores <= holding(COVERAGE), unit, sizes)
    return holding(COVERAGE * (1 + 1 / worth))


def _worth(inside: np.ndarray, unit: np.ndarray, sizes: np.ndarray) -> float:
    """How many independent samples would tell coverage as well as these groups do.

    Notes
    -----
    G / (r + (1 − r) · mean(1 / size)), with the intraclass correlation r of being
    inside, by an analysis of variance (Donner 1986, doi:10.2307/1403259): the variance
    of a mean over groups (Kish 1965). G if samples of a group are all inside or all
    outside, the number of samples if groups make no difference.
    """
    number, groups = len(unit), len(sizes)
    if number == groups:
        return float(groups)
    means = np.bincount(unit, inside) / sizes
    between = (sizes * (means - inside.mean()) ** 2).sum() / (groups - 1)
    within = ((inside - means[unit]) ** 2).sum() / (number - groups)
    size = (number - (sizes**2).sum() / number) / (groups - 1)
    total = between + (size - 1) * within
    alike = 0.0 if total <= 0 else max((between - within) / total, 0.0)
    return groups / (alike + (1 - alike) * (1 / sizes).mean())


def widening_of(
    true: np.ndarray,
    predicted: np.ndarray,
    disagreement: np.ndarray,
    groups: Sequence[str] | None = None,
) -> tuple[float, ...]:
    """By what fraction of itself an interval widens with a unit of disagreement.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        (n, T) of samples that the prediction was not fitted to.
    disagreement : numpy.ndarray
        (n, T), 0 or more, of the members that predict them.
    groups : sequence of str, optional
        Of the samples. Each group weighs the same.

    Returns
    -------
    tuple of float
        For each target, 0 where residuals are no larger with more disagreement.

    Notes
    -----
    Residuals are taken to be Laplacian, of a scale that is proportional to
    1 + k · disagreement / mean disagreement. The k of the highest likelihood is found,
    less `PRIOR` samples that each cost log(1 + k)², so that few samples leave intervals
    of one width. Only widths depend on it: coverage comes from the quantile.
    """
    if not len(true):
        return ()
    unit, sizes = _units(len(true), groups)
    weights = 1 / sizes[unit] / len(sizes)
    residuals = np.abs(true - predicted)
    columns = zip(residuals.T, disagreement.T, strict=True)
    return tuple(_widening(r, d, weights) for r, d in columns)


def _widening(residuals: np.ndarray, apart: np.ndarray, weights: np.ndarray) -> float:
    mean = weights @ apart
    if mean <= 0 or weights @ residuals <= 0:
        return 0.0
    apart = apart / mean

    def loss(log_spread: float) -> float:
        spread = 1 + np.expm1(log_spread) * apart
        likelihood = np.log(weights @ (residuals / spread)) + weights @ np.log(spread)
        return float(likelihood + PRIOR / len(residuals) * log_spread**2)

    best = minimize_scalar(loss, bounds=(0, np.log1p(MOST)), method="bounded")
    return float(np.expm1(best.x) / mean) if best.fun < loss(0.0) else 0.0


def spread_of(
    widening: Sequence[float], disagreement: np.ndarray | None, like: np.ndarray
) -> np.ndarray:
    """(n, T) by how much wider each interval is than where members agree.

    Without widening, or disagreement, that is 1 for each of the values of `like`.
    """
    if not len(widening) or disagreement is None:
        return np.ones(like.shape)
    return 1 + np.asarray(widening) * disagreement


def _units(number: int, groups: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """(n,) group of each sample, by number, and the samples of each group."""
    unit = np.arange(number)
    if groups is not None:
        unit = np.unique(np.array(groups, dtype=str), return_inverse=True)[1]
    return unit, np.bincount(unit)
