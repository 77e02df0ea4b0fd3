"""What the start of the weights gains, varied alone and beside what else matters.

Generated studies (`tests/generate.py`), in which one clade's abundance is the target.
Training is from scratch and without the linear part; pre-training learns unweighted
UniFrac. A seed is that of the study and of the run.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import PretrainConfig, TrainConfig
from aam_core.data.unifrac import BatchUniFrac
from aam_core.io import model_folder
from aam_core.metrics import regression_metrics
from aam_core.reporting import silent
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.train_session import TrainSession
from tests import generate

Options = dict[str, Any]

BOTH = {"rarefy_depth": 300, "device": "cpu", "lr": 1e-3}
ONE_NETWORK = {"ensemble": ("network",), "cross_fit": 0}
TRAINING = generate.SIZES | BOTH | ONE_NETWORK | {"nuc_penalty": 0.0}
PRETRAINING = generate.SIZES | BOTH | {"embedding_dim": 64}
#: What is compared with and without the start.
RUNS: tuple[tuple[str, Options], ...] = (
    ("train", {"count_embedding": True}),
    ("train", {"count_embedding": False}),
    ("pretrain", {"nuc_penalty": 0.0, "dropout": 0.1}),
    ("pretrain", {"nuc_penalty": 0.0, "dropout": 0.0}),
    ("pretrain", {"nuc_penalty": 1.0, "dropout": 0.1}),
)


@contextmanager
def started(given: bool) -> Iterator[None]:
    """Let runs have their start, or keep the random weights that they are made with."""
    with ExitStack() as stack:
        for session in () if given else (PretrainSession, TrainSession):
            stack.enter_context(mock.patch.object(session, "initialise"))
        yield


def scores_of(
    command: str, made: generate.Generated, epochs: int, options: Options
) -> dict[str, float]:
    """What a run ends with: R² of its best model, or distance losses of its last."""
    given = {"table": made.table, "sequences": made.sequences, "report": silent}
    more = options | {"epochs": epochs, "patience": epochs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        if command == "pretrain":
            config = PretrainConfig(**PRETRAINING | more)
            pretrain(config, path, **given, phylogeny=made.phylogeny)
            last = model_folder.read_history(path).iloc[-1]
            return {n: float(last[n]) for n in last.index if n.endswith("unifrac_loss")}
        config = TrainConfig(metadata_column=("value",), **TRAINING | more)
        found = train(config, path, **given, metadata=made.metadata).predictions
    true = made.metadata.loc[found.index, ["value"]]
    return {"val_r2": regression_metrics(true, found)["r2"]}


def loss_of_a_constant(made: generate.Generated) -> float:
    """The variance of the distances between all samples."""
    table = made.table.rarefy(BOTH["rarefy_depth"], 0, silent)
    square_SS = BatchUniFrac(made.phylogeny, table)(np.arange(table.shape[0]))
    return float(square_SS[np.triu_indices(len(square_SS), k=1)].var())


def table(
    seeds: Sequence[int], samples: int, epochs: dict[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each score of each run, with the start and without, and a note.

    Parameters
    ----------
    seeds : sequence of int
        Each is a study and a run.
    samples : int
        Samples of a study.
    epochs : dict
        By command.
    """
    studies = {seed: generate.study(samples, seed=seed) for seed in seeds}
    every = {name: "" for _, options in RUNS for name in options}
    rows = []
    for command, options in RUNS:
        for given in (True, False):
            with started(given):
                found = pd.DataFrame(
                    {
                        f"seed {seed}": scores_of(
                            command, made, epochs[command], options | {"seed": seed}
                        )
                        for seed, made in studies.items()
                    }
                )
            row = {"run": command} | every | {n: str(v) for n, v in options.items()}
            row["start"] = "yes" if given else "no"
            for score, values in found.iterrows():
                spread = {"mean": values.mean(), "SD": values.std()}
                rows.append(row | {"score": score} | spread | values.to_dict())
    constant = np.mean([loss_of_a_constant(made) for made in studies.values()])
    note = f"All distances predicted as their mean: a loss of {constant:.3g}."
    return rows, [note]
