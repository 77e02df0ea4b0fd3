"""Scales and codes of targets, against those of scikit-learn and by hand."""

import json

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from aam_core.data.target_scaling import Classes, TargetScaler
from aam_core.errors import InputError

TRANSFORMS = ("none", "minmax", "zscore", "log-minmax", "log-zscore")


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
