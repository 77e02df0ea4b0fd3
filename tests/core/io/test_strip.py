"""Models without ids of samples: nothing of them is left, and they predict the same."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import aam_core as aam
from aam_core.api.held_folder import FILES
from aam_core.commands.embed import embed
from aam_core.commands.explain import explain
from aam_core.commands.rf_baseline import samples_of
from aam_core.config import EmbedConfig, ExplainConfig
from aam_core.data.table import FeatureTable
from aam_core.ensemble.saved import load_ensemble
from aam_core.errors import InputError
from aam_core.io.load import load_encoder
from aam_core.io.model_folder import CONFIG, WEIGHTS, check_layout, read_config
from aam_core.io.strip import KEPT, strip
from aam_core.io.training_state import STATE
from aam_core.report.model import model_page
from tests.commands import aam as command
from tests.earlier import unpacked
from tests.models import EVERY
from tests.reports import QUIET
from tests.runs import go, shared

#: Words that no file holds by chance.
SECRET = "secret-"


def renamed(made):
    """The study with ids and groups that are found wherever they are written."""
    ids = np.array([f"{SECRET}sample-{i}" for i in made.table.sample_ids], dtype=object)
    metadata = made.metadata.set_axis(pd.Index(ids, name="id"))
    metadata["subject"] = f"{SECRET}host-" + metadata["subject"]
    table = FeatureTable(made.table.counts, ids, made.table.feature_ids)
    return dataclasses.replace(made, table=table, metadata=metadata)


@pytest.fixture(scope="module")
def secret(made):
    return renamed(made)


@pytest.fixture(scope="module")
def runs(secret, tmp_path_factory):
    """An encoder, and a model with groups, by command."""
    folder = tmp_path_factory.mktemp("runs")
    grouped = {"group_column": "subject"}
    return {
        "pretrain": go("pretrain", secret, folder / "encoder", **grouped),
        "train": go("train", secret, folder / "model", **EVERY | grouped),
    }


@pytest.fixture(scope="module")
def stripped(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stripped")
    for name, run in runs.items():
        strip(run, folder / name)
    return {name: folder / name for name in runs}


@pytest.mark.parametrize("name", ["pretrain", "train"])
def test_no_id_is_left_in_any_byte(runs, stripped, name):
    """Of samples and groups, as the model itself has them."""
    whole, left = (
        b"".join(path.read_bytes() for path in folder.iterdir())
        for folder in (runs[name], stripped[name])
    )
    assert SECRET.encode() in whole
    assert SECRET.encode() not in left


def test_only_what_is_known_stays(runs, tmp_path):
    """Neither what a run said, nor whatever a later version writes."""
    folder = tmp_path / "run"
    strip(runs["train"], folder)
    config = read_config(folder)
    config |= {"stopped": f"the loss of {SECRET}sample-1", "table": "/home/me/x.biom"}
    (folder / CONFIG).write_text(json.dumps(config))
    strip(folder, tmp_path / "again")
    kept = set(read_config(tmp_path / "again"))
    assert kept <= set(KEPT)
    assert not kept & {"report", "labels", "stopped", "table"}


@pytest.mark.parametrize("sort", ["regression", "classes", "quantiles"])
def test_predictions_are_the_same_bit_for_bit(models, made, sort, tmp_path):
    folder = models[sort][1]
    strip(folder, tmp_path / "stripped")
    check_layout(tmp_path / "stripped")
    load_ensemble(tmp_path / "stripped")
    before, after = (go("predict", made, f) for f in (folder, tmp_path / "stripped"))
    pd.testing.assert_frame_equal(
        before.predictions, after.predictions, check_exact=True
    )
    pd.testing.assert_frame_equal(before.details, after.details, check_exact=True)


@pytest.mark.parametrize("task", ["encoder", "regression"])
def test_an_earlier_schema_stays_what_it_is(task, tmp_path):
    folder = unpacked(task, tmp_path)
    strip(folder, tmp_path / "stripped")
    assert read_config(tmp_path / "stripped")["schema"] == 1
    (load_encoder if task == "encoder" else load_ensemble)(tmp_path / "stripped")


def test_embeddings_and_reasons_are_the_same(runs, stripped, secret):
    given = shared(secret) | QUIET
    few = ExplainConfig(device="cpu", max_samples=2, draws=2)
    whys = [explain(few, f["train"], **given) for f in (runs, stripped)]
    assert whys[0].contributions.equals(whys[1].contributions)
    for name, kind in (("pretrain", "encoder"), ("train", "model")):
        found = [
            embed(EmbedConfig(device="cpu"), **{kind: folders[name]}, **given)
            for folders in (runs, stripped)
        ]
        assert found[0].samples.equals(found[1].samples)


def test_numbers_stay(runs, stripped):
    before, after = (read_config(f["train"]) for f in (runs, stripped))
    folds = before["split"]["folds"]
    assert after["split"]["folds"] == [len(fold) for fold in folds]
    assert after["split"]["training"] == len(before["split"]["training"]) == 32
    for name in ("ensemble", "scores", "target", "samples"):
        assert after[name] == before[name]


def test_what_needs_the_samples_says_so(stripped):
    split = read_config(stripped["train"])["split"]
    for held_out in ("folds", "others"):
        with pytest.raises(InputError, match="aam strip took their ids out"):
            samples_of(split, held_out)


def test_pages_and_summaries_count_them(stripped):
    config = read_config(stripped["train"])
    history = pd.DataFrame({"epoch": [1], "train_loss": [1.0]})
    grid = model_page(config, history, "A model").sections[0].items[0]
    assert ["samples", "32, in 2 folds"] in grid.rows
    assert "32 in 2 folds" in aam.load(stripped["train"])._repr_html_()


def test_nothing_is_overwritten(runs, stripped):
    before = (stripped["train"] / WEIGHTS).read_bytes()
    with pytest.raises(InputError, match="is not empty; nothing is overwritten"):
        strip(runs["pretrain"], stripped["train"])
    assert (stripped["train"] / WEIGHTS).read_bytes() == before


def test_a_training_state_stays_behind(tmp_path):
    """It lists the samples, too: what is left cannot resume."""
    stopped = unpacked("stopped", tmp_path)
    assert (stopped / STATE).exists()
    strip(stopped, tmp_path / "stripped")
    assert {path.name for path in (tmp_path / "stripped").iterdir()} == set(FILES)


def test_from_the_command_line_and_from_python(runs, tmp_path):
    done = command("strip", runs["train"], tmp_path / "by-command")
    assert done.exit_code == 0, done.output
    assert "does not say which samples" in done.output
    aam.load(runs["train"]).save(tmp_path / "by-python", strip=True)
    for name in (CONFIG, WEIGHTS):
        written = [
            (tmp_path / by / name).read_bytes() for by in ("by-command", "by-python")
        ]
        assert written[0] == written[1]
    again = command("strip", runs["train"], tmp_path / "by-command")
    assert again.exit_code == 1
    assert "nothing is overwritten" in again.output
