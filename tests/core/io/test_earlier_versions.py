"""What earlier versions wrote is read, and predicts as it did."""

import numpy as np
import pandas as pd
import pytest

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.config import PredictConfig, PretrainConfig
from aam_core.data.metadata import read_metadata
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable
from aam_core.io import model_folder
from aam_core.io.load import load_encoder
from tests.earlier import SCHEMA_1, unpacked


@pytest.fixture(scope="module")
def reads():
    return {
        "table": FeatureTable.read(SCHEMA_1 / "table.tsv"),
        "sequences": read_fasta(SCHEMA_1 / "seqs.fasta"),
    }


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_an_earlier_model_predicts_what_it_predicted(task, reads, tmp_path):
    model = unpacked(task, tmp_path)
    model_folder.check_layout(model)
    metadata = read_metadata(SCHEMA_1 / "metadata.tsv")
    found = predict(PredictConfig(device="cpu"), model, **reads, metadata=metadata)
    before = pd.read_csv(SCHEMA_1 / f"{task}.tsv", sep="\t", index_col="id")
    named = found.predictions.add_suffix("_prediction")
    now = found.details.join(named)[before.columns]
    assert list(now.index) == list(before.index)
    for column in before:
        if before[column].dtype == object:
            assert list(now[column]) == list(before[column])
        else:
            np.testing.assert_allclose(now[column], before[column], rtol=1e-4)


def test_an_earlier_encoder_is_read(tmp_path):
    folder = unpacked("encoder", tmp_path)
    model_folder.check_layout(folder)
    assert load_encoder(folder).arch.embedding_dim == 8


def test_an_earlier_run_resumes(reads, tmp_path):
    stopped = unpacked("stopped", tmp_path / "stopped")
    model_folder.check_layout(stopped)
    config = model_folder.read_config(stopped)
    options = config["options"] | {"device": "cpu"}
    pretrain(
        PretrainConfig(**options),
        tmp_path / "resumed",
        **reads,
        phylogeny=Phylogeny.read(SCHEMA_1 / "tree.nwk"),
        resume_from=stopped,
    )
    found = model_folder.read_config(tmp_path / "resumed")
    assert found["completed"]
    history = model_folder.read_history(tmp_path / "resumed")
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    earlier = model_folder.read_history(stopped)
    pd.testing.assert_frame_equal(history[: len(earlier)], earlier)
