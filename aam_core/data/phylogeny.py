"""A rooted phylogeny as arrays, in which a branch is a range of tips.

Shapes: T tips, E branches (every node but the root has one above it).
"""

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aam_core.data.file_kinds import BZIP2, GZIP, check_kind
from aam_core.errors import InputError, some

if TYPE_CHECKING:
    import skbio

#: Where a semicolon ends no tree: names in quotes, and comments.
_SEMICOLON = re.compile(r"'[^']*'|\[[^\]]*\]")


@dataclass(frozen=True)
class Phylogeny:
    """A rooted tree with branch lengths.

    The tips below any branch are neighbours in postorder, so that a branch is a
    half-open range of tips, and sums over its tips are differences of prefix sums.
    Polytomies and nodes with a single child are allowed.

    Parameters
    ----------
    tip_names : np.ndarray of object, (T,)
        Names of the tips in postorder.
    low, high : np.ndarray of int64, (E,)
        Branch `e` leads to the tips `low[e]` up to, not including, `high[e]`.
    lengths : np.ndarray of float64, (E,)
        Branch lengths, none negative.
    parent : np.ndarray of int64, (E,)
        The branch above each branch, -1 where there is none. Branches are in
        preorder: each one before those below it.

    Notes
    -----
    A length above the root, which some programs write, is a branch like any other:
    all samples share it. So does scikit-bio.

    Examples
    --------
    >>> from skbio import TreeNode
    >>> from aam_core.data.phylogeny import Phylogeny
    >>> tree = TreeNode.read(["((a:1,b:2):0.5,c:3);"])
    >>> phylogeny = Phylogeny.from_skbio(tree)
    >>> list(phylogeny.tip_names)
    ['a', 'b', 'c']
    >>> phylogeny.lengths
    array([0.5, 1. , 2. , 3. ])
    >>> phylogeny.high - phylogeny.low
    array([2, 1, 1, 1])
    """

    tip_names: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lengths: np.ndarray
    parent: np.ndarray

    @classmethod
    def read(cls, path: str | Path) -> "Phylogeny":
        """Read a rooted tree in Newick format.

        Names are kept as they are: underscores do not become blanks.

        Parameters
        ----------
        path : str or Path
            The file, which may be compressed (gzip, bzip2).

        Raises
        ------
        InputError
            If the file cannot be read as Newick, or as in `from_skbio`.
        """
        import skbio  # takes a second

        if not Path(path).is_file():
            raise InputError(f"{path} is not a file; name a tree in Newick format.")
        check_kind(Path(path), "a tree in Newick format", GZIP, BZIP2)
        _check_newick(Path(path))
        with _uncollected():
            try:
                tree = skbio.TreeNode.read(
                    str(path), format="newick", convert_underscores=False, verify=False
                )
            except IndexError:
                raise InputError(
                    f"{path} could not be read as a Newick tree: a bracket is closed "
                    "that was not opened."
                ) from None
            except Exception as error:  # scikit-bio raises whatever its parsers do
                raise InputError(
                    f"{path} could not be read as a Newick tree: {error}"
                ) from error
            try:
                return cls.from_skbio(tree)
            except InputError as error:
                raise InputError(f"{path}: {error}") from error

    @classmethod
    def from_skbio(cls, tree: "skbio.TreeNode") -> "Phylogeny":
        """Convert a tree of scikit-bio.

        Parameters
        ----------
        tree : skbio.TreeNode
            The root.

        Raises
        ------
        InputError
            If the tree has fewer than two tips, tips without names or with the same
            name, or branches whose length is missing, negative or not finite.
        """
        nodes, above = _preorder(tree)
        is_tip = np.fromiter((not n.children for n in nodes), bool, len(nodes))
        tips = np.flatnonzero(is_tip)
        names = np.array([nodes[i].name for i in tips], dtype=object)
        _check_tips(names)
        low = np.cumsum(is_tip) - is_tip
        high = low + _count_tips(above, is_tip)
        lengths = _branch_lengths(nodes, names[low])
        # The root is the first node, and most often has no branch above it.
        first = 0 if lengths[0] > 0 else 1
        return cls(
            tip_names=names,
            low=low[first:],
            high=high[first:],
            lengths=lengths[first:],
            parent=above[first:] - first,
        )

    @property
    def looks_unrooted(self) -> bool:
        """Whether more than two branches meet at the root."""
        return bool(2 < np.count_nonzero(self.parent == -1) < len(self.tip_names))

    def shear(self, names: Sequence[str]) -> "Phylogeny":
        """Restrict the tree to some of its tips.

        Branches without any of these tips vanish. Nodes that are left with one child
        stay, which changes neither UniFrac nor Faith's PD.

        Parameters
        ----------
        names : sequence of str
            Names of the tips to keep, in any order.

        Returns
        -------
        Phylogeny

        Raises
        ------
        InputError
            If there is no tip of one of the names.
        """
        wanted = set(names)
        missing = sorted(wanted.difference(self.tip_names))
        if missing:
            raise InputError(
                f"{len(missing):,} of {len(wanted):,} features are not among the tips "
                f"of the phylogeny: {some(missing)}. Give the phylogeny that was built "
                "from these features, or leave them out (missing_features drop)."
            )
        keep = np.fromiter((n in wanted for n in self.tip_names), bool)
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        low, high = kept_before[self.low], kept_before[self.high]
        stays = high > low
        # A branch above one that stays stays too; the last entry is the root's -1.
        renumbered = np.append(np.cumsum(stays) - 1, -1)
        return Phylogeny(
            tip_names=self.tip_names[keep],
            low=low[stays],
            high=high[stays],
            lengths=self.lengths[stays],
            parent=renumbered[self.parent[stays]],
        )


def _check_newick(path: Path) -> None:
    """Refuse what is no single tree, of which scikit-bio reads the first."""
    import skbio

    try:
        with skbio.io.open(str(path)) as handle:
            text = handle.read()
    except Exception as error:  # of decompression, and of text that is none
        raise InputError(
            f"{path} could not be read as a Newick tree: {error}"
        ) from error
    if not text.strip():
        raise InputError(f"{path} holds no tree: it is empty.")
    if text.lstrip()[:6].upper() == "#NEXUS":
        raise InputError(f"{path} is a NEXUS file: export the tree as Newick.")
    if text.count(";") > 1 and _SEMICOLON.sub("", text).count(";") > 1:
        raise InputError(
            f"{path} holds more than one tree: write the one to use to a file."
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave the search for garbage out, which takes most of the time of a large tree.

    It goes through all nodes again and again while more are made.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def _preorder(tree: "skbio.TreeNode") -> tuple[list, np.ndarray]:
    """List the nodes from the root, and the position of the node above each."""
    nodes, above = [], []
    stack = [(tree, -1)]
    while stack:
        node, position = stack.pop()
        stack.extend((child, len(nodes)) for child in reversed(node.children))
        nodes.append(node)
        above.append(position)
    return nodes, np.array(above, dtype=np.int64)


def _count_tips(above: np.ndarray, is_tip: np.ndarray) -> np.ndarray:
    n_tips = is_tip.astype(np.int64).tolist()
    for node, parent in zip(
        range(len(n_tips) - 1, 0, -1), above[:0:-1].tolist(), strict=True
    ):
        n_tips[parent] += n_tips[node]
    return np.array(n_tips)


def _check_tips(names: np.ndarray) -> None:
    if len(names) < 2:
        raise InputError(
            f"The phylogeny has {len(names)} tip; it must be a rooted tree with two "
            "tips or more."
        )
    n_unnamed = sum(not name for name in names)
    if n_unnamed:
        raise InputError(
            f"{n_unnamed:,} tips of the phylogeny have no name; each must be named "
            "after its feature."
        )
    unique, n = np.unique(names, return_counts=True)
    if len(unique) < len(names):
        raise InputError(
            f"Names of tips must be unique, but {some(unique[n > 1])} occur more than "
            "once in the phylogeny."
        )


def _branch_lengths(nodes: list, first_tips: np.ndarray) -> np.ndarray:
    """Lengths of the branches above the nodes; the root's may be missing."""
    lengths = np.array([node.length for node in nodes], dtype=np.float64)  # None: NaN
    if nodes[0].length is None:
        lengths[0] = 0.0
    for wrong, what in (
        (~np.isfinite(lengths), "without a length"),
        (lengths < 0, "of negative length"),
    ):
        found = np.flatnonzero(wrong)
        if len(found):
            names = [nodes[i].name or f"(node above {first_tips[i]})" for i in found]
            raise InputError(
                f"Branches of the phylogeny are {what}, {len(found):,} of "
                f"{len(nodes) - 1:,}, above the nodes {some(names)}. UniFrac "
                "needs a length of zero or more on each: use a tree whose branch "
                "lengths were estimated (FastTree, IQ-TREE, SEPP)."
            )
    return lengths
