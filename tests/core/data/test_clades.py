"""Clades: their importance beside sums by hand, and how their branches are drawn."""

import numpy as np
import pandas as pd
import pytest
from skbio import TreeNode

from aam_core.data.clades import (
    clade_importance,
    common_taxon,
    drawing,
    taxa_of_clades,
)
from aam_core.data.phylogeny import Phylogeny

NEWICK = "((((a:1,b:2)ab:0.5,c:3)abc:1,d:1)abcd:2,((e:1)e1:1,(f:2,g:1)fg:1)efg:3)root;"


def phylogeny():
    return Phylogeny.from_skbio(TreeNode.read([NEWICK]))


def contributions(seed=0):
    drawn = np.random.default_rng(seed)
    rows = [
        (sample, feature, drawn.normal())
        for sample in ("s1", "s2", "s3")
        for feature in "abcdefg"
        if drawn.random() < 0.8
    ]
    return pd.DataFrame(rows, columns=["sample", "feature", "contribution"])


def test_a_clade_moves_predictions_by_the_sum_of_its_asvs():
    tree, rows = phylogeny(), contributions()
    found = clade_importance(tree, rows, 4)  # a fourth sample has none of them
    of_skbio = TreeNode.read([NEWICK])
    for branch, value in enumerate(found):
        below = set(tree.tip_names[tree.low[branch] : tree.high[branch]])
        assert any(
            below == ({n.name} if n.is_tip() else {t.name for t in n.tips()})
            for n in of_skbio.traverse()
        )
        mine = rows[rows["feature"].isin(below)].groupby("sample")["contribution"]
        assert value == pytest.approx(mine.sum().abs().sum() / 4)


@pytest.mark.parametrize("tips", ["abcdefg", "ac", "bdg", "efg", "ae", "abfg"])
def test_branches_are_drawn_as_scikit_bio_shears_and_prunes(tips):
    found = drawing(phylogeny(), list(tips))
    expected = TreeNode.read([NEWICK]).shear(tips)
    expected.prune()
    expected.length = 0
    nodes = {
        frozenset({n.name} if n.is_tip() else {t.name for t in n.tips()}): n
        for n in expected.traverse(include_self=False)
    }
    order = found.dropna(subset="feature").sort_values("y")["feature"].tolist()
    assert len(found) == len(nodes)
    assert sorted(order) == sorted(tips)
    for row in found.itertuples():
        first, last = (row.y, row.y) if row.feature else (row.low, row.high)
        under = found[(found["x"] >= row.x2) & found["feature"].notna()]
        own = {row.feature} if row.feature else set(_below(found, row))
        node = nodes[frozenset(own)]
        assert row.x2 - row.x == pytest.approx(node.length)
        assert row.x2 == pytest.approx(node.distance(expected))
        assert first <= row.y <= last
        assert own <= {row.feature, *under["feature"]}
    crossing = found[found["feature"].notna()]["y"]
    assert sorted(crossing) == list(range(len(tips)))  # each tip has a row of its own


def _below(found, row):
    """Tips between the outermost rows of those below a branch."""
    inside = found[
        (found["x"] >= row.x2 - 1e-9)
        & (found["y"] >= row.low - 1e-9)
        & (found["y"] <= row.high + 1e-9)
    ]
    for other in inside.itertuples():
        if other.feature:
            yield other.feature
        elif other.branch != row.branch:
            yield from _below(found, other)


def test_what_a_clade_shares_is_said():
    labels = {"a": "k__B; p__F; g__X", "b": "k__B; p__F; g__Y", "c": "k__B;p__; g__"}
    tree = phylogeny()
    sizes = (tree.high - tree.low).tolist()
    both = sizes.index(2)
    assert taxa_of_clades(tree, [both], labels) == ["k__B; p__F"]
    assert common_taxon(["k__B; p__F", "k__A"]) == ""
    assert common_taxon(["", "k__B; p__; g__"]) == "k__B"
    assert common_taxon([]) == ""
