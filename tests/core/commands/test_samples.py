"""The front door: nothing but a table and a column, and predictions that are honest."""

import dataclasses
import os
import signal

import numpy as np
import pandas as pd
import pytest

from aam_core.commands import samples
from aam_core.commands.predict import predict
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.commands.samples import (
    check_sequences,
    held_out_samples,
    options_of_training,
    predict_samples,
    without_samples,
)
from aam_core.config import (
    ForestConfig,
    PredictConfig,
    SamplesConfig,
    TrainConfig,
    effort,
)
from aam_core.errors import InputError
from aam_core.io.model_folder import read_config
from aam_core.reporting import silent
from aam_core.training.stop import Action
from tests.reports import QUIET
from tests.runs import shared


def run(made, path, task="regression", column="value", **options):
    config = SamplesConfig(**{"effort": "quick", "device": "cpu"} | options)
    given = shared(made) | {"metadata": made.metadata, "group_column": "subject"}
    return predict_samples(
        config, path, task=task, column=column, **given, **QUIET
    ), config


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Networks of a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def out_of_fold(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "model"
    found, _ = run(made, path, "classification", "kind", seed=1)
    return found, path


@pytest.fixture(scope="module")
def held_out(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "model"
    options = {"test_size": 0.25, "rarefy_depth": 200, "seed": 2}
    found, _ = run(made, path, **options)
    return found, path


@pytest.mark.behaviour("seed", "effort", "device", command="classify")
def test_every_sample_is_predicted_out_of_fold(made, out_of_fold):
    found, path = out_of_fold
    saved = read_config(path)
    assert found.held_out == ()
    every = sorted(made.table.sample_ids)
    assert sorted(found.ours.predictions.index) == every
    assert sorted(found.forest.predictions.index) == every
    assert list(found.evaluation.samples.index) == sorted(every)
    folds = saved["split"]["folds"]
    assert len(folds) == 3  # of effort quick
    assert (saved["seed"], saved["options"]["device"]) == (1, "cpu")
    subjects = [set(made.metadata.loc[fold, "subject"]) for fold in folds]
    assert not subjects[0] & subjects[1]
    config = ForestConfig(metadata_column=("kind",), task="classification", seed=1)
    own = rf_baseline(
        config,
        table=made.table,
        metadata=made.metadata,
        folds=folds,
        report=silent,
    )
    assert own.probabilities.equals(found.forest.probabilities)


def test_what_was_predicted_is_explained(made, out_of_fold, held_out):
    """Sums are the predictions of the model that is returned."""
    for (found, _), number in ((out_of_fold, 20), (held_out, 8)):
        rows = found.explanation.contributions
        explained = rows["sample"].unique()
        assert len(explained) == number
        assert set(explained) <= set(found.ours.predictions.index)
        sums = rows.groupby(["sample", "target"])["contribution"].sum()
        first = rows.groupby(["sample", "target"]).first()
        np.testing.assert_allclose(sums + first["baseline"], first["prediction"])
    config, given = PredictConfig(device="cpu"), shared(made) | {"report": silent}
    again = predict(config, held_out[1], **given).predictions["value"]
    own = first["prediction"].droplevel("target")
    np.testing.assert_allclose(own, again[own.index], rtol=1e-5)


@pytest.mark.behaviour("test_size", "rarefy_depth", command="classify")
@pytest.mark.behaviour(
    "test_size", "rarefy_depth", "seed", "effort", "device", command="regress"
)
@pytest.mark.behaviour("held_out", command="rf-baseline")
def test_samples_that_are_held_out_are_held_out_from_everything(made, held_out):
    found, path = held_out
    saved = read_config(path)
    out = set(found.held_out)
    assert len(out) == 8  # of 32
    assert set(found.ours.predictions.index) == out
    assert set(found.forest.predictions.index) == out
    assert not out & set(saved["split"]["training"])
    assert set(found.forest.training) == set(saved["split"]["training"])
    subject = made.metadata["subject"]
    kept = made.metadata.index.difference(list(out))
    assert not set(subject[list(out)]) & set(subject[kept])
    assert saved["options"]["rarefy_depth"] == 200
    rows = np.flatnonzero(np.isin(made.table.sample_ids, list(out)))
    again = predict(
        PredictConfig(device="cpu"),
        path,
        table=made.table.take_samples(rows),
        sequences=made.sequences,
        report=silent,
    )
    assert again.predictions.equals(found.ours.predictions)
    assert found.evaluation.samples["true"].equals(
        made.metadata.loc[found.evaluation.samples.index, "value"].rename("true")
    )


def test_labels_of_held_out_samples_leave_no_trace(made, held_out, tmp_path):
    found, _ = held_out
    metadata = made.metadata.copy()
    metadata.loc[list(found.held_out), "value"] += 1000.0
    other = dataclasses.replace(made, metadata=metadata)
    options = {"test_size": 0.25, "rarefy_depth": 200, "seed": 2}
    again, _ = run(other, tmp_path / "m", **options)
    assert again.held_out == found.held_out
    assert again.ours.predictions.equals(found.ours.predictions)
    pd.testing.assert_frame_equal(again.forest.predictions, found.forest.predictions)


def test_a_run_that_was_asked_to_end_explains_few(made, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "EXPLAINED_IF_STOPPED", 2)
    told = []

    def report(line):
        told.append(line)
        if line.startswith("Fold 2"):
            os.kill(os.getpid(), signal.SIGTERM)

    given = shared(made) | {"metadata": made.metadata, "group_column": "subject"}
    config = SamplesConfig(effort="quick", device="cpu")
    path = tmp_path / "model"
    with Action():
        found = predict_samples(
            config, path, task="regression", column="value", **given, report=report
        )
    assert not read_config(path)["completed"]
    assert found.explanation.contributions["sample"].nunique() == 2
    assert len(found.evaluation.samples)


def test_other_options_are_those_of_train():
    options = options_of_training(SamplesConfig(), "ph", "regression", "host")
    config = TrainConfig(**options)
    plain = TrainConfig(
        metadata_column=("ph",), group_column="host", missing_features="drop"
    )
    assert config == plain
    assert options_of_training(SamplesConfig(), "x", "regression", None, "e")[
        "freeze_base"
    ]


def test_classes_are_divided_alike(made):
    config = SamplesConfig(test_size=0.25)
    ids = made.table.sample_ids
    found = held_out_samples(
        config, ids, made.metadata, "kind", "classification", None, silent
    )
    counts = made.metadata.loc[found, "kind"].value_counts()
    assert counts.tolist() == [4, 4]
    known = without_samples(made.metadata, found)
    assert sorted([*known.index, *found]) == sorted(ids)


def test_few_reads_may_lack_a_sequence(made):
    reads = np.asarray(made.table.counts.sum(axis=0)).ravel()
    order = made.table.feature_ids[np.argsort(reads)]
    rare = {n: s for n, s in made.sequences.items() if n != order[0]}
    check_sequences(made.table, rare)
    common = {n: s for n, s in made.sequences.items() if n not in order[-3:]}
    with pytest.raises(InputError, match="3 of 40 features"):
        check_sequences(made.table, common)
