"""Action `predict`."""

import biom
import pandas as pd
import qiime2
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import PredictConfig
from aam_core.io.model_folder import read_config
from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._inputs import (
    as_details,
    as_predictions,
    directory,
    frame,
    in_action,
    repeat_at_end,
    report,
    table_inputs,
)
from q2_aam._signature import takes_options


@takes_options(PredictConfig)
def predict(
    table: biom.Table,
    model: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    **options,
) -> (pd.Series, pd.DataFrame):
    """Predict sample metadata with a trained model."""
    with in_action():
        config = PredictConfig(**options)

        from aam_core.commands.predict import predict as run

        result = run(
            config,
            directory(model),
            **table_inputs(table, sequences),
            metadata=frame(metadata),
            report=report,
        )
        repeat_at_end(result.notes)
        details = result.details
        if (
            read_config(str(model))["task"] == "regression"
        ):  # others are classes' columns
            details = result.with_reliability()
        return as_predictions(result.predictions), as_details(details)
