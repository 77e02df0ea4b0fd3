"""Conformal intervals: coverage, groups, and where members disagree."""

import numpy as np
import pytest

from aam_core.data import intervals
from aam_core.data.intervals import (
    PRIOR,
    interval_half_widths,
    spread_of,
    widening_of,
)


def test_intervals_hold_the_promised_share_of_new_samples():
    generator = np.random.default_rng(0)
    held = []
    for _ in range(400):
        residuals = generator.normal(size=(31, 1))
        (width,) = interval_half_widths(residuals[:30], np.zeros((30, 1)))
        held.append(abs(residuals[30, 0]) <= width)
    # 28 of 31 exchangeable residuals are within: 0.903 expected
    assert np.mean(held) == pytest.approx(28 / 31, abs=0.04)


def test_too_few_samples_give_no_interval():
    assert interval_half_widths(np.zeros((8, 1)), np.ones((8, 1))) == ()
    assert interval_half_widths(np.zeros((9, 1)), np.ones((9, 1))) == (1.0,)


def test_intervals_hold_samples_of_new_groups():
    """Residuals are alike within a group; large groups are no more frequent."""
    rng = np.random.default_rng(0)
    held, narrow = [], []
    for _ in range(300):
        sizes = np.r_[np.full(18, 2), 40, 40]
        scales = rng.exponential(size=20)
        groups = np.repeat(np.arange(20), sizes).astype(str)
        residuals = (scales[np.repeat(np.arange(20), sizes)] * rng.normal(size=116))[
            :, None
        ]
        new = rng.exponential() * rng.normal(size=50)
        (width,) = interval_half_widths(residuals, np.zeros_like(residuals), groups)
        (pooled,) = interval_half_widths(residuals, np.zeros_like(residuals))
        held.append((np.abs(new) <= width).mean())
        narrow.append((np.abs(new) <= pooled).mean())
    assert 0.88 < np.mean(held) < 0.97
    assert np.mean(narrow) < np.mean(held)


def test_an_interval_by_groups_by_hand():
    # ten groups, one of nine samples: 0.9 · 1.1 of a group's weight in all is 0.99
    true = np.r_[np.arange(1.0, 10), np.arange(10.0, 19)][:, None]
    groups = [*"abcdefghi", *"jjjjjjjjj"]
    (width,) = interval_half_widths(true, np.zeros_like(true), groups)
    # nine groups are below 10; of the tenth 0.9 of its samples, 8.1 of nine
    assert width == 18.0
    assert interval_half_widths(true[:9], np.zeros((9, 1)), list("abcdefgha")) == ()


@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("number", [12, 30])
def test_nine_of_ten_however_alike_groups_are(alike, number):
    """Neither fewer nor many more, whether or not a group has errors of its own."""
    rng = np.random.default_rng(0)
    groups, held = np.repeat(np.arange(number), 10).astype(str), []
    for _ in range(300):
        of_group = rng.normal(size=(number + 30, 1))
        errors = np.sqrt(alike) * of_group
        errors = errors + np.sqrt(1 - alike) * rng.normal(size=(number + 30, 10))
        known = errors[:number].reshape(-1, 1)
        (width,) = interval_half_widths(known, np.zeros_like(known), groups)
        held.append((np.abs(errors[number:]) <= width).mean())
    assert 0.89 < np.mean(held) < 0.93


def test_what_groups_are_worth_by_hand():
    # two of three groups of two are divided: no more alike than by chance
    unit, sizes = np.repeat(np.arange(3), 2), np.full(3, 2)
    inside = np.array([1.0, 0, 0, 1, 1, 1])
    assert intervals._worth(inside, unit, sizes) == 6
    assert intervals._worth(np.array([1.0, 1, 0, 0, 1, 1]), unit, sizes) == 3
    # means 1, 1/2, 1/4 of sizes 2, 2, 4
    unit, sizes = np.repeat(np.arange(3), [2, 2, 4]), np.array([2, 2, 4])
    inside = np.array([1.0, 1, 1, 0, 1, 0, 0, 0])
    between, within, size = 0.375, 0.25, 2.5
    alike = (between - within) / (between + (size - 1) * within)
    worth = 3 / (alike + (1 - alike) * (1 / 2 + 1 / 2 + 1 / 4) / 3)
    assert intervals._worth(inside, unit, sizes) == pytest.approx(worth)


def test_a_spread_by_hand():
    # nine samples: the largest of |residual| / spread is 6 / 2
    true = np.array([1.0, 2, 1, 2, 1, 2, 1, 6, 2])[:, None]
    spread = np.array([1.0, 1, 1, 1, 1, 1, 1, 2, 1])[:, None]
    (width,) = interval_half_widths(true, np.zeros_like(true), None, spread)
    assert width == 3.0
    widened = spread_of((0.5,), np.array([[0.0], [4.0]]), np.zeros((2, 1)))
    assert widened.tolist() == [[1.0], [3.0]]
    assert spread_of((), np.ones((2, 1)), np.zeros((2, 1))).tolist() == [[1.0], [1.0]]


def study(rng, slope, number=600):
    """Residuals whose scale rises with disagreement by `slope`."""
    apart = rng.gamma(2.0, 1.0, (number, 1))
    residuals = rng.laplace(size=(number, 1)) * (1 + slope * apart)
    return residuals, apart


def test_widening_against_a_grid():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 600).astype(str)
    sizes = {g: (groups == g).sum() for g in set(groups)}
    weights = np.array([1 / sizes[g] / len(sizes) for g in groups])
    for slope in (0.2, 1.0, 3.0):
        residuals, apart = study(rng, slope)
        mean = weights @ apart[:, 0]

        k = np.geomspace(1e-3, 50, 3000)
        spread = 1 + k * apart / mean
        fit = np.log(weights @ (np.abs(residuals) / spread)) + weights @ np.log(spread)
        best = k[np.argmin(fit + PRIOR / 600 * np.log1p(k) ** 2)] / mean
        (found,) = widening_of(residuals, np.zeros_like(residuals), apart, groups)
        assert found == pytest.approx(best, rel=5e-3)


def test_disagreement_that_says_nothing_widens_nothing():
    rng = np.random.default_rng(0)
    residuals, apart = study(rng, 0.0)
    zero = np.zeros_like(residuals)
    smaller = residuals / (1 + apart)  # the more they disagree, the better
    assert widening_of(smaller, zero, apart) == (0.0,)
    assert widening_of(residuals, zero, zero) == (0.0,)  # one member
    assert widening_of(zero, zero, apart) == (0.0,)
    assert widening_of(zero[:0], zero[:0], apart[:0]) == ()
    assert widening_of(residuals, zero, apart)[0] < 0.1


def test_widened_intervals_hold_as_many_and_are_fair():
    """Nine of ten new samples in all, and of those with much disagreement, too."""
    rng = np.random.default_rng(1)
    held, of_much, flat_of_much, scores = [], [], [], []
    for _ in range(60):
        residuals, apart = study(rng, 1.0, 200)
        new, new_apart = study(rng, 1.0, 2000)
        zero = np.zeros_like(residuals)
        widening = widening_of(residuals, zero, apart)
        spread = spread_of(widening, apart, zero)
        (width,) = interval_half_widths(residuals, zero, None, spread)
        (flat,) = interval_half_widths(residuals, zero)
        wide = width * spread_of(widening, new_apart, new)
        inside, much = np.abs(new) <= wide, new_apart > np.quantile(new_apart, 0.8)
        held.append(inside.mean())
        of_much.append(inside[much].mean())
        flat_of_much.append((np.abs(new) <= flat)[much].mean())
        scores.append([_interval_score(new, w).mean() for w in (wide, flat)])
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)
    assert np.mean(flat_of_much) < 0.78 < 0.84 < np.mean(of_much) < 0.92
    assert np.mean(scores, axis=0)[0] < np.mean(scores, axis=0)[1]


def _interval_score(residuals, half_width, level=0.1):
    """Gneiting and Raftery 2007, doi:10.1198/016214506000001437, equation 43."""
    beyond = np.maximum(np.abs(residuals) - half_width, 0)
    return 2 * half_width + 2 / level * beyond
