"""q2-aam on the samples of a fold, by its commands as functions."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import PredictConfig, TrainConfig
from benchmarks.accuracy.opponents import is_regression, mean
from benchmarks.accuracy.targets import Samples


def q2_aam(
    training: Samples, held_out: Samples, seed: int, options: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Train with nothing but the data and `options`; predict the held-out samples.

    Returns
    -------
    pandas.DataFrame
        As opponents return it. Held-out samples that the model does not predict, since
        they have too few reads for it, get the mean of the training samples.
    list of str
        What the run said, and how many samples it left out.
    """
    regression, said = is_regression(training), []
    config = TrainConfig(
        metadata_column=("label",),
        task="regression" if regression else "classification",
        group_column=None if training.groups is None else "group",
        seed=seed,
        **options,
    )
    metadata = pd.DataFrame({"label": training.labels})
    if training.groups is not None:
        metadata["group"] = training.groups
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        reads = {"sequences": training.sequences, "report": said.append}
        train(config, model, table=training.table, metadata=metadata, **reads)
        device = PredictConfig(device=config.device)
        found = predict(device, model, table=held_out.table, **reads)
    predicted = mean(training, held_out, seed)
    if regression:
        known = found.predictions.set_axis(["prediction"], axis=1)
    else:
        known = found.details.reindex(columns=predicted.columns, fill_value=0.0)
    predicted.loc[known.index] = known
    lost = len(predicted) - len(known)
    return predicted, [*said, f"{lost} of {len(predicted)} samples not predicted"]
