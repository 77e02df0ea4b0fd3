"""Runs in studies whose depth, or batches, give the target away; what took part."""

import dataclasses

import numpy as np
import pytest

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.commands.train import train
from aam_core.config import ForestConfig, PredictConfig, PretrainConfig, TrainConfig
from aam_core.io import model_folder
from aam_core.reporting import silent
from tests import generate
from tests.runs import SMALL, shared

KIND = {"metadata_column": ("kind",), "task": "classification"}


@pytest.fixture(scope="module")
def deep():
    """A study in which the samples of one kind have four times the reads."""
    made = generate.study(samples=48)
    counts = made.table.counts.copy()
    factor = np.where(made.metadata["kind"] == "high", 4, 1)
    counts.data *= np.repeat(factor, np.diff(counts.indptr))
    table = dataclasses.replace(made.table, counts=counts)
    metadata = made.metadata.assign(run=np.where(factor > 1, "r1", "r2"))
    return dataclasses.replace(made, table=table, metadata=metadata)


def run(command, made, path, **options):
    """What a run said, and the depth that it read, if it keeps it."""
    lines = []
    given = {"table": made.table, "metadata": made.metadata, "report": lines.append}
    if command == "train":
        options = {n: v for n, v in SMALL.items() if n != "rarefy_depth"} | options
        config = TrainConfig(**options | KIND | {"ensemble": ("trees",)})
        train(config, path, **given, sequences=made.sequences)
    else:
        config = ForestConfig(**KIND, n_estimators=5, n_jobs=1, **options)
        rf_baseline(config, **given)
    return lines


@pytest.mark.parametrize("command", ["train", "rf-baseline"])
def test_depth_that_tells_the_target_is_rarefied_away(deep, tmp_path, command):
    lines = run(command, deep, tmp_path / "m")
    (told,) = (line for line in lines if "number of reads alone" in line)
    assert "predicts 'kind'" in told
    assert "rarefied to 400 reads" in told
    if command == "train":
        saved = model_folder.read_config(tmp_path / "m")
        assert saved["options"]["rarefy_depth"] == 400
        assert told in saved["report"]
    lines = run(command, deep, tmp_path / "all", rarefy_depth=0)
    (told,) = (line for line in lines if "number of reads alone" in line)
    assert "may be the sequencing" in told
    lines = run(command, deep, tmp_path / "some", rarefy_depth=300)
    assert not any("number of reads alone" in line for line in lines)


@pytest.mark.behaviour("batch_columns")
@pytest.mark.parametrize("command", ["train", "rf-baseline"])
def test_batches_are_looked_at(deep, tmp_path, command):
    lines = run(command, deep, tmp_path / "m", batch_columns=("run", "site"))
    assert any("Column 'run' alone predicts 'kind'" in line for line in lines)
    assert any("'site' alone does not predict 'kind'" in line for line in lines)


def test_all_reads_count_otherwise(tmp_path):
    made = generate.study(samples=24)
    reads = {**shared(made), "report": silent}
    options = {n: v for n, v in SMALL.items() if n != "rarefy_depth"}
    config = TrainConfig(**options, metadata_column="value", ensemble=("trees",))
    train(config, tmp_path / "m", **reads, metadata=made.metadata)
    assert model_folder.read_config(tmp_path / "m")["options"]["rarefy_depth"] == 0
    found = predict(PredictConfig(device="cpu"), tmp_path / "m", **reads)
    assert len(found.predictions) == 24
    options |= {"epochs": 1}
    pretrain(
        PretrainConfig(**options), tmp_path / "e", **reads, phylogeny=made.phylogeny
    )
    assert model_folder.read_config(tmp_path / "e")["options"]["rarefy_depth"] == 0


def test_what_took_part_is_counted(tmp_path):
    """Samples without reads, target or depth; features without a sequence."""
    made = generate.study(samples=30)
    counts = made.table.counts.tolil()
    counts[0] = 0
    counts[1] = (counts[1].toarray() > 0).astype(int)
    table = dataclasses.replace(made.table, counts=counts.tocsr())
    metadata = made.metadata.drop(index=["s02", "s03", "s04"])
    sequences = dict(list(made.sequences.items())[:-2])
    config = TrainConfig(
        **SMALL | {"max_bp": 50},
        metadata_column="value",
        ensemble=("trees",),
        missing_features="drop",
    )
    given = {"table": table, "sequences": sequences, "report": silent}
    train(config, tmp_path / "m", **given, metadata=metadata)
    saved = model_folder.read_config(tmp_path / "m")
    assert saved["samples"] == {
        "samples in table": 30,
        "samples without target": 3,
        "samples without reads": 1,
        "samples of fewer reads": 1,
        "samples": 25,
        "features without sequence": 2,
        "features": 38,
        "sequences cut": 38,
    }
    assert len(saved["split"]["training"]) == 25


def test_samples_without_distances_are_counted(tmp_path):
    made = generate.study(samples=24)
    ids = list(made.table.sample_ids[:20])
    drawn = np.random.default_rng(0).random((20, 20))
    matrix = (drawn + drawn.T) * (1 - np.eye(20)) / 2
    config = PretrainConfig(**SMALL | {"epochs": 1}, missing_samples="ignore")
    given = {**shared(made), "distances": (ids, matrix), "report": silent}
    pretrain(config, tmp_path / "e", **given)
    counted = model_folder.read_config(tmp_path / "e")["samples"]
    assert counted["samples without distances"] == 4
    assert counted["samples"] == 20
