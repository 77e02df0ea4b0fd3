"""Fewer labelled samples of a study, as if no more had been collected.

Shapes: N samples, G groups, C classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aam_core.data.folds import classes_of

#: Draws, of which the one is taken that is most like all samples.
DRAWS = 500
#: Fewest groups, so that folds of training samples can be made of them.
FEWEST = 3


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
    class_N = classes_of(labels)
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


def nested(
    labels: pd.Series, groups: np.ndarray | None, numbers: Sequence[int], seed: int
) -> dict[int, np.ndarray]:
    """Rows as of `drawn` for several numbers, each among those of the larger ones.

    Parameters
    ----------
    labels, groups, seed
        As for `drawn`.
    numbers : sequence of int
        Of samples.

    Returns
    -------
    dict
        Rows by number, the largest first.

    Examples
    --------
    >>> import pandas as pd
    >>> from aam_core.data.subsets import nested
    >>> found = nested(pd.Series(range(40)), None, [4, 10], seed=0)
    >>> [(number, len(rows)) for number, rows in found.items()]
    [(10, 10), (4, 4)]
    >>> set(found[4]) <= set(found[10])
    True
    """
    found, rows = {}, np.arange(len(labels))
    for number in sorted(set(numbers), reverse=True):
        own = None if groups is None else groups[rows]
        rows = rows[drawn(labels.iloc[rows], own, number, seed)]
        found[number] = rows
    return found
