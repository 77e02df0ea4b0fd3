"""UniFrac and Faith's PD of the samples of a batch, without an N×N matrix.

Shapes: S samples in a batch, F features of the table, K tips that the batch holds,
B branches that lead to those tips.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist, squareform

from aam_core.data.lca import Subtrees
from aam_core.data.phylogeny import Phylogeny
from aam_core.errors import InputError

if TYPE_CHECKING:
    from aam_core.data.table import FeatureTable

METRICS = ("unweighted", "weighted", "faith_pd")
BLOCK = 2**19  #: most (branch, sample) values held at once; fits in the cache
FAITH_SAMPLES = 64  #: most samples of which Faith's PD is computed at once


class BatchUniFrac:
    """UniFrac between, or Faith's PD of, any samples of a table.

    Parameters
    ----------
    phylogeny : Phylogeny
        Tree with a tip for each feature; its other tips do not count.
    table : FeatureTable
        Counts. Its features may be in any order.
    metric : {'unweighted', 'weighted', 'faith_pd'}
        Unweighted UniFrac [1]_, normalised weighted UniFrac [2]_ or Faith's PD [3]_.

    Attributes
    ----------
    pairwise : bool
        Whether the metric is between two samples (not so for Faith's PD).

    Raises
    ------
    InputError
        If a feature is not among the tips, or the metric is unknown.

    Notes
    -----
    The tips below a branch are a range in postorder, so the reads below all branches
    are differences of prefix sums over the tips. The values are those of scikit-bio;
    a sample without reads is at distance 0 from another one without reads.

    References
    ----------
    .. [1] Lozupone & Knight 2005, Appl. Environ. Microbiol. 71:8228.
    .. [2] Lozupone et al. 2007, Appl. Environ. Microbiol. 73:1576.
    .. [3] Faith 1992, Biol. Conserv. 61:1.
    """

    def __init__(
        self, phylogeny: Phylogeny, table: "FeatureTable", metric: str = "unweighted"
    ) -> None:
        if metric not in METRICS:
            raise InputError(
                f"unifrac_metric must be one of {', '.join(METRICS)}, not {metric!r}."
            )
        self.metric = metric
        self.pairwise = metric != "faith_pd"
        tree = phylogeny.shear(table.feature_ids)
        self._subtrees = Subtrees(tree)
        tip = {name: i for i, name in enumerate(tree.tip_names)}
        self._tip_F = np.array([tip[name] for name in table.feature_ids])
        self._counts_NF = table.counts

    def scale(self, rows: np.ndarray) -> float:
        """What divides the values so that those of `rows` are within [0, 1].

        Parameters
        ----------
        rows : np.ndarray of int
            Rows of the table.

        Returns
        -------
        float
            1 for UniFrac; the largest value of Faith's PD.
        """
        return 1.0 if self.pairwise else float(np.max(self(rows))) or 1.0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Compute the metric for samples of the table.

        Parameters
        ----------
        rows : np.ndarray of int, (S,)
            Rows of the table.

        Returns
        -------
        np.ndarray of float32
            (S, S), in [0, 1]; (S,) in units of branch length for Faith's PD.
        """
        rows = np.asarray(rows)
        if self.metric == "unweighted":
            values = self._unweighted(rows)
        elif self.metric == "weighted":
            values = self._weighted(rows)
        else:
            parts = range(0, len(rows), FAITH_SAMPLES)
            values = [self._faith_pd(rows[i : i + FAITH_SAMPLES]) for i in parts]
            values = np.concatenate([np.empty(0), *values])
        return values.astype(np.float32)

    def _unweighted(self, rows: np.ndarray) -> np.ndarray:
        shared_SS = np.zeros((len(rows), len(rows)))
        for reads_BS, length_B in self._branches(rows):
            present_BS = (reads_BS > 0).astype(np.float64)
            shared_SS += present_BS.T @ (present_BS * length_B[:, None])
        own_S = np.diag(shared_SS)
        sum_SS = own_S[:, None] + own_S
        distance_SS = _ratio(sum_SS - 2 * shared_SS, sum_SS - shared_SS)
        np.fill_diagonal(distance_SS, 0.0)
        return distance_SS

    def _weighted(self, rows: np.ndarray) -> np.ndarray:
        n = len(rows)
        differ = np.zeros(n * (n - 1) // 2)  # of each pair
        own_S = np.zeros(n)  # mean distance of a sample's reads from the root
        depth_S = np.asarray(self._counts_NF[rows].sum(axis=1)).ravel()
        depth_S = np.maximum(depth_S, 1)
        for reads_BS, length_B in self._branches(rows):
            weighted_SB = (reads_BS * length_B[:, None]).T / depth_S[:, None]
            differ += pdist(weighted_SB, "cityblock")
            own_S += weighted_SB.sum(axis=1)
        return _ratio(squareform(differ), own_S[:, None] + own_S)

    def _faith_pd(self, rows: np.ndarray) -> np.ndarray:
        length_S = np.zeros(len(rows))
        for reads_BS, length_B in self._branches(rows):
            length_S += length_B @ (reads_BS > 0)
        return length_S

    def _branches(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Reads (B, S) below the branches and their lengths (B,), block by block.

        Only of branches that lead to reads of these samples; those that lead to the
        same tips of the batch are taken together.
        """
        counts = self._counts_NF[rows]
        tip = self._tip_F[counts.indices]
        tips, position = np.unique(tip, return_inverse=True)
        low, high, length_B = self._subtrees(tips)
        reads_KS = np.zeros((len(tips) + 1, len(rows)), dtype=np.int64)
        sample = np.repeat(np.arange(len(rows)), np.diff(counts.indptr))
        reads_KS[position + 1, sample] = counts.data
        before_KS = np.cumsum(reads_KS, axis=0, out=reads_KS)
        size = max(1, BLOCK // max(1, len(rows)))
        for start in range(0, len(length_B), size):
            block = slice(start, start + size)
            yield before_KS[high[block]] - before_KS[low[block]], length_B[block]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, with 0 where the whole is 0; rounding must not leave [0, 1]."""
    ratio = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.clip(ratio, 0.0, 1.0)
