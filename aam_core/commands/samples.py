"""The front door: from a table and a column to predictions, comparison and report."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core.commands.comparison import beside_forest
from aam_core.commands.evaluate import Evaluation
from aam_core.commands.explain import Explanation, explain
from aam_core.commands.predict import predict
from aam_core.commands.rf_baseline import ForestResult
from aam_core.commands.train import train
from aam_core.config import (
    CrossValidateConfig,
    ExplainConfig,
    PredictConfig,
    SamplesConfig,
    TrainConfig,
)
from aam_core.config.effort import EXPLAINED, EXPLAINED_IF_STOPPED
from aam_core.data.sequences import match_sequences
from aam_core.data.splits import check_groups, read_groups, split
from aam_core.data.table import FeatureTable
from aam_core.data.target_decoder import Predictions
from aam_core.data.targets import read_target
from aam_core.errors import InputError, some
from aam_core.io.model_folder import is_completed
from aam_core.reporting import Once, Report, logger, silent

#: Fraction of the reads whose features may lack a sequence; it is told.
MOST_WITHOUT_SEQUENCE = 0.05


@dataclass(frozen=True, eq=False)
class SamplesResult:
    """What `classify` and `regress` leave beside the model."""

    ours: Predictions  #: out of fold, or of the samples that were held out
    forest: ForestResult  #: of the same samples
    evaluation: Evaluation
    explanation: Explanation  #: of some of the same samples
    held_out: tuple[str, ...]  #: empty if all were predicted out of fold


def predict_samples(
    config: SamplesConfig,
    output: Path,
    *,
    task: str,
    column: str,
    table: FeatureTable,
    metadata: pd.DataFrame,
    group_column: str | None = None,
    sequences: Mapping[str, str] | None = None,
    encoder: Path | None = None,
    state: Path | None = None,
    resume_from: Path | None = None,
    keep_state: bool = False,
    report: Report = logger.info,
) -> SamplesResult:
    """Fit a model and a forest, predict what neither was fitted to, and compare.

    Parameters
    ----------
    config : SamplesConfig
        Options.
    output : Path
        Directory for the model; it must be empty or not exist.
    task : {'regression', 'classification'}
        What is predicted.
    column : str
        Column of the metadata that is predicted.
    table, metadata, sequences, encoder, state, resume_from, keep_state
        As for `train`; an encoder is kept as it is.
    group_column : str, optional
        Column whose groups are never divided.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    SamplesResult

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    """
    report = Once(report)
    check_groups(column, group_column)
    check_sequences(table, sequences)
    held_out = held_out_samples(
        config, table.sample_ids, metadata, column, task, group_column, report
    )
    options = options_of_training(config, column, task, group_column, encoder)
    ours = train(
        TrainConfig(**options),
        output,
        table=table,
        metadata=without_samples(metadata, held_out),
        sequences=sequences,
        encoder=encoder,
        state=state,
        resume_from=resume_from,
        keep_state=keep_state,
        report=report,
    )
    if held_out:
        use = PredictConfig(device=config.device, missing_features="drop")
        new = _rows_of(table, held_out)
        ours = predict(use, output, table=new, sequences=sequences, report=report)
    forest, found = beside_forest(
        output,
        ours,
        held_out="others" if held_out else "folds",
        table=table,
        metadata=metadata,
        report=report,
    )
    why = explain(
        ExplainConfig(**options_of_explanation(config, ours.predictions.index, output)),
        output,
        table=_rows_of(table, labelled(metadata[column])),
        sequences=sequences,
        report=report,
    )
    return SamplesResult(ours, forest, found, why, tuple(held_out))


def check_sequences(table: FeatureTable, sequences: Mapping[str, str] | None) -> None:
    """Refuse sequences of another table; a few reads without any are left out.

    Raises
    ------
    InputError
        If more than `MOST_WITHOUT_SEQUENCE` of the reads are in features without one.
    """
    found = match_sequences(table.feature_ids, sequences)
    lacks = np.array([sequence is None for sequence in found])
    reads = np.asarray(table.counts.sum(axis=0)).ravel()
    fraction = reads[lacks].sum() / max(reads.sum(), 1)
    if fraction > MOST_WITHOUT_SEQUENCE:
        raise InputError(
            f"{lacks.sum():,} of {len(lacks):,} features ({fraction:.1%} of the reads) "
            f"have no sequence: {some(table.feature_ids[lacks])}. Give the sequences "
            "that belong to the table, or filter the table to features that have one."
        )


def held_out_samples(
    config: SamplesConfig,
    sample_ids: np.ndarray,
    metadata: pd.DataFrame,
    column: str,
    task: str,
    group_column: str | None,
    report: Report,
) -> list[str]:
    """The samples that are held out from everything; none where test_size is 0."""
    if not config.test_size:
        return []
    target = read_target(metadata, (column,), task, sample_ids, silent)
    ids = target.index
    training, held_out = split(
        list(ids),
        config.test_size,
        config.seed,
        labels=target[column].tolist() if task == "classification" else None,
        groups=read_groups(metadata, group_column, ids),
        report=report,
    )
    report(
        f"{len(held_out):,} of {len(ids):,} samples are held out (test_size) and score "
        f"the model, which is fitted to the other {len(training):,}."
    )
    return ids[held_out].tolist()


def without_samples(metadata: pd.DataFrame, held_out: list[str]) -> pd.DataFrame:
    """Metadata that know nothing of some samples."""
    return metadata.drop(index=held_out)


def options_of_training(
    config: SamplesConfig | CrossValidateConfig,
    column: str,
    task: str,
    group_column: str | None,
    encoder: Any = None,
) -> dict[str, Any]:
    """The options of `train` where all that is not said is at its default.

    An encoder that the user brings is kept as it is, since to train it as well would
    take most of the time of a run.
    """
    return {
        "metadata_column": (column,),
        "task": task,
        "group_column": group_column,
        "rarefy_depth": config.rarefy_depth,
        "effort": config.effort,
        "seed": config.seed,
        "device": config.device,
        "freeze_base": encoder is not None,
        "missing_features": "drop",
    }


def labelled(column: pd.Series) -> list[str]:
    """The samples that have a value; those to explain are compared with these."""
    return column.dropna().index.tolist()


def options_of_explanation(
    config: SamplesConfig, predicted: Collection[str], model: Path
) -> dict[str, Any]:
    """The options of `explain`: some of what was predicted, how many by effort.

    Few where training was stopped: what asked it to end may not wait for more.
    """
    number = EXPLAINED[config.effort]
    if not is_completed(model):
        number = min(number, EXPLAINED_IF_STOPPED)
    ids = np.array(sorted(predicted), dtype=object)
    drawn = np.random.default_rng(config.seed).permutation(len(ids))
    return {
        "samples": tuple(ids[np.sort(drawn[:number])]),
        "seed": config.seed,
        "device": config.device,
        "missing_features": "drop",
    }


def _rows_of(table: FeatureTable, sample_ids: Collection[str]) -> FeatureTable:
    """The table of some samples."""
    return table.take_samples(
        np.flatnonzero(np.isin(table.sample_ids, list(sample_ids)))
    )
