import numpy as np
import pandas as pd
import pytest

from aam_core.data.targets import check_learnable, read_target
from aam_core.errors import InputError
from aam_core.reporting import silent


@pytest.fixture
def metadata():
    return pd.DataFrame(
        {
            "age": [1.0, 2.5, np.nan, 4.0, 8.0],
            "grade": [1.0, 2.0, 2.0, 1.0, np.nan],
            "site": ["gut", "skin", "gut", np.nan, "oral"],
            "same": [3.0] * 5,
            "treated": [True, False, True, False, True],
            "depth": [1.0, np.inf, 2.0, 3.0, 4.0],
            "huge": [1e300, 1.0, -1e101, 3.0, 4.0],
            "mixed": ["1", "2", "not collected", "3", np.nan],
        },
        index=list("abcde"),
    )


def test_labelled_samples_in_the_order_asked_for(metadata):
    said = []
    target = read_target(
        metadata, ["age", "grade"], "regression", list("dxcyab"), said.append
    )
    assert target.index.tolist() == ["d", "a", "b"]
    assert target.to_numpy().tolist() == [[4, 1], [1, 1], [2.5, 2]]
    assert target.to_numpy().dtype == np.float64
    assert len(said) == 2
    assert "2 of 6 samples are not in the metadata" in said[0]
    assert "'x', 'y'" in said[0]
    assert "1 of 4 samples have no value in 'age', 'grade'" in said[1]
    assert "'c'" in said[1]


def test_nothing_is_reported_where_nothing_is_left_out(metadata):
    read_target(metadata, ["age"], "regression", list("abd"), pytest.fail)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("grade", ["1", "2", "2", "1"]),
        ("age", ["1", "2.5", "4", "8"]),
        ("site", ["gut", "skin", "gut", "oral"]),
        ("treated", ["True", "False", "True", "False", "True"]),
    ],
)
def test_classes_are_text(metadata, column, expected):
    target = read_target(metadata, [column], "classification", list("abcde"), silent)
    assert target[column].tolist() == expected


def test_numbers_read_as_text_are_numbers(metadata):
    target = read_target(metadata, ["mixed"], "regression", list("abd"), silent)
    assert target["mixed"].tolist() == [1, 2, 3]
    target = read_target(
        metadata.astype(object), ["age"], "regression", list("abd"), silent
    )
    assert target["age"].dtype == np.float64


@pytest.mark.parametrize(
    ("column", "task", "samples", "message"),
    [
        ("aeg", "regression", "abcd", "no column 'aeg'; they have 'age'"),
        ("site", "regression", "abc", "'site' is not numeric.*'gut', 'skin'.*'a', 'b'"),
        ("site", "regression", "abc", "task to classification"),
        (
            "mixed",
            "regression",
            "abcd",
            r"'not collected' \(1 sample\): samples 'c'",
        ),
        ("treated", "regression", "abc", "not numeric: it holds 'False', 'True'"),
        ("depth", "regression", "abc", "'depth' is infinite in 1 samples: 'b'"),
        ("huge", "regression", "abc", r"'huge' holds 1e\+300, .*'a', 'c'.*overflow"),
        ("same", "regression", "abcd", "has the value 3.0 in all 4 labelled samples"),
        ("same", "classification", "abcd", "has the value '3' in all 4"),
        ("age", "regression", "acx", "1 of 3 samples have a value in 'age'"),
        ("age", "regression", "c", "0 of 1 samples"),
        ("age", "regression", "xyz", "table are 'x', 'y', 'z'; those of.*'a', 'b'"),
    ],
)
def test_bad_targets_are_explained(metadata, column, task, samples, message):
    with pytest.raises(InputError, match=message):
        read_target(metadata, [column], task, list(samples), silent)


def test_classes_that_nobody_could_learn_are_refused():
    ids = [f"s{i}" for i in range(6)]
    own = pd.Series(ids, ids, name="who")
    with pytest.raises(InputError, match=r"class of its own in 'who' .'s0', 's1'"):
        check_learnable(own, None)
    site = pd.Series(list("aabbcc"), ids, name="site")
    with pytest.raises(InputError, match=r"one group only .'a', 'b', 'c'"):
        check_learnable(site, list("xxyyzz"))
    check_learnable(site, list("xyyyzz"))  # one of them is in two
    check_learnable(site, None)
    check_learnable(pd.Series(range(6), ids, name="age"), list("xxyyzz"))
