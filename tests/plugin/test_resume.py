"""Runs that were stopped resume in QIIME 2, from the artifact that they returned."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from types import SimpleNamespace

import biom
import pandas as pd
import pytest
import qiime2
import skbio
import torch
from click.testing import CliRunner
from qiime2.plugin import ValidationError
from qiime2.plugins import aam
from torch.distributed.launcher.api import LaunchConfig

from aam_core.cli.main import main
from aam_core.errors import RunError
from aam_core.io.model_folder import CONFIG, HISTORY, WEIGHTS
from aam_core.io.training_state import STATE, read_state
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.train_session import TrainSession
from q2_aam._formats import AAMEncoderDirectoryFormat
from tests.commands import started
from tests.forked import METHOD

from .conftest import ONE_NETWORK, QIIME, TINY, import_

RUN = TINY | {"epochs": 4, "lr": 3e-3}
#: What QIIME 2 or our format says of files that no artifact has.
OTHER = "no encoder or model has|Unrecognized file"
AT_ONCE = {"max_hours": 1e-9}  #: stops a run after its first batch
STRATEGIES = {
    "one process": {},
    "two": {"strategy": "fsdp", "devices": 2, "fsdp_sharded_checkpoint": True},
}


def exported(artifact, folder):
    artifact.export_data(str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(first, second, folder):
    """Whether weights and history are the same, byte for byte."""
    one, two = exported(first, folder / "one"), exported(second, folder / "two")
    assert set(one) == set(two) == {CONFIG, WEIGHTS, HISTORY}
    return all(one[name] == two[name] for name in (WEIGHTS, HISTORY))


def sigterm_in_epoch(number, session):
    """Let the next run get SIGTERM in the validation of an epoch."""
    patch, real, calls = pytest.MonkeyPatch(), session.validate, []

    def validate(self):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    patch.setattr(session, "validate", validate)
    return patch


@pytest.fixture(scope="module", autouse=True)
def nothing_said_at_the_end():
    """What `qiime` says when it ends, would follow the last line of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        at_exit = SimpleNamespace(register=lambda *call, **options: None)
        patch.setattr("q2_aam._inputs.atexit", at_exit)
        yield


@pytest.fixture(scope="module")
def stopped(table, tree):
    with sigterm_in_epoch(2, PretrainSession).context():
        return aam.actions.pretrain(table, phylogeny=tree, **RUN).encoder


@pytest.fixture(scope="module")
def straight(table, tree):
    return aam.actions.pretrain(table, phylogeny=tree, **RUN).encoder


def test_what_a_stopped_run_returns(stopped, straight, tmp_path):
    stopped.validate("max")
    files = exported(stopped, tmp_path / "stopped")
    assert set(files) == {CONFIG, WEIGHTS, HISTORY, STATE}
    config = stopped.view(dict)
    assert config["completed"] is False
    assert "marked as not completed" in config["report"][-1]
    assert read_state(tmp_path / "stopped")["progress"]["epoch"] == 2
    for artifact, word in ((stopped, "false"), (straight, "true")):
        shown = artifact.view(qiime2.Metadata).to_dataframe()["completed"]
        assert set(shown) == {word}


def test_pretraining_goes_on(stopped, straight, table, tree, tmp_path):
    torch.manual_seed(99)  # another process has drawn other numbers
    again = aam.actions.pretrain(
        table, phylogeny=tree, resume_from=stopped, **RUN
    ).encoder
    assert again.view(dict)["completed"] is True
    assert same(again, straight, tmp_path)
    assert len(again.view(qiime2.Metadata).ids) == 4


def test_training_goes_on(table, metadata, tree, encoder, tmp_path):
    """With covariates, an encoder, a target loss and the losses of pre-training."""
    given = {"phylogeny": tree, "encoder": encoder, "categorical_columns": ["site"]}
    given |= {"metadata_column": ["ph"], **RUN, **ONE_NETWORK}
    with sigterm_in_epoch(3, TrainSession).context():
        stopped = aam.actions.train(table, metadata, **given)
    assert stopped.model.view(dict)["completed"] is False
    again = aam.actions.train(table, metadata, resume_from=stopped.model, **given)
    straight = aam.actions.train(table, metadata, **given)
    assert same(again.model, straight.model, tmp_path)
    one, two = (r.predictions.view(pd.Series) for r in (again, straight))
    pd.testing.assert_series_equal(one, two, check_exact=True)


def test_classification_goes_on(table, metadata, tmp_path):
    given = {"metadata_column": ["habitat"], "task": "classification", **RUN}
    given |= {"cross_fit": 2}
    stopped = aam.actions.train(table, metadata, **given, **AT_ONCE).model
    again = aam.actions.train(table, metadata, resume_from=stopped, **given).model
    straight = aam.actions.train(table, metadata, **given).model
    assert same(again, straight, tmp_path)


def test_a_stopped_run_can_be_stopped_again(stopped, straight, table, tree, tmp_path):
    given = {"phylogeny": tree, **RUN}
    twice = aam.actions.pretrain(table, resume_from=stopped, **given, **AT_ONCE).encoder
    assert len(twice.view(qiime2.Metadata).ids) == 2
    again = aam.actions.pretrain(table, resume_from=twice, **given).encoder
    assert same(again, straight, tmp_path)


def test_a_stopped_model_is_used_like_any_other(stopped, table, metadata):
    model = aam.actions.train(
        table, metadata, metadata_column=["ph"], encoder=stopped, **ONE_NETWORK, **TINY
    ).model
    assert model.view(dict)["completed"] is True


def written(table, tree, folder):
    """The options with which `aam` reads what the artifacts hold."""
    biom_table = table.view(biom.Table)
    (folder / "table.biom").write_text(biom_table.to_json("test"))
    tree.view(skbio.TreeNode).write(str(folder / "tree.nwk"))
    return ["--table", folder / "table.biom", "--tree", folder / "tree.nwk"]


def aam_pretrain(*options):
    line = []
    for name, value in RUN.items():
        line += [f"--{name.replace('_', '-')}", value]
    done = CliRunner().invoke(main, list(map(str, ["pretrain", *line, *options])))
    assert done.exit_code == 0, done.output
    return done.output


def test_an_exported_run_goes_on_in_aam(stopped, straight, table, tree, tmp_path):
    given = written(table, tree, tmp_path)
    stopped.export_data(str(tmp_path / "exported"))
    aam_pretrain(
        *given,
        *("--output-dir", tmp_path / "run", "--resume-from", tmp_path / "exported"),
    )
    best = tmp_path / "run" / "checkpoints" / "best_model"
    again = import_("AAMEncoder", str(best))
    assert same(again, straight, tmp_path)
    assert (tmp_path / "exported" / STATE).exists()  # nobody's to delete


def test_a_run_of_aam_goes_on_in_qiime(straight, table, tree, tmp_path):
    given = written(table, tree, tmp_path)
    said = aam_pretrain(*given, "--output-dir", tmp_path / "run", "--max-hours", 1e-9)
    assert "--resume-from" in said
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copy(checkpoints / "last" / STATE, checkpoints / "best_model")
    stopped = import_("AAMEncoder", str(checkpoints / "best_model"))
    again = aam.actions.pretrain(
        table, phylogeny=tree, resume_from=stopped, **RUN
    ).encoder
    assert same(again, straight, tmp_path)


class TestRefusals:
    """Each is one clear sentence before any work."""

    def fails(self, message, table, tree, resume_from, **change):
        options = {"phylogeny": tree, "resume_from": resume_from, **RUN, **change}
        with pytest.raises(ValueError, match=message) as caught:
            aam.actions.pretrain(table, **options)
        assert "\n" not in str(caught.value)

    def test_a_complete_run(self, straight, table, tree):
        self.fails("carries no training state", table, tree, straight)

    def test_other_options(self, stopped, table, tree):
        self.fails("lr is 0.01, but was 0.003", table, tree, stopped, lr=0.01)
        self.fails("epochs is 9, but was 4", table, tree, stopped, epochs=9)

    def test_other_samples_or_counts(self, stopped, table, tree):
        view = table.view(biom.Table)
        fewer = view.filter(view.ids()[1:], inplace=False)
        fewer = import_("FeatureTable[Frequency]", fewer)
        self.fails("samples are not those", fewer, tree, stopped)
        more = biom.Table(view.matrix_data * 2, view.ids("observation"), view.ids())
        more = import_("FeatureTable[Frequency]", more)
        self.fails("'table'", more, tree, stopped)

    def test_another_task(self, table, metadata):
        shared = {"metadata_column": ["habitat"], **RUN, **ONE_NETWORK}
        classes = aam.actions.train(
            table, metadata, task="classification", **shared, **AT_ONCE
        ).model
        shared["metadata_column"] = ["ph"]
        with pytest.raises(ValueError, match="but was"):
            aam.actions.train(table, metadata, resume_from=classes, **shared)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


class TestStateFiles:
    """What the format refuses."""

    @pytest.fixture
    def folder(self, stopped, tmp_path):
        stopped.export_data(str(tmp_path / "stopped"))
        return tmp_path / "stopped"

    def validate(self, folder, level):
        AAMEncoderDirectoryFormat(str(folder), mode="r").validate(level)

    def test_a_state_that_was_cut_off(self, folder):
        state = (folder / STATE).read_bytes()
        for size in (0, 10, len(state) // 2, len(state) - 1):
            (folder / STATE).write_bytes(state[:size])
            with pytest.raises(ValidationError, match="cut off"):
                self.validate(folder, "min")

    def test_a_changed_state_is_found_at_max(self, folder):
        state = bytearray((folder / STATE).read_bytes())
        weights = torch.load(folder / STATE, weights_only=True)["model"]
        largest = max(weights.values(), key=torch.numel)
        state[state.index(largest.numpy().tobytes())] ^= 1
        (folder / STATE).write_bytes(state)
        self.validate(folder, "min")
        with pytest.raises(ValidationError, match="damaged"):
            self.validate(folder, "max")

    def test_code_is_never_run(self, folder, monkeypatch, stopped, table, tree):
        monkeypatch.chdir(folder.parent)
        torch.save({"schema": 1, "x": Harmful()}, folder / STATE)
        with pytest.raises(ValidationError, match="cannot be read"):
            self.validate(folder, "max")
        artifact = with_state(stopped, folder / STATE)
        with pytest.raises(ValueError, match="cannot be read as a training state"):
            aam.actions.pretrain(table, phylogeny=tree, resume_from=artifact, **RUN)
        assert not (folder.parent / "harm").exists()

    def test_a_state_of_another_command(self, folder):
        state = torch.load(folder / STATE, weights_only=True)
        state["identity"]["command"] = "train"
        torch.save(state, folder / STATE)
        with pytest.raises(ValidationError, match="writes no encoder"):
            self.validate(folder, "max")

    def test_parts_that_are_elsewhere_are_not_read(self, folder, stopped, table, tree):
        state = torch.load(folder / STATE, weights_only=True)
        state["shards"] = str(folder.parent)
        torch.save(state, folder / STATE)
        with pytest.raises(ValidationError, match="lacks its parts"):
            self.validate(folder, "max")
        artifact = with_state(stopped, folder / STATE)
        with pytest.raises(ValueError, match="lacks its parts"):
            aam.actions.pretrain(table, phylogeny=tree, resume_from=artifact, **RUN)

    @pytest.mark.parametrize("name", ["shards-1/.metadata", ".hidden", "notes.txt"])
    def test_other_files_are_refused(self, folder, stopped, table, tree, name):
        """Also those that QIIME 2 itself passes over."""
        sent = with_state(stopped, folder / STATE, {name: b"anything"})
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"anything")
        for level in ("min", "max"):
            with pytest.raises(ValidationError, match=OTHER):
                self.validate(folder, level)
        with pytest.raises(ValidationError, match=OTHER):
            aam.actions.pretrain(table, phylogeny=tree, resume_from=sent, **RUN)
        with pytest.raises(ValidationError, match=OTHER):
            aam.actions.pretrain(table, phylogeny=tree, pretrained_encoder=sent, **RUN)

    def test_what_a_network_disk_leaves_is_no_harm(self, folder):
        (folder / ".nfs0123").write_bytes(b"deleted")
        self.validate(folder, "max")


def with_state(artifact, state, more=None):
    """The artifact with another state and more files, as somebody could send it."""
    path = state.parent.parent / "artifact.qza"
    artifact.save(str(path))
    changed = path.with_name("changed.qza")
    old, new = str(artifact.uuid), str(uuid.uuid4())  # QIIME 2 keeps files by UUID
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            content = before.read(name).replace(old.encode(), new.encode())
            if name.endswith(f"/data/{STATE}"):
                content = state.read_bytes()
            after.writestr(name.replace(old, new), content)
        for name, content in (more or {}).items():
            after.writestr(f"{new}/data/{name}", content)
    return qiime2.Artifact.load(str(changed))


@pytest.mark.parametrize("action", ["pretrain", "train", "cross_validate"])
def test_sigterm_while_the_input_is_read(action, table, tree, metadata, monkeypatch):
    """From the first line of an action a request ends it with a clear message."""

    def read(view):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("aam_core.data.table.FeatureTable.from_biom", read)
    given = {
        "pretrain": {"phylogeny": tree},
        "train": {"metadata": metadata, "metadata_column": ["ph"]},
        "cross_validate": {"metadata": metadata.get_column("ph")},
    }
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunError, match=r"before anything was learned.*\(SIGTERM\)"):
        getattr(aam.actions, action)(table, **given[action])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def forked_launches(monkeypatch):
    """What this process launches is forked; as a user's, it would import torch."""

    def config(**options):
        return LaunchConfig(**options | {"start_method": METHOD})

    monkeypatch.setattr("torch.distributed.launcher.api.LaunchConfig", config)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_sigterm_to_qiime(table, tree, tmp_path, forked_launches, strategy):
    """The command ends well, with an artifact, and says so without --verbose."""
    pytest.importorskip("q2cli")
    table.save(str(tmp_path / "table.qza"))
    tree.save(str(tmp_path / "tree.qza"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = RUN | {"epochs": 6 if strategy else 30, **strategy}
    line = "aam pretrain --i-table table.qza --i-phylogeny tree.qza --o-encoder run.qza"
    command = [sys.executable, "-c", QIIME, *line.split()]
    for name, value in run.items():
        command += [f"--p-{name.replace('_', '-')}", str(value)][: 2 - (value is True)]
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    env |= {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(command, cwd=tmp_path, env=env, **pipes) as process:
        writes = set()
        # at the start, before epoch 1, after it
        while len(writes) < 3 and process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                writes |= {p.stat().st_mtime_ns for p in temporary.rglob(STATE)}
            time.sleep(0.01)
        process.terminate()
        said, warned = process.communicate(timeout=120)
    assert process.returncode == 0, said + warned
    assert "Saved AAMEncoder to: run.qza" in said
    assert "marked as not completed" in warned
    assert [p for p in temporary.rglob("*") if p.name == STATE] == []
    stopped = qiime2.Artifact.load(str(tmp_path / "run.qza"))
    stopped.validate("max")
    assert stopped.view(dict)["completed"] is False
    assert set(exported(stopped, tmp_path / "stopped")) >= {STATE, WEIGHTS}
    given = {"phylogeny": tree, **run}
    again = aam.actions.pretrain(table, resume_from=stopped, **given).encoder
    straight = aam.actions.pretrain(table, **given).encoder
    assert same(again, straight, tmp_path)
    assert len(again.view(qiime2.Metadata).ids) == len(
        straight.view(qiime2.Metadata).ids
    )
