"""What a run leaves that is asked to end, or cannot go on, at any moment."""

import contextlib
import errno
import os
import signal
import time

import pytest
import torch

from aam_core.cli import main
from aam_core.commands import cross_fit, train
from aam_core.data.table import FeatureTable
from aam_core.distributed.launch import SIGNALS
from aam_core.errors import InputError, RunError
from aam_core.io import model_folder, training_state
from aam_core.io.training_state import STATE
from aam_core.training import run
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.stop import (
    Action,
    Interrupted,
    Interruption,
    StopRequest,
)
from aam_core.training.train_session import TrainSession
from tests.commands import aam, inputs

SIZES = (
    *("--embedding-dim", 8, "--attention-heads", 2, "--attention-layers", 1),
    *("--nucleotide-patch", 4, "--max-bp", 60, "--rarefy-depth", 100),
    *("--device", "cpu", "--lr", 3e-3, "--batch-size", 6),
)
LINE = (
    *SIZES,
    *("--epochs", 2, "--metadata-column", "value", "--cross-fit", 2),
    *("--ensemble", "kernel,network"),
)
BEST, LAST = ("checkpoints", "best_model"), ("checkpoints", "last")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def at_call(owner, name, number, act, after=False):
    """Let something happen before the call of a function, or after it."""
    real, calls = getattr(owner, name), []

    def function(*args, **options):
        calls.append(1)
        now = len(calls) == number
        if now and not after:
            act()
        found = real(*args, **options)
        if now and after:
            act()
        return found

    with pytest.MonkeyPatch.context() as patch:
        if isinstance(owner.__dict__.get(name), classmethod):
            function = staticmethod(function)
        patch.setattr(owner, name, function)
        yield
    assert len(calls) >= number, f"{name} was called {len(calls)} times"


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def fill():
    raise FULL


def trained(files, folder, *more):
    given = inputs(files, "table", "sequences", "metadata")
    return aam("train", *given, *LINE, "--output-dir", folder, *more)


@pytest.fixture(scope="module")
def straight(files, tmp_path_factory):
    """What nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert trained(files, folder).exit_code == 0
    return folder


def resumes_as(straight, files, folder):
    """Whether a run resumes and gives what was never interrupted."""
    done = trained(files, folder, "--resume-from", folder)
    assert done.exit_code == 0, done.output
    for name in (model_folder.WEIGHTS, model_folder.HISTORY):
        found = [path.joinpath(*BEST, name).read_bytes() for path in (folder, straight)]
        assert found[0] == found[1], name
    for name in ("val_predictions.tsv", "folds.tsv"):
        assert (folder / name).read_text() == (straight / name).read_text()
    assert not folder.joinpath(*LAST).exists()
    left = [p.name for p in folder.rglob("*") if p.name.endswith(".part")]
    assert left == []


class TestSignals:
    """SIGTERM from the first line of a command to its last."""

    @pytest.mark.parametrize(
        ("owner", "name", "number"),
        [
            (FeatureTable, "read", 1),
            (train, "prepare_inputs", 1),
            (cross_fit, "fit_classical", 1),
            (cross_fit, "fit_classical", 2),  # without the first fold
        ],
    )
    def test_before_anything_is_learned(self, files, tmp_path, owner, name, number):
        with at_call(owner, name, number, terminate):
            done = trained(files, tmp_path / "run")
        assert done.exit_code == 1
        said = "before anything was learned, because it was asked to (SIGTERM)"
        assert said in done.output
        assert "Traceback" not in done.output
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("owner", "name", "number", "members"),
        [
            (cross_fit, "fit_classical", 3, {"kernel"}),  # without the second fold
            (run, "_build", 1, {"kernel"}),
            (run, "_build", 2, {"kernel", "network"}),
            (TrainSession, "losses", 2, {"kernel", "network"}),
            (TrainSession, "predict", 1, {"kernel", "network"}),
        ],
    )
    def test_the_best_there_is_comes_out(
        self, files, straight, tmp_path, owner, name, number, members
    ):
        folder = tmp_path / "run"
        with at_call(owner, name, number, terminate):
            done = trained(files, folder)
        assert done.exit_code == 0, done.output
        assert "To resume, repeat the command with --resume-from" in done.output
        best = folder.joinpath(*BEST)
        model_folder.check_layout(best)
        config = model_folder.read_config(best)
        assert config["completed"] is False
        assert "SIGTERM" in config["stopped"]
        assert set(config["ensemble"]) & {"kernel", "network"} == members
        resumes_as(straight, files, folder)

    @pytest.mark.parametrize(
        ("owner", "name"),
        [
            (cross_fit.CrossFit, "finish"),
            (model_folder, "save"),
            (main, "write_lists"),
            (main, "write_table"),
        ],
    )
    def test_in_the_last_act_it_changes_nothing(
        self, files, straight, tmp_path, owner, name
    ):
        folder = tmp_path / "run"
        before = signal.getsignal(signal.SIGTERM)
        with at_call(owner, name, 1, terminate):
            done = trained(files, folder)
        assert done.exit_code == 0, done.output
        assert signal.getsignal(signal.SIGTERM) is before
        assert model_folder.read_config(folder.joinpath(*BEST))["completed"]
        texts = [(p / "val_predictions.tsv").read_text() for p in (folder, straight)]
        assert texts[0] == texts[1]

    def test_ctrl_c_is_a_request_once(self):
        """Also where the tests run in the background, in which shells ignore it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGINT)
                assert "SIGINT" in stop.reason
                with pytest.raises(KeyboardInterrupt):
                    os.kill(os.getpid(), signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_a_signal_that_is_ignored_stays_so(self):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGINT)
                assert stop.reason is None
        finally:
            signal.signal(signal.SIGINT, before)

    def test_what_came_before_is_known_within(self):
        with Action() as action:
            action.learned()
            terminate()
            with StopRequest() as inner:
                assert "SIGTERM" in inner.reason

    def test_only_an_action_that_has_nothing_ends_at_once(self):
        with pytest.raises(RunError, match="anything was learned"), Action():
            terminate()
        with Action() as action, StopRequest() as inner:
            inner.learned()
            terminate()
            assert action.reason

    def test_an_action_within_one_that_has_learned_is_not_ended(self):
        with pytest.raises(RunError), Action(), Action():
            terminate()
        with Action() as pipeline:
            with Action() as train:
                train.learned()
            with Action():
                terminate()
            assert pipeline.reason

    def test_an_action_that_stays_ends_with_its_process(self):
        before = [signal.getsignal(number) for number in SIGNALS]
        try:
            with Action(stays=True) as action:
                action.learned()
            terminate()
            assert action.reason
        finally:
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)
        with pytest.raises(ZeroDivisionError), Action(stays=True):
            raise ZeroDivisionError
        assert [signal.getsignal(number) for number in SIGNALS] == before

    def test_what_part_of_a_piece_learns_does_not_count(self):
        with Action(), Interruption() as pieces:
            with StopRequest() as inner:
                inner.learned()
                with pytest.raises(Interrupted):
                    terminate()
            pieces.learned()

    def test_a_wait_for_data_ends_by_the_time(self):
        with StopRequest(0.05 / 3600) as stop:
            began = time.monotonic()
            with pytest.raises(Interrupted), stop.waiting():
                time.sleep(30)
            assert time.monotonic() - began < 10
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    def test_an_alarm_within_leaves_that_around(self):
        def work():
            with StopRequest(1.0) as inner, inner.waiting():
                pass
            time.sleep(30)

        with (
            Interruption(0.3 / 3600) as outer,
            pytest.raises(Interrupted),
            outer.interruptible(),
        ):
            work()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


class TestLossesThatAreNotFinite:
    """After the first step it is a stop, and no refusal."""

    @contextlib.contextmanager
    def broken(self, session, number):
        """Let the loss of a batch be NaN."""
        real, calls = session.losses, []

        def losses(self, batch):
            calls.append(1)
            total, parts = real(self, batch)
            return (total * torch.nan if len(calls) >= number else total), parts

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "losses", losses)
            yield

    def pretrained(self, files, folder, *more):
        given = inputs(files, "table", "sequences", "tree")
        options = (*SIZES, "--epochs", 3, "--output-dir", folder, *more)
        return aam("pretrain", *given, *options)

    def test_the_best_epoch_comes_out(self, files, tmp_path):
        folder = tmp_path / "run"
        with self.broken(PretrainSession, 7):  # 3 batches an epoch
            done = self.pretrained(files, folder)
        assert done.exit_code == 0, done.output
        config = model_folder.read_config(folder.joinpath(*BEST))
        assert config["completed"] is False
        assert "finite number (Epoch 3/3)" in config["stopped"]
        named = [i for i in config["split"]["training"] if repr(i) in config["stopped"]]
        assert len(named) >= 4  # of the batch, and no others
        assert "lower lr, max_grad_norm 1, or mixed_precision none" in done.output
        model_folder.check_layout(folder.joinpath(*BEST))
        assert folder.joinpath(*LAST, STATE).exists()

    def test_in_the_first_epoch_nothing_saved_is_deleted(self, files, tmp_path):
        folder = tmp_path / "run"
        with self.broken(PretrainSession, 3):
            done = self.pretrained(files, folder)
        assert done.exit_code == 1
        assert "has no good epoch yet" in done.output
        assert folder.joinpath(*LAST, STATE).exists()

    def test_before_the_first_step_it_is_a_refusal(self, files, tmp_path):
        with self.broken(PretrainSession, 1):
            done = self.pretrained(files, tmp_path / "run")
        assert done.exit_code == 1
        assert "no longer a finite number" in done.output
        assert not (tmp_path / "run").exists()

    def test_weights_that_are_not_finite_are_no_best_epoch(self, files, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                PretrainSession, "validate", lambda self: {"val_loss": torch.nan}
            )
            done = self.pretrained(files, tmp_path / "run")
        assert "val_loss is no longer a finite number after epoch 1" in done.output
        assert done.exit_code == 1

    @pytest.mark.parametrize(("number", "networks"), [(2, 0), (6, 1), (7, 2)])
    def test_members_and_folds_that_are_there_come_out(
        self, files, tmp_path, number, networks
    ):
        """Two folds of two epochs of two batches; the first is too early."""
        folder = tmp_path / "run"
        with self.broken(TrainSession, number):
            done = trained(files, folder)
        assert done.exit_code == 0, done.output
        config = model_folder.read_config(folder.joinpath(*BEST))
        assert config["completed"] is False
        assert "finite number" in config["stopped"]
        assert len(config["ensemble"].get("network", [])) == networks

    def test_a_late_refusal_deletes_nothing(self, files, tmp_path):
        """Whoever refuses, and whatever."""

        def refuse():
            raise InputError("of something")

        folder = tmp_path / "run"
        with at_call(TrainSession, "validate", 2, refuse):
            done = trained(files, folder)
        assert (done.exit_code, done.output.splitlines()[-1]) == (
            1,
            "Error: of something",
        )
        assert "--resume-from" in done.output
        assert folder.joinpath(*LAST, STATE).exists()


class TestFullDisk:
    """What cannot be written, here because torch is told so."""

    def test_the_run_goes_on_without_a_state(self, files, straight, tmp_path):
        folder, real = tmp_path / "run", training_state.os.fsync
        calls = []

        def fsync(number):
            calls.append(1)
            if len(calls) in (2, 3):
                raise FULL
            real(number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_state.os, "fsync", fsync)
            done = trained(files, folder)
        assert done.exit_code == 0, done.output
        assert done.output.count("cannot be written to") == 1
        assert f"{folder.joinpath(*LAST)} (" in done.output
        assert "is written to" in done.output  # again
        found = [p.joinpath(*BEST, model_folder.WEIGHTS) for p in (folder, straight)]
        assert found[0].read_bytes() == found[1].read_bytes()

    def test_what_torch_makes_of_it(self, tmp_path):
        """It may raise an error of its own, which is none of the system."""

        real = open

        def full(path, mode="r", **options):
            path = "/dev/full" if str(path).endswith(".part") else path
            return real(path, mode, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("builtins.open", full)
            with pytest.raises(OSError, match="No space left"):
                training_state.write_state(tmp_path, {"x": torch.zeros(100_000)})
        assert list(tmp_path.iterdir()) == []

    def test_the_model_is_written_elsewhere(self, files, tmp_path, monkeypatch):
        monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
        with at_call(model_folder, "save", 1, fill):
            done = trained(files, tmp_path / "run")
        assert done.exit_code == 1
        (rescued,) = tmp_path.glob("aam-model-*")
        assert f"it is in {rescued}" in done.output
        model_folder.check_layout(rescued)
        assert "--resume-from" in done.output


class TestKills:
    """A kill in the last act, by what it leaves."""

    class Killed(Exception):
        pass

    def kill(self):
        raise self.Killed

    @pytest.mark.parametrize(
        ("owner", "name", "number"),
        [
            (model_folder, "write_atomically", 1),
            (model_folder, "write_atomically", 3),
            (main, "write_lists", 1),
            (main, "write_table", 2),
        ],
    )
    def test_it_resumes(self, files, straight, tmp_path, owner, name, number):
        folder = tmp_path / "run"
        with at_call(owner, name, number, self.kill):
            assert isinstance(trained(files, folder).exception, self.Killed)
        (folder.joinpath(*BEST) / "model.safetensors.part").write_bytes(b"half")
        done = trained(files, folder)
        assert f"--resume-from {folder} resumes it" in done.output
        assert "--overwrite starts again" in done.output
        resumes_as(straight, files, folder)

    def test_a_run_that_had_nothing_starts_again(self, files, tmp_path):
        """As a job that is requeued does."""
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "aam.log").write_text("killed while it read")
        assert trained(files, folder).exit_code == 0
