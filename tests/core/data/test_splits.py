import math

import numpy as np
import pandas as pd
import pytest

from aam_core.data.splits import read_groups, split
from aam_core.errors import InputError


def ids_of(number):
    return [f"s{i:03d}" for i in range(number)]


@pytest.mark.parametrize(
    ("number", "share"), [(10, 0.2), (21, 0.2), (7, 0.5), (3, 0.1)]
)
def test_every_sample_is_on_one_side(number, share):
    training, validation = split(ids_of(number), share, 1)
    assert sorted([*training, *validation]) == list(range(number))
    assert len(validation) == math.ceil(share * number)
    assert (np.diff(training) > 0).all()
    assert (np.diff(validation) > 0).all()


def test_seed_decides():
    first, again, other = (split(ids_of(50), 0.2, seed)[1] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize("kind", ["plain", "labels", "groups"])
def test_order_of_samples_does_not_matter(kind):
    rng = np.random.default_rng(0)
    ids = ids_of(40)
    values = [f"v{i}" for i in rng.integers(0, 8 if kind == "groups" else 3, 40)]
    shuffled = rng.permutation(40)

    def held_out(order):
        chosen = {} if kind == "plain" else {kind: [values[i] for i in order]}
        _, validation = split([ids[i] for i in order], 0.3, 5, **chosen)
        return {ids[order[row]] for row in validation}

    assert held_out(list(range(40))) == held_out(list(shuffled))


def test_classes_keep_their_shares():
    labels = ["a"] * 50 + ["b"] * 30 + ["c"] * 20
    for seed in range(5):
        _, validation = split(ids_of(100), 0.2, seed, labels=labels, report=pytest.fail)
        held_out = [labels[row] for row in validation]
        assert [held_out.count(c) for c in "abc"] == [10, 6, 4]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["a"] * 5 + ["b"] * 4 + ["rare"], "only one sample is of class 'rare'"),
        (list("aabbccddee"), "5 classes do not fit into 2 validation and 8 training"),
    ],
)
def test_classes_that_cannot_be_stratified_are_reported(labels, why):
    said = []
    training, validation = split(ids_of(10), 0.2, 0, labels=labels, report=said.append)
    assert (len(training), len(validation)) == (8, 2)
    assert len(said) == 1
    assert why in said[0]


def test_groups_are_never_divided():
    rng = np.random.default_rng(3)
    groups = [f"g{i}" for i in rng.integers(0, 10, 60)]
    for seed in range(10):
        sides = split(ids_of(60), 0.2, seed, groups=groups)
        training, validation = ({groups[row] for row in side} for side in sides)
        assert not training & validation
        assert len(validation) == 2


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.41, 5), (0.05, 1)])
def test_the_fraction_is_one_of_groups(share, expected):
    groups = [f"g{i % 10}" for i in range(40)]
    _, validation = split(ids_of(40), share, 0, groups=groups)
    assert len({groups[row] for row in validation}) == expected
    first, again, other = (
        split(ids_of(40), share, seed, groups=groups)[1].tolist() for seed in (0, 0, 7)
    )
    assert first == again != other


def test_groups_leave_enough_samples_on_both_sides():
    groups = ["big"] * 9 + ["small"]
    for seed in range(20):
        _, validation = split(ids_of(10), 0.5, seed, groups=groups)
        assert validation.tolist() == [9]
    with pytest.raises(InputError, match=r"1 of the 2 groups.*10 samples"):
        split(ids_of(10), 0.5, 0, groups=groups, least=2)


def test_samples_without_group_are_named():
    metadata = pd.DataFrame(
        {"subject": [1.0, 1.0, 2.0, np.nan]}, index=["a", "b", "c", "d"]
    )
    groups = read_groups(metadata, "subject", ["d", "x", "a", "b", "c"])
    assert groups[2:] == ["1", "1", "2"]
    with pytest.raises(InputError, match=r"2 samples have no value.*'d', 'x'"):
        split(["d", "x", "a", "b", "c"], 0.5, 0, groups=groups)
    assert read_groups(metadata, None, ["a"]) is None
    with pytest.raises(InputError, match="no column 'subjects'; they have 'subject'"):
        read_groups(metadata, "subjects", ["a"])


def test_one_group_cannot_be_split():
    with pytest.raises(InputError, match="1 of the 1 groups"):
        split(ids_of(5), 0.2, 0, groups=["g"] * 5)


def test_too_few_samples():
    assert [len(side) for side in split(ids_of(4), 0.2, 0, least=2)] == [2, 2]
    with pytest.raises(InputError, match=r"^4 samples .* there are 3"):
        split(ids_of(3), 0.2, 0, least=2)
    with pytest.raises(InputError, match=r"test_size 0.9 keeps 9 of 10.*leaves 1"):
        split(ids_of(10), 0.9, 0)
    with pytest.raises(InputError, match=r"^3 samples .* there are 1"):
        split(ids_of(1), 0.2, 0)
