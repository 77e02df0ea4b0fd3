"""`aam cross-validate`, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from aam_core.commands import cross_validation_cells as cells
from aam_core.config import effort
from aam_core.ensemble import trees
from aam_core.report import page as pages
from tests.commands import aam, has_results_only, inputs, started

LINE = ("--effort", "quick", "--device", "cpu", "--group-column", "subject")
LINE += ("--folds", "2", "--repeats", "1")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Without the JavaScript, which takes seconds to bundle, and in a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(trees, "TREES", 10)
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


def line_of(files, column, *more):
    given = inputs(files, "table", "sequences", "metadata")
    return ["cross-validate", *given, "--metadata-column", column, *LINE, *more]


@pytest.fixture(scope="module")
def stopped(files, tmp_path_factory):
    """A run that SIGTERM stopped in its second fold; and what it said."""
    folder = tmp_path_factory.mktemp("cross-validate") / "run"
    calls, real = [], cells.predict

    def predict(*args, **given):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "predict", predict)
        done = aam(*line_of(files, "kind", "--output-dir", folder))
    assert done.exit_code == 0, done.output
    kept = {p.name: p.read_bytes() for p in (folder / "cells").iterdir()}
    return folder, (folder / "aam.log").read_text(), kept


def test_a_run_that_is_stopped_leaves_what_is_done_and_resumes(stopped, files):
    folder, log, kept = stopped
    assert set(kept) == {"identity.json", "repeat-1-fold-1.json"}
    assert "Stopped after 1 of 2 fits because it was asked to (SIGTERM)" in log
    assert "The run is not complete. To resume, repeat the command with --resume" in log
    assert json.loads((folder / "run.json").read_text())["completed"] is False
    assert "Not completed: 1 of 2" in (folder / "report.html").read_text()
    line = line_of(files, "kind", "--output-dir", folder)
    done = aam(*line)
    assert done.exit_code == 1
    assert "--resume goes on with it" in done.output
    done = aam(*line, "--resume", "--seed", "7")
    assert "seed is 7, but was 42" in done.output
    done = aam(*line, "--resume")
    assert done.exit_code == 0, done.output
    assert has_results_only(folder)
    for name, content in kept.items():
        assert (folder / "cells" / name).read_bytes() == content
    run = json.loads((folder / "run.json").read_text())
    assert run["completed"] is True
    log = (folder / "aam.log").read_text().splitlines()
    assert "1 of them are done already" in " ".join(log)
    assert "q2-aam" in log[-2]  # the verdict
    assert "report.html" in log[-1]
    table = pd.read_csv(folder / "predictions.tsv", sep="\t")
    assert sorted(table["id"]) == sorted(
        pd.read_csv(files / "metadata.tsv", sep="\t")["id"]
    )
    folds = pd.read_csv(folder / "folds.tsv", sep="\t")
    assert len(folds) == 4
    assert (folder / "comparison.tsv").is_file()


def test_the_report_is_drawn_again(stopped, tmp_path):
    report = tmp_path / "x.html"
    line = ["evaluate-cross-validation", "--cross-validation", stopped[0]]
    done = aam(*line, "--output", report)
    assert done.exit_code == 0, done.output
    assert "Cross-validation of kind" in report.read_text()
    assert "exists already" in aam(*line, "--output", report).output
    wrong = ["evaluate-cross-validation", "--cross-validation", tmp_path]
    done = aam(*wrong, "--output", tmp_path / "y.html")
    assert "name a folder that cross-validate wrote" in done.output


def test_there_has_to_be_something_to_resume(files, tmp_path):
    line = line_of(files, "kind", "--output-dir", tmp_path / "run", "--resume")
    done = aam(*line)
    assert done.exit_code == 1
    assert "leave --resume out" in done.output
    assert not (tmp_path / "run").exists()


def test_wrong_input_leaves_nothing(files, tmp_path):
    folder = tmp_path / "run"
    line = line_of(files, "kind", "--output-dir", folder, "--labels", "5")
    assert "labels is 5, but must be ≥ 10" in aam(*line).output
    done = aam(*line_of(files, "mood", "--output-dir", folder))
    assert done.exit_code == 1
    assert "mood" in done.output
    assert not folder.exists()


def test_numbers_can_be_classes(files, tmp_path, monkeypatch):
    seen = []

    def train(config, output, **given):
        seen.append(config.task)
        raise pages.InputError("enough")

    monkeypatch.setattr(cells, "train", train)
    for more, task in (((), "regression"), (("--classifier",), "classification")):
        metadata = pd.read_csv(files / "metadata.tsv", sep="\t", index_col=0)
        metadata = metadata.assign(number=[1, 2] * 12)
        metadata.to_csv(tmp_path / "m.tsv", sep="\t")
        line = line_of(files, "number", "--output-dir", tmp_path / task, *more)
        line[line.index("--metadata") + 1] = tmp_path / "m.tsv"
        assert "enough" in aam(*line).output
        assert seen[-1] == task


def test_a_process_that_a_batch_system_stops(files, tmp_path):
    folder = tmp_path / "run"
    line = line_of(files, "value", "--output-dir", folder, "--repeats", "20")
    command = [sys.executable, "-m", "aam_core", *map(str, line)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with started(command, **pipes) as process:
        for _ in range(1200):
            if len(list((folder / "cells").glob("repeat*.json"))) >= 1:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    assert "To resume, repeat the command with --resume" in said
    assert (folder / "report.html").is_file()
    done = len(list((folder / "cells").glob("repeat*.json")))
    assert 1 <= done < 40
    line[-1] = "1"
    again = aam(*line, "--resume")
    assert again.exit_code == 0, again.output
    assert json.loads((folder / "run.json").read_text())["done"] == 2
