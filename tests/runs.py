"""Tiny runs of the commands, for tests of what an option changes in them."""

import numpy as np

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.commands.train import train
from aam_core.config import ForestConfig, PredictConfig, PretrainConfig, TrainConfig
from aam_core.data.table import FeatureTable
from aam_core.io import model_folder
from aam_core.reporting import silent
from tests import generate
from tests.reports import QUIET

SMALL = generate.SIZES | {
    "rarefy_depth": 300,
    "lr": 3e-3,
    "epochs": 1,
    "device": "cpu",
}
COLUMN = {"metadata_column": "value"}
#: Trains the network alone, on a single split: quick, and what most tests are about.
ONE_NETWORK = {"ensemble": ("network",), "cross_fit": 0}


def shared(made):
    """What each command reads of a study."""
    return {"table": made.table, "sequences": made.sequences}


def config_of(task="regression", **changes):
    """Of a training of three epochs."""
    column = "value" if task == "regression" else "kind"
    options = {"epochs": 3, "task": task, "metadata_column": (column,)}
    return TrainConfig(**SMALL | ONE_NETWORK | options | changes)


def turned(table: FeatureTable) -> FeatureTable:
    """The table with its samples and features in another order."""
    generator = np.random.default_rng(5)
    rows = generator.permutation(table.shape[0])
    return table.take_samples(rows).take_features(generator.permutation(table.shape[1]))


def go(command, made, path, given=None, **options):
    """One epoch of `pretrain` or `train`, or a prediction by the model in `path`.

    `given` replaces what the command reads; None takes it away.
    """
    reads = shared(made) | QUIET
    reads |= {"metadata": made.metadata}
    if command != "predict":
        reads |= {"phylogeny": made.phylogeny}
    reads |= given or {}
    if command == "predict":
        return predict(PredictConfig(**{"device": "cpu"} | options), path, **reads)
    if command == "pretrain":
        pretrain(PretrainConfig(**SMALL | options), path, **reads)
    else:
        train(TrainConfig(**SMALL | COLUMN | ONE_NETWORK | options), path, **reads)
    return path


def forest(made, **options):
    """A small random forest."""
    config = ForestConfig(
        **COLUMN | {"rarefy_depth": 300, "n_estimators": 5, "n_jobs": 1} | options
    )
    return rf_baseline(config, table=made.table, metadata=made.metadata, report=silent)


def shapes(path):
    """The shapes of an encoder's tensors, whether in a predictor or alone."""
    found = model_folder.read_config(path)["tensors"]
    return {name.removeprefix("base."): tuple(s) for name, s in found.items()}


def layers(tensors, stack):
    names = [n.removeprefix(f"{stack}.blocks.") for n in tensors if n.startswith(stack)]
    return len({name.split(".")[0] for name in names if name[0].isdigit()})
