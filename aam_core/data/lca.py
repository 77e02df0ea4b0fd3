"""The branches that lead to a few tips, found without a look at the whole tree.

Shapes: T tips and E branches of the tree, K tips asked for, B branches that lead to
them.
"""

import numpy as np

from aam_core.data.phylogeny import Phylogeny


class Subtrees:
    """Finds the part of a phylogeny that leads to some of its tips.

    Parameters
    ----------
    tree : Phylogeny
        Is read once, here.

    Notes
    -----
    In preorder, the lowest node above two tips is the first of the forks between
    neighbouring tips from one to the other. A table of the minima over ranges of 1, 2,
    4, … forks answers for any two tips at once [1]_, so that a call takes a time in
    proportion to K log K, whatever T is. The table takes 4 T log2(T) bytes.

    References
    ----------
    .. [1] Bender & Farach-Colton 2000, LATIN 2000, LNCS 1776:88.
    """

    def __init__(self, tree: Phylogeny) -> None:
        # Nodes in preorder: 0 is the root, e + 1 the node that branch e leads to.
        above = tree.parent + 1
        self._low = np.append(0, tree.low)
        self._high = np.append(len(tree.tip_names), tree.high)
        distances = [0.0]
        for node, length in zip(above.tolist(), tree.lengths.tolist(), strict=True):
            distances.append(distances[node] + length)
        self._from_root = np.array(distances)
        self._tip_node = np.empty(len(tree.tip_names), dtype=np.int64)
        leads = np.flatnonzero(tree.high - tree.low == 1)
        self._tip_node[tree.low[leads]] = leads + 1  # the last, so the lowest
        # A node that is not the first below another one starts where that one forks.
        later = tree.low > self._low[above]
        forks = np.empty(len(tree.tip_names) - 1, dtype=np.int32)
        forks[tree.low[later] - 1] = above[later]
        self._minima = [forks]
        while 2 ** len(self._minima) <= len(forks):
            last, half = self._minima[-1], 2 ** (len(self._minima) - 1)
            self._minima.append(np.minimum(last[:-half], last[half:]))

    def __call__(self, tips: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The branches that lead to some tips.

        Parameters
        ----------
        tips : np.ndarray of int, (K,)
            Positions among the tips of the tree, ascending.

        Returns
        -------
        low, high : np.ndarray of int64, (B,)
            A branch leads to `tips[low]` up to, not including, `tips[high]`.
        lengths : np.ndarray of float64, (B,)
            Branches that lead to the same of these tips are one, as long as they are
            together; so B is less than 2 K.
        """
        if not len(tips):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        forks = self._forks(tips[:-1], tips[1:])
        inner = np.unique(forks)
        each = np.arange(len(tips))
        low = np.append(each, np.searchsorted(tips, self._low[inner]))
        high = np.append(each + 1, np.searchsorted(tips, self._high[inner]))
        # A branch ends where its tips fork from the next ones, on either side: at the
        # lower of both nodes. Beyond the first and the last tip there is the root.
        beside = np.concatenate([[0], forks, [0]])
        above = np.maximum(beside[low], beside[high])
        below = np.append(self._tip_node[tips], inner)
        return low, high, self._from_root[below] - self._from_root[above]

    def _forks(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The lowest node above each pair of tips, `left` before `right`."""
        nodes = np.empty(len(left), dtype=np.int64)
        levels = np.frexp(right - left)[1] - 1  # whole part of the logarithm to base 2
        for level in np.unique(levels):
            here = levels == level
            minima = self._minima[level]
            ends = minima[right[here] - 2**level]
            nodes[here] = np.minimum(minima[left[here]], ends)
        return nodes
