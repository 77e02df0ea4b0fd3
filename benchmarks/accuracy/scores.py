"""Scores of predictions, and paired differences between two who predict.

Shapes: N samples, C classes.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

CLIP = 1e-3  #: probabilities below this count as this, then all are renormalised
#: The score that decides, by task; lower is better.
ERRORS = {"regression": "MAE", "classification": "log loss"}


def clipped(probabilities: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Probabilities of all `classes`, none below `CLIP`, that sum to 1."""
    full = probabilities.reindex(columns=classes, fill_value=0.0).clip(lower=CLIP)
    return full.div(full.sum(axis=1), axis=0)


def error_of(labels: pd.Series, predicted: pd.DataFrame) -> pd.Series:
    """(N,) absolute error, or negative log probability of the true class."""
    labels = labels[predicted.index]
    if pd.api.types.is_numeric_dtype(labels):
        return (predicted["prediction"] - labels).abs()
    classes = sorted({*predicted.columns, *labels.unique()})
    of_true = clipped(predicted, classes).to_numpy()[
        np.arange(len(labels)), [classes.index(c) for c in labels]
    ]
    return pd.Series(-np.log(of_true), labels.index)


def scores_of(labels: pd.Series, predicted: pd.DataFrame) -> dict[str, float]:
    """All scores of predictions, one of each sample.

    Parameters
    ----------
    labels : pandas.Series
        True values.
    predicted : pandas.DataFrame
        `prediction`, or the probability of each class.
    """
    labels = labels[predicted.index]
    error = float(error_of(labels, predicted).mean())
    if pd.api.types.is_numeric_dtype(labels):
        return {"R2": metrics.r2_score(labels, predicted["prediction"]), "MAE": error}
    classes = sorted({*predicted.columns, *labels.unique()})
    full = clipped(predicted, classes)
    chosen = full.idxmax(axis=1)
    return {
        "accuracy": metrics.accuracy_score(labels, chosen),
        "balanced accuracy": recall(labels, chosen),
        "macro F1": metrics.f1_score(
            labels, chosen, labels=sorted(labels.unique()), average="macro"
        ),
        "ROC AUC": area(labels, full),
        "log loss": error,
    }


def recall(labels: pd.Series, chosen: pd.Series) -> float:
    """Balanced accuracy: the mean recall of the classes that occur."""
    return float((labels == chosen).groupby(labels).mean().mean())


def area(labels: pd.Series, full: pd.DataFrame) -> float:
    """The area under the ROC curve, each class against the others, their mean."""
    found = [
        metrics.roc_auc_score(labels == c, full[c])
        for c in labels.unique()
        if 0 < (labels == c).mean() < 1
    ]
    return float(np.mean(found)) if found else float("nan")
