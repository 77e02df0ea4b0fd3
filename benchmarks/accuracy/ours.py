"""q2-aam on the samples of a fold, by its commands as functions."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.spatial.distance import pdist, squareform

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import PredictConfig, PretrainConfig, TrainConfig
from aam_core.data.phylogeny import Phylogeny
from benchmarks.accuracy.opponents import is_regression, mean
from benchmarks.accuracy.targets import Samples

#: What the names of options of pre-training start with.
PRETRAIN = "pretrain_"


def q2_aam(
    training: Samples, held_out: Samples, seed: int, options: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Train with nothing but the data and `options`; predict the held-out samples.

    Options whose names start with `pretrain_` are those of an encoder that is learned
    first, of the training samples: of their UniFrac, or of their Jaccard distances
    where the study has no tree. `encoder` is the folder of one that there is already.
    Either stays frozen unless `freeze_base` says otherwise.

    Returns
    -------
    pandas.DataFrame
        As opponents return it; of numbers also the limits of their intervals, such as
        `lower_90` and `upper_90`. Held-out samples that the model does not predict,
        since they have too few reads for it, get the mean of the training samples,
        without an interval.
    list of str
        What the run said, and how many samples it left out.
    """
    regression, said = is_regression(training), []
    first = {
        name.removeprefix(PRETRAIN): value
        for name, value in options.items()
        if name.startswith(PRETRAIN)
    }
    options = {n: v for n, v in options.items() if not n.startswith(PRETRAIN)}
    encoder = options.pop("encoder", None)
    if first or encoder:
        options = {"freeze_base": True} | options
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
        if first:
            encoder = Path(folder) / "encoder"
            learned = PretrainConfig(seed=seed, missing_features="drop", **first)
            distances = distances_of(training)
            pretrain(learned, encoder, table=training.table, **distances, **reads)
        train(
            config,
            model,
            table=training.table,
            metadata=metadata,
            encoder=encoder and Path(encoder),
            **reads,
        )
        device = PredictConfig(device=config.device)
        found = predict(device, model, table=held_out.table, **reads)
    predicted = mean(training, held_out, seed)
    if regression:
        known = found.predictions.set_axis(["prediction"], axis=1)
        predicted = predicted.join(limits_of(found.details))
    else:
        known = found.details.reindex(columns=predicted.columns, fill_value=0.0)
    predicted.loc[known.index, known.columns] = known
    lost = len(predicted) - len(known)
    return predicted, [*said, f"{lost} of {len(predicted)} samples not predicted"]


def limits_of(details: pd.DataFrame) -> pd.DataFrame:
    """The columns `lower_90` and `upper_90`, or of other levels, if there are any."""
    found = details.filter(regex=r"^label_(lower|upper)_\d+$")
    return found.rename(columns=lambda name: name.removeprefix("label_"))


def distances_of(samples: Samples) -> dict[str, Any]:
    """The tree, or else Jaccard distances, as `pretrain` takes them."""
    if samples.tree is not None:
        return {"phylogeny": Phylogeny.read(samples.tree)}
    present = samples.table.counts.toarray() > 0
    ids = samples.table.sample_ids.tolist()
    return {"distances": (ids, squareform(pdist(present, "jaccard")))}
