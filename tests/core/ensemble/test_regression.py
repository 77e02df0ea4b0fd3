"""Ridge and logistic regression in the space of the samples, against scikit-learn."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from aam_core.ensemble import regression
from aam_core.ensemble.regression import STRENGTHS, Target, fit_dual


def close(a, b, tolerance=1e-7):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["fewer samples than inputs", "more"])
def numbers(request):
    """Inputs of mean 3, a signal in some of them, and ten groups of four."""
    drawn = np.random.default_rng(0)
    inputs = drawn.normal(size=(40, 60 if request.param != "more" else 12))
    inputs = inputs * drawn.uniform(0.1, 1, inputs.shape[1]) + 3
    signal = inputs[:, :3] @ [1, -2, 3] / inputs[:, :3].std()
    groups = np.repeat([f"g{i}" for i in range(10)], 4)
    return inputs, signal + 0.3 * drawn.normal(size=40), groups


def outputs(found, inputs, fitted, weights=None):
    """What a fitted model returns, by its definition."""
    mean = np.average(fitted, axis=0, weights=weights)
    return (inputs - mean) @ (fitted - mean).T @ found.dual_NO + found.bias_O


def test_numbers_are_those_of_a_ridge_with_the_best_strength(numbers):
    inputs, signal, groups = numbers
    values = np.stack([signal, -2 * signal + 1], axis=1)
    target = Target(values, np.ones(40), groups=groups)
    folds = target.folds(0)
    found = fit_dual(inputs @ inputs.T, target, folds)
    model = Ridge(found.strength).fit(inputs, values)
    close(outputs(found, inputs, inputs), model.predict(inputs))

    def error(strength):
        return sum(
            (Ridge(strength).fit(inputs[a], values[a]).predict(inputs[b]) - values[b])
            .__pow__(2)
            .sum()
            for a, b in folds
        )

    assert found.strength == min(STRENGTHS, key=error)
    for fitted, left_out in folds:
        assert not set(groups[fitted]) & set(groups[left_out])


@pytest.mark.parametrize("number", [2, 3])
def test_classes_are_those_of_a_logistic_regression(numbers, number):
    inputs, signal, groups = numbers
    codes = np.digitize(signal, np.quantile(signal, np.arange(1, number) / number))
    weights = np.where(codes == 0, 2.0, 1.0)
    target = Target(codes, weights, number, groups)
    folds = target.folds(0)
    found = fit_dual(inputs @ inputs.T, target, folds)

    def model(strength, rows):
        fitted = LogisticRegression(C=1 / strength, max_iter=5000)
        return fitted.fit(inputs[rows], codes[rows], weights[rows])

    chances = softmax(outputs(found, inputs, inputs, weights), axis=1)
    assert chances.std() > 0.05
    expected = model(found.strength, np.arange(40)).predict_proba(inputs)
    # the fit stops early (tol), in some versions of scikit-learn earlier than in others
    close(chances, expected, 1.5e-2)

    def error(strength):
        return sum(
            log_loss(
                codes[b],
                model(strength, a).predict_proba(inputs[b]),
                sample_weight=weights[b],
                normalize=False,
                labels=np.arange(number),
            )
            for a, b in folds
        )

    errors = {s: error(s) for s in STRENGTHS}
    assert errors[found.strength] < 1.02 * min(errors.values())


def test_weights_of_samples_count(numbers):
    inputs, signal, _ = numbers
    weights = np.where(np.arange(40) < 10, 3.0, 1.0)
    target = Target(signal[:, None], weights)
    found = fit_dual(inputs @ inputs.T, target, target.folds(0))
    model = Ridge(found.strength * weights.mean()).fit(inputs, signal, weights)
    expected = model.predict(inputs)
    close(outputs(found, inputs, inputs, weights)[:, 0], expected)


@pytest.mark.parametrize("classes", [0, 2])
def test_samples_without_weight_are_as_if_they_were_not_there(numbers, classes):
    inputs, signal, _ = numbers
    values = (signal > np.median(signal)).astype(int) if classes else signal[:, None]
    weights = np.ones(40)
    weights[::5] = 0
    kept = np.flatnonzero(weights)
    target = Target(values, weights, classes)
    folds = target.folds(0)
    found = fit_dual(inputs @ inputs.T, target, folds)
    assert (found.dual_NO[::5] == 0).all()
    place = np.cumsum(weights > 0) - 1
    fewer = [tuple(place[s[weights[s] > 0]] for s in fold) for fold in folds]
    gram = inputs[kept] @ inputs[kept].T
    alone = fit_dual(gram, target.take(kept), fewer)
    assert alone.strength == found.strength
    close(found.dual_NO[kept], alone.dual_NO, 1e-6)


def test_a_class_that_does_not_occur_is_improbable():
    inputs = np.random.default_rng(0).normal(size=(30, 4))
    codes = (inputs[:, 0] > 0).astype(int)
    codes[3] = 2  # not in each fold
    target = Target(codes, np.ones(30), 4)  # the last in none
    found = fit_dual(inputs @ inputs.T, target, target.folds(0))
    chances = softmax(outputs(found, inputs, inputs), axis=1)
    assert chances[:, 3].max() < 1e-6
    assert (chances.argmax(1) == codes).mean() > 0.9


@pytest.mark.parametrize("classes", [0, 2])
def test_nothing_to_learn_from_gives_the_mean(classes):
    values = np.array([0, 1, 1, 1]) if classes else np.array([[0.0], [1], [1], [2]])
    target = Target(values, np.ones(4), classes)
    found = fit_dual(np.ones((4, 4)), target, target.folds(0))
    if classes:
        assert (found.bias_O == 0).all()  # equal, since no inputs were fitted
    else:
        close(found.bias_O, [1.0])
        close(np.zeros((1, 4)) @ found.dual_NO, [[0.0]])
    assert found.strength in regression.STRENGTHS


def test_a_fold_without_any_sample_of_weight_does_not_count(numbers):
    inputs, signal, _ = numbers
    weights = np.where(np.arange(40) < 10, 0.0, 1.0)
    target = Target(signal[:, None], weights)
    gram = inputs @ inputs.T
    fold = (np.arange(10, 30), np.arange(30, 40))
    empty = (np.arange(10), np.arange(10, 40))
    found = fit_dual(gram, target, [empty, fold])
    expected = fit_dual(gram, target, [fold])
    assert found.strength == expected.strength
    close(found.dual_NO, expected.dual_NO)
    assert fit_dual(gram, target, [empty]).strength == regression.STRENGTHS[-1]


def test_strengths_are_compared_by_a_part_of_many_samples(numbers, monkeypatch):
    """The samples that are fitted in the end are all."""
    inputs, signal, groups = numbers
    target = Target(signal[:, None], np.ones(40), groups=groups)
    whole = fit_dual(inputs @ inputs.T, target, target.folds(0))
    monkeypatch.setattr(regression, "COMPARED", 20)
    found = fit_dual(inputs @ inputs.T, target, target.folds(0))
    assert 0.01 <= found.strength / whole.strength <= 100
    model = Ridge(found.strength).fit(inputs, signal)
    close(outputs(found, inputs, inputs)[:, 0], model.predict(inputs))
