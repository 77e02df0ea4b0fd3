"""From members to one prediction, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aam_core.config import TrainConfig
from aam_core.data.target_decoder import Decoder
from aam_core.data.target_scaling import Classes, TargetScaler
from aam_core.ensemble.mixture import Space, loss_of_mix, space_of

LEVELS = (0.1, 0.5, 0.9)


def regression(shift=0.0, scale=1.0, transform="zscore", **more):
    """A target of one column."""
    scaler = TargetScaler(("x",), transform, np.array([shift]), np.array([scale]))
    return Decoder("regression", ("x",), scaler=scaler, **more)


def classification(*labels):
    return Decoder("classification", ("x",), classes=Classes(labels))


def test_scaled_values_are_brought_to_the_scale_of_the_model():
    space = Space(regression(shift=10.0, scale=5.0))
    got = space.taken([[1.0], [-1.0]], regression(shift=20.0, scale=10.0))
    np.testing.assert_allclose(got, [[4.0], [0.0]])  # 30 and 10, of shift 10, scale 5
    quantiles = space.taken([[[0.0, 1.0]]], regression(shift=20.0, scale=10.0))
    np.testing.assert_allclose(quantiles, [[[2.0, 4.0]]])


def test_logits_become_probabilities_of_all_classes():
    """A class that a member does not know has its frequency; the rest is divided."""
    space = Space(classification("a", "b", "c"), (0.2, 0.3, 0.5))
    same = space.taken([[0.0, 0.0, np.log(2)]], classification("a", "b", "c"))
    np.testing.assert_allclose(same, [[0.25, 0.25, 0.5]])
    fewer = space.taken([[np.log(3), 0.0], [0.0, 0.0]], classification("a", "c"))
    np.testing.assert_allclose(fewer, [[0.525, 0.3, 0.175], [0.35, 0.3, 0.35]])
    with_one = space.with_all_classes(np.array([[1.0]]), classification("b"))
    np.testing.assert_allclose(with_one, [[0.2, 0.3, 0.5]])


def test_the_mix_of_classes_is_of_probabilities():
    space = Space(classification("a", "b"), (0.5, 0.5))
    found = {"one": np.array([[1.0, 0.0]]), "other": np.array([[0.5, 0.5]])}
    weights = {"one": 0.5, "other": 0.5}
    for mix in (space.raw(found, weights), space.point(found, weights)):
        np.testing.assert_allclose(np.exp(mix), [[0.75, 0.25]])
        np.testing.assert_allclose(space.mixable(mix), [[0.75, 0.25]])
    never = space.raw({"one": found["one"]}, {"one": 1.0})
    assert never[0, 1] == pytest.approx(np.log(1e-12))
    never = space.point({"one": found["one"]}, {"one": 1.0})
    assert never[0, 1] == pytest.approx(np.log(1e-12))


def test_all_quantiles_move_with_the_median():
    space = Space(regression(quantiles=LEVELS))
    found = {"network": np.array([[[1.0, 2.0, 5.0]]]), "trees": np.array([[4.0]])}
    weights = {"network": 0.5, "trees": 0.5}
    raw = space.raw(found, weights)
    np.testing.assert_allclose(raw, [[[2.0, 3.0, 6.0]]])
    np.testing.assert_allclose(space.points(raw), [[3.0]])
    np.testing.assert_allclose(space.mixable(raw), [[3.0]])
    np.testing.assert_allclose(space.point(found, weights), [[3.0]])


def test_predictions_stay_within_what_the_model_may_predict():
    found, weights = {"trees": np.array([[-3.0], [0.5], [2.0]])}, {"trees": 1.0}
    free = Space(regression())
    np.testing.assert_array_equal(free.raw(found, weights), found["trees"])
    bounded = Space(regression(), bounded=True)
    for mix in (bounded.raw(found, weights), bounded.point(found, weights)):
        np.testing.assert_array_equal(mix, [[0.0], [0.5], [1.0]])
    # 0 in the original units is -2 on the scale
    positive = Space(regression(shift=2.0, scale=1.0, non_negative=True))
    for mix in (positive.raw(found, weights), positive.point(found, weights)):
        np.testing.assert_array_equal(mix, [[-2.0], [0.5], [2.0]])
    decoder = regression(shift=2.0, scale=1.0, non_negative=True, quantiles=LEVELS)
    quantiles = {"network": np.array([[[-5.0, -1.0, 0.0]]])}
    mix = Space(decoder).raw(quantiles, {"network": 1.0})
    np.testing.assert_array_equal(mix, [[[-2.0, -1.0, 0.0]]])


def test_disagreement_is_the_weighted_deviation_in_original_units():
    space = Space(regression(shift=100.0, scale=10.0))
    found = {"one": np.array([[0.0], [1.0]]), "other": np.array([[2.0], [1.0]])}
    got = space.disagreement(found, {"one": 0.75, "other": 0.25})
    # 100 and 120: mean 105, squares 25 and 225
    np.testing.assert_allclose(got, [[np.sqrt(0.75 * 25 + 0.25 * 225)], [0.0]])
    bounded = Space(regression(shift=100.0, scale=10.0), bounded=True)
    got = bounded.disagreement(found, {"one": 0.5, "other": 0.5})
    np.testing.assert_allclose(got, [[5.0], [0.0]])  # 100 and 110
    quantiles = Space(regression(quantiles=LEVELS))
    network = {"one": np.array([[[0.0, 1.0, 9.0]]]), "other": np.array([[3.0]])}
    got = quantiles.disagreement(network, {"one": 0.5, "other": 0.5})
    np.testing.assert_allclose(got, [[1.0]])


def test_disagreement_on_the_scale_of_a_category():
    own = {"far": (np.array([0.0]), np.array([7.0]))}
    one, every = np.ones(1), np.zeros(1)
    scaler = TargetScaler(("x",), "zscore-category", every, one, own)
    decoder = Decoder("regression", ("x",), scaler=scaler, normalize_by=("site",))
    found = {"one": np.array([[0.0], [0.0]]), "other": np.array([[2.0], [2.0]])}
    got = Space(decoder).disagreement(
        found, {"one": 0.5, "other": 0.5}, ["far", "unseen"]
    )
    np.testing.assert_allclose(got, [[7.0], [1.0]])


def labels_of(decoder, values, **more):
    """What of `Labels` is read here."""
    given = {"class_weights": None, "loss_weights_N": None} | more
    outputs = len(decoder.classes.labels) if decoder.classes else 1
    return SimpleNamespace(decoder=decoder, values=values, outputs=outputs, **given)


def test_the_space_has_the_frequencies_of_its_samples():
    config = TrainConfig(metadata_column=("x",), task="classification")
    labels = labels_of(classification("a", "b", "c"), np.array([0, 0, 1, 2, 1, 0]))
    space = space_of(config, labels, np.array([0, 1, 2, 4]))
    assert space.frequencies == (0.5, 0.5, 0.0)
    assert space.decoder is labels.decoder
    assert not space.bounded
    config = TrainConfig(metadata_column=("x",), bounded_targets=True)
    space = space_of(config, labels_of(regression(), np.zeros((3, 1))), np.arange(3))
    assert space.frequencies == ()
    assert space.bounded


ROWS = np.array([2, 0])


def loss_of(found, config, labels):
    loss = loss_of_mix(TrainConfig(metadata_column=("x",), **config), labels)
    return float(loss(torch.tensor(found, dtype=torch.float64), ROWS))


def test_members_are_weighed_by_the_loss_of_points():
    values = np.float32([[1.0], [9.0], [4.0]])  # of the rows: 4 and 1
    labels = labels_of(regression(), values)
    found = [[4.0], [3.0]]
    assert loss_of(found, {"loss_type": "mse"}, labels) == 2
    assert loss_of(found, {"loss_type": "mae"}, labels) == 1
    quantile = {"loss_type": "quantile", "quantiles": (0.5,)}
    assert loss_of(found, quantile, labels) == 0.5
    weighted = labels_of(regression(), values, loss_weights_N=np.float32([3, 0, 1]))
    assert loss_of(found, {"loss_type": "mse"}, weighted) == 6


def test_members_are_weighed_by_the_log_loss_of_probabilities():
    decoder = classification("a", "b")
    config = {"task": "classification"}
    found = [[0.25, 0.75], [0.5, 0.5]]
    labels = labels_of(decoder, np.array([0, 0, 1]))
    expected = -(np.log(0.75) + np.log(0.5)) / 2
    assert loss_of(found, config, labels) == pytest.approx(expected)
    uneven = np.float32([1, 3])
    labels = labels_of(decoder, np.array([0, 0, 1]), class_weights=uneven)
    expected = -(3 * np.log(0.75) + np.log(0.5)) / 4
    assert loss_of(found, config, labels) == pytest.approx(expected)
    labels.loss_weights_N = np.float32([2, 0, 1])
    expected = -(3 * np.log(0.75) + 2 * np.log(0.5)) / 4
    assert loss_of(found, config, labels) == pytest.approx(expected)
