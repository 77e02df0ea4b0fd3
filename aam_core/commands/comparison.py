"""A model's predictions beside those of a random forest that learned from the same."""

from pathlib import Path

import pandas as pd

from aam_core.commands.evaluate import Evaluation, Predicted, evaluate
from aam_core.commands.rf_baseline import (
    ForestResult,
    as_trained,
    rf_baseline,
    samples_of,
)
from aam_core.config import ForestConfig, ReportOptions
from aam_core.data.table import FeatureTable
from aam_core.data.target_decoder import Predictions
from aam_core.inference.reading import metadata_as_trained
from aam_core.io.model_folder import read_config
from aam_core.reporting import Report


def beside_forest(
    model: Path,
    ours: Predictions,
    *,
    held_out: str,
    table: FeatureTable,
    metadata: pd.DataFrame,
    report: Report,
) -> tuple[ForestResult, Evaluation]:
    """Fit a forest to the samples of a model, and compare what both predict.

    Parameters
    ----------
    model : Path
        What `train` wrote.
    ours : Predictions
        Of samples that the model (or the members of each fold) was not fitted to; the
        first target is compared.
    held_out : {'folds', 'others'}
        Whom the forest predicts: the samples of the model out of fold, or all others.
    table, metadata
        Of both.
    report : callable
        Takes sentences for the user.

    Raises
    ------
    InputError
        As `rf_baseline` and `evaluate` raise it.
    """
    saved = read_config(model)
    metadata = metadata_as_trained(saved, metadata)
    forest = rf_baseline(
        ForestConfig(**as_trained({"held_out": held_out}, saved["options"])),
        table=table,
        metadata=metadata,
        **samples_of(saved["split"], held_out),
        report=report,
    )
    column = ours.predictions.columns[0]
    group_column = saved["options"]["group_column"]
    names = ReportOptions()
    details = ours.with_reliability()
    evaluation = evaluate(
        Predicted(names.name, ours.predictions[column], details),
        metadata[column],
        other=Predicted(
            names.other_name, forest.predictions[column], forest.probabilities
        ),
        groups=None if group_column is None else metadata[group_column],
        metadata=metadata.drop(columns=[column]),
        report=report,
    )
    return forest, evaluation
