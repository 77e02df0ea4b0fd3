"""The trees: their predictions by scikit-learn, and what is refused of their arrays."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from aam_core.ensemble import trees as members
from aam_core.ensemble.forest import as_arrays
from aam_core.ensemble.regression import Target
from aam_core.ensemble.trees import VIEWS, Trees, fit_trees, read_trees
from tests.core.ensemble.communities import mutated, of_counts

DRAWN = np.random.default_rng(0)
PARENTS = ["".join(DRAWN.choice(list("ACGT"), 90)) for _ in range(10)]
SEQUENCES = [mutated(p, 4, DRAWN) for p in PARENTS for _ in range(6)]
COUNTS = DRAWN.poisson(4, (50, 60)) * (DRAWN.random((50, 60)) < 0.4)
COUNTS[:, 0] += 1
CLADE = COUNTS[:, :6].sum(1) / COUNTS.sum(1)
VALUES = np.stack([CLADE, -CLADE], axis=1)
CODES = np.digitize(CLADE, np.quantile(CLADE, [0.5, 0.9])) + 1  # the first is in none


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(members, "TREES", 12)
    monkeypatch.setattr(members, "FEWEST_TREES", 5)


@pytest.fixture
def samples():
    """In the order of COUNTS."""
    found = of_counts(COUNTS, SEQUENCES)
    order = sorted(range(50), key=lambda i: f"s{i}")
    return found.take(np.argsort(order))


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("view", VIEWS)
def test_predictions_are_those_of_scikit_learn(samples, view, classes):
    weights = np.where(np.arange(50) < 9, 3.0, 1.0)
    target = Target(CODES if classes else VALUES, weights, classes)
    fitted = fit_trees(samples, target, (), seed=1)
    columns = fitted.read(samples)[view]
    kind, tried = ExtraTreesRegressor, members.tried(view, columns.shape[1])
    if classes:
        kind, tried = ExtraTreesClassifier, "sqrt"
    forest = kind(12, max_features=tried, random_state=1)
    forest.fit(columns[:40], target.values[:40], weights[:40])
    again = as_arrays(forest, classes).predict(columns)
    if classes:
        np.testing.assert_allclose(again[:, 0], 0)  # a class that no sample has
        again = again[:, 1:]
        expected = forest.predict_proba(columns)
    else:
        expected = forest.predict(columns)
    np.testing.assert_allclose(again, expected, atol=1e-6)
    found = fitted.predict(samples)[view]
    whole = kind(12, max_features=tried, random_state=1)
    whole.fit(columns, target.values, weights)
    whole = whole.predict_proba(columns) if classes else whole.predict(columns)
    np.testing.assert_allclose(found[:, classes // 4 :], whole, atol=1e-6)


def test_what_trees_read_by_hand(samples):
    fitted = fit_trees(samples, Target(VALUES, np.ones(50)), (), seed=1)
    assert fitted.sizes == (16,)
    read = fitted.read(samples)
    asvs = len(fitted.digests_VB)
    place = {d: i for i, d in enumerate(samples.digests)}
    columns = [place[row.tobytes()] for row in fitted.digests_VB]
    counts = samples.counts.toarray()
    fractions = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(read["abundance"][:, :asvs], fractions[:, columns])
    np.testing.assert_array_equal(read["presence"][:, :asvs], counts[:, columns] > 0)
    apart = ((samples.profiles_FD[:, None] - fitted.centroids_KD) ** 2).sum(-1)
    clade = apart.argmin(1)
    for number in range(16):
        inside = clade == number
        np.testing.assert_allclose(
            read["abundance"][:, asvs + number],
            fractions[:, inside].sum(1),
            atol=1e-6,
        )
        np.testing.assert_array_equal(
            read["presence"][:, asvs + number], (counts[:, inside] > 0).sum(1)
        )


def test_a_new_asv_falls_into_its_clade(samples):
    fitted = fit_trees(samples, Target(VALUES, np.ones(50)), (), seed=1)
    new = of_counts([[3, 1]], [mutated(SEQUENCES[0], 1, DRAWN), SEQUENCES[50]])
    old = of_counts([[3, 1]], [SEQUENCES[0], SEQUENCES[50]])
    asvs = len(fitted.digests_VB)
    read, expected = fitted.read(new), fitted.read(old)
    for view in VIEWS:
        np.testing.assert_allclose(read[view][:, asvs:], expected[view][:, asvs:])
        assert (read[view] != expected[view])[:, :asvs].sum() == 1


def test_categories_are_read(samples):
    codes = np.arange(50) % 2 + 1
    target = Target(codes[:, None].astype(float), np.ones(50))
    read = samples.with_categories(codes[:, None])
    found = fit_trees(read, target, (3,), seed=1).predict(read)["abundance"]
    np.testing.assert_allclose(found, target.values)


@pytest.fixture
def kept(samples):
    return fit_trees(samples, Target(CODES, np.ones(50), 4), (), seed=1)


def test_what_is_kept_predicts_the_same(samples, kept):
    again = read_trees(kept.arrays(), kept.sizes, (), 4).predict(samples)
    for view, value in kept.predict(samples).items():
        np.testing.assert_array_equal(again[view], value)


def inner(arrays, view="presence"):
    """A node that is no leaf, after the root of the second tree."""
    first = arrays[f"{view}.first"][1]
    column = arrays[f"{view}.column"]
    return first + np.flatnonzero(column[first:] >= 0)[1]


TROUBLES = {
    "a circle": lambda a: a["presence.other"].__setitem__(inner(a), inner(a)),
    "back to the root": lambda a: a["presence.other"].__setitem__(inner(a), 0),
    "another tree": lambda a: a["presence.other"].__setitem__(
        inner(a), a["presence.first"][2] + 1
    ),
    "no such column": lambda a: a["presence.column"].__setitem__(inner(a), 10_000),
    "no such leaf": lambda a: a["presence.other"].__setitem__(-1, 10_000),
    "a leaf before the first": lambda a: a["presence.other"].__setitem__(-1, -1),
    "a tree that ends within": lambda a: a["presence.column"].__setitem__(-1, 0),
    "roots that fall": lambda a: a["presence.first"].__setitem__(1, 0),
    "no roots": lambda a: a.update({"presence.first": a["presence.first"][:0]}),
    "fewer thresholds": lambda a: a.update(
        {"presence.threshold": a["presence.threshold"][:-1]}
    ),
    "fewer centroids": lambda a: a.update(centroids=a["centroids"][:-1]),
    "other outputs": lambda a: a.update(
        {"abundance.value": a["abundance.value"][:, :2]}
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_arrays_on_which_no_path_would_end_are_refused(kept, trouble):
    arrays = {name: value.copy() for name, value in kept.arrays().items()}
    TROUBLES[trouble](arrays)
    with pytest.raises(ValueError, match="do not fit"):
        read_trees(arrays, kept.sizes, (), 4)


@pytest.mark.parametrize(("samples_", "outputs"), [(50, 1), (5_000, 1), (20_000, 30)])
def test_a_member_has_a_size_at_most(samples_, outputs, monkeypatch):
    monkeypatch.undo()
    leaf, number = members._fitting(samples_, outputs)
    nodes = samples_ / leaf
    each = nodes * (2 * members.NODE + members.LEAF * outputs)
    assert number * each <= members.LARGEST
    assert members.FEWEST_TREES <= number <= members.TREES
    assert leaf == 1 or samples_ > 1_000


def test_a_split_tries_no_more_than_there_is_time_for():
    assert members.tried("abundance", 300) == 100
    assert members.tried("presence", 300) == 30
    assert members.tried("abundance", 9_000) == 500
    assert members.tried("presence", 3) == 1


def test_each_tree_of_many_samples_draws_some(samples, monkeypatch):
    monkeypatch.setattr(members, "MOST", 10)
    fitted = fit_trees(samples, Target(VALUES, np.ones(50)), (), seed=1)
    for forest in fitted.forests.values():
        leaves = np.diff(np.r_[forest.first_T, len(forest.column_M)]) // 2 + 1
        assert leaves.max() <= 10


def test_the_estimate_of_a_size_is_one(samples):
    target = Target(VALUES, np.ones(50))
    fitted = fit_trees(samples, target, (), seed=1)
    for forest in fitted.forests.values():
        size = sum(value.nbytes for value in vars(forest).values())
        assert size <= 12 * 50 * (2 * members.NODE + members.LEAF * 2)


def test_pieces_change_nothing(samples, kept, monkeypatch):
    whole = kept.predict(samples)
    monkeypatch.setattr(members, "PIECE", 7)
    for view, value in kept.predict(samples).items():
        np.testing.assert_array_equal(value, whole[view])


def test_nothing_is_read_where_there_is_nothing():
    trees = Trees(np.zeros((0, 16), np.uint8), np.zeros((0, 64), np.float32), ())
    samples = of_counts([[1]], SEQUENCES[:1])
    assert trees.read(samples)["abundance"].shape == (1, 0)


def test_the_seed_decides(samples):
    """Of clades as of trees."""
    target = Target(VALUES, np.ones(50))
    first, again, other = (fit_trees(samples, target, (), seed=s) for s in (1, 1, 2))
    assert first.sizes == (16,)
    for name, value in first.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], value)
    assert not np.array_equal(first.centroids_KD, other.centroids_KD)
    values = [fitted.forests["presence"].value_LO for fitted in (first, other)]
    assert values[0].shape != values[1].shape or not np.allclose(*values)
