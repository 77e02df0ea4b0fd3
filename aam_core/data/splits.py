"""Which samples are for training, and which for validation."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from aam_core.data.categories import label_texts, require_columns, tell_categories
from aam_core.errors import InputError, some
from aam_core.reporting import Report, silent

LEAST_TRAINING = 2

#: Draws of whole groups before a split with enough samples is given up.
GROUP_DRAWS = 100


def read_groups(
    metadata: pd.DataFrame,
    column: str | None,
    sample_ids: Sequence[str],
    report: Report = silent,
) -> list | None:
    """Read the groups that a split must not divide.

    Parameters
    ----------
    metadata : pandas.DataFrame
        Sample metadata.
    column : str or None
        Column of the groups.
    sample_ids : sequence of str
        Samples, in the order of the result.
    report : callable
        Is told of numbers and of missing words that are taken as groups.

    Returns
    -------
    list or None
        Labels, NaN where there is none; None without a column.
    """
    if column is None:
        return None
    require_columns(metadata, [column])
    tell_categories(metadata, [column], sample_ids, report)
    return label_texts(metadata.reindex(list(sample_ids))[column]).tolist()


def check_groups(column: str, group_column: str | None) -> None:
    """Refuse groups that are what is to be predicted.

    Raises
    ------
    InputError
        If both are the same column.
    """
    if group_column == column:
        raise InputError(
            f"The groups are the column {column!r} that is to be predicted: name "
            "another column, or leave the groups out."
        )


def split(
    sample_ids: Sequence[str],
    test_size: float,
    seed: int,
    *,
    labels: Sequence[str] | None = None,
    groups: Sequence | None = None,
    least: int = 1,
    report: Report = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide samples into training and validation.

    The outcome for a sample does not depend on the order of the samples.

    Parameters
    ----------
    sample_ids : sequence of str
        Samples, each once.
    test_size : float
        Fraction of the samples (with `groups`: of the groups) kept for validation,
        rounded up.
    seed : int
        Seed of the draw.
    labels : sequence of str, optional
        Classes; each is divided in the same proportion where that can be done.
    groups : sequence, optional
        Groups that stay together; they take precedence over `labels`.
    least : int
        Fewest validation samples; a smaller fraction is raised to it.
    report : callable
        Is told where the split could not be made as asked.

    Returns
    -------
    training, validation : numpy.ndarray
        Sorted positions in `sample_ids`, int64.

    Raises
    ------
    InputError
        If fewer than two samples would be left for training or `least` for
        validation, or if a sample has no group.
    """
    ids = np.array(sample_ids, dtype=object)
    assert len(set(ids)) == len(ids)
    order = np.argsort(ids)
    if len(ids) < LEAST_TRAINING + least:
        raise InputError(
            f"{LEAST_TRAINING + least} samples to learn from are the least, "
            f"{LEAST_TRAINING} for training and {least} for validation, but there "
            f"are {len(ids)}: label more samples."
        )
    if groups is not None:
        sides = _by_group(ids[order], _take(groups, order), test_size, seed, least)
    else:
        classes = None if labels is None else _take(labels, order)
        sides = _by_sample(len(ids), classes, test_size, seed, least, report)
    training, validation = (np.sort(order[side]).astype(np.int64) for side in sides)
    return training, validation


def _take(values: Sequence, order: np.ndarray) -> list:
    assert len(values) == len(order)
    return [values[i] for i in order]


def _by_sample(
    number: int,
    labels: list | None,
    test_size: float,
    seed: int,
    least: int,
    report: Report,
) -> tuple[np.ndarray, np.ndarray]:
    kept_back = max(math.ceil(test_size * number), least)
    left = max(number - kept_back, 0)
    if left < LEAST_TRAINING:
        raise InputError(
            f"test_size {test_size} keeps {kept_back:,} of {number:,} samples for "
            f"validation and leaves {left} for training; at least {LEAST_TRAINING} are "
            "needed: lower test_size, or add samples."
        )
    if labels is not None and (why := _unbalanced(labels, kept_back)):
        report(f"The split does not keep the fractions of the classes: {why}.")
        labels = None
    return train_test_split(
        np.arange(number), test_size=kept_back, random_state=seed, stratify=labels
    )


def _unbalanced(labels: list, kept_back: int) -> str:
    """Why the labels cannot be stratified; empty where they can."""
    classes, sizes = np.unique(np.array(labels, dtype=str), return_counts=True)
    if (sizes < 2).any():
        return f"only one sample is of class {some(classes[sizes < 2])}"
    if min(kept_back, len(labels) - kept_back) < len(classes):
        return (
            f"{len(classes):,} classes do not fit into {kept_back:,} validation and "
            f"{len(labels) - kept_back:,} training samples"
        )
    return ""


def group_names(ids: np.ndarray, groups: Sequence) -> np.ndarray:
    """The groups of samples as texts.

    Raises
    ------
    InputError
        If a sample has none.
    """
    missing = np.array([pd.isna(group) for group in groups], dtype=bool)
    if missing.any():
        raise InputError(
            f"{missing.sum():,} samples have no value in the group_column: "
            f"{some(ids[missing])}. Add the values, or split without group_column."
        )
    return np.array([str(group) for group in groups])


def _by_group(
    ids: np.ndarray, groups: list, test_size: float, seed: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    names = group_names(ids, groups)
    number = len(set(names))
    kept_back = math.ceil(test_size * number)
    if 0 < kept_back < number:
        draws = GroupShuffleSplit(GROUP_DRAWS, test_size=kept_back, random_state=seed)
        for training, validation in draws.split(ids, groups=names):
            if len(training) >= LEAST_TRAINING and len(validation) >= least:
                return training, validation
    raise InputError(
        f"test_size {test_size} keeps {kept_back:,} of the {number:,} groups of the "
        f"group_column for validation ({len(ids):,} samples in all); no split leaves "
        f"{LEAST_TRAINING} samples for training and {least} for validation: change "
        "test_size, or split without group_column."
    )
