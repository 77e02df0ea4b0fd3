"""Scores with intervals, beside scikit-learn's and a plain bootstrap."""

import numpy as np
import pytest
from sklearn import metrics

from aam_core import bootstrap
from aam_core.bootstrap import (
    Estimate,
    area_under_roc,
    classification_scores,
    compared,
    drawn,
    error_ratio,
    regression_scores,
)


@pytest.fixture
def weights():
    """Draws of 60 samples, the first with each once."""
    generator = np.random.default_rng(1)
    return np.concatenate([np.ones((1, 60)), generator.integers(0, 4, (5, 60))])


def test_scores_of_numbers_are_those_of_scikit_learn(weights):
    true, predicted = np.random.default_rng(0).normal(50, 3, (2, 60))
    found = regression_scores(true, predicted, weights)
    for row, own in enumerate(weights):
        expected = {
            "mae": metrics.mean_absolute_error(true, predicted, sample_weight=own),
            "rmse": metrics.mean_squared_error(true, predicted, sample_weight=own)
            ** 0.5,
            "r2": metrics.r2_score(true, predicted, sample_weight=own),
        }
        assert {n: v[row] for n, v in found.items()} == pytest.approx(expected)


def test_scores_of_classes_are_those_of_scikit_learn(weights):
    generator = np.random.default_rng(0)
    classes = ["a", "b", "c"]
    true = generator.choice(classes, 60)
    chances = generator.dirichlet(np.ones(3), 60).round(1) + 0.01  # with ties
    chances /= chances.sum(axis=1, keepdims=True)
    predicted = np.array(classes)[chances.argmax(axis=1)]
    found = classification_scores(true, predicted, weights, chances, classes)
    for row, own in enumerate(weights):
        given = {"sample_weight": own}
        areas = [
            metrics.roc_auc_score(true == c, chances[:, k], **given)
            for k, c in enumerate(classes)
        ]
        expected = {
            "accuracy": metrics.accuracy_score(true, predicted, **given),
            "balanced_accuracy": metrics.balanced_accuracy_score(
                true, predicted, **given
            ),
            "log_loss": metrics.log_loss(true, chances, labels=classes, **given),
            "roc_auc": np.mean(areas),
        }
        assert {n: v[row] for n, v in found.items()} == pytest.approx(expected)


def test_a_draw_without_a_class_scores_the_others():
    true, weights = np.array(["a", "a", "b"]), np.array([[1.0, 1, 1], [1, 2, 0]])
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    found = classification_scores(
        true, np.array(["a", "b", "b"]), weights, chances, ["a", "b"]
    )
    assert found["balanced_accuracy"] == pytest.approx([0.75, 1 / 3])
    assert np.isnan(found["roc_auc"][1])
    assert np.isnan(area_under_roc(true == "c", chances[:, 0], weights)).all()


def test_the_truth_that_does_not_vary_has_no_r2():
    found = regression_scores(np.full(3, 2.0), np.arange(3.0), np.ones((1, 3)))
    assert np.isnan(found["r2"]).all()


@pytest.mark.parametrize("at_once", [5_000_000, 100])
def test_intervals_are_those_of_a_plain_bootstrap(at_once, monkeypatch):
    monkeypatch.setattr(bootstrap, "AT_ONCE", at_once)
    generator = np.random.default_rng(0)
    values, groups = generator.gamma(2, 1, 40), np.arange(40) // 4
    found = drawn(lambda w: {"mean": w @ values / w.sum(axis=1)}, 40, groups)["mean"]
    assert len(found) == 1 + bootstrap.DRAWS
    of_groups = values.reshape(10, 4).mean(axis=1)
    plain = generator.choice(of_groups, (20_000, 10)).mean(axis=1)
    low, high = np.quantile(plain, [0.025, 0.975])
    estimate = Estimate.of(found)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.05)


def test_a_paired_difference_is_narrower_than_two_intervals():
    generator = np.random.default_rng(0)
    true = generator.normal(0, 2, 80)
    theirs = true + generator.normal(0, 1, 80)
    ours = true + 0.8 * (theirs - true)

    def scores(predicted):
        return drawn(lambda w: regression_scores(true, predicted, w), 80)

    found = compared(scores(ours), scores(theirs))
    assert found["mae"]["ratio"] == pytest.approx((0.8, 0.8, 0.8))
    assert found["mae"]["difference"].high < 0
    assert set(found["r2"]) == {"difference"}


def test_the_interval_of_a_ratio_is_over_groups():
    """Of errors that are alike within groups, more samples of a group tell nothing."""
    generator = np.random.default_rng(0)
    ours, theirs = generator.gamma(2, 1, (2, 8))
    point, low, high = error_ratio(ours, theirs, np.arange(8).astype(str))
    assert point == pytest.approx(ours.sum() / theirs.sum())
    assert low < point < high
    copies = [errors.repeat(20) for errors in (ours, theirs)]
    again = error_ratio(*copies, np.arange(8).repeat(20).astype(str))
    assert again == pytest.approx((point, low, high))
    _, narrow, wide = error_ratio(*copies, None)
    assert wide - narrow < 0.5 * (high - low)
