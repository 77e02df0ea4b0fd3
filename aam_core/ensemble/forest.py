"""A forest as arrays: children follow their parents, so that no path has a circle.

Shapes: N samples, M nodes of all trees, T trees, L leaves of all trees, O outputs, X
columns that are read.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees of one view.

    Attributes
    ----------
    column_M : numpy.ndarray
        Int32, which column a node reads; -1 in a leaf.
    threshold_M : numpy.ndarray
        Float32; where the column is at most this, the next node follows.
    other_M : numpy.ndarray
        Int32, the node that follows otherwise; of a leaf, its row of `value_LO`.
    first_T : numpy.ndarray
        Int32, the root of each tree.
    value_LO : numpy.ndarray
        Float32, means of scaled values, or frequencies of classes.
    """

    column_M: np.ndarray
    threshold_M: np.ndarray
    other_M: np.ndarray
    first_T: np.ndarray
    value_LO: np.ndarray

    def predict(self, columns_NX: np.ndarray) -> np.ndarray:
        """(N, O): the mean over the trees."""
        node_NT = np.tile(self.first_T, (len(columns_NX), 1))
        row_N1 = np.arange(len(columns_NX))[:, None]
        while True:
            column_NT = self.column_M[node_NT]
            inner_NT = column_NT >= 0
            if not inner_NT.any():
                break
            read_NT = columns_NX[row_N1, column_NT.clip(0)]
            low_NT = read_NT <= self.threshold_M[node_NT]
            following = np.where(low_NT, node_NT + 1, self.other_M[node_NT])
            node_NT = np.where(inner_NT, following, node_NT)
        total = np.zeros((len(columns_NX), self.value_LO.shape[1]))
        for leaf_N in self.other_M[node_NT].T:
            total += self.value_LO[leaf_N]
        return total / len(self.first_T)

    def is_sound(self, columns: int) -> bool:
        """Whether every path leads through nodes of its own tree to a leaf."""
        total, first_T = len(self.column_M), self.first_T
        if not (
            total
            and len(first_T)
            and self.threshold_M.shape == self.other_M.shape == (total,)
            and self.value_LO.ndim == 2
            and first_T[0] == 0
            and (np.diff(first_T) > 0).all()
            and first_T[-1] < total
            and self.column_M.min() >= -1
            and self.column_M.max() < columns
        ):
            return False
        node_M = np.arange(total)
        tree_M = np.searchsorted(first_T, node_M, "right") - 1
        end_M = np.r_[first_T[1:], total][tree_M]
        follows = (self.other_M > node_M + 1) & (self.other_M < end_M)
        is_leaf = (self.other_M >= 0) & (self.other_M < len(self.value_LO))
        return bool(np.where(self.column_M >= 0, follows, is_leaf).all())


#: What a forest is made of, by name.
ARRAYS = tuple(Forest.__annotations__)


def as_arrays(
    forest: ExtraTreesClassifier | ExtraTreesRegressor, classes: int
) -> Forest:
    """The nodes of all trees, one after the other."""
    columns, thresholds, others, values, first = [], [], [], [], []
    nodes = leaves = 0
    for estimator in forest.estimators_:
        tree = estimator.tree_
        inner = tree.children_left >= 0
        node = np.arange(tree.node_count)
        assert (tree.children_left == node + 1)[inner].all()
        other = nodes + tree.children_right
        other[~inner] = leaves + np.arange((~inner).sum())
        columns.append(np.where(inner, tree.feature, -1))
        thresholds.append(_not_above(tree.threshold))
        others.append(other)
        values.append(_values(tree.value[~inner], forest, classes))
        first.append(nodes)
        nodes += tree.node_count
        leaves += len(values[-1])
    return Forest(
        np.concatenate(columns).astype(np.int32),
        np.concatenate(thresholds),
        np.concatenate(others).astype(np.int32),
        np.array(first, dtype=np.int32),
        np.concatenate(values).astype(np.float32),
    )


def _values(
    of_leaves: np.ndarray,
    forest: ExtraTreesClassifier | ExtraTreesRegressor,
    classes: int,
) -> np.ndarray:
    """(L, O) of what scikit-learn keeps of leaves: means, or frequencies of classes."""
    if not classes:
        return of_leaves[..., 0]
    known = of_leaves[:, 0]
    found = np.zeros((len(known), classes))
    found[:, forest.classes_] = known / known.sum(axis=1, keepdims=True)
    return found


def _not_above(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above: columns, float32, compare the same."""
    found = thresholds.astype(np.float32)
    above = found.astype(np.float64) > thresholds
    found[above] = np.nextafter(found[above], np.float32(-np.inf))
    return found
