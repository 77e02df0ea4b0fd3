"""Weights of the members, against the optimum by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aam_core.ensemble import weights
from aam_core.ensemble.weights import convex_weights, logarithms, mixed

ROWS = np.arange(200)


@pytest.fixture
def noisy():
    """Three members: the truth with noise of variance 1, 2 and 100."""
    drawn = np.random.default_rng(0)
    true = drawn.normal(size=(200, 1))
    found = {
        name: true + np.sqrt(variance) * drawn.normal(size=true.shape)
        for name, variance in (("good", 1), ("fair", 2), ("bad", 100))
    }
    return torch.from_numpy(true), found


def squared(true):
    return lambda found, rows: F.mse_loss(found, true[torch.from_numpy(rows)])


def test_independent_errors_are_weighed_by_their_variance(noisy, monkeypatch):
    monkeypatch.setattr(weights, "SHRINKAGE", 0.0)
    true, found = noisy
    errors = np.concatenate([v - true.numpy() for v in found.values()], axis=1)
    # minimise w'Cw with the sum 1: w ∝ C⁻¹ 1, where that is positive
    expected = np.linalg.solve(errors.T @ errors, np.ones(3))
    expected /= expected.sum()
    assert (expected > 0).all()
    got = convex_weights(found, ROWS, squared(true))
    np.testing.assert_allclose(list(got.values()), expected, atol=1e-3)
    assert list(got) == list(found)


def test_no_weight_is_negative_where_that_would_be_best(noisy, monkeypatch):
    """The third member errs as the first does: 3 · first - 2 · third never would."""
    monkeypatch.setattr(weights, "SHRINKAGE", 0.0)
    true, found = noisy
    first, second = (found[name] - true.numpy() for name in ("good", "fair"))
    third = true.numpy() + 1.5 * first
    got = convex_weights(
        {"a": found["good"], "b": found["fair"], "c": third}, ROWS, squared(true)
    )
    apart = first - second
    share = float((-second * apart).sum() / (apart**2).sum())  # of two, by hand
    assert 0.5 < share < 0.9
    assert list(got.values()) == pytest.approx([share, 1 - share, 0.0], abs=1e-3)


def test_shrinkage_draws_towards_equal_weights(noisy, monkeypatch):
    true, found = noisy
    spread = []
    for shrinkage in (0.0, 0.1, 1e6):
        monkeypatch.setattr(weights, "SHRINKAGE", shrinkage)
        got = convex_weights(found, ROWS, squared(true))
        assert sum(got.values()) == pytest.approx(1)
        assert min(got.values()) >= 0
        spread.append(np.std(list(got.values())))
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 1e-4


def test_members_that_are_alike_share(noisy):
    true, found = noisy
    twins = {"a": found["good"], "b": found["good"]}
    assert convex_weights(twins, ROWS, squared(true)) == {"a": 0.5, "b": 0.5}


def test_only_the_rows_count(noisy):
    true, found = noisy
    changed = {name: value.copy() for name, value in found.items()}
    for value in changed.values():
        value[100:] = np.nan
    loss = squared(true)
    assert convex_weights(found, ROWS[:100], loss) == convex_weights(
        changed, ROWS[:100], loss
    )


@pytest.mark.parametrize("wrong", ["one member", "no rows", "no error"])
def test_without_anything_to_compare_weights_are_equal(noisy, wrong):
    true, found = noisy
    rows = ROWS
    if wrong == "one member":
        found = {"good": found["good"]}
    elif wrong == "no rows":
        rows = ROWS[:0]
    else:
        found = dict.fromkeys(found, true.numpy())
    got = convex_weights(found, rows, squared(true))
    assert got == dict.fromkeys(found, 1 / len(found))


def test_a_mix_is_the_weighted_sum(noisy):
    _, found = noisy
    mix = mixed(found, {"good": 0.25, "bad": 0.75})
    np.testing.assert_allclose(mix, 0.25 * found["good"] + 0.75 * found["bad"])


def test_logarithms_of_probabilities_have_an_end():
    got = logarithms(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).exp()
    np.testing.assert_allclose(got, [[1 / 1.001, 0.001 / 1.001], [0.5, 0.5]], rtol=1e-5)
