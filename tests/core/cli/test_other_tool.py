"""Every option of AAM's four commands is accepted here, or refused with a reason."""

from pathlib import Path

import pandas as pd
import pytest

from aam_core.cli.main import main
from tests.commands import aam, inputs
from tests.runs import go

#: A line an option: the command, and how it is written.
OPTIONS = Path(__file__).parents[2] / "data" / "aam_options.txt"


def test_every_option_is_known():
    lines = [line.split() for line in OPTIONS.read_text().splitlines()]
    assert len(lines) > 100
    known = {
        name: {word for p in command.params for word in (*p.opts, *p.secondary_opts)}
        for name, command in main.commands.items()
    }
    assert [f"{c} {o}" for c, o in lines if o not in known[c]] == []


@pytest.fixture(scope="module")
def model(made, tmp_path_factory):
    return go("train", made, tmp_path_factory.mktemp("model") / "m")


def test_what_has_no_effect_is_told(files, model, tmp_path):
    given = [*inputs(files, "table", "sequences"), "--model", model]
    given += ["--output", tmp_path / "p.tsv", "--device", "cpu"]
    done = aam("predict", *given, "--no-sequence-cache", "--asv-sampling", "abundance")
    assert done.exit_code == 0, done.output
    assert "--no-sequence-cache has no effect" in done.output
    assert len(pd.read_csv(tmp_path / "p.tsv", sep="\t")) == 24


def test_other_asvs_than_the_models_are_refused(files, model, tmp_path):
    given = [*inputs(files, "table", "sequences"), "--model", model]
    given += ["--output", tmp_path / "p.tsv"]
    done = aam("predict", *given, "--asv-sampling", "random")
    assert done.exit_code == 1
    assert "the model was trained with abundance" in done.output
    assert not (tmp_path / "p.tsv").exists()


@pytest.mark.parametrize("command", ["pretrain", "train"])
def test_training_tells_it_too(command, files, tmp_path):
    given = inputs(files, "table", "sequences", "metadata")
    out = ("--output-dir", tmp_path / "run")
    more = ("--metadata-column", "nothing") if command == "train" else ()
    done = aam(command, *given, *more, *out, "--no-sequence-cache", "--epochs", "1")
    assert "--no-sequence-cache has no effect" in done.output
    assert done.exit_code == 1  # no such column, no distances
