"""Predictions beside the truth, and beside other predictions of the same samples.

Shapes: N samples, C classes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.bootstrap import (
    FEW,
    Estimate,
    classification_scores,
    compared,
    drawn,
    regression_scores,
)
from aam_core.commands import evaluation_tables as tables
from aam_core.data.categories import label_texts, numeric, tell_categories
from aam_core.data.missing import MISSING_ADVICE, missing_words
from aam_core.data.spelled_numbers import is_number, plain_numbers
from aam_core.errors import InputError, some
from aam_core.reporting import Report, logger

#: Columns of details that are no probabilities.
RELIABILITY = ("reads", "few_reads", "far_fraction")
CHANCE = "by chance"  #: name of the scores without any model


@dataclass(frozen=True, eq=False)
class Predicted:
    """One set of predictions.

    Attributes
    ----------
    name : str
        Who predicted, as the report calls it.
    predictions : pandas.Series
        Numbers or labels by sample id.
    details : pandas.DataFrame, optional
        Probabilities of the classes, or intervals (`…_lower_90`, `…_upper_90`), with
        what tells how far to trust them.
    """

    name: str
    predictions: pd.Series
    details: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """Everything that a report shows of predictions."""

    task: str
    column: str  #: what was predicted
    names: tuple[str, ...]  #: of the sets
    #: by sample id: `true`, `group` where there are some, and for each set (by its
    #: number) `predicted_1`, `error_1` or `right_1`, and what its details say
    samples: pd.DataFrame
    metadata: pd.DataFrame | None  #: of the same samples
    classes: tuple[str, ...]
    scores: dict[str, dict[str, Estimate]]  #: by set, by score; `by chance` among them
    paired: dict[str, dict[str, Estimate]]  #: by score, of the first two sets
    #: of whole groups (or samples, where there are none): how many the first set
    #: predicts better than the second, how many worse, and of how many
    better: tuple[int, int, int] | None
    groups: pd.DataFrame | None  #: one row a group and set: n, mean error
    coverage: dict[str, Estimate]  #: by set: fraction of samples inside of the interval
    curves: pd.DataFrame | None = None  #: ROC and precision-recall, classes
    reliability: pd.DataFrame | None = None  #: accuracy over probability, classes
    confusion: pd.DataFrame | None = None  #: samples of each true and predicted class
    notes: tuple[str, ...] = ()

    @property
    def grouped(self) -> bool:
        """Whether groups are known."""
        return "group" in self.samples


def evaluate(
    predicted: Predicted,
    truth: pd.Series,
    *,
    other: Predicted | None = None,
    groups: pd.Series | None = None,
    metadata: pd.DataFrame | None = None,
    report: Report = logger.info,
) -> Evaluation:
    """Score predictions, and compare them with others of the same samples.

    Parameters
    ----------
    predicted : Predicted
        The predictions.
    truth : pandas.Series
        True values by sample id; those that are missing are left out.
    other : Predicted, optional
        A second set, such as a forest's; scores are of the samples that both have.
    groups : pandas.Series, optional
        Group of each sample, such as its host: intervals are over groups.
    metadata : pandas.DataFrame, optional
        Shown beside each sample.
    report : callable
        Is told what is left out.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If no sample has both, or truth and predictions are of different kinds.
    """
    notes: list[str] = []

    def tell(line: str) -> None:
        notes.append(line)
        report(line)

    sets = [predicted] if other is None else [predicted, other]
    if len({CHANCE, *(one.name for one in sets)}) <= len(sets):
        raise InputError(
            f"The sets of predictions are called {some([one.name for one in sets])}: "
            f"give each a name of its own, other than {CHANCE!r}."
        )
    task = _task(predicted)
    taken = [groups] if task == "regression" else [truth, groups]
    for column in taken:
        if column is not None:
            name = str(column.name)
            tell_categories(column.to_frame(name), [name], column.index, tell)
    if other is not None and _task(other) != task:
        raise InputError(
            f"{predicted.name} are predictions of a {task}, {other.name} of a "
            f"{_task(other)}: compare predictions of the same column."
        )
    true = _true(truth, task)
    ids = _common(sets, true, tell)
    true = true[ids]
    unit = None if groups is None else _groups(groups, ids)
    samples = _samples(sets, true, unit)
    classes, chances = _classes(sets, true)
    raw = [_scores(task, one, true, unit, classes, chances) for one in sets]
    scores = {
        one.name: {name: Estimate.of(values) for name, values in found.items()}
        for one, found in zip(sets, raw, strict=True)
    }
    scores[CHANCE] = _by_chance(task, true)
    _tell_few(len(ids), unit, tell)
    names = tuple(one.name for one in sets)
    shown = {}
    if task == "classification":
        labels = {one.name: label_texts(one.predictions[ids]) for one in sets}
        shown = {
            "curves": tables.curves(chances, true, classes),
            "reliability": tables.reliability(chances, true, classes, unit),
            "confusion": tables.confusion(labels, true, classes),
        }
    return Evaluation(
        task=task,
        column=str(truth.name),
        names=names,
        samples=samples,
        metadata=None if metadata is None else plain_numbers(metadata.reindex(ids)),
        classes=classes,
        scores=scores,
        paired=compared(*raw) if len(raw) == 2 else {},
        better=tables.better(samples) if len(raw) == 2 else None,
        groups=tables.by_group(samples, names),
        coverage=tables.coverage(samples, names, unit),
        notes=tuple(notes),
        **shown,
    )


def as_numbers_or_classes(
    texts: pd.Series, truth: pd.Series, details: pd.DataFrame | None
) -> pd.Series:
    """Predictions that were read as text, as numbers where they are no classes.

    What looks like a number is a class if the probabilities have a column of that name,
    or, where there are no details, if all are labels of a truth that is text.

    Parameters
    ----------
    texts : pandas.Series
        Predictions by sample id, as they are spelled.
    truth : pandas.Series
        True values.
    details : pandas.DataFrame, optional
        Probabilities or intervals.

    Raises
    ------
    InputError
        If it cannot be told, or some predictions of numbers are none.
    """
    found = set(texts.dropna())
    if words := {text for text in found if not is_number(text)}:
        if details is None and numeric(truth) and words < found:
            wrong = texts[texts.isin(words)]
            raise InputError(
                f"Predictions of {truth.name!r}, which holds numbers, are no numbers: "
                f"{some(sorted(words))} (samples {some(wrong.index)}). Correct them."
            )
        return texts
    if details is not None:
        known = set(map(str, details))
    else:
        known = set() if numeric(truth) else set(label_texts(truth).dropna())
    if found <= known:
        return texts
    if details is None and (both := found & known):
        raise InputError(
            f"The predictions may be numbers or classes: {some(sorted(both))} are "
            f"values of {truth.name!r}, which is text, but "
            f"{some(sorted(found - known))} are not. Give their details (probabilities "
            "or intervals), too."
        )
    return texts.astype(float)


def _task(one: Predicted) -> str:
    return "regression" if numeric(one.predictions) else "classification"


def _true(truth: pd.Series, task: str) -> pd.Series:
    """What is known of the truth, as numbers or labels."""
    known = truth[truth.notna()]
    if task == "classification":
        return label_texts(known)
    numbers = pd.to_numeric(known, errors="coerce")
    if (wrong := numbers.isna()).any():
        words = missing_words(known[wrong])
        advice = MISSING_ADVICE if sum(words.values()) == wrong.sum() else ""
        raise InputError(
            f"The predictions are numbers, but {truth.name!r} is not a number for "
            f"{some(known.index[wrong])}: "
            f"{some(sorted(set(known[wrong].astype(str))))}. "
            f"{advice or 'Choose the column that was predicted.'}"
        )
    return numbers.astype(float)


def _common(sets: list[Predicted], true: pd.Series, report: Report) -> pd.Index:
    """Samples that all sets predict and whose truth is known, in the first's order."""
    first = sets[0]
    for one in sets:
        if twice := one.predictions.index[one.predictions.index.duplicated()].tolist():
            raise InputError(
                f"{len(twice):,} samples are more than once among the predictions of "
                f"{one.name}: {some(twice)}."
            )
    ids = first.predictions.index[first.predictions.notna()]
    for one in sets[1:]:
        shared = ids[ids.isin(one.predictions.index[one.predictions.notna()])]
        if len(shared) < len(ids):
            report(
                f"{len(ids) - len(shared):,} of {len(ids):,} samples are not predicted "
                f"by {one.name} and are left out: {some(ids.difference(shared))}."
            )
        ids = shared
    known = ids[ids.isin(true.index)]
    if 0 < len(known) < len(ids):
        report(
            f"{len(ids) - len(known):,} of {len(ids):,} predicted samples have no "
            f"known {true.name!r} and are left out: {some(ids.difference(known))}."
        )
    if len(known) < 2:
        raise InputError(
            f"{len(known)} samples have a prediction and a value of {true.name!r}, but "
            "at least two are needed. The predictions are of "
            f"{some(first.predictions.index)}; values are known of {some(true.index)}."
        )
    return known


def _groups(groups: pd.Series, ids: pd.Index) -> np.ndarray:
    found = label_texts(groups.reindex(ids))
    if (missing := found.isna()).any():
        raise InputError(
            f"{missing.sum():,} samples have no group in {groups.name!r}: "
            f"{some(found.index[missing])}. Add it, or leave the groups out."
        )
    return found.to_numpy(dtype=str)


def _samples(
    sets: list[Predicted], true: pd.Series, unit: np.ndarray | None
) -> pd.DataFrame:
    """One row a sample: truth, group, and what each set says."""
    columns = {"true": true}
    if unit is not None:
        columns["group"] = pd.Series(unit, true.index)
    for number, one in enumerate(sets, start=1):
        columns |= _of_set(one, true, number)
    return pd.DataFrame(columns, true.index).rename_axis("id")


def _of_set(one: Predicted, true: pd.Series, number: int) -> dict[str, pd.Series]:
    values = one.predictions[true.index]
    details = one.details
    if details is not None:
        if lost := true.index.difference(details.index).tolist():
            raise InputError(
                f"The details of {one.name} lack {len(lost):,} of {len(true):,} "
                f"predicted samples: {some(lost)}. Give those that belong to the "
                "predictions."
            )
        details = details.loc[true.index]
    if _task(one) == "classification":
        values = label_texts(values)
        found = {f"predicted_{number}": values}
        found[f"right_{number}"] = (values == true).astype(int)
        if details is not None:
            chances = _chances(details, {*true, *values})
            rows = np.arange(len(true))
            for label, of in (("true", true), ("predicted", values)):
                place = chances.columns.get_indexer(of)
                given = chances.to_numpy()[rows, place.clip(0)]
                given = np.where(place < 0, 0.0, given)
                found[f"probability_of_{label}_{number}"] = pd.Series(given, true.index)
    else:
        found = {f"predicted_{number}": values.astype(float)}
        found[f"error_{number}"] = values - true
        if details is not None:
            for side in ("lower", "upper"):
                if len(column := [c for c in details if f"_{side}_" in str(c)]):
                    found[f"{side}_{number}"] = details[column[0]]
    if details is not None:
        for name in RELIABILITY:
            if name in details and name not in {*true, *values}:
                found[f"{name}_{number}"] = details[name]
    return found


def _chances(details: pd.DataFrame, labels: Collection[str]) -> pd.DataFrame:
    """The columns of details that are probabilities; classes may be called anything."""
    kept = [c for c in details if c not in RELIABILITY or c in labels]
    return details[kept].set_axis([str(c) for c in kept], axis=1).astype(float)


def _classes(
    sets: list[Predicted], true: pd.Series
) -> tuple[tuple[str, ...], tables.Chances]:
    """All classes, and the probabilities of them by each set that has some."""
    if _task(sets[0]) == "regression":
        return (), {}
    labels = [label_texts(one.predictions[true.index]) for one in sets]
    known = set(true).union(*labels)
    found = {}
    for one in sets:
        if one.details is not None:
            found[one.name] = _chances(one.details.loc[true.index], known)
            known |= set(found[one.name].columns)
    classes = sorted(known)
    return tuple(classes), {
        name: chances.reindex(columns=classes, fill_value=0.0).to_numpy()
        for name, chances in found.items()
    }


def _scores(
    task: str,
    one: Predicted,
    true: pd.Series,
    unit: np.ndarray | None,
    classes: tuple[str, ...],
    chances: tables.Chances,
) -> Mapping[str, np.ndarray]:
    """Scores of a set in all draws."""
    values = one.predictions[true.index]
    if task == "regression":
        given = true.to_numpy(), values.to_numpy(dtype=float)

        def score(weights_BN: np.ndarray) -> dict[str, np.ndarray]:
            return regression_scores(*given, weights_BN)
    else:
        labels = true.to_numpy(str), label_texts(values).to_numpy(str)
        own = chances.get(one.name)

        def score(weights_BN: np.ndarray) -> dict[str, np.ndarray]:
            return classification_scores(*labels, weights_BN, own, classes)

    return drawn(score, len(true), unit)


def _by_chance(task: str, true: pd.Series) -> dict[str, Estimate]:
    """What the median, or the commonest class, reaches on these very samples."""
    ones = np.ones((1, len(true)))
    if task == "regression":
        numbers = true.to_numpy()
        constant = np.full(len(numbers), np.median(numbers))
        mean = np.full(len(numbers), numbers.mean())
        found = regression_scores(numbers, constant, ones)
        found |= {"rmse": regression_scores(numbers, mean, ones)["rmse"]}
        found["r2"] = np.zeros(1)
    else:
        labels = true.to_numpy(dtype=str)
        classes, counts = np.unique(labels, return_counts=True)
        constant = np.full(len(labels), classes[counts.argmax()])
        chances = np.tile(counts / counts.sum(), (len(labels), 1))
        found = classification_scores(labels, constant, ones, chances, classes)
    return {n: Estimate(float(v[0]), np.nan, np.nan) for n, v in found.items()}


def _tell_few(number: int, unit: np.ndarray | None, report: Report) -> None:
    kind, independent = "samples", number
    if unit is not None:
        kind, independent = "groups", len(set(unit))
    if independent < FEW:
        report(
            f"Scores of {independent} {kind} prove little: other {kind} may give quite "
            "other ones."
        )
