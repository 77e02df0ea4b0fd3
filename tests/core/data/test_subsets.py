"""Fewer labelled samples: whole groups, like all, each among the larger ones."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from aam_core.data import subsets
from aam_core.data.subsets import drawn, nested

LABELS = pd.Series(list("aaaaaaaabbbb"))
GROUPS = np.repeat(list("uvwxyz"), 2)


@pytest.mark.parametrize("seed", range(3))
def test_classes_keep_their_fractions(seed):
    rows = drawn(LABELS, None, 6, seed)
    assert (np.diff(rows) > 0).all()
    assert sorted(LABELS[rows]) == list("aaaabb")
    numbers = pd.Series(np.arange(40.0) ** 2)
    rows = drawn(numbers, None, 8, seed)
    assert sorted(rows // 10) == [0, 0, 1, 1, 2, 2, 3, 3]  # two of each quarter


def test_the_seed_decides():
    first, again, other = (drawn(LABELS, None, 6, s).tolist() for s in (0, 0, 1))
    assert first == again != other


def test_groups_stay_whole_and_three_are_left():
    rows = drawn(LABELS, GROUPS, 6, 0)
    assert sorted(LABELS[rows]) == list("aaaabb")
    taken = set(GROUPS[rows])
    assert rows.tolist() == np.flatnonzero(np.isin(GROUPS, list(taken))).tolist()
    for number in (1, 2, 4):  # of so few samples no folds could be made
        assert len(set(GROUPS[drawn(LABELS, GROUPS, number, 0)])) == 3
    two = drawn(LABELS[:4], GROUPS[:4], 1, 0)
    assert two.tolist() == [0, 1, 2, 3]  # there are no more groups


def test_whole_groups_come_as_near_as_they_can():
    """Of groups of 5 samples, two come nearest to 12, and three to 13."""
    labels, groups = pd.Series(["a"] * 40), np.repeat(np.arange(8), 5)
    for number, expected in ((12, 15), (17, 15), (18, 20)):
        assert len(drawn(labels, groups, number, 0)) == expected


def test_smaller_ones_are_among_the_larger_ones():
    found = nested(LABELS, GROUPS, [6, 10, 6, 8], 0)
    assert list(found) == [10, 8, 6]
    assert [len(rows) for rows in found.values()] == [10, 8, 6]
    assert set(found[6]) < set(found[8]) < set(found[10])
    for rows in found.values():
        groups = GROUPS[rows]
        assert all((g == GROUPS).sum() == (groups == g).sum() for g in groups)
    assert found[10].tolist() == drawn(LABELS, GROUPS, 10, 0).tolist()
    labels = pd.Series(LABELS.to_numpy(), [f"s{i}" for i in range(12)])
    by_id = nested(labels, None, [6], 0)  # rows, whatever the index
    assert by_id[6].tolist() == drawn(LABELS, None, 6, 0).tolist()


def test_the_draw_most_like_all_is_taken(monkeypatch):
    def apart(seed):
        rows = drawn(LABELS, None, 6, seed)
        return abs((LABELS[rows] == "a").sum() - 4)

    assert not any(map(apart, range(5)))
    monkeypatch.setattr(subsets, "DRAWS", 1)
    assert any(map(apart, range(5)))


def test_errors_are_fractions_of_what_is_wanted_of_a_class():
    """The best of all orders of groups, by the error of each class in its own size."""
    sizes = [(10, 0), (8, 0), (7, 0), (5, 3), (5, 2), (3, 3)]  # of both classes
    labels = pd.Series([c for a, b in sizes for c in "a" * a + "b" * b])
    groups = np.repeat(np.arange(6), [a + b for a, b in sizes])
    counts = np.array(sizes)
    wanted = counts.sum(axis=0) * 21 / counts.sum()
    best = {}
    for order in map(list, permutations(range(6))):
        reached = counts[order].sum(axis=1).cumsum()
        taken = order[: max(int(abs(reached - 21).argmin()) + 1, 3)]
        apart = (counts[taken].sum(axis=0) - wanted) / wanted
        best[float((apart**2).sum())] = sorted(taken)
    rows = drawn(labels, groups, 21, 0)
    assert sorted(set(groups[rows])) == best[min(best)]
