"""Samples as the members beside the network read them: all ASVs, each by its sequence.

Shapes: N samples, F features, D numbers of a profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from aam_core.data.profiles import profiles
from aam_core.data.study import Study

#: ASVs of which distances are computed at a time.
PIECE = 1024
#: Fraction of the samples from which an ASV has a log-ratio, and trees read it itself
#: and not by its clades only.
PREVALENCE = 0.03
#: Squared distance of profiles from which an ASV is far: of random sequences some nine
#: in a hundred nucleotides differ.
FAR = 0.8
#: ASVs whose profiles a model keeps, so as to tell which are far.
MOST_KNOWN = 20_000


@dataclass(frozen=True, eq=False)
class Community:
    """Counts of ASVs in samples, and what is known of the ASVs.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        (N, F) reads.
    digests : tuple of bytes
        (F,) what tells an ASV from all others; see `Study.digests`.
    profiles_FD : numpy.ndarray
        Float32; the profiles of like sequences are near to each other.
    categories_NK : numpy.ndarray, optional
        Categories of K columns; 0 is unknown.
    """

    counts: sparse.csr_matrix
    digests: tuple[bytes, ...]
    profiles_FD: np.ndarray
    categories_NK: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Community":
        """The samples of these rows."""
        categories_NK = self.categories_NK
        if categories_NK is not None:
            categories_NK = categories_NK[rows]
        return replace(self, counts=self.counts[rows], categories_NK=categories_NK)

    def with_categories(self, categories_NK: np.ndarray | None) -> "Community":
        """The samples with these categories."""
        return replace(self, categories_NK=categories_NK)

    @property
    def depths(self) -> np.ndarray:
        """(N,) reads."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    def prevalence(self) -> np.ndarray:
        """(F,) samples that have the ASV."""
        return np.bincount(self.counts.indices, minlength=self.counts.shape[1])

    def prevalent(self) -> np.ndarray:
        """(F,) whether the ASV is in `PREVALENCE` of the samples, or more."""
        return self.prevalence() >= max(PREVALENCE * self.counts.shape[0], 1)

    def places(self, known: Mapping[bytes, int]) -> np.ndarray:
        """(F,) where each ASV stands in a vocabulary, -1 where it does not."""
        return np.array([known.get(d, -1) for d in self.digests], dtype=np.int64)

    def in_vocabulary(self, known: Mapping[bytes, int]) -> sparse.csr_matrix:
        """(N, V) reads of the ASVs of a vocabulary."""
        place = self.places(known)
        here = np.flatnonzero(place >= 0)
        one = (np.ones(len(here), np.int64), (here, place[here]))
        shape = (len(place), len(known))
        return (self.counts @ sparse.csr_matrix(one, shape)).tocsr()


def read_community(study: Study) -> Community:
    """The samples of a study; features of the same sequence are one ASV."""
    first: dict[bytes, int] = {}
    place = [first.setdefault(d, len(first)) for d in study.digests]
    kept = np.unique(place, return_index=True)[1]
    counts = study.table.counts
    if len(first) < len(place):
        one = (np.ones(len(place), np.int64), (np.arange(len(place)), place))
        counts = (counts @ sparse.csr_matrix(one)).tocsr()
        counts.sort_indices()
    return Community(counts, tuple(first), profiles(study.tokens_FL[kept]))


def reference(samples: Community) -> np.ndarray:
    """(V, D) float16 profiles of the most prevalent ASVs, `MOST_KNOWN` at most."""
    prevalence_F = samples.prevalence()
    known = np.flatnonzero(prevalence_F)
    order = np.argsort(-prevalence_F[known], kind="stable")[:MOST_KNOWN]
    return samples.profiles_FD[np.sort(known[order])].astype(np.float16)


def far_fraction(samples: Community, known_VD: np.ndarray) -> np.ndarray:
    """(N,) fraction of the reads in ASVs that are far from all of a reference."""
    known = known_VD.astype(np.float32)
    squares_V = (known**2).sum(axis=1)
    far_F = np.zeros(len(samples.digests))
    columns = np.unique(samples.counts.indices)
    for some in np.split(columns, range(PIECE, len(columns), PIECE)):
        profiles = samples.profiles_FD[some]
        apart = squares_V - 2 * profiles @ known.T
        nearest = apart.min(axis=1, initial=np.inf) + (profiles**2).sum(axis=1)
        far_F[some] = nearest > FAR
    return (samples.counts @ far_F) / samples.depths.clip(1)


def vocabulary(digests_VB: np.ndarray) -> dict[bytes, int]:
    """Where each ASV stands in (V, 16) digests."""
    return {row.tobytes(): place for place, row in enumerate(digests_VB)}


def is_vocabulary(digests_VB: np.ndarray) -> bool:
    """Whether these are (V, 16) digests, each once."""
    fit = digests_VB.dtype == np.uint8 and digests_VB.shape[1:] == (16,)
    return fit and len(vocabulary(digests_VB)) == len(digests_VB)


def as_array(digests: list[bytes]) -> np.ndarray:
    """Digests as a model keeps them, (V, 16) uint8."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1).copy()


def indicators(categories_NK: np.ndarray, cardinalities: Sequence[int]) -> np.ndarray:
    """(N, C): 1 for each sample's category of each column, unknown ones included."""
    found = np.zeros((len(categories_NK), sum(cardinalities)))
    np.put_along_axis(found, categories_NK + starts(cardinalities), 1.0, axis=1)
    return found


def starts(cardinalities: Sequence[int]) -> np.ndarray:
    """Where the categories of each column start among all; there is the unknown one."""
    return np.cumsum([0, *cardinalities])[:-1]
