"""Metrics of predictions, by scikit-learn, in the original units."""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

#: Probabilities are taken to be at least this when log losses are compared, so that one
#: surprise does not decide.
LEAST_PROBABILITY = 1e-3
REGRESSION_METRICS = ("mae", "mse", "rmse", "r2", "pearson")
#: Scores of a history that are errors.
LOWER_IS_BETTER = ("val_loss", "val_mae", "val_mse", "val_rmse")


def sign_of(score: str) -> int:
    """What a score of a history is multiplied by so that lower is better.

    Examples
    --------
    >>> from aam_core.metrics import sign_of
    >>> sign_of("val_mae"), sign_of("val_r2")
    (1, -1)
    """
    return 1 if score in LOWER_IS_BETTER else -1


def regression_metrics(
    true: np.ndarray, predicted: np.ndarray, columns: Sequence[str] | None = None
) -> dict[str, float]:
    """Metrics of predicted numbers.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        (n,) or (n, T).
    columns : sequence of str, optional
        Names of the T targets.

    Returns
    -------
    dict
        ``mae``, ``mse``, ``rmse``, ``r2`` and ``pearson``: the mean over the targets.
        With several named targets also each one's, as ``r2 [name]``. NaN where a
        metric is not defined: r2 and pearson of fewer than two samples, pearson of
        constant values, everything if a prediction is not finite.
    """
    true = np.asarray(true, dtype=np.float64)
    predicted = np.asarray(predicted, dtype=np.float64)
    assert true.shape == predicted.shape, (true.shape, predicted.shape)
    true, predicted = (v.reshape(len(v), -1) for v in (true, predicted))
    each = [_one_target(*pair) for pair in zip(true.T, predicted.T, strict=True)]
    result = {m: float(np.mean([e[m] for e in each])) for m in REGRESSION_METRICS}
    if columns is not None and len(columns) > 1:
        for name, one in zip(columns, each, strict=True):
            result |= {f"{metric} [{name}]": value for metric, value in one.items()}
    return result


def _one_target(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    if not np.isfinite(predicted).all():
        return dict.fromkeys(REGRESSION_METRICS, np.nan)
    mse = metrics.mean_squared_error(true, predicted)
    several = len(true) > 1
    vary = several and np.ptp(true) > 0 and np.ptp(predicted) > 0
    return {
        "mae": float(metrics.mean_absolute_error(true, predicted)),
        "mse": float(mse),
        "rmse": float(np.sqrt(mse)),
        "r2": float(metrics.r2_score(true, predicted)) if several else np.nan,
        "pearson": float(np.corrcoef(true, predicted)[0, 1]) if vary else np.nan,
    }


def classification_metrics(
    true: Sequence[str],
    predicted: Sequence[str],
    probabilities: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, float]:
    """Metrics of predicted classes.

    Parameters
    ----------
    true, predicted : sequence of str
        (n,) labels.
    probabilities : numpy.ndarray, optional
        (n, C) of the `classes`.
    classes : sequence of str, optional
        Sorted labels, the columns of `probabilities`.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy``, and macro averages ``precision``,
        ``recall`` and ``f1`` (0 where a class is never predicted). With
        probabilities also ``log_loss`` and ``roc_auc`` (macro, one class against the
        rest), NaN where they are not defined.
    """
    true, predicted = np.array(true, dtype=str), np.array(predicted, dtype=str)
    assert true.shape == predicted.shape, (true.shape, predicted.shape)
    macro = {"average": "macro", "zero_division": 0}
    result = {
        "accuracy": metrics.accuracy_score(true, predicted),
        # scikit-learn's own function warns of classes that are only predicted
        "balanced_accuracy": metrics.recall_score(
            true, predicted, labels=np.unique(true), **macro
        ),
        "precision": metrics.precision_score(true, predicted, **macro),
        "recall": metrics.recall_score(true, predicted, **macro),
        "f1": metrics.f1_score(true, predicted, **macro),
    }
    if probabilities is not None:
        assert classes is not None
        result |= _of_probabilities(true, probabilities, np.array(classes, dtype=str))
    return {name: float(value) for name, value in result.items()}


def _of_probabilities(
    true: np.ndarray, probabilities: np.ndarray, classes: np.ndarray
) -> dict[str, float]:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    result = {"log_loss": np.nan, "roc_auc": np.nan}
    if not np.isfinite(probabilities).all():
        return result
    found = set(true)
    if found <= set(classes):
        result["log_loss"] = metrics.log_loss(true, probabilities, labels=classes)
    if found == set(classes):
        hits = true[:, None] == classes
        result["roc_auc"] = metrics.roc_auc_score(hits, probabilities, average="macro")
    return result
