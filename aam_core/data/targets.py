"""Targets, as they are read from the sample metadata."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aam_core.config import MetadataOptions
from aam_core.data.categories import (
    label_texts,
    listed,
    numeric,
    require_columns,
    tell_categories,
)
from aam_core.data.missing import (
    MISSING_ADVICE,
    is_missing_word,
    missing_words,
    tell_misread,
)
from aam_core.data.spelled_numbers import is_number
from aam_core.errors import InputError, some
from aam_core.reporting import Report

#: Targets beyond have squares, and sums of these, that a number cannot hold.
LARGEST = 1e100
#: Words among numbers are mistakes where they are fewer than this share of the numbers,
#: and the column has more different numbers than codes of classes mostly have.
FEW_WORDS, MOST_CODES = 0.25, 5
#: Classes that are named, with the number of their samples.
SHOWN_CLASSES = 20


def read_target(
    metadata: pd.DataFrame,
    columns: Sequence[str],
    task: str,
    sample_ids: Sequence[str],
    report: Report,
) -> pd.DataFrame:
    """Read what is to be predicted.

    Parameters
    ----------
    metadata : pandas.DataFrame
        Sample metadata, indexed by sample id.
    columns : sequence of str
        Target columns.
    task : {"regression", "classification"}
        Whether the values are numbers or classes.
    sample_ids : sequence of str
        Samples of the feature table.
    report : callable
        Is told of the samples that are left out.

    Returns
    -------
    pandas.DataFrame
        The labelled samples: those of `sample_ids`, in that order, that have a value
        in every column. Values are float64 (regression) or str (classification).

    Raises
    ------
    InputError
        If a column is missing, is not numeric or infinite (regression) or holds a
        single value, or if fewer than two samples are labelled.
    """
    target = labelled_target(metadata, columns, task, sample_ids, report)
    for name in columns:
        if target[name].nunique() == 1:
            raise InputError(
                f"Column {name!r} has the value {target[name].tolist()[0]!r} in all "
                f"{len(target):,} labelled samples, so there is nothing to predict: "
                "choose another column."
            )
    tell_misread("Sample ids", target.index, report)
    if task == "classification":
        _tell_classes(target, report)
    return target


def _tell_classes(target: pd.DataFrame, report: Report) -> None:
    for name, labels in target.items():
        counts = labels.value_counts().sort_index().to_dict()
        report(f"{len(counts):,} classes of {name!r}: {listed(counts, SHOWN_CLASSES)}.")
        tell_misread(f"Classes of {name!r}", counts, report)


def check_learnable(target: pd.Series, groups: Sequence[str] | None) -> None:
    """Refuse classes of which none can be both learned and predicted.

    Parameters
    ----------
    target : pandas.Series
        Labels of the samples; numbers are not looked at.
    groups : sequence of str, optional
        Group of each, in the same order.

    Raises
    ------
    InputError
        If each sample has a class of its own, or each class is in one group only.
    """
    if pd.api.types.is_numeric_dtype(target):
        return
    name, classes = target.name, target.nunique()
    if classes == len(target):
        raise InputError(
            f"Each of the {len(target):,} labelled samples has a class of its own in "
            f"{name!r} ({some(target)}), so nothing can be learned: choose another "
            "column, or a regression if it holds numbers."
        )
    if groups is not None:
        where = pd.Series(list(groups), target.index).groupby(target).nunique()
        if (where == 1).all():
            raise InputError(
                f"Each of the {classes:,} classes of {name!r} is in one group only "
                f"({some(where.index)}), so that no class can be learned from other "
                "groups: leave group_column out, or choose another column."
            )


def labelled_target(
    metadata: pd.DataFrame,
    columns: Sequence[str],
    task: str,
    sample_ids: Sequence[str],
    report: Report,
) -> pd.DataFrame:
    """Read the true values of samples; see `read_target`, but they may be all alike."""
    assert task in ("regression", "classification"), task
    require_columns(metadata, columns)
    known = [i for i in sample_ids if i in metadata.index]
    _report_left_out(report, "are not in the metadata", sample_ids, known)
    chosen = metadata.loc[known, list(columns)]
    labelled = chosen[chosen.notna().all(axis=1)]
    _report_left_out(report, f"have no value in {some(columns)}", known, labelled.index)
    if len(labelled) < 2:
        ids = (
            f" The samples of the table are {some(sample_ids)}; those of the metadata "
            f"are {some(metadata.index)}."
        )
        raise InputError(
            f"{len(labelled)} of {len(sample_ids):,} samples have a value in "
            f"{some(columns)}, but at least two are needed.{ids * (not known)}"
        )
    if task == "classification":
        tell_categories(labelled, columns, labelled.index, report)
    read = _numbers if task == "regression" else label_texts
    return pd.DataFrame({name: read(labelled[name]) for name in columns})


def task_of_column(
    metadata: pd.DataFrame,
    column: str,
    missing_scheme: str = MetadataOptions.missing_scheme,
) -> str:
    """Regression where a column holds numbers, else classification.

    Raises
    ------
    InputError
        If there is no such column, or it holds numbers but for words that mean
        missing and that `missing_scheme` does not take so, or but for few words.
    """
    require_columns(metadata, [column])
    values = metadata[column].dropna()
    if numeric(values):
        return "regression"
    is_word = ~values.astype(str).map(is_number)
    words, numbers = values[is_word], values[~is_word]
    if words.empty or numbers.empty:
        return "classification"
    if not words.map(is_missing_word).all():
        _refuse_few_words(words, numbers)
        return "classification"
    if missing_scheme == "blank":
        _refuse_missing_words(words)
    return "regression"


def _report_left_out(
    report: Report,
    reason: str,
    before: Sequence[str],
    after: Sequence[str],
) -> None:
    kept = set(after)
    if lost := [i for i in before if i not in kept]:
        report(
            f"{len(lost):,} of {len(before):,} samples {reason} and are left out: "
            f"{some(lost)}."
        )


def _numbers(values: pd.Series) -> pd.Series:
    """The column as float64; numbers that were read as text are numbers, too."""
    if pd.api.types.is_bool_dtype(values):
        values = values.astype(str)
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    if (wrong := numbers.isna()).any():
        _refuse_missing_words(values[wrong])
        raise InputError(
            f"Column {values.name!r} is not numeric: it holds "
            f"{some(sorted(set(values[wrong].astype(str))))} (samples "
            f"{some(values.index[wrong])}). Set task to classification to predict "
            "classes, or name a numeric column."
        )
    if (wrong := np.isinf(numbers)).any():
        raise InputError(
            f"Column {values.name!r} is infinite in {wrong.sum():,} samples: "
            f"{some(values.index[wrong])}. Correct these values or leave them empty."
        )
    if (wrong := numbers.abs() > LARGEST).any():
        raise InputError(
            f"Column {values.name!r} holds {some(numbers[wrong].tolist())} (samples "
            f"{some(values.index[wrong])}): numbers beyond {LARGEST:g} overflow when "
            "they are squared. Correct them, give the column in another unit, or leave "
            "them empty."
        )
    return numbers


def _refuse_few_words(words: pd.Series, numbers: pd.Series) -> None:
    """Many different numbers and few words are no classes: the words are mistakes."""
    if len(words) < FEW_WORDS * len(numbers) and numbers.nunique() > MOST_CODES:
        kinds = words.astype(str).value_counts().to_dict()
        raise InputError(
            f"Column {words.name!r} holds numbers, and {listed(kinds)}: samples "
            f"{some(words.index)}. Correct these cells, or leave them empty. To "
            "predict classes, set task to classification."
        )


def _refuse_missing_words(wrong: pd.Series) -> None:
    """Say what to do where all that is no number, stands for a missing value."""
    words = missing_words(wrong)
    if sum(words.values()) == len(wrong):
        raise InputError(
            f"Column {wrong.name!r} holds numbers, and {listed(words)}: samples "
            f"{some(wrong.index)}. {MISSING_ADVICE} To predict them as classes, set "
            "task to classification."
        )
