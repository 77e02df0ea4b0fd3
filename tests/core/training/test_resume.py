"""A run that is killed and resumed equals one that was not."""

import contextlib
import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import PretrainConfig, TrainConfig
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.training_state import STATE, read_state
from aam_core.reporting import silent
from aam_core.training import memory
from aam_core.training.loop import Objective, fit
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.resume import StateKeeper
from aam_core.training.stop import StopRequest
from aam_core.training.train_session import TrainSession
from tests import generate
from tests.commands import aam, inputs, started
from tests.one_weight import Numbers, weight
from tests.runs import ONE_NETWORK

CPU = torch.device("cpu")
SMALL = generate.SIZES | {
    "embedding_dim": 8,
    "rarefy_depth": 100,
    "lr": 3e-3,
    "epochs": 4,
    "device": "cpu",
}
SCHEDULERS = {
    "warmup_cosine": {"warmup_steps": 5},
    "cosine": {"scheduler_eta_min": 1e-5},
    "cosine_restarts": {"scheduler_t0": 3},
    "plateau": {"scheduler_patience": 0, "scheduler_factor": 0.5},
    "onecycle": {},
}


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_in(session, epoch):
    """Let the validation of an epoch of the run inside fail."""
    calls = []
    real = session.validate

    def validate(self):
        calls.append(1)
        if len(calls) == epoch:
            raise Killed
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "validate", validate)
        yield


def start(made, config, output, **options):
    run = train if isinstance(config, TrainConfig) else pretrain
    given = {"table": made.table, "sequences": made.sequences} | options
    given.setdefault("report", silent)
    if run is train:
        given["metadata"] = made.metadata
    else:
        given.setdefault("phylogeny", made.phylogeny)
    run(config, output, **given)


def interrupt(made, config, folder, **options):
    """Kill a run in the validation of epoch 3; its state is in folder/last."""
    session = TrainSession if isinstance(config, TrainConfig) else PretrainSession
    with killed_in(session, 3), pytest.raises(Killed):
        start(made, config, folder / "model", state=folder / "last", **options)


@pytest.fixture(scope="module")
def interrupted(smaller, tmp_path_factory):
    """The state of a pre-training that was killed; no test changes it."""
    folder = tmp_path_factory.mktemp("interrupted")
    interrupt(smaller, PretrainConfig(**SMALL), folder)
    return folder / "last"


@pytest.fixture(scope="module")
def whole(smaller, tmp_path_factory):
    """What that pre-training gives when nothing interrupts it."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    start(smaller, PretrainConfig(**SMALL), folder)
    return folder


def same_model(first, second):
    for name in (model_folder.WEIGHTS, model_folder.HISTORY):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def check(made, config, tmp_path, **options):
    interrupt(made, config, tmp_path, **options)
    state = tmp_path / "last"
    torch.manual_seed(99)  # another process has drawn other numbers
    again = {"state": state, "resume_from": state}
    start(made, config, tmp_path / "model", **again, **options)
    start(made, config, tmp_path / "straight", **options)
    same_model(tmp_path / "model", tmp_path / "straight")
    assert model_folder.read_config(tmp_path / "model")["completed"] is True
    assert not state.exists()
    return model_folder.read_history(tmp_path / "model")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_pretraining_with_each_scheduler(smaller, tmp_path, scheduler):
    options = SMALL | {"scheduler": scheduler, **SCHEDULERS[scheduler]}
    history = check(smaller, PretrainConfig(**options), tmp_path)
    assert len(history) == 4
    if scheduler != "plateau":
        assert history["lr"].nunique() > 1


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_with_covariates_and_accumulation(smaller, tmp_path, optimizer):
    """Three batches an epoch in groups of two; random ASVs; random covariates."""
    config = TrainConfig(
        **SMALL,
        **ONE_NETWORK,
        optimizer=optimizer,
        metadata_column=("value",),
        categorical_columns=("site",),
        gradient_accumulation_steps=2,
        batch_size=7,
        asv_sampling="random",
        token_limit=8,
    )
    check(smaller, config, tmp_path)


def test_training_of_a_frozen_encoder(smaller, tmp_path):
    start(smaller, PretrainConfig(**SMALL | {"epochs": 1}), tmp_path / "encoder")
    options = SMALL | ONE_NETWORK
    options |= {"metadata_column": ("kind",), "task": "classification"}
    config = TrainConfig(**options, freeze_base=True)
    encoder = tmp_path / "encoder"
    check(smaller, config, tmp_path, encoder=encoder)


@pytest.mark.parametrize("killed", [3, 6, 8])
def test_training_of_folds(smaller, tmp_path, killed):
    """Killed in the first fold, when the second begins, and in its middle."""
    config = TrainConfig(**SMALL, metadata_column=("value",), cross_fit=2)
    with killed_in(TrainSession, killed), pytest.raises(Killed):
        start(smaller, config, tmp_path / "model", state=tmp_path / "last")
    assert len(read_state(tmp_path / "last")["finished"]) == (killed > 4)
    again = {"state": tmp_path / "last", "resume_from": tmp_path / "last"}
    start(smaller, config, tmp_path / "model", **again)
    start(smaller, config, tmp_path / "straight")
    same_model(tmp_path / "model", tmp_path / "straight")
    saved, straight = (
        model_folder.read_config(tmp_path / n) for n in ("model", "straight")
    )
    assert saved["ensemble"] == straight["ensemble"]
    assert saved["scores"] == straight["scores"]
    assert not (tmp_path / "last").exists()


def test_another_device_is_told_of_the_preset(smaller, interrupted, tmp_path):
    """Where none was chosen, the run's own is asked for: no other model is built."""
    assert read_state(interrupted)["identity"]["options"]["preset"] == "tiny"
    given = {"resume_from": interrupted}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aam_core.training.run.default_preset", lambda device: "small")
        with pytest.raises(InputError, match="preset is 'small', but was 'tiny'"):
            start(smaller, PretrainConfig(**SMALL), tmp_path / "m", **given)
    config = PretrainConfig(**SMALL, preset="tiny")
    start(smaller, config, tmp_path / "m", **given)
    assert model_folder.read_config(tmp_path / "m")["completed"]


def test_other_folds_are_refused(smaller, tmp_path):
    config = TrainConfig(**SMALL, metadata_column=("value",), cross_fit=2)
    with killed_in(TrainSession, 3), pytest.raises(Killed):
        start(smaller, config, tmp_path / "model", state=tmp_path / "last")
    other = dataclasses.replace(config, cross_fit=3)
    with pytest.raises(InputError, match="cross_fit is 3, but was 2"):
        start(smaller, other, tmp_path / "m", resume_from=tmp_path / "last")


class Scripted:
    """A weight whose validation scores are given; it can be killed in an epoch."""

    def __init__(self, scores, killed=None):
        self.batches = Numbers([1, 2, 3])
        self.model = weight()
        self.scores = scores
        self.killed = killed

    def validate(self):
        epoch = self.batches.sampler.epoch
        if epoch == self.killed:
            raise Killed
        return {"val_loss": self.scores[epoch - 1]}

    def losses(self, batch):
        noise = torch.rand(())
        return ((self.model.weight - batch.value - noise) ** 2).sum(), {}

    def fit(self, config, keeper=None, lines=None):
        torch.manual_seed(0 if keeper is None or not keeper.resumes else 1)
        goal = Objective(self.model, self.losses, self.validate)
        report = print if lines is None else lines.append
        return fit(goal, self.batches, config, CPU, report=report, keeper=keeper)


def in_two_parts(config, scores, folder, killed):
    with pytest.raises(Killed):
        Scripted(scores, killed).fit(config, StateKeeper(folder))
    return Scripted(scores).fit(config, StateKeeper(folder, folder))


def same_fit(first, second):
    assert first.history == second.history
    assert first.best_epoch == second.best_epoch
    assert torch.equal(first.best_state["weight"], second.best_state["weight"])


@pytest.mark.parametrize("killed", [1, 2, 3, 4, 5])
def test_plateau_counts_on(tmp_path, killed):
    options = {"scheduler": "plateau", "scheduler_patience": 1, "lr": 0.1, "epochs": 6}
    config = PretrainConfig(**options, scheduler_factor=0.1)
    scores = [1.0, 1.0, 1.0, 0.5, 0.6, 0.6]
    straight = Scripted(scores).fit(config)
    rates = [row["lr"] for row in straight.history]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    same_fit(in_two_parts(config, scores, tmp_path, killed), straight)


@pytest.mark.parametrize("killed", [2, 3, 4])
def test_early_stopping_counts_on(tmp_path, killed):
    config = PretrainConfig(epochs=9, patience=3, lr=0.1)
    scores = [0.5, 0.6, 0.7, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1]
    straight = Scripted(scores).fit(config)
    assert len(straight.history) == 4
    assert straight.best_epoch == 1
    assert straight.completed
    same_fit(in_two_parts(config, scores, tmp_path, killed), straight)


def test_a_run_killed_after_its_last_epoch_only_ends(tmp_path):
    """The state is there until the model is written."""
    config = PretrainConfig(epochs=2, lr=0.1)
    straight = Scripted([2.0, 1.0]).fit(config, StateKeeper(tmp_path))
    again = Scripted([]).fit(config, StateKeeper(tmp_path, tmp_path))
    same_fit(again, straight)
    assert again.completed


def test_a_crash_while_writing_leaves_the_earlier_state(tmp_path, monkeypatch):
    config = PretrainConfig(epochs=4, lr=0.1)
    scores = [4.0, 3.0, 2.0, 1.0]
    real, calls = torch.save, []

    def save(state, handle):
        calls.append(1)
        if len(calls) == 4:  # the first is before epoch 1
            handle.write(b"half")
            raise Killed
        real(state, handle)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Killed):
        Scripted(scores).fit(config, StateKeeper(tmp_path))
    assert read_state(tmp_path)["progress"]["epoch"] == 2
    result = Scripted(scores).fit(config, StateKeeper(tmp_path, tmp_path))
    same_fit(result, Scripted(scores).fit(config))


#: Chunks that are computed again draw other numbers for dropout.
DRAWN = PretrainConfig(**SMALL | {"asv_chunk_size": 8, "dropout": 0.3})


@pytest.fixture(scope="module")
def by_memory(smaller, tmp_path_factory):
    """Runs to which little or much memory is available from start to end."""
    folders = {}
    for free in (1, 2**50):
        folders[free] = tmp_path_factory.mktemp("by_memory") / "model"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory, "available", lambda free=free: free)
            start(smaller, DRAWN, folders[free])
    return folders


@pytest.mark.parametrize(("first", "then"), [(2**50, 1), (1, 2**50)])
def test_a_decision_about_memory_holds_until_the_end(
    smaller, by_memory, tmp_path, monkeypatch, first, then
):
    histories = [model_folder.read_history(by_memory[free]) for free in (then, first)]
    assert not histories[0].equals(histories[1])
    monkeypatch.setattr(memory, "available", lambda: first)
    interrupt(smaller, DRAWN, tmp_path)
    monkeypatch.setattr(memory, "available", lambda: then)
    start(smaller, DRAWN, tmp_path / "model", resume_from=tmp_path / "last")
    same_model(tmp_path / "model", by_memory[first])


def test_a_run_goes_on_in_another_folder(smaller, interrupted, whole, tmp_path):
    before = (interrupted / STATE).read_bytes()
    new = {"state": tmp_path / "new", "resume_from": interrupted}
    start(smaller, PretrainConfig(**SMALL), tmp_path / "there", **new)
    same_model(tmp_path / "there", whole)
    assert (interrupted / STATE).read_bytes() == before


@pytest.mark.behaviour("max_hours")
def test_max_hours_ends_with_the_best_model_so_far(smaller, whole, tmp_path):
    lines = []
    state, model = tmp_path / "last", tmp_path / "model"
    short = PretrainConfig(**SMALL, max_hours=1e-9)
    start(smaller, short, model, state=state, report=lines.append)
    model_folder.check_layout(model, "max")
    assert model_folder.read_config(model)["completed"] is False
    assert any("max_hours 1e-09 is over" in line for line in lines)
    config = PretrainConfig(**SMALL)
    start(smaller, config, model, state=state, resume_from=state)
    same_model(model, whole)
    assert model_folder.read_config(model)["completed"] is True


def test_sigterm_ends_after_the_batch_with_the_best_epoch(tmp_path):
    scores = [1.0, 2.0, 0.5, 0.1]
    config = PretrainConfig(epochs=4, lr=0.1)
    run, lines, seen = Scripted(scores), [], []
    losses = run.losses

    def signalled(batch):
        seen.append(run.batches.sampler.epoch)
        if len(seen) == 8:  # the second of three batches in epoch 3
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(batch)

    run.losses = signalled
    before = signal.getsignal(signal.SIGTERM)
    result = run.fit(config, StateKeeper(tmp_path), lines)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(seen) == 8
    assert not result.completed
    assert result.best_epoch == 1
    assert len(result.history) == 2
    assert "after epoch 2 of 4 because it was asked to (SIGTERM)" in lines[-1]
    resumed = Scripted(scores).fit(config, StateKeeper(tmp_path, tmp_path))
    same_fit(resumed, Scripted(scores).fit(config))


def test_stop_request_knows_its_time():
    assert StopRequest().reason is None
    assert StopRequest(1.0).reason is None
    short = StopRequest(1e-9)
    time.sleep(0.001)
    assert "max_hours" in short.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 1e-3}, "lr is 0.001, but was 0.003"),
        ({"epochs": 9}, "epochs is 9, but was 4"),
        ({"scheduler": "cosine"}, "scheduler is 'cosine'"),
        ({"seed": 1}, "seed is 1"),
    ],
)
def test_other_options_are_refused(smaller, interrupted, tmp_path, change, message):
    config = PretrainConfig(**SMALL | change)
    with pytest.raises(InputError, match=message):
        start(smaller, config, tmp_path / "model", resume_from=interrupted)


def test_other_data_are_refused(smaller, interrupted, tmp_path):
    config = PretrainConfig(**SMALL)
    again = {"resume_from": interrupted}
    fewer = smaller.table.take_samples(np.arange(20))
    with pytest.raises(InputError, match=r"training samples are not.*'s"):
        start(smaller, config, tmp_path / "m", **again, table=fewer)
    names = list(smaller.sequences)
    swapped = dict(zip(names, [smaller.sequences[n] for n in names[::-1]], strict=True))
    with pytest.raises(InputError, match="interrupted run read: 'table'"):
        start(smaller, config, tmp_path / "m", **again, sequences=swapped)
    other = generate.study().tree
    for node in other.traverse():
        node.length = None if node.is_root() else 1.0
    other = type(smaller.phylogeny).from_skbio(other)
    with pytest.raises(InputError, match="'distances'"):
        start(smaller, config, tmp_path / "m", **again, phylogeny=other)
    target = TrainConfig(**SMALL, **ONE_NETWORK, metadata_column=("value",))
    with pytest.raises(InputError, match="one of pretrain, not of train"):
        start(smaller, target, tmp_path / "m", **again)


def test_other_targets_are_refused(smaller, tmp_path):
    config = TrainConfig(**SMALL, **ONE_NETWORK, metadata_column=("value",))
    interrupt(smaller, config, tmp_path)
    other = generate.study()
    other.metadata.loc["s00", "value"] += 1
    with pytest.raises(InputError, match="'target'"):
        start(other, config, tmp_path / "m", resume_from=tmp_path / "last")


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_state_is_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": 1, "x": Harmful()}, tmp_path / STATE)
    with pytest.raises(InputError, match="cannot be read as a training state"):
        read_state(tmp_path)
    (tmp_path / STATE).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="is not a training state"):
        read_state(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_cut_or_missing_state_is_a_clear_error(tmp_path):
    Scripted([1.0]).fit(PretrainConfig(epochs=1), StateKeeper(tmp_path))
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="was cut off"):
        read_state(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="has no training state"):
        read_state(tmp_path)


# The command, in processes of its own.

LINE = [
    *("--embedding-dim", "8", "--attention-heads", "2", "--attention-layers", "1"),
    *("--max-bp", "60", "--rarefy-depth", "100", "--epochs", "30", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def straight(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("straight") / "run"
    given = inputs(files, "table", "sequences", "tree")
    done = aam("pretrain", *given, *LINE, "--output-dir", output)
    assert done.exit_code == 0, done.output
    assert not (output / "checkpoints" / "last").exists()
    return output


def signalled(command, state, number):
    """Send a signal to a run in its third epoch or later; what it printed."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with started(command, **output) as process:
        writes = set()
        # at the start, before epoch 1, 2 more
        while len(writes) < 4 and process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                writes.add(state.stat().st_mtime_ns)
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=60)
    return process, said


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGTERM, 0, "The run is not complete. To resume"),
        (signal.SIGINT, 0, "The run is not complete. To resume"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_signals(files, straight, tmp_path, number, code, message):
    """As batch systems do, all processes get the signal; two prepare batches."""
    output = tmp_path / "run"
    state = output / "checkpoints" / "last" / STATE
    given = [*inputs(files, "table", "sequences", "tree"), *LINE]
    command = [sys.executable, "-m", "aam_core", "pretrain", *map(str, given)]
    command += ["--output-dir", str(output), "--num-workers", "2"]
    for _ in range(5):
        process, said = signalled(command, state, number)
        if state.exists():
            break
        shutil.rmtree(output)  # on a busy machine it can end before the signal comes
    assert process.returncode == code, said
    assert message in said
    model = output / "checkpoints" / "best_model"
    assert model.exists() == (number != signal.SIGKILL)
    if model.exists():
        model_folder.check_layout(model, "max")
        assert model_folder.read_config(model)["completed"] is False
    # without --resume-from nothing is overwritten; with it the run resumes
    done = aam("pretrain", *given, "--output-dir", output)
    assert done.exit_code == 1
    done = aam("pretrain", *given, "--output-dir", output, "--resume-from", output)
    assert done.exit_code == 0, done.output
    same_model(model, straight / "checkpoints" / "best_model")
    assert not state.exists()


def test_a_complete_run_cannot_go_on(files, straight):
    given = inputs(files, "table", "sequences", "tree")
    options = (*LINE, "--output-dir", straight, "--resume-from", straight)
    done = aam("pretrain", *given, *options)
    assert done.exit_code == 1
    assert "has no training state" in done.output
    assert (straight / "history.tsv").exists()


def test_overwrite_keeps_both_runs_when_it_is_interrupted(files, tmp_path):
    given = [*inputs(files, "table", "sequences", "tree"), *LINE, "--epochs", 3]
    given += ["--output-dir", tmp_path / "run"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "aam.log").write_text("earlier")
    (tmp_path / "run" / "history.tsv").write_text("of it")
    with killed_in(PretrainSession, 2):
        done = aam("pretrain", *given, "--overwrite")
    assert isinstance(done.exception, Killed)
    assert "run.earlier" in done.output
    assert (tmp_path / "run.earlier" / "aam.log").read_text() == "earlier"
    done = aam("pretrain", *given, "--overwrite")
    assert "was being overwritten" in done.output
    resume = ("--resume-from", tmp_path / "run")
    done = aam("pretrain", *given, "--overwrite", *resume)
    assert "--overwrite would delete" in done.output
    done = aam("pretrain", *given, *resume)
    assert done.exit_code == 0, done.output
