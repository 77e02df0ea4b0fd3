"""Contributions of ASVs to a prediction: Shapley values by walks between samples.

A walk leads from another sample, the background, to the sample that is explained. One
ASV after the other takes the abundance that it has in the sample, in a random order;
by how much the prediction changes then, is what the ASV contributes in this walk. What
all ASVs contribute in a walk is the difference of the two predictions.

Shapes: P ASVs that one of both samples has, R places of a walk, F features of a study,
O outputs.

References
----------
Štrumbelj & Kononenko 2014, doi:10.1007/s10115-013-0679-x; antithetic orders: Mitchell
et al. 2022, arXiv:2104.12199.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

#: How often the spans of a walk over which most changes are halved.
ROUNDS = 4
Reader = Callable[[sparse.csr_matrix], np.ndarray]  #: (R, …) of (R, F) reads


@dataclass(frozen=True, eq=False)
class Walk:
    """The way from a background to a sample.

    Attributes
    ----------
    features_P : numpy.ndarray
        Columns of the study, ascending.
    start_P, end_P : numpy.ndarray
        Reads in the background and in the sample.
    place_P : numpy.ndarray
        When each is switched, a permutation of 0 to P - 1.
    """

    features_P: np.ndarray
    start_P: np.ndarray
    end_P: np.ndarray
    place_P: np.ndarray

    def __len__(self) -> int:
        """P."""
        return len(self.features_P)

    def reads(self, places_R: np.ndarray) -> np.ndarray:
        """(R, P) reads after so many ASVs were switched.

        Relative abundances are switched, and scaled to sum to 1 again. The depth goes
        over from that of the background to that of the sample as the reads do, so that
        both ends are the samples as they are. Where nothing would be left, the
        background stays.
        """
        depths = self.start_P.sum(), self.end_P.sum()
        switched_RP = self.place_P < np.asarray(places_R)[:, None]
        start_P, end_P = self.start_P / depths[0], self.end_P / depths[1]
        found_RP = np.where(switched_RP, end_P, start_P)
        total_R = found_RP.sum(axis=1)
        empty_R = total_R <= 0
        found_RP[empty_R] = start_P
        total_R[empty_R] = 1.0
        from_end_R = switched_RP @ end_P
        from_end_R[empty_R] = 0.0
        share_R = from_end_R / total_R
        depth_R = share_R * depths[1] + (1 - share_R) * depths[0]
        return found_RP * (depth_R / total_R)[:, None]


def pair(
    background: sparse.csr_matrix,
    sample: sparse.csr_matrix,
    generator: np.random.Generator,
) -> tuple[Walk, Walk]:
    """A walk in a random order, and the one in the opposite order.

    Parameters
    ----------
    background, sample : scipy.sparse.csr_matrix
        (1, F) reads.
    generator : numpy.random.Generator
        Draws the order.
    """
    features_P = np.union1d(background.indices, sample.indices)
    start_P, end_P = (
        m[:, features_P].toarray()[0].astype(np.float64) for m in (background, sample)
    )
    place_P = generator.permutation(len(features_P))
    opposite_P = len(place_P) - 1 - place_P
    both = place_P, opposite_P
    return tuple(Walk(features_P, start_P, end_P, place) for place in both)


def communities(
    walks: Sequence[Walk], places: Sequence[np.ndarray], features: int
) -> sparse.csr_matrix:
    """The communities (R, F) at some places of each walk, one below the other."""
    parts = []
    for walk, places_R in zip(walks, places, strict=True):
        reads_RP = walk.reads(places_R)
        row, column = np.nonzero(reads_RP)
        starts = np.searchsorted(row, np.arange(len(reads_RP) + 1))
        values = reads_RP[row, column], walk.features_P[column], starts
        parts.append(sparse.csr_matrix(values, (len(reads_RP), features)))
    return sparse.vstack(parts, format="csr")


def at_each_place(
    walks: Sequence[Walk], read: Reader, features: int
) -> list[np.ndarray]:
    """What is read at all P + 1 places of each walk, (P + 1, …)."""
    places = [np.arange(len(walk) + 1) for walk in walks]
    found = read(communities(walks, places, features))
    return np.split(found, np.cumsum([len(p) for p in places])[:-1])


def traced(
    walks: Sequence[Walk],
    read: Reader,
    features: int,
    steps: int,
    ends: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[np.ndarray]:
    """What is read at all places of each walk, of which few are looked at.

    Half of them are evenly spaced. The others halve, in `ROUNDS` rounds, the spans over
    which most changes, so that ASVs that matter much are singled out. In between, each
    ASV of a span changes the same.

    Parameters
    ----------
    walks : sequence of Walk
        All are read together.
    read : callable
        What is dear.
    features : int
        F.
    steps : int
        Places of a walk, its ends excluded; 0 for all.
    ends : sequence of tuple
        What is read at both ends of each walk, which is known.

    Returns
    -------
    list of numpy.ndarray
        (P + 1, …) each.
    """
    known = [
        {0: start, len(walk): end}
        for walk, (start, end) in zip(walks, ends, strict=True)
    ]
    if steps:
        left = steps // 2
        cuts = [left * n // ROUNDS for n in range(ROUNDS + 1)]
        rounds = [steps - left, *np.diff(cuts).tolist()]
    else:
        rounds = [max(map(len, walks))]
    for number, more in enumerate(rounds):
        choose = _widest if number else _evenly
        asked = [choose(values, more) for values in known]
        if not sum(map(len, asked)):
            continue
        found = iter(read(communities(walks, asked, features)))
        for values, places in zip(known, asked, strict=True):
            values |= {int(place): next(found) for place in places}
    return [_between(values) for values in known]


def _evenly(known: dict[int, np.ndarray], number: int) -> np.ndarray:
    """Places evenly between the ends, which are known."""
    length = max(known)
    places = np.linspace(0, length, min(number, length) + 2)[1:-1].round().astype(int)
    if number >= length:
        places = np.arange(1, length)
    return np.setdiff1d(places, list(known))


def _widest(known: dict[int, np.ndarray], number: int) -> np.ndarray:
    """The middles of the spans over which most changes."""
    places = np.array(sorted(known))
    values = np.stack([known[p].ravel() for p in places])
    change = np.abs(np.diff(values, axis=0)).max(axis=1)
    wide = np.flatnonzero(np.diff(places) > 1)
    chosen = wide[np.argsort(-change[wide], kind="stable")[:number]]
    return np.sort((places[chosen] + places[chosen + 1]) // 2)


def _between(known: dict[int, np.ndarray]) -> np.ndarray:
    """Values at all places, on straight lines between those that are known."""
    places = np.array(sorted(known))
    values = np.stack([known[p] for p in places]).astype(np.float64)
    every = np.arange(places[-1] + 1)
    flat = values.reshape(len(places), -1)
    lines = [np.interp(every, places, column) for column in flat.T]
    return np.stack(lines, axis=1).reshape(len(every), *values.shape[1:])


@dataclass(frozen=True, eq=False)
class Contributions:
    """What the ASVs contribute to the prediction of one sample.

    Attributes
    ----------
    features : numpy.ndarray
        Columns of the study that are in the sample or in a background.
    values, errors : numpy.ndarray
        (features, O) means over the draws, and their standard errors.
    baseline_O, prediction_O : numpy.ndarray
        The mean prediction of the backgrounds, and that of the sample:
        `baseline_O + values.sum(axis=0)` is `prediction_O`.
    """

    features: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    baseline_O: np.ndarray
    prediction_O: np.ndarray


def averaged(
    walks: Sequence[Walk], values: Sequence[np.ndarray], features: int
) -> Contributions:
    """Contributions from the predictions along all walks of a sample.

    Parameters
    ----------
    walks : sequence of Walk
        Pairs of opposite order, one after the other.
    values : sequence of numpy.ndarray
        (P + 1, O) predictions along each.
    features : int
        F.
    """
    outputs, draws = values[0].shape[1], len(walks) // 2
    total, squares = (np.zeros((features, outputs)) for _ in range(2))
    for one in range(0, len(walks), 2):
        mean = sum(
            np.diff(values[w], axis=0)[walks[w].place_P] / 2 for w in (one, one + 1)
        )
        total[walks[one].features_P] += mean
        squares[walks[one].features_P] += mean**2
    seen = np.unique(np.concatenate([w.features_P for w in walks]))
    mean, squares = total[seen] / draws, squares[seen] / draws
    variance = (squares - mean**2).clip(0) / max(draws - 1, 1)
    baseline_O = np.mean([v[0] for v in values], axis=0)
    prediction_O = np.mean([v[-1] for v in values], axis=0)
    return Contributions(seen, mean, np.sqrt(variance), baseline_O, prediction_O)
