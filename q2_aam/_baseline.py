"""Action `rf-baseline`."""

import biom
import pandas as pd
import qiime2

from aam_core.config import ForestConfig
from aam_core.errors import InputError
from aam_core.io.model_folder import read_config
from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._inputs import (
    as_details,
    as_predictions,
    frame,
    in_action,
    report,
    table_inputs,
)
from q2_aam._signature import takes_options


@takes_options(ForestConfig)
def rf_baseline(
    table: biom.Table,
    metadata: qiime2.Metadata,
    model: AAMModelDirectoryFormat = None,
    **options,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    """Train a random forest to compare a model with."""
    with in_action():
        from aam_core.commands.rf_baseline import as_trained, samples_of
        from aam_core.commands.rf_baseline import rf_baseline as run

        samples = {}
        if model is not None:
            trained = read_config(str(model))
            options = as_trained(options, trained["options"])
        config = ForestConfig(**options)
        if model is not None:
            samples = samples_of(trained["split"], config.held_out)
        elif config.held_out != "folds":
            raise InputError("held_out others needs a model: pass the model too.")
        result = run(
            config,
            table=table_inputs(table, None)["table"],
            metadata=frame(metadata),
            **samples,
            report=report,
        )
        scores = ", ".join(
            f"{name} {value:.4g}" for name, value in result.metrics.items()
        )
        report(f"{len(result.validation):,} predicted samples: {scores}.")
        classes = config.task == "classification"
        return (
            as_predictions(result.predictions),
            as_details(
                result.probabilities
                if classes
                else result.predictions.add_suffix("_predicted")
            ),
            result.importance.rename_axis("feature").to_frame(),
        )
