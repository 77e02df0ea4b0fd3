"""What q2-aam is compared with, each as a careful user would fit it.

Every opponent is a function of training samples, held-out samples and a seed. It
returns predictions of the held-out samples: one column of numbers, or a column of
probabilities for each class of the training samples. Whatever it chooses, it chooses by
inner folds of the training samples.

Shapes: N samples, F features.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import normalize

from aam_core.data.folds import Fold, balanced_folds
from aam_core.data.table import FeatureTable
from benchmarks.accuracy.scores import error_of
from benchmarks.accuracy.targets import Samples

Opponent = Callable[[Samples, Samples, int], pd.DataFrame]

#: Features in fewer of the training samples are not read.
PREVALENCE = 0.03
TREES = 500
#: Features tried at a split, of which inner folds choose one.
TRIED = ("sqrt", 1 / 3)
INNER = 3  #: folds that choose
STRENGTHS = np.logspace(-2, 6, 17)
#: Added to counts before their logarithm.
PSEUDOCOUNT = 0.5


def is_regression(samples: Samples) -> bool:
    """Whether labels are numbers."""
    return pd.api.types.is_numeric_dtype(samples.labels)


def as_frame(samples: Samples, values: np.ndarray, classes=None) -> pd.DataFrame:
    """Predictions by sample id."""
    columns = ["prediction"] if classes is None else list(classes)
    values = np.asarray(values, dtype=float).reshape(len(samples.labels), len(columns))
    return pd.DataFrame(values, samples.labels.index, columns)


def inner_folds(samples: Samples, number: int, seed: int) -> list[Fold]:
    """Folds of the training samples."""
    return balanced_folds(samples.labels, samples.groups, number, seed + 1)


def mean(training: Samples, held_out: Samples, seed: int) -> pd.DataFrame:
    """The mean of the training samples, or the frequencies of their classes."""
    count = len(held_out.labels)
    if is_regression(training):
        return as_frame(held_out, np.full(count, training.labels.mean()))
    frequencies = training.labels.value_counts(normalize=True).sort_index()
    return as_frame(held_out, np.tile(frequencies, (count, 1)), frequencies.index)


def depth(training: Samples, held_out: Samples, seed: int) -> pd.DataFrame:
    """A forest on nothing but the number of reads."""
    reads = [np.log10(s.depths)[:, None] for s in (training, held_out)]
    return _fitted(_forest(training, "sqrt", seed, leaf=5), training, held_out, *reads)


def forest(training: Samples, held_out: Samples, seed: int) -> pd.DataFrame:
    """A random forest on relative abundances, on all training samples."""
    read = _abundances(training, held_out)
    candidates = {tried: _forest(training, tried, seed) for tried in TRIED}
    folds = inner_folds(training, INNER, seed)
    model = _chosen(candidates, training, folds, _abundances)
    return _fitted(model, training, held_out, *read)


def linear(training: Samples, held_out: Samples, seed: int) -> pd.DataFrame:
    """Ridge or logistic regression on centred log-ratios (CLR)."""
    every_F = prevalent(training.table)
    read = [clr(s.table.counts[:, every_F].toarray()) for s in (training, held_out)]
    centre, scale = read[0].mean(axis=0), read[0].std(axis=0).clip(1e-9)
    read = [(part - centre) / scale for part in read]
    folds = inner_folds(training, 5, seed)
    if is_regression(training):
        model = RidgeCV(STRENGTHS, cv=folds, scoring="neg_mean_absolute_error")
        return _fitted(model, training, held_out, *read)
    known = pd.Series(range(len(read[0])), training.labels.index)

    def rows_of(*parts: Samples) -> list[np.ndarray]:
        return [read[0][known[part.labels.index]] for part in parts]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        candidates = {
            strength: LogisticRegression(C=1 / strength, max_iter=300)
            for strength in STRENGTHS[::2]
        }
        model = _chosen(candidates, training, folds, rows_of)
        return _fitted(model, training, held_out, *read)


OPPONENTS: dict[str, Opponent] = {
    "forest": forest,
    "linear": linear,
    "depth": depth,
    "mean": mean,
}


def prevalent(table: FeatureTable) -> np.ndarray:
    """The features in enough of these samples."""
    seen_F = np.bincount(table.counts.indices, minlength=table.shape[1])
    return np.flatnonzero(seen_F >= max(PREVALENCE * table.shape[0], 1))


def relative(table: FeatureTable) -> sparse.csr_matrix:
    """(N, F) fractions of the reads."""
    return normalize(table.counts.astype(np.float64), norm="l1")


def clr(counts_NF: np.ndarray) -> np.ndarray:
    """Centred log-ratios (Aitchison 1982)."""
    logs = np.log(counts_NF + PSEUDOCOUNT)
    return logs - logs.mean(axis=1, keepdims=True)


def _abundances(training: Samples, asked: Samples) -> list[sparse.csr_matrix]:
    """Relative abundances of the features that the training samples have."""
    every_F = prevalent(training.table)
    return [relative(samples.table)[:, every_F] for samples in (training, asked)]


def _chosen(
    candidates: Mapping[Any, Any],
    training: Samples,
    folds: list[Fold],
    read_of: Callable[[Samples, Samples], list],
) -> Any:
    """The model with the least error over inner folds; one may lack a class."""
    errors = dict.fromkeys(candidates, 0.0)
    for fitted, left_out in folds:
        known, unknown = training.take(fitted), training.take(left_out)
        parts = read_of(known, unknown)
        for name, model in candidates.items():
            found = _fitted(clone(model), known, unknown, *parts)
            errors[name] += error_of(unknown.labels, found).sum()
    return candidates[min(errors, key=errors.get)]


def _forest(samples: Samples, tried: str | float, seed: int, leaf: int = 1):
    kind = RandomForestRegressor if is_regression(samples) else RandomForestClassifier
    return kind(
        TREES, max_features=tried, min_samples_leaf=leaf, random_state=seed, n_jobs=1
    )


def _fitted(model, training: Samples, held_out: Samples, read, asked) -> pd.DataFrame:
    model.fit(read, training.labels.to_numpy())
    if is_regression(training):
        return as_frame(held_out, model.predict(asked))
    return as_frame(held_out, model.predict_proba(asked), model.classes_)
