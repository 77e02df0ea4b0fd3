"""Event files hold all rows, and end no run."""

import sys
import threading
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from aam_core.training.events import EventFiles


def full(*given):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_once(tmp_path, monkeypatch):
    """Also where TensorBoard meets it in a thread of its own."""
    monkeypatch.setattr(RecordWriter, "write", full)
    shown, lines = [], []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with EventFiles(tmp_path, 1, lines.append) as events:
        for epoch in range(1, 500):
            events.add({"epoch": epoch, "val_loss": 1.0})
            time.sleep(0.01 if events.writer else 0)
    (line,) = lines
    assert "No space left on device" in line
    assert shown == []
    assert threading.excepthook == shown.append


def test_errors_of_other_threads_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    with EventFiles(None, 1, print):
        thread = threading.Thread(target=full)
        thread.start()
        thread.join()
    (failed,) = shown
    assert failed.exc_type is OSError


def _add_and_fail(folder):
    with EventFiles(folder, 1, print) as events:
        events.add({"epoch": 1, "val_loss": 0.5})
        raise ZeroDivisionError


def test_what_was_added_before_an_error_is_in_the_files(tmp_path):
    with pytest.raises(ZeroDivisionError):
        _add_and_fail(tmp_path)
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    (row,) = read.Scalars("val/loss")
    assert (row.step, row.value) == (1, 0.5)


def test_without_tensorboard_there_are_no_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = []
    with EventFiles(tmp_path / "events", 0, said.append) as events:
        events.add({"epoch": 1, "train_loss": 0.5})
    assert said == ["TensorBoard is not installed, so no event files are written."]
    assert not list(tmp_path.iterdir())


def test_without_a_folder_nothing_is_written_or_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    with EventFiles(None, 0, said.append) as events:
        events.add({"epoch": 1, "train_loss": 0.5})
    assert not said
    assert not list(tmp_path.iterdir())


def test_tags_of_the_fusions():
    written = {}

    class Writer:
        def add_scalar(self, tag, value, epoch):
            written[tag] = (value, epoch)

        def close(self):
            pass

    row = {"epoch": 3, "gmu_gate_mean": 0.4, "cross_attn_weight_mean": 0.6}
    with EventFiles(None, 1, print) as events:
        events.writer = Writer()
        events.add(row | {"val_mae": 1.0})
    assert written == {
        "gmu/gate_mean": (0.4, 3),
        "cross_attn/weight_mean": (0.6, 3),
        "val/mae": (1.0, 3),
    }
