"""Walks between samples: exact Shapley values are written out by all subsets."""

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
from scipy import sparse

from aam_core.ensemble.shapley import (
    Walk,
    at_each_place,
    averaged,
    communities,
    pair,
    traced,
)

START = np.array([5, 0, 20, 3, 0, 0])
END = np.array([0, 40, 7, 30, 0, 23])
PRESENT = [0, 1, 2, 3, 5]


def game(counts):
    """Something with interactions and jumps, of (R, F) reads."""
    reads = counts.toarray()
    depth = reads.sum(axis=1)
    levels = np.log10(1 + 1e4 * reads / depth[:, None])
    jump = (levels[:, 1] > 1) & (levels[:, 3] > 3)
    sums = levels @ np.array([1.0, -2.0, 0.5, 3.0, 9.0, 1.0])
    return np.stack([sums + 4 * jump, depth], axis=1)


def switched(subset):
    """The community in which these ASVs are as at the end, by hand."""
    start, end = START / START.sum(), END / END.sum()
    mix = np.array([end[f] if f in subset else start[f] for f in range(6)])
    if not mix.sum():
        return START.astype(float)
    share = sum(end[f] for f in subset) / mix.sum()
    depth = share * END.sum() + (1 - share) * START.sum()
    return depth * mix / mix.sum()


def exact(players, value):
    """Shapley 1953, from all subsets."""
    found, n = {}, len(players)
    for player in players:
        others = [p for p in players if p != player]
        total = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for subset in combinations(others, size):
                total += weight * (value({*subset, player}) - value(set(subset)))
        found[player] = total
    return np.array([found[p] for p in players])


def row(counts):
    return sparse.csr_matrix(np.asarray(counts, dtype=float)[None])


def walk_of(order):
    """Switch the five ASVs in this order."""
    place = np.argsort(order)
    features = np.array(PRESENT)
    start, end = START[features].astype(float), END[features].astype(float)
    return Walk(features, start, end, place)


def test_all_orders_give_the_shapley_values():
    walks = [walk_of(order) for order in permutations(range(5))]
    found = averaged(walks, at_each_place(walks, game, 6), 6)
    expected = np.stack(
        [
            exact(PRESENT, lambda s, o=output: game(row(switched(s)))[0, o])
            for output in range(2)
        ],
        axis=1,
    )
    assert found.features.tolist() == PRESENT
    np.testing.assert_allclose(found.values, expected, atol=1e-9)
    assert np.abs(expected[:, 0]).max() > 1


def test_ends_are_the_samples_as_they_are():
    for walk in pair(row(START), row(END), np.random.default_rng(0)):
        found = communities([walk], [np.array([0, len(walk)])], 6).toarray()
        np.testing.assert_allclose(found, [START, END], rtol=1e-12)


def test_a_pair_has_opposite_orders():
    one, other = pair(row(START), row(END), np.random.default_rng(0))
    assert (one.place_P + other.place_P == 4).all()
    assert one.features_P.tolist() == PRESENT


def test_a_community_of_nothing_stays_the_background():
    walk = Walk(np.arange(2), np.array([4.0, 0]), np.array([0, 8.0]), np.arange(2))
    found = communities([walk], [np.arange(3)], 2).toarray()
    assert found.tolist() == [[4, 0], [4, 0], [0, 8]]


def long_walk():
    """300 ASVs, of which three make large jumps, and the others little."""
    generator = np.random.default_rng(1)
    start, end = generator.poisson(9, (2, 300)) + 1.0
    end[[7, 90, 200]] = 0
    weights = 0.01 * generator.normal(size=300)
    weights[[7, 90, 200]] = 5, -4, 3

    def read(counts):
        read.rows += counts.shape[0]
        return (counts.toarray() > 0) @ weights[:, None]

    read.rows = 0
    order = generator.permutation(300)
    return Walk(np.arange(300), start, end, order), read, weights


def test_a_walk_that_is_read_at_some_places_finds_what_matters():
    walk, read, weights = long_walk()
    (full,) = at_each_place([walk], read, 300)
    read.rows = 0
    (some,) = traced([walk], read, 300, 64, [(full[0], full[-1])])
    assert read.rows <= 64
    change = np.diff(some[:, 0])[walk.place_P]
    assert change.sum() == pytest.approx(-weights[[7, 90, 200]].sum(), abs=1e-9)
    assert set(np.argsort(-np.abs(change))[:3]) == {7, 90, 200}
    np.testing.assert_allclose(change[[7, 90, 200]], [-5, 4, -3], atol=0.1)
    (all_places,) = traced([walk], read, 300, 0, [(full[0], full[-1])])
    np.testing.assert_allclose(all_places, full)


def test_errors_are_those_of_the_mean_of_pairs():
    generator = np.random.default_rng(0)
    walks = [w for _ in range(8) for w in pair(row(START), row(END), generator)]
    values = at_each_place(walks, game, 6)
    found = averaged(walks, values, 6)
    pairs = [
        (np.diff(values[w], axis=0)[walks[w].place_P] / 2)
        + (np.diff(values[w + 1], axis=0)[walks[w + 1].place_P] / 2)
        for w in range(0, 16, 2)
    ]
    expected = np.std(pairs, axis=0, ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(found.errors, expected, atol=1e-9)
