"""What predicts a target without any microbe: the number of reads, or a batch.

Where depth alone tells the target, a model that reads all reads may have learned the
sequencing and not the community; the same holds for the plate or the run of a sample.

Shapes: N samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from aam_core.bootstrap import error_ratio
from aam_core.data.categories import label_texts, require_columns, tell_categories
from aam_core.data.folds import balanced_folds
from aam_core.metrics import LEAST_PROBABILITY
from aam_core.reporting import Report, silent

FOLDS, TREES = 5, 100
#: Samples that are looked at.
MOST = 2_000
#: Fewest samples of a leaf: nothing of a single sample is learned.
LEAF = 5
#: Predicts the target, if the error is below this times that of chance, with the upper
#: limit of its interval below 1.
TELLING = 0.8


@dataclass(frozen=True)
class Shortcut:
    """How well something predicts a target alone, in samples of other groups.

    Attributes
    ----------
    ratio, low, high : float
        Error over that of the mean (or of the frequencies of classes), with a 95 %
        interval over groups. Absolute error, or log loss.
    score, chance : float
        Mean absolute error, or accuracy, and what is reached by chance.
    """

    ratio: float
    low: float
    high: float
    score: float
    chance: float

    @property
    def telling(self) -> bool:
        """Whether it gives the target away."""
        return self.ratio < TELLING and self.high < 1


def alone(
    inputs: np.ndarray,
    target: Sequence | np.ndarray,
    groups: np.ndarray | None,
    seed: int,
) -> Shortcut | None:
    """Predict a target from something else, in folds that divide no group.

    Parameters
    ----------
    inputs : numpy.ndarray
        (N,) numbers, such as log reads, or texts, such as the run.
    target : sequence
        (N,) numbers or classes (str).
    groups : numpy.ndarray, optional
        (N,) groups.
    seed : int
        Of folds and forest.

    Returns
    -------
    Shortcut or None
        None where there are too few samples to tell.
    """
    target = pd.Series(target)
    some = np.arange(len(target))
    if len(target) > MOST:
        some = np.sort(np.random.default_rng(seed).permutation(some)[:MOST])
    target = target.iloc[some].reset_index(drop=True)
    groups = None if groups is None else groups[some]
    read = _columns(pd.Series(np.asarray(inputs)[some]))
    if len(target) < 4 * LEAF or target.nunique() < 2:
        return None
    errors, chance = np.zeros(len(target)), np.zeros(len(target))
    hits, guesses = np.zeros(len(target)), np.zeros(len(target))
    numeric = pd.api.types.is_numeric_dtype(target)
    measure = _numbers if numeric else _classes
    for fitted, left_out in balanced_folds(target, groups, FOLDS, seed):
        found = measure(read, target, fitted, left_out, seed)
        errors[left_out], chance[left_out], hits[left_out], guesses[left_out] = found
    if not chance.any():
        return None
    limits = error_ratio(errors, chance, groups, seed)
    if numeric:
        return Shortcut(*limits, float(errors.mean()), float(chance.mean()))
    return Shortcut(*limits, float(hits.mean()), float(guesses.mean()))


def _columns(inputs: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(inputs):
        return inputs.to_numpy(float)[:, None]
    return pd.get_dummies(inputs).to_numpy(float)


def _numbers(read, target, fitted, left_out, seed):
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1
    )
    true = target.to_numpy(float)
    found = forest.fit(read[fitted], true[fitted]).predict(read[left_out])
    errors = np.abs(found - true[left_out])
    chance = np.abs(np.median(true[fitted]) - true[left_out])
    return errors, chance, errors, chance


def _classes(read, target, fitted, left_out, seed):
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1
    )
    forest.fit(read[fitted], target[fitted])
    found = pd.DataFrame(forest.predict_proba(read[left_out]), columns=forest.classes_)
    frequencies = target[fitted].value_counts(normalize=True)
    guess = pd.DataFrame([frequencies] * len(left_out)).reset_index(drop=True)
    true = target[left_out].to_numpy()
    results = []
    for chances in (found, guess):
        chances = chances.reindex(columns=sorted(set(target)), fill_value=0.0)
        chances = chances.clip(lower=LEAST_PROBABILITY)
        of_true = chances.to_numpy()[
            np.arange(len(true)), chances.columns.get_indexer(true)
        ]
        results.append((-np.log(of_true), chances.idxmax(axis=1).to_numpy() == true))
    (errors, hits), (chance, guesses) = results
    return errors, chance, hits, guesses


def choose_depth(
    given: int | None,
    depths_N: np.ndarray,
    target: pd.Series,
    groups: np.ndarray | None,
    seed: int,
    report: Report,
) -> int:
    """The rarefaction depth; 0 keeps all reads.

    Parameters
    ----------
    given : int or None
        What the user chose.
    depths_N : numpy.ndarray
        Reads of the samples.
    target : pandas.Series
        (N,) numbers or classes.
    groups : numpy.ndarray, optional
        (N,) groups.
    seed : int
        Of the folds.
    report : callable
        Is told where the number of reads alone predicts the target.
    """
    if given or (given == 0 and report is silent):  # nothing to choose, or to tell
        return given
    read = np.log10(np.maximum(depths_N, 1))
    found = alone(read, target, groups, seed)
    if found is None or not found.telling:
        return 0
    told = (
        f"The number of reads alone predicts {target.name!r} ({_shown(found, target)})"
    )
    if given == 0:
        report(
            f"{told}: what a model learns from all reads may be the sequencing. Leave "
            "rarefy_depth out to rarefy to a common depth."
        )
        return 0
    depth = common_depth(depths_N, target)
    lost = int((depths_N < depth).sum())
    report(
        f"{told}, so that a model of all reads may learn the sequencing. Samples are "
        f"rarefied to {depth:,} reads, which {lost:,} of {len(target):,} do not have; "
        "rarefy_depth decides otherwise (0: all reads)."
    )
    return depth


def common_depth(depths_N: np.ndarray, target: pd.Series) -> int:
    """The depth that nine of ten samples of every class (or quarter) reach.

    Rounded down to two digits.
    """
    strata = target
    if pd.api.types.is_numeric_dtype(target):
        strata = pd.qcut(target.rank(method="first"), 4, labels=False)
    least = pd.Series(depths_N).groupby(np.asarray(strata)).quantile(0.1).min()
    step = 10 ** max(int(np.log10(max(least, 1))) - 1, 0)
    return max(int(least // step * step), 1)


def tell_batches(
    columns: Sequence[str],
    metadata: pd.DataFrame,
    ids: Sequence[str],
    target: pd.Series,
    groups: np.ndarray | None,
    seed: int,
    report: Report,
) -> None:
    """Tell which of the columns predict the target alone.

    Parameters
    ----------
    columns : sequence of str
        Of the metadata; a sample without a value is one of the batch ''.
    metadata : pandas.DataFrame
        Sample metadata.
    ids : sequence of str
        N samples.
    target, groups, seed
        As for `choose_depth`.
    report : callable
        Takes sentences for the user.
    """
    require_columns(metadata, list(columns))
    tell_categories(metadata, columns, ids, report)
    for column in columns:
        batch = label_texts(metadata.reindex(list(ids))[column]).fillna("")
        found = alone(batch.to_numpy(dtype=str), target, groups, seed)
        if found is None:
            continue
        if found.telling:
            report(
                f"Column {column!r} alone predicts {target.name!r} "
                f"({_shown(found, target)}): a model that tells its batches apart "
                "needs no microbe. Compare within batches, or name the column as "
                "group_column, so that scores are those of new batches."
            )
        else:
            report(
                f"Column {column!r} alone does not predict {target.name!r} "
                f"({_shown(found, target)})."
            )


def _shown(found: Shortcut, target: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(target):
        return (
            f"mean error {found.score:.3g} in samples that were left out, of the "
            f"median {found.chance:.3g}"
        )
    return (
        f"accuracy {found.score:.2f} in samples that were left out, of the most "
        f"frequent class {found.chance:.2f}"
    )
