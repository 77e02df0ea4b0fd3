"""Cells of a cross-validation: what both methods, on one fold, predict of it."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core.commands.predict import predict
from aam_core.commands.rf_baseline import rf_baseline, samples_of
from aam_core.commands.samples import options_of_training, without_samples
from aam_core.commands.train import train
from aam_core.config import (
    CrossValidateConfig,
    ForestConfig,
    PredictConfig,
    TrainConfig,
)
from aam_core.data.folds import balanced_folds
from aam_core.data.subsets import nested
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError, some
from aam_core.io.cross_validation import ALL, FOREST, OURS
from aam_core.io.model_folder import read_config
from aam_core.reporting import Report, no_progress, silent
from aam_core.training.stop import Interrupted

#: Training samples beyond this fraction of those of a fold are as good as all.
NEARLY_ALL = 0.9


@dataclass(frozen=True, eq=False)
class Given:
    """What all cells of a run read."""

    config: CrossValidateConfig
    task: str
    column: str
    target: pd.Series  #: of the labelled samples, by id
    groups: np.ndarray | None  #: of the same
    table: FeatureTable
    metadata: pd.DataFrame
    group_column: str | None = None
    sequences: Mapping[str, str] | None = None
    encoder: Path | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """Samples to fit to, and those of the fold, which are predicted."""

    repeat: int  #: from 1
    fold: int  #: from 1
    labels: int | None  #: training samples that were asked for; None: all
    seed: int
    training: list[str]
    held_out: list[str]

    @property
    def name(self) -> str:
        """Of its file."""
        name = f"repeat-{self.repeat}-fold-{self.fold}"
        return name if self.labels is None else f"{name}-labels-{self.labels}"


def planned(given: Given, report: Report) -> list[Cell]:
    """All cells: those of all training samples first, then those of ever fewer.

    Raises
    ------
    InputError
        If the samples make no two folds, or some models would have nothing to learn.
    """
    config, target, groups = given.config, given.target, given.groups
    ids, cells = target.index, []
    for repeat in range(1, config.repeats + 1):
        seed = (config.seed + repeat - 1) % 2**32
        folds = balanced_folds(target, groups, config.folds, seed)
        _check_folds(len(folds), given, report if repeat == 1 else silent)
        sizes = labels_of(config.labels, min(len(t) for t, _ in folds))
        if repeat == 1 and (lost := sorted({*config.labels} - {*sizes})):
            report(
                f"labels {some(lost)} are left out: about as many as the training "
                f"samples of a fold, of which the least is "
                f"{min(len(t) for t, _ in folds):,}."
            )
        for fold, (training, held_out) in enumerate(folds, start=1):
            own = None if groups is None else groups[training]
            subsets = nested(target.iloc[training], own, sizes, seed)
            for labels, rows in [(None, np.arange(len(training))), *subsets.items()]:
                sides = ids[training[rows]].tolist(), ids[held_out].tolist()
                cells.append(Cell(repeat, fold, labels, seed, *sides))
    for cell in cells:
        _check_cell(cell, target)
    return sorted(cells, key=lambda c: (-(c.labels or np.inf), c.repeat, c.fold))


def labels_of(labels: Sequence[int], training: int) -> list[int]:
    """The numbers of training samples that are clearly fewer than those of a fold."""
    return sorted({n for n in labels if n < NEARLY_ALL * training}, reverse=True)


def _check_folds(number: int, given: Given, report: Report) -> None:
    asked, groups = given.config.folds, given.groups
    if number < 2:
        of = "" if groups is None else f" in {len(set(groups)):,} group"
        raise InputError(
            f"There are {len(given.target):,} samples with a label{of}, which makes no "
            "two folds: add samples or groups."
        )
    if number < asked:
        report(
            f"{number} folds are made instead of {asked} (folds): there are no more "
            "groups or samples."
        )


def _check_cell(cell: Cell, target: pd.Series) -> None:
    known = target[cell.training]
    if known.nunique() < 2:
        what = f"labels {cell.labels}" if cell.labels else "all of them"
        raise InputError(
            f"The {len(known):,} training samples of repeat {cell.repeat}, fold "
            f"{cell.fold} ({what}) all have the value {known.iloc[0]!r} of "
            f"{target.name!r}, from which nothing is learned: raise labels, set fewer "
            "folds, or add samples."
        )


def compute(cell: Cell, given: Given, hours: float | None = None) -> dict[str, Any]:
    """Fit both methods to the training samples, and predict those of the fold.

    Nothing is fitted to, or chosen by, what is held out: q2-aam reads the training
    samples alone, the depth of a rarefaction is chosen by them, and the forest takes
    it over.

    Parameters
    ----------
    cell : Cell
        Samples.
    given : Given
        What is read.
    hours : float, optional
        Most hours that training may take.

    Raises
    ------
    Interrupted
        If training ended early.
    """
    config = replace(given.config, seed=cell.seed)
    encoder, reads = given.encoder, {"sequences": given.sequences}
    options = options_of_training(
        config, given.column, given.task, given.group_column, encoder
    )
    if hours is not None:
        options["max_hours"] = max(hours, 1e-6)
    started, said = time.perf_counter(), []
    known, new = (_of(given.table, ids) for ids in (cell.training, cell.held_out))
    with tempfile.TemporaryDirectory() as folder, no_progress():
        model = Path(folder) / "model"
        train(
            TrainConfig(**options),
            model,
            table=known,
            metadata=without_samples(given.metadata, cell.held_out),
            encoder=encoder,
            report=said.append,
            **reads,
        )
        saved = read_config(model)
        if not saved["completed"]:
            raise Interrupted(f"training stopped because {saved['stopped']}")
        use = PredictConfig(device=config.device, missing_features="drop")
        ours = predict(use, model, table=new, report=said.append, **reads)
    depth = saved["options"]["rarefy_depth"]
    forest = rf_baseline(
        ForestConfig(
            metadata_column=(given.column,),
            task=given.task,
            rarefy_depth=depth,
            seed=cell.seed,
        ),
        table=given.table,
        metadata=given.metadata,
        training=samples_of(saved["split"], "others")["training"],
        validation=new.sample_ids[new.depths >= max(depth, 1)].tolist(),
        report=silent,
    )
    details = given.column, ours.details, ours.predictions
    return {
        "repeat": cell.repeat,
        "fold": cell.fold,
        "labels": cell.labels,
        "training": cell.training,
        "held_out": cell.held_out,
        "rarefy_depth": depth,
        "seconds": round(time.perf_counter() - started, 1),
        "said": said,
        OURS: _plain(_columns(*details, given.task)),
        FOREST: _plain(
            _columns(given.column, forest.probabilities, forest.predictions, given.task)
        ),
    }


def _of(table: FeatureTable, ids: Sequence[str]) -> FeatureTable:
    """Some samples, and the features that they have."""
    rows = np.flatnonzero(np.isin(table.sample_ids, list(ids)))
    taken = table.take_samples(rows)
    return taken.take_features(np.unique(taken.counts.nonzero()[1]))


def _columns(
    column: str, details: pd.DataFrame | None, predictions: pd.DataFrame, task: str
) -> pd.DataFrame:
    """Prediction, and limits of intervals or probabilities, by sample id."""
    found = predictions[[column]].set_axis(["predicted"], axis=1)
    if task == "classification":
        return found.join(details.add_prefix("probability_"))
    if details is not None:
        limits = details.rename(columns=lambda name: name.removeprefix(f"{column}_"))
        found = found.join(limits.filter(regex=r"^(lower|upper)_\d+$"))
    return found.astype(float)


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON values."""
    return {
        "ids": list(map(str, frame.index)),
        "columns": {
            str(name): [None if pd.isna(v) else v for v in frame[name].tolist()]
            for name in frame
        },
    }


def table_of(results: Sequence[Mapping[str, Any]], given: Given) -> pd.DataFrame:
    """The long table of predictions of all cells that are computed."""
    groups = None
    if given.groups is not None:
        groups = pd.Series(given.groups, given.target.index)
    parts = []
    for result in results:
        ids = result["held_out"]
        head = {
            "id": ids,
            "repeat": result["repeat"],
            "fold": result["fold"],
            "labels": ALL if result["labels"] is None else str(result["labels"]),
            "training": len(result["training"]),
            "true": given.target[ids].tolist(),
        }
        if groups is not None:
            head["group"] = groups[ids].tolist()
        part = pd.DataFrame(head)
        for who in (OURS, FOREST):
            frame = pd.DataFrame(result[who]["columns"], result[who]["ids"])
            own = frame.reindex(ids).add_prefix(f"{who}_").set_axis(part.index)
            part = part.join(own)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    # a class that the training samples of a fold lack has no probability there
    for who in (OURS, FOREST):
        known = table[f"{who}_predicted"].notna()
        for label in classes_of(given):
            name = f"{who}_probability_{label}"
            if name not in table:
                table[name] = np.nan
            table.loc[known, name] = table.loc[known, name].fillna(0.0)
    first = [name for name in table if not name.startswith((OURS, FOREST))]
    rest = [n for who in (OURS, FOREST) for n in table if n.startswith(f"{who}_")]
    return table[first + rest]


def classes_of(given: Given) -> list[str]:
    """All classes, sorted; none of numbers."""
    return sorted(set(given.target)) if given.task == "classification" else []
