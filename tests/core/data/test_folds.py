"""Folds: every sample once, groups whole, all of them alike."""

import numpy as np
import pandas as pd
import pytest

from aam_core.data import folds
from aam_core.data.folds import balanced_folds, classes_of


def held_out(*given):
    """The held-out rows of each fold, once they are seen to be all of the samples."""
    found = balanced_folds(*given)
    total = len(given[0])
    for training, left_out in found:
        assert sorted([*training, *left_out]) == list(range(total))
        assert (np.diff(training) > 0).all()
        assert (np.diff(left_out) > 0).all()
    assert sorted(np.concatenate([rows for _, rows in found])) == list(range(total))
    return [rows.tolist() for _, rows in found]


@pytest.mark.parametrize("seed", range(3))
def test_classes_and_numbers_are_dealt_evenly(seed):
    classes = np.array(list("aaaaaabbbbbbccc"))
    for rows in held_out(classes, None, 3, seed):
        assert sorted(classes[rows]) == list("aabbc")
    numbers = np.random.default_rng(seed).permutation(12.0 + np.arange(12))
    for rows in held_out(numbers, None, 3, seed):  # one of each quarter
        assert sorted((numbers[rows] - 12) // 3) == [0, 1, 2, 3]


@pytest.mark.parametrize("groups", [None, list("aabbccddeeff")])
def test_the_seed_decides(groups):
    numbers = np.arange(12.0)
    first, again, other = (held_out(numbers, groups, 3, s) for s in (1, 1, 2))
    assert first == again != other


def test_groups_stay_whole_and_folds_are_balanced():
    """Two groups of each kind and fold can be dealt evenly, and so they are."""
    groups = np.repeat(np.arange(12), 4)
    labels = np.repeat(list("aaaaaabbbbbb"), 4)
    for seed in range(5):
        for rows in held_out(labels, groups, 3, seed):
            assert len(set(groups[rows])) == 4
            assert (labels[rows] == "a").sum() == 8


def test_the_best_of_many_draws_is_taken(monkeypatch):
    """Groups of unlike sizes: single draws are worse, most of them."""
    sizes = np.random.default_rng(0).integers(1, 15, 16)
    groups = np.repeat(np.arange(16), sizes)
    labels = (
        np.random.default_rng(1).permutation(np.arange(len(groups)) % 2).astype(str)
    )

    def spread(seed):
        parts = [labels[rows] for rows in held_out(labels, groups, 4, seed)]
        return np.square([[(p == c).sum() for c in "01"] for p in parts]).sum()

    best = [spread(seed) for seed in range(8)]
    monkeypatch.setattr(folds, "DRAWS", 1)
    single = [spread(seed) for seed in range(8)]
    assert max(best) < np.median(single)


def test_of_many_groups_few_draws_are_made(monkeypatch):
    drawn = []
    real = folds._dealt
    monkeypatch.setattr(folds, "_dealt", lambda *a: drawn.append(1) or real(*a))
    monkeypatch.setattr(folds, "DEALT", 60)
    held_out(np.arange(40.0), np.repeat(np.arange(20), 2), 2, 0)
    assert len(drawn) == 3  # 60 // 20
    held_out(np.arange(80.0), np.arange(80), 2, 0)
    assert len(drawn) == 4  # never none


@pytest.mark.parametrize(
    ("labels", "groups", "expected"),
    [
        (list("abab"), None, 4),
        (np.arange(6.0), list("xxyyzz"), 3),  # there are three groups
        (np.arange(6.0), ["x"] * 6, 0),
        (["a"], None, 0),
    ],
)
def test_there_are_no_more_folds_than_groups(labels, groups, expected):
    assert len(balanced_folds(labels, groups, 5, 0)) == expected


def test_no_fold_goes_without_a_group():
    """One group has nearly all samples: the others still go to folds of their own."""
    groups = ["big"] * 30 + list("abc")
    found = held_out(np.arange(33.0), groups, 4, 0)
    assert sorted(map(len, found)) == [1, 1, 1, 30]


def test_groups_may_be_of_any_kind():
    for groups in ([1, 1, 2, 2], ["1", "1", "2", "2"], [1.5, 1.5, "a", "a"]):
        assert sorted(held_out(list("abab"), groups, 2, 0)) == [[0, 1], [2, 3]]


def test_quarters_of_numbers_are_by_rank():
    found = classes_of(pd.Series([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]))
    assert found.tolist() == [3, 0, 0, 1, 1, 2, 2, 3]
    assert classes_of(pd.Series(list("bcab"))).tolist() == [1, 2, 0, 1]


def test_unevenness_by_hand():
    counts = np.array([[2.0, 0.0], [0.0, 4.0], [2.0, 0.0]])
    # fractions of the classes: fold 0 has 1/2 and 1, fold 1 has 1/2 and 0
    assert folds._unevenness(counts, np.array([0, 0, 1]), 2) == pytest.approx(0.5)
    # folds of 2/2 and 0, and of 0 and 1
    assert folds._unevenness(counts, np.array([0, 1, 0]), 2) == pytest.approx(1.0)
