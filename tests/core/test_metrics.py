import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from aam_core.metrics import (
    classification_metrics,
    regression_metrics,
)


def test_regression_by_hand():
    found = regression_metrics([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    # errors 0, 1, -2; sum of squares about the mean 7/3 is 14/3
    assert found["mae"] == pytest.approx(1)
    assert found["mse"] == pytest.approx(5 / 3)
    assert found["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert found["r2"] == pytest.approx(1 - 5 / (14 / 3))
    expected = stats.pearsonr([1, 2, 4], [1, 3, 2])[0]
    assert found["pearson"] == pytest.approx(expected)


def test_several_targets_are_averaged_and_named():
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(2, 20, 2)) * [1, 100]
    found = regression_metrics(true, predicted, ["ph", "age"])
    assert found["mae [age]"] == pytest.approx(
        metrics.mean_absolute_error(true[:, 1], predicted[:, 1])
    )
    for name in ("mae", "mse", "rmse", "r2", "pearson"):
        both = found[f"{name} [ph]"], found[f"{name} [age]"]
        assert found[name] == pytest.approx(np.mean(both))
    assert found["r2"] == pytest.approx(metrics.r2_score(true, predicted))


def test_undefined_regression_metrics_are_nan_without_warning():
    one = regression_metrics([2.0], [1.0])
    assert one["mae"] == 1
    assert np.isnan([one["r2"], one["pearson"]]).all()
    assert np.isnan(regression_metrics([1.0, 2.0], [3.0, 3.0])["pearson"])
    assert regression_metrics([1.0, 2.0], [3.0, 3.0])["r2"] == pytest.approx(-17 + 8)
    assert np.isnan(list(regression_metrics([1.0, 2.0], [np.nan, 3.0]).values())).all()


def test_classification_by_hand():
    found = classification_metrics(list("aaab"), list("aabc"))
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["recall"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert found["precision"] == pytest.approx((1 + 0 + 0) / 3)
    assert found["f1"] == pytest.approx((0.8 + 0 + 0) / 3)


def test_classification_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    true = rng.choice(list("abc"), 50)
    shares = rng.dirichlet([1, 1, 1], 50)
    predicted = np.array(list("abc"))[shares.argmax(axis=1)]
    found = classification_metrics(true, predicted, shares, list("abc"))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(true, predicted)
    )
    assert found["log_loss"] == pytest.approx(metrics.log_loss(true, shares))
    assert found["roc_auc"] == pytest.approx(
        metrics.roc_auc_score(true, shares, multi_class="ovr")
    )


def test_two_classes_have_the_usual_roc_auc():
    rng = np.random.default_rng(1)
    true = np.array(list("ab") * 10)
    shares = rng.dirichlet([1, 1], 20).astype(np.float32)
    found = classification_metrics(true, true, shares, ["a", "b"])
    expected = metrics.roc_auc_score(true == "b", shares[:, 1])
    assert found["roc_auc"] == pytest.approx(expected)


def test_undefined_probability_metrics_are_nan():
    shares = np.full((2, 2), 0.5)
    one_class = classification_metrics(["a", "a"], ["a", "b"], shares, ["a", "b"])
    assert one_class["log_loss"] == pytest.approx(np.log(2))
    assert np.isnan(one_class["roc_auc"])
    unseen = classification_metrics(["a", "z"], ["a", "b"], shares, ["a", "b"])
    assert np.isnan([unseen["log_loss"], unseen["roc_auc"]]).all()
    broken = classification_metrics(["a", "b"], ["a", "b"], shares * np.nan, ["a", "b"])
    assert np.isnan([broken["log_loss"], broken["roc_auc"]]).all()
