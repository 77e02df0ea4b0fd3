"""Folds in which no group is divided and all look alike.

`StratifiedGroupKFold(shuffle=True)` of scikit-learn before 1.3 does not balance the
classes, so the best of many random draws is taken here, for numbers as well.

Shapes: N samples, G groups, K folds, C classes (of numbers: quarters of their range).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

DRAWS = 100
#: Groups that are dealt in all draws together; of many groups few draws do.
DEALT = 20_000
#: Parts of the numbers, of equally many samples, that all folds should hold alike.
PARTS = 4

Fold = tuple[np.ndarray, np.ndarray]  #: rows of training, and rows that are held out


def balanced_folds(
    labels: Sequence | np.ndarray | pd.Series,
    groups: Sequence | np.ndarray | None,
    number: int,
    seed: int,
) -> list[Fold]:
    """Deal samples, or whole groups, to folds.

    Parameters
    ----------
    labels : sequence
        (N,) numbers or texts.
    groups : sequence, optional
        (N,) groups; without, each sample is one.
    number : int
        K; fewer if there are fewer groups.
    seed : int
        Of the draws.

    Returns
    -------
    list of tuple
        Rows of training and of held-out samples, ascending. None of fewer than two
        groups.

    Examples
    --------
    >>> from aam_core.data.folds import balanced_folds
    >>> folds = balanced_folds(["a", "b", "a", "b"], None, 2, seed=0)
    >>> [sorted(["a", "b", "a", "b"][i] for i in held_out) for _, held_out in folds]
    [['a', 'b'], ['a', 'b']]
    """
    class_N = classes_of(pd.Series(labels))
    generator = np.random.default_rng(seed)
    if groups is None:
        number = min(number, len(class_N))
        order = generator.permutation(len(class_N))
        order = order[np.argsort(class_N[order], kind="stable")]
        fold_N = np.empty(len(class_N), dtype=int)
        fold_N[order] = np.arange(len(order)) % max(number, 1)
    else:
        group_N = pd.factorize(np.asarray(groups, dtype=object))[0]
        counts_GC = np.zeros((group_N.max() + 1, class_N.max() + 1))
        np.add.at(counts_GC, (group_N, class_N), 1)
        number = min(number, len(counts_GC))
        draws = max(min(DRAWS, DEALT // len(counts_GC)), 1)
        drawn = [_dealt(counts_GC, number, generator) for _ in range(draws)]
        fold_G = min(drawn, key=lambda fold_G: _unevenness(counts_GC, fold_G, number))
        fold_N = fold_G[group_N]
    if number < 2:
        return []
    return [
        (np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k))
        for k in range(number)
    ]


def classes_of(labels: pd.Series) -> np.ndarray:
    """(N,) numbers of the classes, or which quarter of the numbers a label is in."""
    if pd.api.types.is_numeric_dtype(labels):
        ranks = labels.rank(method="first").to_numpy() - 1
        return (ranks * PARTS // len(labels)).astype(int)
    return pd.factorize(labels, sort=True)[0]


def _dealt(
    counts_GC: np.ndarray, number: int, generator: np.random.Generator
) -> np.ndarray:
    """Groups in random order, each to the fold that has the fewest of its classes."""
    held_KC = np.zeros((number, counts_GC.shape[1]))
    fold_G = np.zeros(len(counts_GC), dtype=int)
    total_C = counts_GC.sum(axis=0)
    empty_K = np.ones(number, dtype=bool)
    order = generator.permutation(len(counts_GC))
    for left, group in reversed(list(enumerate(order))):
        load_K = ((held_KC + counts_GC[group]) / total_C) ** 2 - (
            held_KC / total_C
        ) ** 2
        load_K = load_K.sum(axis=1)
        if empty_K.sum() > left:
            load_K[~empty_K] = np.inf  # no fold goes without
        fold_G[group] = generator.choice(np.flatnonzero(load_K == load_K.min()))
        held_KC[fold_G[group]] += counts_GC[group]
        empty_K[fold_G[group]] = False
    return fold_G


def _unevenness(counts_GC: np.ndarray, fold_G: np.ndarray, number: int) -> float:
    """How far the folds' fractions of each class are from equal."""
    held_KC = np.zeros((number, counts_GC.shape[1]))
    np.add.at(held_KC, fold_G, counts_GC)
    return float(((held_KC / counts_GC.sum(axis=0) - 1 / number) ** 2).sum())
