import json

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from aam_core.data.targets import Classes, TargetScaler, check_learnable, read_target
from aam_core.errors import InputError
from aam_core.reporting import silent

TRANSFORMS = ("none", "minmax", "zscore", "log-minmax", "log-zscore")


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


def random_targets(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.gamma(2, 30, n), rng.integers(0, 5, n) * 1e6])


@pytest.mark.parametrize(
    ("transform", "reference"),
    [
        ("minmax", lambda v: MinMaxScaler().fit_transform(v)),
        ("zscore", lambda v: StandardScaler().fit_transform(v)),
        ("log-minmax", lambda v: MinMaxScaler().fit_transform(np.log1p(v))),
        ("log-zscore", lambda v: StandardScaler().fit_transform(np.log1p(v))),
        ("none", lambda v: v),
    ],
)
def test_scales_are_those_of_scikit_learn(transform, reference):
    values = random_targets()
    scaler = TargetScaler.fit(values, ["a", "b"], transform)
    np.testing.assert_allclose(
        scaler.transform(values), reference(values), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("transform", [*TRANSFORMS, "zscore-category"])
def test_values_come_back_even_through_json(transform):
    training, others = random_targets(), random_targets(30, seed=1)
    groups = [f"g{i % 3}" for i in range(40)]
    scaler = TargetScaler.fit(training, ["a", "b"], transform, groups)
    scaler = TargetScaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    scaled = scaler.transform(others, groups[:30])
    np.testing.assert_allclose(
        scaler.inverse(scaled, groups[:30]), others, rtol=1e-9, atol=1e-9
    )
    quantiles = np.stack([scaled, scaled + 1, scaled - 1], axis=2)
    back = scaler.inverse(quantiles, groups[:30])
    np.testing.assert_allclose(back[..., 0], others, rtol=1e-9, atol=1e-9)
    for k in (1, 2):
        expected = scaler.inverse(quantiles[..., k], groups[:30])
        np.testing.assert_array_equal(back[..., k], expected)


@pytest.mark.parametrize("transform", [*TRANSFORMS, "zscore-category"])
def test_constant_target_is_not_divided_by_zero(transform):
    values = np.full((3, 1), 0.1)
    scaler = TargetScaler.fit(values, ["a"], transform, ["x", "x", "y"])
    assert scaler.scale.tolist() == [1]
    np.testing.assert_allclose(
        scaler.inverse(scaler.transform(values, "xxy"), "xxy"), values, atol=1e-12
    )


def test_each_category_has_its_own_scale():
    values = np.array([[1.0], [3.0], [10.0], [30.0], [5.0], [7.0], [7.0]])
    groups = ["x", "x", "y", "y", "single", "flat", "flat"]
    scaler = TargetScaler.fit(values, ["a"], "zscore-category", groups)
    probe = np.array([[3.0], [20.0], [9.0], [9.0], [9.0], [9.0]])
    scaled = scaler.transform(probe, ["x", "y", "single", "flat", "new", ""])
    overall = (9 - values.mean()) / values.std()
    np.testing.assert_allclose(scaled[:, 0], [1, 0, *[overall] * 4], atol=1e-12)
    assert scaler.unseen(["x", "new", "single", "flat", ""]) == [
        "flat",
        "new",
        "single",
    ]


def test_category_without_spread_in_one_target_keeps_its_scale_in_the_other():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 1.0]])
    scaler = TargetScaler.fit(values, ["a", "b"], "zscore-category", ["x", "x", "y"])
    scaled = scaler.transform([[3.0, 5.0]], ["x"])
    b = values[:, 1]
    np.testing.assert_allclose(scaled, [[1, (5 - b.mean()) / b.std()]], atol=1e-12)


def test_negative_target_has_no_logarithm():
    values = np.array([[1.0, 2.0], [3.0, -4.5]])
    with pytest.raises(InputError, match=r"'b' holds -4.5 \(samples 's2'\)"):
        TargetScaler.fit(values, ["a", "b"], "log-minmax", sample_ids=["s1", "s2"])
    scaler = TargetScaler.fit(np.abs(values), ["a", "b"], "log-zscore")
    with pytest.raises(InputError, match="choose minmax or zscore"):
        scaler.transform(values)


def test_codes_follow_sorted_labels():
    classes = Classes.fit(["b", "a", "c", "a"])
    assert classes.labels == ("a", "b", "c")
    assert classes.encode(["c", "a"]).tolist() == [2, 0]
    assert classes.decode([2, 0]).tolist() == ["c", "a"]
    assert Classes.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes


def test_unknown_class_is_named():
    classes = Classes.fit(["b", "a"])
    with pytest.raises(InputError, match=r"of class 'z' \(samples 's2'\); known.*'a'"):
        classes.encode(["a", "z"], ["s1", "s2"])
    with pytest.raises(InputError, match="of class 'z'; known"):
        classes.encode(["z"])
    with pytest.raises(InputError, match="All 2 training samples are of class 'a'"):
        Classes.fit(["a", "a"])


def test_class_weights_are_those_of_scikit_learn():
    labels = ["b"] * 6 + ["a"] * 2 + ["c"]
    classes = Classes.fit(labels)
    expected = compute_class_weight(
        "balanced", classes=np.array(["a", "b", "c"]), y=labels
    )
    np.testing.assert_allclose(classes.weights("balanced", labels), expected)
    np.testing.assert_allclose(expected, [1.5, 0.5, 3])
    assert classes.weights("none", labels).tolist() == [1, 1, 1]


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
