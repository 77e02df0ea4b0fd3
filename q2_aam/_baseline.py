"""Action `rf-baseline`."""

from typing import Any

import biom
import pandas as pd
import qiime2

from aam_core.config import ForestConfig
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from aam_core.io.model_folder import read_config
from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._inputs import as_details, as_predictions, frame, report, table_inputs
from q2_aam._signature import takes_options

#: Options of the forest that a model brings along where they are at their default.
FROM_MODEL = ("metadata_column", "task", "rarefy_depth", "seed")
#: Those of them that may not differ from the model's.
SAME_TARGET = ("metadata_column", "task")


@takes_options(ForestConfig)
def rf_baseline(
    table: biom.Table,
    metadata: qiime2.Metadata,
    model: AAMModelDirectoryFormat = None,
    **options,
) -> (pd.Series, pd.DataFrame, pd.DataFrame):
    """Train a random forest to compare a model with."""
    training = None
    if model is not None:
        trained = read_config(str(model))
        options = as_trained(options, trained["options"])
        training = trained["split"]["training"]
    config = ForestConfig(**options)

    from aam_core.commands.rf_baseline import rf_baseline as run

    result = run(
        config,
        table=table_inputs(table, None)["table"],
        metadata=frame(metadata),
        training=training,  # all other labelled samples are predicted
        report=report,
    )
    scores = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
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


def as_trained(options: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Options of the forest, with the model's where the user chose none.

    Parameters
    ----------
    options : dict
        What the user chose, or defaults.
    trained : dict
        The options that the model was trained with.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If the user chose another target than the model's.
    """
    options = dict(options)
    for spec in option_specs(ForestConfig):
        if spec.name not in FROM_MODEL:
            continue
        chosen = spec.check(options.get(spec.name, spec.default))
        own = spec.check(trained[spec.name])
        if chosen == spec.default:
            options[spec.name] = own
        elif chosen != own and spec.name in SAME_TARGET:
            raise InputError(
                f"{spec.name} is {chosen!r}, but the model was trained with {own!r}: "
                f"leave {spec.name} out, or leave the model out."
            )
    return options
