"""Fewer labelled samples of a study, as if no more had been collected.

Shapes: N samples, G groups, C classes.
"""

import numpy as np
import pandas as pd

#: Draws, of which the one is taken that is most like all samples.
DRAWS = 500
#: Fewest groups, so that folds of training samples can be made of them.
FEWEST = 3
PARTS = 4  #: classes that numbers are divided into


def drawn(
    labels: pd.Series, groups: np.ndarray | None, number: int, seed: int
) -> np.ndarray:
    """Rows of whole groups, about `number` in all, whose labels are like all.

    Parameters
    ----------
    labels : pandas.Series
        (N,) numbers or texts.
    groups : numpy.ndarray, optional
        (N,) groups, at least `FEWEST` of which are taken; without, each sample is one.
    number : int
        Of samples; as near to it as whole groups come.
    seed : int
        Of the draws.

    Returns
    -------
    numpy.ndarray
        Rows, ascending.
    """
    class_N = _classes(labels)
    unit_N = np.arange(len(labels)) if groups is None else pd.factorize(groups)[0]
    counts_GC = np.zeros((unit_N.max() + 1, class_N.max() + 1))
    np.add.at(counts_GC, (unit_N, class_N), 1)
    wanted_C = counts_GC.sum(axis=0) * number / len(labels)
    generator = np.random.default_rng(seed)
    least = min(FEWEST, len(counts_GC))
    best, taken = np.inf, np.arange(0)
    for _ in range(DRAWS):
        order = generator.permutation(len(counts_GC))
        reached_G = counts_GC[order].sum(axis=1).cumsum()
        last = max(int(np.abs(reached_G - number).argmin()) + 1, least)
        here = order[:last]
        distance = np.square((counts_GC[here].sum(axis=0) - wanted_C) / wanted_C).sum()
        if distance < best:
            best, taken = distance, here
    return np.flatnonzero(np.isin(unit_N, taken))


def _classes(labels: pd.Series) -> np.ndarray:
    """(N,) classes, or which quarter of the numbers."""
    if not pd.api.types.is_numeric_dtype(labels):
        return pd.factorize(labels, sort=True)[0]
    ranks = labels.rank(method="first").to_numpy() - 1
    return (ranks * PARTS // len(labels)).astype(int)
