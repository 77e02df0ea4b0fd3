from collections import Counter

import numpy as np
import pytest
from skbio import TreeNode

from aam_core.data.lca import Subtrees
from aam_core.data.phylogeny import Phylogeny
from tests.generate import parse, random_newick


def ladder(n_tips: int) -> str:
    """Each node has one tip and the rest below it."""
    opened = "".join(f"(t_{i}:1," for i in range(n_tips - 1))
    return opened + f"t_{n_tips - 1}:1" + "):0.5" * (n_tips - 2) + ");"


def star(n_tips: int) -> str:
    return "(" + ",".join(f"t_{i}:{i}" for i in range(n_tips)) + ");"


def by_tips(low, high, lengths, tips) -> dict[frozenset, float]:
    """Length of all that leads to the same of the tips, if it is not zero."""
    found = Counter()
    for start, end, length in zip(low, high, lengths, strict=True):
        assert end > start
        assert length >= 0
        if length > 1e-9:
            found[frozenset(tips[start:end])] += length
    return found


def of_skbio(tree: TreeNode, names: set[str]) -> dict[frozenset, float]:
    found = Counter()
    for node in tree.traverse():
        below = frozenset(t.name for t in node.tips(include_self=True)) & names
        if below and node.length:
            found[below] += node.length
    return found


RNG = np.random.default_rng(0)
TREES = {
    "random": random_newick(60, RNG),
    "root with a length": random_newick(17, RNG, ":1.5"),
    "two tips": "(t_0:1,t_1:2);",
    "one node under the root": "((t_0:1,(t_1:2):1):3);",
    "ladder": ladder(40),
    "star": star(33),
}


@pytest.mark.parametrize("name", TREES)
def test_branches_are_those_of_scikit_bio(name):
    tree = parse(TREES[name])
    phylogeny = Phylogeny.from_skbio(tree)
    find = Subtrees(phylogeny)
    total = len(phylogeny.tip_names)
    for number in sorted({1, 2, min(5, total), total // 2 or 1, total}):
        tips = np.sort(RNG.permutation(total)[:number])
        names = phylogeny.tip_names[tips]
        low, high, lengths = find(tips)
        assert len(low) < 2 * number
        found, expected = by_tips(low, high, lengths, names), of_skbio(tree, set(names))
        assert found.keys() == expected.keys()
        for below, length in expected.items():
            assert found[below] == pytest.approx(length)


def test_of_a_sheared_tree_with_one_tip():
    find = Subtrees(Phylogeny.from_skbio(parse("((a:1,b:2):0.5,c:3);")).shear(["b"]))
    low, high, lengths = find(np.array([0]))
    assert (list(low), list(high), list(lengths)) == ([0], [1], [2.5])


def test_no_tips_have_no_branches():
    low, high, lengths = Subtrees(Phylogeny.from_skbio(parse(star(4))))(np.arange(0))
    assert len(low) == len(high) == len(lengths) == 0


@pytest.mark.parametrize("newick", [ladder, star])
def test_the_size_of_the_tree_is_no_matter(newick, monkeypatch):
    """Of a large tree, only as many entries are read as there are tips asked for."""
    reads = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            found = super().__getitem__(key)
            reads.append(np.size(found))
            return found

    find = Subtrees(Phylogeny.from_skbio(parse(newick(3000))))
    for name, value in vars(find).items():
        watched = [v.view(Watched) for v in (value if name == "_minima" else [value])]
        monkeypatch.setattr(find, name, watched if name == "_minima" else watched[0])
    low, _, _ = find(np.array([3, 70, 1500, 2999]))
    assert len(low) < 8
    assert 0 < max(reads) < 8
