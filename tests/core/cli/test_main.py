import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from aam_core.cli.guide import COVARIATES
from aam_core.cli.main import main
from aam_core.config import COMMANDS, CategoricalOptions
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from aam_core.io import model_folder
from tests.commands import aam, has_results_only, inputs

SMALL = [
    *("--embedding-dim", "16", "--attention-heads", "2", "--attention-layers", "1"),
    *("--max-bp", "60", "--rarefy-depth", "300", "--epochs", "2", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def encoder(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "pretrain"
    given = inputs(files, "table", "sequences", "tree")
    done = aam("pretrain", *given, "--output-dir", output, *SMALL)
    assert done.exit_code == 0, done.output
    return output


@pytest.fixture(scope="module")
def model(files, encoder, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "train"
    given = inputs(files, "table", "sequences", "metadata")
    column = ("--metadata-column", "value")
    base = ("--pretrained-encoder", encoder, "--freeze-base", "--max-bp", "60")
    more = ("--rarefy-depth", "300", "--epochs", "2", "--output-dir", output)
    more += ("--cross-fit", "0")
    done = aam("train", *given, *column, *base, *more)
    assert done.exit_code == 0, done.output
    return output


def test_pretraining_writes_what_is_documented(encoder):
    model_folder.check_layout(encoder / "checkpoints" / "best_model", "max")
    training = (encoder / "train_samples.txt").read_text().split()
    validation = (encoder / "val_samples.txt").read_text().split()
    assert len(training) + len(validation) == 24
    assert has_results_only(encoder)
    assert not set(training) & set(validation)
    assert "Best epoch" in (encoder / "aam.log").read_text()
    assert len(pd.read_csv(encoder / "history.tsv", sep="\t")) == 2


def test_train_predict_and_forest(files, model, tmp_path):
    validation = pd.read_csv(model / "val_predictions.tsv", sep="\t", index_col=0)
    assert has_results_only(model)
    given = inputs(files, "table", "sequences")
    output, details = tmp_path / "p.tsv", tmp_path / "d.tsv"
    files_out = ("--output", output, "--details", details)
    done = aam("predict", *given, "--model", model, *files_out)
    assert done.exit_code == 0, done.output
    predicted = pd.read_csv(output, sep="\t", index_col=0)
    np.testing.assert_allclose(predicted.loc[validation.index], validation, rtol=1e-4)
    assert list(pd.read_csv(details, sep="\t").columns)[:2] == ["id", "value_predicted"]
    forest = tmp_path / "rf.tsv"
    done = aam(
        "rf-baseline",
        *inputs(files, "table", "metadata"),
        *("--metadata-column", "value", "--n-estimators", "20", "--n-jobs", "1"),
        *("--rarefy-depth", "300", "--output", forest),
        *("--train-samples", model / "train_samples.txt"),
        *("--val-samples", model / "val_samples.txt"),
    )
    assert done.exit_code == 0, done.output
    assert "r2" in done.output
    found = pd.read_csv(forest, sep="\t", index_col=0)
    assert set(found.index) == set(validation.index)
    by_model = tmp_path / "by-model.tsv"
    shared = (
        "rf-baseline",
        *inputs(files, "table", "metadata"),
        *("--model", model, "--n-estimators", "20", "--n-jobs", "1"),
    )
    done = aam(*shared, "--output", by_model)
    assert done.exit_code == 0, done.output
    again = pd.read_csv(by_model, sep="\t", index_col=0)
    pd.testing.assert_frame_equal(again, found)
    lists = ("--val-samples", model / "val_samples.txt")
    done = aam(*shared, *lists, "--output", tmp_path / "never.tsv")
    assert done.exit_code != 0
    assert "--model brings its own samples" in done.output
    assert not (tmp_path / "never.tsv").exists()


def test_classifier_and_lists_of_columns(files, tmp_path):
    done = aam(
        "train",
        *inputs(files, "table", "sequences", "metadata"),
        *("--metadata-column", "kind", "--classifier", *SMALL),
        *("--categorical-columns", "site,subject", "--output-dir", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    saved = model_folder.read_config(tmp_path / "run" / "checkpoints" / "best_model")
    assert saved["task"] == "classification"
    assert saved["options"]["categorical_columns"] == ["site", "subject"]


def test_flags_are_shown_under_their_topic():
    text = CliRunner().invoke(main, ["train", "--help"], terminal_width=200).output
    sections = re.split(r"^(\w[\w ]+):$", text, flags=re.M)
    section = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert "--classifier" in section["Target"]
    assert "--categorical-help" in section["Categorical covariates"]
    assert "--fsdp " in section["Several devices"]
    assert "--out-dim" in section["Older spellings"]


def test_spellings_of_the_task(files, tmp_path):
    given = [*inputs(files, "table", "metadata"), "--rarefy-depth", "300"]
    given += ["--metadata-column", "kind", "--n-estimators", "5", "--n-jobs", "1"]
    found = []
    for number, task in enumerate((["--classifier"], ["--task", "classification"])):
        output = tmp_path / f"{number}.tsv"
        done = aam("rf-baseline", *given, *task, "--output", output)
        assert "accuracy" in done.output, done.output
        found.append(output.read_text())
    assert found[0] == found[1]
    both = ("--classifier", "--task", "regression")
    done = aam("rf-baseline", *given, *both, "--output", tmp_path / "x.tsv")
    assert "--classifier and --task regression contradict each other" in done.output


@pytest.mark.parametrize(
    ("older", "transform", "columns"),
    [
        (("--no-normalize-targets",), "none", []),
        (("--normalize-targets",), "minmax", []),
        (("--log-transform-targets",), "log-minmax", []),
        (("--log-transform-targets", "--no-normalize-targets"), "log-zscore", []),
        (("--normalize-targets-by", "site,kind"), "zscore-category", ["site", "kind"]),
        ((), "minmax", []),
    ],
)
def test_older_spellings_reach_the_model(files, tmp_path, older, transform, columns):
    done = aam(
        "train",
        *inputs(files, "table", "sequences", "metadata"),
        *("--metadata-column", "value", *SMALL, "--epochs", "1", *older),
        *("--output-dir", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert ("older spelling" in done.output) == bool(older)
    saved = model_folder.read_config(tmp_path / "run" / "checkpoints" / "best_model")
    assert saved["options"]["target_transform"] == transform
    assert saved["target"]["normalize_by"] == columns


def test_older_spelling_against_a_newer_one(files, tmp_path):
    done = aam(
        "train",
        *inputs(files, "table", "sequences", "metadata"),
        *("--metadata-column", "value", "--output-dir", tmp_path / "run"),
        *("--normalize-targets", "--target-transform", "none"),
    )
    assert done.exit_code == 1
    assert "--target-transform is none: leave --normalize-targets out" in done.output
    assert not (tmp_path / "run").exists()


def test_class_weights_and_losses_of_targets(files, tmp_path):
    given = inputs(files, "table", "sequences", "metadata")
    for run, options in {
        "class_weights": ("kind", "--classifier", "--class-weights", "balanced"),
        "loss_config": ("value", "--loss-config", '{"value": "mse"}'),
    }.items():
        output = ("--output-dir", tmp_path / run, *SMALL)
        done = aam("train", *given, "--metadata-column", *options, *output)
        assert done.exit_code == 0, done.output
        best = tmp_path / run / "checkpoints" / "best_model"
        assert model_folder.read_config(best)["options"][run] == options[-1]


def test_nothing_is_overwritten(files, encoder, tmp_path):
    given = inputs(files, "table", "sequences", "tree")
    before = (encoder / "history.tsv").read_bytes()
    done = aam("pretrain", *given, "--output-dir", encoder, *SMALL)
    assert done.exit_code == 1
    assert "--overwrite" in done.output
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.png").write_text("cat")
    done = aam("pretrain", *given, "--output-dir", other, *SMALL, "--overwrite")
    assert done.exit_code == 1
    assert (other / "cat.png").exists()
    # a run that is refused brings the earlier one back
    bad = ("--rarefy-depth", "99999", "--overwrite")
    done = aam("pretrain", *given, "--output-dir", encoder, *SMALL, *bad)
    assert done.exit_code == 1
    assert (encoder / "history.tsv").read_bytes() == before


def test_overwrite_replaces_an_earlier_run(files, tmp_path):
    given = inputs(files, "table", "sequences", "tree")
    output = tmp_path / "run"
    for epochs in (1, 2):
        more = ("--epochs", epochs, "--overwrite", "--output-dir", output)
        done = aam("pretrain", *given, *SMALL, *more)
        assert done.exit_code == 0, done.output
    assert len(pd.read_csv(output / "history.tsv", sep="\t")) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_refused_run_leaves_nothing(files, tmp_path):
    given = inputs(files, "table", "tree")
    done = aam("pretrain", *given, "--output-dir", tmp_path / "run", *SMALL)
    assert done.exit_code == 1
    assert "are not sequences" in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_existing_predictions_are_kept(files, model, tmp_path):
    (tmp_path / "p.tsv").write_text("mine")
    given = inputs(files, "table", "sequences")
    done = aam("predict", *given, "--model", model, "--output", tmp_path / "p.tsv")
    assert done.exit_code == 1
    assert (tmp_path / "p.tsv").read_text() == "mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_under_its_topic(command):
    text = CliRunner().invoke(main, [command, "--help"], terminal_width=200).output
    topics = re.findall(r"^(\w[\w ]+):$", text, re.M)
    assert topics[0] == "Files"
    assert len(topics) == len(set(topics))
    for spec in option_specs(COMMANDS[command]):
        flag = f"--{spec.name.replace('_', '-')}"
        assert flag in text
        assert text.index(f"\n{spec.topic}:") < text.index(f"\n  {flag} ")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--epochs", "0"), "epochs is 0, but must be ≥ 1"),
        (("--scheduler", "spiral"), "spiral"),
        (("--lr", "fast"), "fast"),
    ],
)
def test_bad_values_are_named(files, tmp_path, option, message):
    given = inputs(files, "table", "sequences", "tree")
    done = aam("pretrain", *given, "--output-dir", tmp_path / "run", *option)
    assert done.exit_code != 0
    assert message in done.output
    assert not (tmp_path / "run").exists()


def test_guide_to_covariates():
    done = aam("train", "--categorical-help")
    assert done.exit_code == 0
    assert done.output.strip() == COVARIATES.strip()
    for spec in option_specs(CategoricalOptions):
        flag = f"--{spec.name.replace('_', '-')}"
        if spec.name != "perceiver_num_layers":
            assert flag in COVARIATES, flag
        for choice in spec.choices or ():
            assert choice in COVARIATES


@pytest.mark.parametrize(
    ("options", "tags"),
    [
        (
            ("value", "--categorical-fusion", "gmu"),
            {"val/mae", "val/mse", "val/r2", "gmu/gate_mean"},
        ),
        (
            ("kind", "--classifier", "--categorical-fusion", "cross-attention"),
            {
                *("val/accuracy", "val/precision", "val/recall", "val/f1"),
                "cross_attn/weight_mean",
            },
        ),
    ],
    ids=["regression", "classification"],
)
def test_tensorboard_shows_the_documented_tags(files, tmp_path, options, tags):
    from tensorboard.backend.event_processing import event_accumulator

    done = aam(
        "train",
        *inputs(files, "table", "sequences", "tree", "metadata"),
        *("--metadata-column", *options, "--categorical-columns", "site"),
        *(*SMALL, "--output-dir", tmp_path / "run", "--cross-fit", "0"),
    )
    assert done.exit_code == 0, done.output
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = {f"train/{n}_loss" for n in ("total", "target", "unifrac", "nuc")}
    found = events.Tags()["scalars"]
    assert losses | tags <= set(found)
    history = pd.read_csv(tmp_path / "run" / "history.tsv", sep="\t")
    values = {tag: [e.value for e in events.Scalars(tag)] for tag in found}
    names = {tag.replace("/", "_", 1): tag for tag in found}
    assert set(names) | {"epoch"} == set(history)
    for name, tag in names.items():
        np.testing.assert_allclose(values[tag], history[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("column", "more", "task"),
    [
        ("value", (), "regression"),
        ("kind", (), "classification"),
        ("site", ("--task", "classification"), "classification"),
        ("value", ("--classifier",), "classification"),
    ],
)
def test_the_task_follows_the_column(column, more, task, files, monkeypatch, tmp_path):
    """Unless it is given; QIIME 2 has to be told, since output types depend on it."""
    seen = {}

    def stop(config, *args, **given):
        seen["task"] = config.task
        raise InputError("enough")

    monkeypatch.setattr("aam_core.commands.train.train", stop)
    given = inputs(files, "table", "sequences", "metadata")
    out = ("--output-dir", tmp_path / "run", "--metadata-column", column)
    done = aam("train", *given, *out, *more)
    assert "enough" in done.output
    assert seen == {"task": task}
    told = "does not hold numbers" in done.output
    assert told == (task == "classification" and not more)


def test_a_column_that_is_not_there_is_told_at_once(files, tmp_path):
    given = inputs(files, "table", "sequences", "metadata")
    out = ("--output-dir", tmp_path / "run", "--metadata-column", "kinds")
    done = aam("train", *given, *out)
    assert "'kinds'" in done.output
    assert "'kind'" in done.output
    assert not (tmp_path / "run").exists()
