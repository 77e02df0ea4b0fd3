"""Folder of a cross-validation: predictions out of fold, and how they came to be."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core.errors import InputError, some
from aam_core.io.json_file import read_json
from aam_core.io.model_folder import write_atomically
from aam_core.io.rules import (
    anything,
    choice,
    flag,
    listing,
    mapping,
    record,
    text,
    whole,
)

PREDICTIONS, RUN = "predictions.tsv", "run.json"
SCHEMA = 1
#: First columns of the table; `group` may follow.
HEAD = ("id", "repeat", "fold", "labels", "training", "true")
ALL = "all"  #: in `labels`: all training samples of the fold
#: Who predicted: what the names of their columns start with.
OURS, FOREST = "aam", "forest"
METHODS = (OURS, FOREST)
NAMES = {OURS: "q2-aam", FOREST: "random forest"}  #: of people
#: Columns that are texts, however they look.
TEXTS = {"id": str, "labels": str, "group": str}
#: What `run.json` has to say.
RULES = record(
    {
        "schema": whole(),
        "version": text,
        "task": choice("regression", "classification"),
        "column": text,
        "classes": listing(text, distinct=True),
        "folds": whole(1),
        "repeats": whole(1),
        "cells": whole(),
        "done": whole(),
        "completed": flag,
        "notes": listing(text),
        "options": mapping(anything),
    }
)
FEW_ROWS = 5  #: that a check reads unless it reads all
MOST_DIGITS = 9  #: of a count


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """What a cross-validation found.

    Attributes
    ----------
    run : dict
        Task, column, classes, options, how many cells (fits to a fold) there are and
        are done, whether the run reached its end, and what it left out.
    predictions : pandas.DataFrame
        A row for each sample, repeat and number of labels: `id`, `repeat`, `fold`,
        `labels` (`all`, or the number that was asked for), `training` (samples that
        the models were fitted to), `true`, `group` where there are groups, and for
        each method (`aam`, `forest`) `…_predicted`, with the limits of its interval
        (`…_lower_90`) or the probability of each class (`…_probability_CLASS`).
    """

    run: dict[str, Any]
    predictions: pd.DataFrame


def write_cross_validation(found: CrossValidated, folder: Path) -> None:
    """Write table and run, each whole or not at all."""
    table = found.predictions.to_csv(sep="\t", index=False)
    write_atomically(folder / PREDICTIONS, table.encode())
    write_atomically(folder / RUN, json.dumps(found.run, indent=1).encode())


def read_cross_validation(folder: Path | str) -> CrossValidated:
    """What `write_cross_validation` wrote.

    Raises
    ------
    InputError
        If it is not there, or is something else.
    """
    folder = Path(folder)
    for name in (RUN, PREDICTIONS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}: name a folder that cross-validate wrote."
            )
    run = read_run(folder / RUN)
    check_predictions(folder / PREDICTIONS)
    predictions = read_predictions(folder / PREDICTIONS, run["task"])
    _check_columns(run, predictions)
    return CrossValidated(run, predictions)


def _check_columns(run: Mapping[str, Any], predictions: pd.DataFrame) -> None:
    """Raise unless the table has what the scores of the task are made of."""
    columns = ["true", *(f"{who}_predicted" for who in METHODS)]
    if run["task"] == "classification":
        columns = [f"{w}_probability_{c}" for w in METHODS for c in run["classes"]]
        known = predictions["true"].isin(run["classes"])
        if strange := sorted(set(predictions["true"][~known])):
            raise InputError(
                f"{PREDICTIONS} has the classes {some(strange)}, which {RUN} lacks."
            )
    if lost := [name for name in columns if name not in predictions]:
        raise InputError(f"{PREDICTIONS} lacks the columns {some(lost)}.")
    wrong = [name for name in columns if predictions[name].dtype.kind not in "if"]
    if wrong:
        raise InputError(f"{PREDICTIONS} holds what is no number, in {some(wrong)}.")


def read_run(path: Path | str) -> dict[str, Any]:
    """`run.json`, checked.

    Raises
    ------
    InputError
        If it is not what `cross-validate` writes.
    """
    run = read_json(path)
    try:
        RULES(run, "")
    except InputError as error:
        raise InputError(f"{RUN} is not what cross-validate writes. {error}") from None
    if run["schema"] != SCHEMA:
        raise InputError(
            f"{RUN} is of schema {run['schema']}, but this version reads {SCHEMA}: "
            "use the version of q2-aam that wrote it, or a newer one."
        )
    return run


def is_completed(folder: Path | str) -> bool:
    """Whether the cross-validation in a folder reached its end."""
    path = Path(folder) / RUN
    return path.is_file() and read_run(path)["completed"]


def read_predictions(path: Path | str, task: str) -> pd.DataFrame:
    """The table of predictions; numbers are read as they were written."""
    texts = dict(TEXTS)
    if task == "classification":
        texts |= {"true": str} | {f"{who}_predicted": str for who in METHODS}
    try:
        header = _header(path)
        frame = pd.read_csv(
            path,
            sep="\t",
            dtype=texts,
            keep_default_na=False,
            na_values={
                n: [""] for n in header if n not in ("id", "labels", "true", "group")
            },
            float_precision="round_trip",
        )
    except (ValueError, csv.Error) as error:
        raise _no_table(error) from None
    lost = [n for n in (*HEAD, *(f"{w}_predicted" for w in METHODS)) if n not in frame]
    if lost:
        raise InputError(f"{PREDICTIONS} lacks the columns {some(lost)}.")
    return frame


def _no_table(error: Exception) -> InputError:
    return InputError(
        f"{PREDICTIONS} is not the table that cross-validate writes: {error}"
    )


def _header(path: Path | str) -> list[str]:
    with open(path, newline="", encoding="utf-8") as handle:
        return next(csv.reader(handle, delimiter="\t"), [])


def check_predictions(path: Path | str, level: str = "max") -> None:
    """Check the table of predictions, or its first rows at level `min`.

    Raises
    ------
    InputError
        That names what is wrong, and where.
    """
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            _check_rows(csv.reader(handle, delimiter="\t"), level)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_table(error) from None


def _check_rows(rows: Iterator[list[str]], level: str) -> None:
    header = next(rows, [])
    if tuple(header[: len(HEAD)]) != HEAD:
        raise InputError(
            f"The first columns are {some(header[: len(HEAD)], len(HEAD))}, but "
            f"must be {some(HEAD, len(HEAD))}."
        )
    if lost := [w for w in METHODS if f"{w}_predicted" not in header]:
        raise InputError(f"There are no predictions of {some(lost)}.")
    if len(set(header)) < len(header):
        raise InputError("Two columns have the same name.")
    seen: set[tuple[str, ...]] = set()
    number = 1
    for number, row in enumerate(rows, start=2):
        if level == "min" and number > FEW_ROWS + 1:
            return
        _check_row(header, row, number, seen)
    if number == 1:
        raise InputError("There are no rows below the header.")


def _check_row(
    header: list[str], row: list[str], number: int, seen: set[tuple[str, ...]]
) -> None:
    if len(row) != len(header):
        raise InputError(f"Line {number} has {len(row)} fields, not {len(header)}.")
    cells = dict(zip(header, row, strict=True))
    for name in ("repeat", "fold", "training"):
        if not _is_count(cells[name]):
            raise InputError(f"Line {number}: {name} is {cells[name]!r}, not a count.")
    if cells["labels"] != ALL and not _is_count(cells["labels"]):
        raise InputError(f"Line {number}: labels is {cells['labels']!r}.")
    for name, value in cells.items():
        if ("_lower_" in name or "_upper_" in name or "_probability_" in name) and (
            value and not _is_number(value)
        ):
            raise InputError(f"Line {number}: {name} is {value!r}, not a number.")
    key = (cells["id"], cells["repeat"], cells["labels"])
    if not cells["id"] or key in seen:
        raise InputError(
            f"Line {number}: sample {cells['id']!r} is there twice in repeat "
            f"{cells['repeat']} with labels {cells['labels']}, or has no id."
        )
    seen.add(key)


def _is_count(cell: str) -> bool:
    few = len(cell) <= MOST_DIGITS
    return few and cell.isascii() and cell.isdecimal() and int(cell) > 0


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and bool(np.isfinite(float(cell)))
    except ValueError:
        return False
