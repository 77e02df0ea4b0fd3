"""The trees member: forests on ASVs and on clades of like sequences.

One forest reads abundances, one presence. Clades are clusters of the profiles of ASVs,
of several sizes; their centroids are kept, so that an ASV that was never seen falls
into one of them, and no phylogeny is needed.

Shapes: N samples, F features, V prevalent ASVs, D numbers of a profile, K clades of all
sizes, O outputs, X columns that are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.preprocessing import normalize

from aam_core.data.profiles import PROFILE
from aam_core.ensemble.community import (
    Community,
    as_array,
    indicators,
    is_vocabulary,
    vocabulary,
)
from aam_core.ensemble.forest import ARRAYS, Forest, as_arrays
from aam_core.ensemble.regression import Target

VIEWS = ("abundance", "presence")
TREES = 100  #: of each view
#: Fractions of the columns that a split of numbers tries, and most columns: more cost
#: minutes where there are thousands of ASVs. Of classes a split tries the square root.
TRIED, MOST_TRIED = {"abundance": 1 / 3, "presence": 0.1}, 500
#: Most samples that a tree is fitted to; of more, each tree draws so many.
MOST = 2_000
#: Clusters of each size; those of half as many ASVs and more are left out.
CLADES = (16, 64, 256, 1024)
#: Bytes of the arrays of a view; leaves are larger where samples are many.
LARGEST = 5_000_000
FEWEST_TREES = 50
NODE, LEAF = 12, 4  #: bytes of a node, and of an output of a leaf
#: Samples that are predicted at a time.
PIECE = 512


@dataclass(frozen=True, eq=False)
class Trees:
    """A fitted trees member; `fit_trees` makes one.

    Attributes
    ----------
    digests_VB : numpy.ndarray
        (V, 16) uint8, the ASVs that are read by themselves.
    centroids_KD : numpy.ndarray
        Float32, of the clades.
    sizes : tuple of int
        Clades of each size, in the order of `centroids_KD`.
    cardinalities : tuple of int
        Categories of each covariate, unknown included.
    classes : int
        O, if the outputs are classes; else 0.
    forests : mapping
        By view.
    """

    digests_VB: np.ndarray
    centroids_KD: np.ndarray
    sizes: tuple[int, ...]
    cardinalities: tuple[int, ...] = ()
    classes: int = 0
    forests: Mapping[str, Forest] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """X."""
        asvs, clades = len(self.digests_VB), len(self.centroids_KD)
        return asvs + clades + sum(self.cardinalities)

    def predict(
        self, samples: Community, columns: sparse.csr_matrix | None = None
    ) -> dict[str, np.ndarray]:
        """(N, O) scaled values, or probabilities of classes, of each view.

        Parameters
        ----------
        samples : Community
            N samples.
        columns : scipy.sparse.csr_matrix, optional
            What `columns_of` returned for the same ASVs, where that is known already.
        """
        columns = self.columns_of(samples) if columns is None else columns
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.forests}
        total = samples.counts.shape[0]
        for start in range(0, total, PIECE):
            some = samples.take(np.arange(start, min(start + PIECE, total)))
            read = self.read(some, columns)
            for name, forest in self.forests.items():
                found[name].append(forest.predict(read[name]))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def columns_of(self, samples: Community) -> sparse.csr_matrix:
        """(F, X'): 1 where an ASV counts in a column, as itself or by clade."""
        place = samples.places(vocabulary(self.digests_VB))
        here = np.flatnonzero(place >= 0)
        one = (np.ones(len(here)), (here, place[here]))
        asvs = sparse.csr_matrix(one, (len(place), len(self.digests_VB)))
        return sparse.hstack([asvs, self._clades(samples)]).tocsr()

    def read(
        self, samples: Community, columns: sparse.csr_matrix | None = None
    ) -> dict[str, np.ndarray]:
        """What the trees of each view read of samples, (N, X) float32.

        Relative abundances of the ASVs and of the clades, or which ASVs there are and
        how many of each clade; then indicators of categories. `columns` is as in
        `predict`.
        """
        both = self.columns_of(samples) if columns is None else columns
        counts = samples.counts.astype(np.float64)
        present = counts.copy()
        present.data[:] = 1.0
        found = {}
        views = {"abundance": normalize(counts, norm="l1"), "presence": present}
        for name, reads in views.items():
            parts = [(reads @ both).toarray()]
            if self.cardinalities:
                parts.append(indicators(samples.categories_NK, self.cardinalities))
            found[name] = np.hstack(parts).astype(np.float32)
        return found

    def _clades(self, samples: Community) -> sparse.csr_matrix:
        """(F, K): 1 for the nearest clade of each size, of the ASVs that occur."""
        read = np.unique(samples.counts.indices)
        rows, columns, start = [], [], 0
        for size in self.sizes:
            centroids = self.centroids_KD[start : start + size]
            squares = (centroids**2).sum(axis=1)
            products = samples.profiles_FD[read] @ centroids.T
            rows.append(read)
            columns.append(start + (squares - 2 * products).argmin(axis=1))
            start += size
        shape = (samples.counts.shape[1], len(self.centroids_KD))
        if not rows:
            return sparse.csr_matrix(shape)
        place = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix((np.ones(len(place[0])), place), shape)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has to be kept, by name; see `read_trees`."""
        found = {"digests": self.digests_VB, "centroids": self.centroids_KD}
        for view, forest in self.forests.items():
            for name, value in vars(forest).items():
                found[f"{view}.{name.rpartition('_')[0]}"] = value
        return found


def read_trees(
    arrays: Mapping[str, np.ndarray],
    sizes: Sequence[int],
    cardinalities: Sequence[int],
    classes: int,
) -> Trees:
    """The member of which `Trees.arrays` made these.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or a path would not end.
    """
    forests = {
        view: Forest(**{n: arrays[f"{view}.{n.rpartition('_')[0]}"] for n in ARRAYS})
        for view in VIEWS
    }
    trees = Trees(
        arrays["digests"],
        arrays["centroids"],
        tuple(sizes),
        tuple(cardinalities),
        classes,
        forests,
    )
    fit = (
        is_vocabulary(trees.digests_VB)
        and trees.centroids_KD.shape[1:] == (PROFILE,)
        and sum(trees.sizes) == len(trees.centroids_KD)
        and all(forest.is_sound(trees.columns) for forest in forests.values())
        and len({forest.value_LO.shape[1] for forest in forests.values()}) == 1
    )
    if not fit:
        raise ValueError("the arrays of the trees do not fit each other")
    return trees


def fit_trees(
    samples: Community,
    target: Target,
    cardinalities: Sequence[int],
    seed: int,
    jobs: int = 1,
) -> Trees:
    """Fit extremely randomised trees (Geurts et al. 2006).

    Parameters
    ----------
    samples : Community
        N samples; ASVs and clades are those of these samples.
    target : Target
        Of the same samples.
    cardinalities : sequence of int
        Categories of each column of `samples.categories_NK`, unknown included.
    seed : int
        Of clades and trees.
    jobs : int
        Threads.

    Returns
    -------
    Trees
    """
    prevalence_F = samples.prevalence()
    known = np.flatnonzero(samples.prevalent())
    centroids_KD, sizes = _centroids(samples.profiles_FD[prevalence_F > 0], seed)
    shared: dict[str, Any] = {
        "digests_VB": as_array([samples.digests[f] for f in known]),
        "centroids_KD": centroids_KD,
        "sizes": sizes,
        "cardinalities": tuple(cardinalities),
        "classes": target.classes,
    }
    forests = {
        view: _fitted(view, columns_NX, target, seed, jobs)
        for view, columns_NX in Trees(**shared).read(samples).items()
    }
    return Trees(**shared, forests=forests)


def _fitted(
    view: str, columns_NX: np.ndarray, target: Target, seed: int, jobs: int
) -> Forest:
    """The forest of one view."""
    counts_N = target.weights_N > 0
    several = counts_N.sum() > MOST
    outputs = target.classes or target.values.shape[1]
    leaf, number = _fitting(min(len(columns_NX), MOST), outputs)
    kind = ExtraTreesClassifier if target.classes else ExtraTreesRegressor
    forest = kind(
        number,
        max_features="sqrt" if target.classes else tried(view, columns_NX.shape[1]),
        min_samples_leaf=leaf,
        bootstrap=bool(several),
        max_samples=MOST if several else None,
        random_state=seed,
        n_jobs=jobs,
    )
    values = target.values[counts_N]
    if not target.classes and values.shape[1] == 1:
        values = values[:, 0]
    forest.fit(columns_NX[counts_N], values, target.weights_N[counts_N])
    return as_arrays(forest, target.classes)


def tried(view: str, columns: int) -> int:
    """Columns that a split of numbers tries."""
    return max(min(int(TRIED[view] * columns), MOST_TRIED), 1)


def _fitting(samples: int, outputs: int) -> tuple[int, int]:
    """Fewest samples of a leaf, and how many trees, within `LARGEST` bytes."""
    leaf = 1
    while True:
        each = samples / leaf * (2 * NODE + LEAF * outputs)
        number = min(TREES, int(LARGEST / max(each, 1)))
        if number >= FEWEST_TREES or leaf >= samples:
            return leaf, max(number, 1)
        leaf += 1


def _centroids(
    profiles_FD: np.ndarray, seed: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Centroids of clusters, and how many there are of each size."""
    distinct = len(np.unique(profiles_FD, axis=0))
    found, sizes = [np.zeros((0, PROFILE), np.float32)], []
    for number in CLADES:
        if number < distinct / 2:
            clusters = MiniBatchKMeans(number, random_state=seed, n_init=1)
            clusters.fit(profiles_FD)
            found.append(clusters.cluster_centers_.astype(np.float32))
            sizes.append(number)
    return np.concatenate(found), tuple(sizes)
