"""The kernel: its predictions by scikit-learn on inputs that are written out."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from skbio.stats.composition import clr
from sklearn.linear_model import LogisticRegression, Ridge

from aam_core.ensemble import kernel as kernels
from aam_core.ensemble.kernel import VIEWS, fit_kernel, read_kernel
from aam_core.ensemble.regression import Target
from tests.core.ensemble.communities import mutated, of_counts

DRAWN = np.random.default_rng(0)
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 90)) for _ in range(20)]
COUNTS = DRAWN.poisson(4, (30, 20)) * (DRAWN.random((30, 20)) < 0.5)
COUNTS[:, 0] = 1 + np.arange(30)
COUNTS[0, 19], COUNTS[1:, 19] = 3, 0  # in one sample: known by its like only
VALUES = np.log10(COUNTS[:, :1] + 1) + 0.05 * DRAWN.normal(size=(30, 1))
CODES = np.digitize(VALUES[:, 0], np.quantile(VALUES, [1 / 3, 2 / 3]))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(kernels, "FEATURES", 24)


@pytest.fixture
def samples():
    return of_counts(COUNTS, SEQUENCES)


def target(classes=0, weights=None):
    weights = np.ones(30) if weights is None else weights
    return Target(CODES if classes else VALUES, weights, classes)


def inputs_by_hand(samples, fitted, view, weights, categories=None):
    """Blocks of equal variance, of which there are as many as variance 1 in all."""
    counts = samples.counts.toarray().astype(float)
    known = (counts > 0).sum(0) >= 2
    if view == "abundance":
        levels = np.log10(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    elif view == "presence":
        levels = (counts > 0).astype(float)
    else:
        levels = np.zeros_like(counts)
        levels[:, known] = clr(counts[:, known] + 0.5)
    features = np.cos(samples.profiles_FD @ fitted.frequencies_DK + fitted.phases_K)
    blocks = [levels[:, known]]
    blocks += [levels @ part for part in np.split(features, 3, axis=1)]
    if categories is not None:
        blocks.append(categories)
    weights = weights / weights.sum()
    scaled = []
    for block in blocks:
        block = block - weights @ block
        scaled.append(block / np.sqrt((weights @ block**2).sum() * len(blocks)))
    return np.hstack(scaled)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_view_is_a_ridge_on_its_inputs(samples, view, weighted):
    weights = np.where(np.arange(30) < 9, 4.0, 1.0) if weighted else np.ones(30)
    fitted = fit_kernel(samples, target(weights=weights), (), seed=3)
    inputs = inputs_by_hand(samples, fitted, view, weights)
    strength = fitted.strengths[view] * weights.mean()
    model = Ridge(strength).fit(inputs, VALUES, weights)
    found = fitted.predict(samples)[view]
    assert np.corrcoef(found[:, 0], VALUES[:, 0])[0, 1] > 0.5
    np.testing.assert_allclose(found[:, 0], model.predict(inputs).ravel(), atol=1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_a_logistic_regression_on_its_inputs(samples, view):
    fitted = fit_kernel(samples, target(3), (), seed=3)
    inputs = inputs_by_hand(samples, fitted, view, np.ones(30))
    model = LogisticRegression(C=1 / fitted.strengths[view], max_iter=5000)
    expected = model.fit(inputs, CODES).predict_proba(inputs)
    found = softmax(fitted.predict(samples)[view], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-2)


def test_categories_are_inputs_and_unknown_ones_their_mean(samples):
    codes = np.arange(30) % 2 + 1
    values = target().values + codes[:, None]
    read = samples.with_categories(codes[:, None])
    fitted = fit_kernel(read, Target(values, np.ones(30)), (3,), seed=3)
    shown = np.eye(3)[codes][:, 1:]
    inputs = inputs_by_hand(read, fitted, "presence", np.ones(30), shown)
    model = Ridge(fitted.strengths["presence"]).fit(inputs, values)
    found = fitted.predict(read)["presence"]
    np.testing.assert_allclose(found[:, 0], model.predict(inputs).ravel(), atol=1e-4)
    by_category = [
        fitted.predict(samples.with_categories(np.full((30, 1), c)))["presence"]
        for c in range(3)
    ]
    np.testing.assert_allclose(by_category[0], np.mean(by_category[1:], 0), atol=1e-5)
    assert (by_category[2] - by_category[1]).min() > 0.3


def test_a_new_asv_acts_as_those_like_it_do():
    """Presence of one of two clades decides; new members of both are told apart."""
    drawn = np.random.default_rng(1)
    parents = SEQUENCES[:2]
    clades = [[mutated(p, 3, drawn) for _ in range(12)] for p in parents]
    inside = np.arange(60) % 2
    counts = np.zeros((60, 24), dtype=int)
    for row, clade in enumerate(inside):
        counts[row, 12 * clade + drawn.choice(8, 4, replace=False)] = 5
    old, new = np.arange(40), np.arange(40, 60)
    counts[new] = np.roll(counts[new], 4, axis=1) * (np.arange(24) % 12 >= 8)
    counts[new, 12 * inside[new] + 8] = 5  # none of them was seen in `old`
    samples = of_counts(counts, clades[0] + clades[1])
    rows = {name: i for i, name in enumerate(sorted(f"s{i}" for i in range(60)))}
    place = np.array([rows[f"s{i}"] for i in range(60)])
    goal = Target(inside[old][:, None].astype(float), np.ones(40))
    fitted = fit_kernel(samples.take(place[old]), goal, (), seed=0)
    found = fitted.predict(samples.take(place[new]))
    for view in ("abundance", "presence"):
        assert ((found[view][:, 0] > 0.5) == inside[new]).all()


def test_what_is_kept_predicts_the_same_and_holds_no_sample(samples):
    read = samples.with_categories(np.arange(30)[:, None] % 3)
    fitted = fit_kernel(read, target(3), (3,), seed=3)
    arrays = fitted.arrays()
    again = read_kernel(arrays, (3,)).predict(read)
    for view, value in fitted.predict(read).items():
        np.testing.assert_allclose(again[view], value, atol=1e-5)
    assert not any(30 in array.shape for array in arrays.values())
    assert {a.dtype.name for a in arrays.values()} == {"float32", "uint8"}


@pytest.mark.parametrize("name", ["digests", "phases", "presence.bias", "prevalent"])
def test_arrays_that_do_not_fit_are_refused(samples, name):
    arrays = fit_kernel(samples, target(), (), seed=3).arrays()
    arrays[name] = arrays[name][:-1]
    with pytest.raises(ValueError, match="do not fit"):
        read_kernel(arrays, ())


def test_a_sample_without_any_known_asv_is_predicted(samples):
    fitted = fit_kernel(samples, target(), (), seed=3)
    strange = of_counts([[7]], ["".join(DRAWN.choice(list("ACGT"), 90))])
    for value in fitted.predict(strange).values():
        assert np.isfinite(value).all()
    log_ratio = fitted.predict(strange)["log_ratio"]
    np.testing.assert_allclose(log_ratio, [fitted.views["log_ratio"].bias_O])


def test_pieces_change_nothing(samples, monkeypatch):
    fitted = fit_kernel(samples, target(), (), seed=3)
    whole = fitted.predict(samples)
    monkeypatch.setattr(kernels, "PIECE", 7)
    again = fit_kernel(samples, target(), (), seed=3)
    for view, value in again.predict(samples).items():
        np.testing.assert_allclose(value, whole[view], atol=1e-4)
        np.testing.assert_allclose(fitted.predict(samples)[view], whole[view])


@pytest.mark.parametrize("rows", [1, 2])
def test_hardly_any_samples(samples, rows):
    few = samples.take(np.arange(rows))
    goal = Target(VALUES[:rows], np.ones(rows))
    for value in fit_kernel(few, goal, (), seed=0).predict(samples).values():
        assert np.isfinite(value).all()


def test_without_categories_none_are_kept(samples):
    fitted = fit_kernel(samples, target(), (), seed=0)
    arrays = fitted.arrays()
    for view in VIEWS:
        assert arrays[f"{view}.category"].shape == (0, 1)
    again = read_kernel(arrays, ()).predict(samples)
    for name, value in fitted.predict(samples).items():
        np.testing.assert_allclose(again[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9])
def test_inputs_have_a_variance_of_one_whatever_their_unit(size):
    """By weight; those that do not vary take no part."""
    inputs = size * np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    own = Target(np.zeros((3, 1)), np.array([1.0, 2.0, 1.0]))
    for block in (inputs, sparse.csr_matrix(inputs)):
        # squares of deviations: 4, 0, 4 at weights 1/4, 1/2, 1/4
        assert kernels._scale(block, own) == pytest.approx(1 / (2 * size**2))
        assert kernels._scale(block[:, 1:], own) == 0
    assert kernels._scale(0 * inputs, own) == 0
