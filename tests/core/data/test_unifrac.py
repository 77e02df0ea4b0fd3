import pickle

import numpy as np
import pytest
import scipy.sparse
from skbio import TreeNode
from skbio.diversity.alpha import faith_pd
from skbio.diversity.beta import unweighted_unifrac, weighted_unifrac

from aam_core.data import unifrac
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.table import FeatureTable
from aam_core.data.unifrac import BatchUniFrac
from aam_core.errors import InputError
from tests.generate import parse, random_newick


def as_table(counts: np.ndarray, feature_ids: list[str]) -> FeatureTable:
    return FeatureTable(
        counts=scipy.sparse.csr_matrix(counts.astype(np.int64)),
        sample_ids=np.array([f"s{i}" for i in range(len(counts))], dtype=object),
        feature_ids=np.array(feature_ids, dtype=object),
    )


def random_table(n_tips: int, rng: np.random.Generator) -> FeatureTable:
    """Draw a sparse table whose features are some of the tips, in another order."""
    n_features = max(2, 2 * n_tips // 3)
    ids = [f"t_{i}" for i in rng.permutation(n_tips)[:n_features]]
    counts = rng.negative_binomial(0.3, 0.05, size=(12, n_features))
    counts[rng.random(counts.shape) < 0.4] = 0
    counts[1] = counts[0]  # identical
    counts[2, : n_features // 2] = 0  # 2 and 3 disjoint
    counts[3, n_features // 2 :] = 0
    counts[3, 0] = counts[2, -1] = 5
    counts[4] = counts[5] = 0  # without reads
    counts[6] = 3 * counts[7]  # same proportions
    return as_table(counts, ids)


def expected(
    metric: str, tree: TreeNode, table: FeatureTable, rows: np.ndarray
) -> np.ndarray:
    """Ask scikit-bio, pair by pair."""
    counts = table.counts.toarray()[rows]
    ids = list(table.feature_ids)
    if metric == "faith_pd":
        return np.array([faith_pd(c, ids, tree, validate=False) for c in counts])
    function, options = unweighted_unifrac, {}
    if metric == "weighted":
        function, options = weighted_unifrac, {"normalized": True}
    return np.array(
        [
            [function(u, v, ids, tree, validate=False, **options) for v in counts]
            for u in counts
        ]
    )


@pytest.mark.parametrize("metric", unifrac.METRICS)
@pytest.mark.parametrize(
    ("seed", "n_tips", "root_length"),
    [(0, 3, ""), (1, 8, ":0.0"), (2, 30, ":1.5"), (3, 30, ""), (4, 80, "")],
)
def test_equals_scikit_bio(metric, seed, n_tips, root_length):
    rng = np.random.default_rng(seed)
    tree = parse(random_newick(n_tips, rng, root_length))
    table = random_table(n_tips, rng)
    compute = BatchUniFrac(Phylogeny.from_skbio(tree), table, metric)
    assert compute.pairwise == (metric != "faith_pd")
    for rows in (np.arange(12), rng.permutation(12)[:5], np.array([4, 5]), [8]):
        values = compute(rows)
        assert values.dtype == np.float32
        np.testing.assert_allclose(
            values, expected(metric, tree, table, rows), rtol=2e-7, atol=1e-6
        )


@pytest.mark.parametrize("metric", unifrac.METRICS)
def test_blocks_of_branches_and_samples(metric, monkeypatch):
    rng = np.random.default_rng(5)
    tree, table = parse(random_newick(40, rng)), random_table(40, rng)
    monkeypatch.setattr(unifrac, "BLOCK", 50)
    monkeypatch.setattr(unifrac, "FAITH_SAMPLES", 5)
    values = BatchUniFrac(Phylogeny.from_skbio(tree), table, metric)(np.arange(12))
    reference = expected(metric, tree, table, np.arange(12))
    np.testing.assert_allclose(values, reference, rtol=2e-7, atol=1e-6)


TREE = parse("((a:1,b:2):0.5,(c:3,d:0):1);")
#: Reads only of a; of a and b; twice those; of c and d; none; only of d.
BY_HAND = as_table(
    np.array(
        [
            [0, 1, 0, 0],
            [0, 1, 3, 0],
            [0, 2, 6, 0],
            [4, 0, 0, 4],
            [0, 0, 0, 0],
            [9, 0, 0, 0],
        ]
    ),
    ["d", "a", "b", "c"],
)


def test_unweighted_by_hand():
    values = BatchUniFrac(Phylogeny.from_skbio(TREE), BY_HAND, "unweighted")(range(6))
    assert values[0, 1] == pytest.approx(2 / 3.5)  # b's branch of a's, b's and theirs
    assert values[1, 2] == 0  # the same features
    assert values[1, 3] == 1  # no shared branch
    assert values[3, 5] == pytest.approx(3 / 4)
    assert values[4, 0] == 1
    np.testing.assert_array_equal(np.diag(values), 0)
    np.testing.assert_array_equal(values, values.T)


def test_weighted_by_hand():
    values = BatchUniFrac(Phylogeny.from_skbio(TREE), BY_HAND, "weighted")(range(6))
    # a: |1 - 1/4| of 1, b: 3/4 of 2; from the root: 1.5, and 1.5/4 + 2.5 * 3/4.
    assert values[0, 1] == pytest.approx((0.75 + 1.5) / (1.5 + 0.375 + 1.875))
    assert values[1, 2] == 0
    assert values[1, 3] == 1
    np.testing.assert_array_equal(np.diag(values), 0)
    np.testing.assert_array_equal(values, values.T)


def test_faith_pd_by_hand():
    values = BatchUniFrac(Phylogeny.from_skbio(TREE), BY_HAND, "faith_pd")(range(6))
    np.testing.assert_array_equal(values, np.float32([1.5, 3.5, 3.5, 4, 0, 1]))
    assert values.shape == (6,)


@pytest.mark.parametrize("metric", ["unweighted", "weighted"])
def test_without_reads_or_length_the_distance_is_zero(metric):
    tree = Phylogeny.from_skbio(parse("(a:0,b:0);"))
    table = as_table(np.array([[0, 0], [0, 0], [1, 0], [0, 1]]), ["a", "b"])
    values = BatchUniFrac(tree, table, metric)(range(4))
    np.testing.assert_array_equal(values, np.zeros((4, 4)))


@pytest.mark.parametrize("metric", unifrac.METRICS)
def test_neither_features_nor_tips_need_an_order(metric):
    rng = np.random.default_rng(7)
    newick = random_newick(20, rng)
    tree, table = parse(newick), random_table(20, rng)
    before = BatchUniFrac(Phylogeny.from_skbio(tree), table, metric)(range(12))
    for node in tree.traverse():
        node.children.reverse()
    order = rng.permutation(len(table.feature_ids))
    other = as_table(table.counts.toarray()[:, order], list(table.feature_ids[order]))
    after = BatchUniFrac(Phylogeny.from_skbio(tree), other, metric)(range(12))
    np.testing.assert_allclose(before, after, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("metric", unifrac.METRICS)
def test_pickled_copy_computes_the_same(metric):
    compute = BatchUniFrac(Phylogeny.from_skbio(TREE), BY_HAND, metric)
    copy = pickle.loads(pickle.dumps(compute))
    np.testing.assert_array_equal(copy(np.arange(6)), compute(np.arange(6)))


def test_features_that_are_no_tips():
    table = as_table(np.ones((2, 3)), ["a", "x", "y"])
    with pytest.raises(InputError, match=r"2 of 3 features .*'x', 'y'"):
        BatchUniFrac(Phylogeny.from_skbio(TREE), table, "unweighted")


def test_unknown_metric():
    with pytest.raises(InputError, match="unweighted, weighted, faith_pd, not 'bray'"):
        BatchUniFrac(Phylogeny.from_skbio(TREE), BY_HAND, "bray")
