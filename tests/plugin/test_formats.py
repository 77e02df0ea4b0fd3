"""What the formats refuse, and at which level."""

import json
import shutil

import numpy as np
import pytest
import qiime2
from qiime2.plugin import ValidationError
from safetensors.numpy import load_file, save_file

from q2_aam._formats import (
    AAMConfigFormat,
    AAMEncoderDirectoryFormat,
    AAMHistoryFormat,
    AAMModelDirectoryFormat,
    RegressionDetailsFormat,
    SafetensorsFormat,
)


@pytest.fixture
def model(regression, tmp_path):
    """A directory with the files of a regression, to break."""
    regression.model.export_data(str(tmp_path / "model"))
    return tmp_path / "model"


def edit_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(directory, change):
    weights = load_file(directory / "model.safetensors")
    name = next(n for n, w in weights.items() if w.dtype.kind == "f" and w.size)
    weights[name] = change(weights[name])
    save_file(weights, directory / "model.safetensors")


def not_finite(weight):
    broken = weight.copy()
    broken.flat[0] = np.nan
    return broken


def validate(directory, level, fmt=AAMModelDirectoryFormat):
    fmt(str(directory), mode="r").validate(level)


@pytest.mark.parametrize("level", ["min", "max"])
def test_what_the_engine_wrote_is_valid(model, encoder, level):
    validate(model, level)
    encoder.validate(level)


BREAKS = {
    "not JSON": lambda d: (d / "config.json").write_text("{"),
    "lacks 'software', 'architecture'": lambda d: (d / "config.json").write_text(
        json.dumps({"schema": 1, "kind": "model", "task": "regression"})
    ),
    "schema 99": lambda d: edit_config(d, schema=99),
    "kind is 'tree'": lambda d: edit_config(d, kind="tree"),
    "task is 'clustering'": lambda d: edit_config(d, task="clustering"),
    "do not fit": lambda d: edit_weights(d, lambda w: np.concatenate([w, w])),
    "cut off": lambda d: (d / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{"),
    "cut off: .*incomplete": lambda d: (d / "model.safetensors").write_bytes(
        (d / "model.safetensors").read_bytes()[:-4]
    ),
    "no column 'epoch'": lambda d: (d / "history.tsv").write_text("lr\tloss\n1\t2\n"),
    "no rows": lambda d: (d / "history.tsv").write_text("epoch\tloss\n"),
    "Missing one or more": lambda d: (d / "history.tsv").unlink(),
    "Unrecognized file": lambda d: shutil.copy(d / "config.json", d / "code.py"),
}


@pytest.mark.parametrize("message", BREAKS)
def test_headers_are_checked_at_both_levels(model, message):
    BREAKS[message](model)
    for level in ("min", "max"):
        with pytest.raises(ValidationError, match=message):
            validate(model, level)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("not finite", lambda d: edit_weights(d, not_finite)),
        (
            "do not rise",
            lambda d: (d / "history.tsv").write_text("epoch\tloss\n2\t1\n1\t1\n"),
        ),
    ],
)
def test_contents_are_checked_at_max(model, message, change):
    change(model)
    validate(model, "min")
    with pytest.raises(ValidationError, match=message):
        validate(model, "max")


def test_an_encoder_is_no_model_and_the_reverse(model, encoder, tmp_path):
    encoder.export_data(str(tmp_path / "encoder"))
    with pytest.raises(ValidationError, match="kind 'encoder', not 'model'"):
        validate(tmp_path / "encoder", "min")
    with pytest.raises(ValidationError, match="kind 'model', not 'encoder'"):
        validate(model, "min", AAMEncoderDirectoryFormat)


def test_a_regression_is_no_classification(model, classification, tmp_path):
    with pytest.raises(ValidationError, match=r"its type is AAMModel\[Regression\]"):
        qiime2.Artifact.import_data("AAMModel[Classification]", str(model))
    classification.model.export_data(str(tmp_path / "classes"))
    with pytest.raises(ValidationError, match=r"AAMModel\[Classification\]"):
        qiime2.Artifact.import_data("AAMModel[Regression]", str(tmp_path / "classes"))


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        (AAMConfigFormat, "config.json"),
        (SafetensorsFormat, "model.safetensors"),
        (AAMHistoryFormat, "history.tsv"),
    ],
)
def test_single_files(model, fmt, name):
    fmt(str(model / name), mode="r").validate("max")
    (model / name).write_text("nonsense")
    with pytest.raises(ValidationError):
        fmt(str(model / name), mode="r").validate("min")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\tph\nS1\t7\tmore\n", "Line 2 has 3 fields, not 2"),
        ("id\tph\nS1\tacid\n", "Line 2 holds 'acid', not a number"),
        ("id\tph\n", "no rows"),
        ("id\tph\nS1\t1_0\n", "Line 2 holds '1_0', not a number"),
        ("id\tph\nS1\tinf\n", "Line 2 holds 'inf', not a number"),
        ("id\tph\nS1\t1\nS1\t2\n", "Line 3: the id 'S1' is empty, or there twice"),
        ("id\tph\n\t1\n", "Line 2: the id '' is empty"),
        ("id\tph\tph\nS1\t1\t2\n", "empty, or there twice"),
        ('id\tph\n"' + "x" * 200_000, "not a table"),
        ("id\nS1\n", "at least one more column"),
        ("", "must be a header"),
    ],
)
def test_broken_details(tmp_path, text, message):
    path = tmp_path / "details.tsv"
    path.write_text(text)
    with pytest.raises(ValidationError, match=message):
        RegressionDetailsFormat(str(path), mode="r").validate("min")


def test_min_reads_a_few_rows(tmp_path):
    path = tmp_path / "details.tsv"
    rows = "".join(f"S{n}\t7\n" for n in range(20))
    path.write_text(f"id\tph\n{rows}T\tacid\n")
    fmt = RegressionDetailsFormat(str(path), mode="r")
    fmt.validate("min")
    with pytest.raises(ValidationError, match="Line 22"):
        fmt.validate("max")
