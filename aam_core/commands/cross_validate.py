"""Repeated, grouped, stratified folds for q2-aam and a random forest alike."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

import aam_core
from aam_core.commands.cross_validation_cells import (
    Cell,
    Given,
    classes_of,
    compute,
    planned,
    table_of,
)
from aam_core.commands.cross_validation_resume import Cells, identity_of
from aam_core.commands.cross_validation_scores import headline
from aam_core.commands.samples import check_sequences
from aam_core.config import CrossValidateConfig
from aam_core.data.missing import with_missing
from aam_core.data.splits import check_groups, group_names, read_groups
from aam_core.data.table import FeatureTable
from aam_core.data.targets import check_learnable, read_target
from aam_core.errors import InputError, RunError, some
from aam_core.io.cross_validation import ALL, NAMES, SCHEMA, CrossValidated
from aam_core.reporting import Log, Report, duration, logger
from aam_core.training.stop import Interrupted, Interruption


def cross_validate(
    config: CrossValidateConfig,
    *,
    task: str,
    column: str,
    table: FeatureTable,
    metadata: pd.DataFrame,
    group_column: str | None = None,
    sequences: Mapping[str, str] | None = None,
    encoder: Path | None = None,
    cells: Path | None = None,
    report: Report = logger.info,
) -> CrossValidated:
    """Predict every sample by models that saw neither it nor its group, repeatedly.

    Of each fold, `train` and a random forest learn from the same samples, all others,
    and predict the same held-out samples, whose labels nothing is fitted to or chosen
    by.

    Parameters
    ----------
    config : CrossValidateConfig
        Options.
    task : {'regression', 'classification'}
        What is predicted.
    column : str
        Column of the metadata that is predicted.
    table, metadata, sequences, encoder
        As for `train`; an encoder is kept as it is. One that was pre-trained on these
        very samples has seen those of each fold, though not their labels.
    group_column : str, optional
        Column whose groups are never divided.
    cells : Path, optional
        Folder of what is computed, fold by fold. A run that finds cells of the same
        input there resumes after them; without it a run that is stopped returns what
        it has.
    report : callable
        Takes sentences for the user: a line for each fold.

    Returns
    -------
    CrossValidated

    Raises
    ------
    InputError
        If the input or an option is wrong, before anything is fitted; if cells are of
        another input; if the run ends before any fold is done.
    """
    given = _given(
        config, task, column, table, metadata, group_column, sequences, encoder, report
    )
    log = Log(report)  # what it keeps goes with the result
    plan = planned(given, log)
    kept = Cells(cells, identity_of(given))
    kept.find(plan)
    _tell_start(given, plan, kept, report)
    reason = _run(plan, given, kept, log, report)
    done = [kept.results[cell.name] for cell in plan if cell.name in kept.results]
    if not done:
        raise InputError(
            f"The run ended before its first fold was done, because {reason}: give it "
            "more time, or choose effort quick."
        )
    if reason is not None:
        log(
            f"Stopped after {len(done):,} of {len(plan):,} fits because {reason}; the "
            "result is marked as not completed."
        )
    elif len(done) < len(plan):
        log(
            f"{len(plan) - len(done):,} of {len(plan):,} fits failed; the result is "
            "marked as not completed."
        )
    predictions = table_of(done, given)
    _tell_lost(predictions, log)
    run = {
        "schema": SCHEMA,
        "version": aam_core.__version__,
        "task": task,
        "column": column,
        "group_column": group_column,
        "classes": classes_of(given),
        "folds": max(cell.fold for cell in plan),
        "repeats": config.repeats,
        "cells": len(plan),
        "done": len(done),
        "completed": len(done) == len(plan),
        "seconds": round(sum(result["seconds"] for result in done), 1),
        "rarefy_depths": sorted({result["rarefy_depth"] for result in done}),
        "notes": log.lines,
        "options": config.to_dict(),
    }
    return CrossValidated(run, predictions)


def _given(
    config: CrossValidateConfig,
    task: str,
    column: str,
    table: FeatureTable,
    metadata: pd.DataFrame,
    group_column: str | None,
    sequences: Mapping[str, str] | None,
    encoder: Path | None,
    report: Report,
) -> Given:
    """The labelled samples, by id so that the order of the table does not matter."""
    check_groups(column, group_column)
    check_sequences(table, sequences)
    metadata = with_missing(metadata, config.missing_scheme)
    target = read_target(metadata, (column,), task, table.sample_ids, report)
    target = target[column].sort_index()
    groups = read_groups(metadata, group_column, target.index, report)
    if groups is not None:
        groups = group_names(target.index.to_numpy(), groups)
    check_learnable(target, groups)
    reads = metadata, group_column, sequences, encoder
    return Given(config, task, column, target, groups, table, *reads)


def _tell_start(
    given: Given, plan: Sequence[Cell], kept: Cells, report: Report
) -> None:
    groups = "" if given.groups is None else f" of {len(set(given.groups)):,} groups"
    report(
        f"{len(given.target):,} samples{groups}: {len(plan):,} fits of q2-aam and a "
        "forest, each to the same training samples."
    )
    if kept.results:
        report(
            f"{len(kept.results):,} of them are done already, and the run resumes "
            "after them."
        )


def _run(
    plan: Sequence[Cell], given: Given, kept: Cells, log: Log, report: Report
) -> str | None:
    """Compute what is not there; why it ended early, if it did."""
    left = [cell for cell in plan if cell.name not in kept.results]
    began, worked = time.monotonic(), 0
    with Interruption(given.config.max_hours) as stop:
        if kept.results:
            stop.learned()
        for number, cell in enumerate(left, start=1):
            try:
                with stop.interruptible():
                    result = compute(cell, given, stop.hours_left)
            except (Interrupted, InputError, RunError) as error:
                if isinstance(error, Interrupted) and stop.reason:
                    return stop.reason
                if not kept.results:
                    raise InputError(f"{_place(cell, given)}: {error}") from None
                log(f"{_place(cell, given)} failed, and is left out: {error}")
                continue
            kept.keep(cell, result)
            stop.learned()
            worked += len(cell.training)
            pace = (time.monotonic() - began) / worked
            ahead = pace * sum(len(c.training) for c in left[number:])
            line = f"{_place(cell, given)}: {headline(result, given.target)}"
            line += f" ({duration(result['seconds'])})."
            report(line + f" About {duration(ahead)} left for all." * bool(ahead))
    return None


def _tell_lost(predictions: pd.DataFrame, log: Log) -> None:
    """Say which samples a method did not predict, and how many reads decide it."""
    every = predictions[predictions["labels"] == ALL]
    for who, name in NAMES.items():
        lost = every.loc[every[f"{who}_predicted"].isna(), "id"].unique()
        if len(lost):
            log(
                f"{len(lost):,} samples are not predicted by {name} in some repeat, "
                "since they have too few reads, and do not count there: "
                f"{some(sorted(lost))}."
            )


def _place(cell: Cell, given: Given) -> str:
    """Which cell of how many."""
    config = given.config
    where = f"Repeat {cell.repeat} of {config.repeats}, fold {cell.fold}"
    return f"{where}, {len(cell.training):,} training samples"
