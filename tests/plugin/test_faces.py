"""`aam`, QIIME 2 and the declarations have the same options."""

import pytest

from aam_core.cli.main import main
from aam_core.config import COMMANDS
from aam_core.config.option import option_specs
from q2_aam.plugin_setup import plugin

from .conftest import action_of

ALL, LEARN = tuple(COMMANDS), ("pretrain", "train")
DOOR = ("classify", "regress")  #: the front door
FOLDS, DRAWN = "cross-validate", "evaluate-cross-validation"
ONE_FILE = ("predict", "rf-baseline", "evaluate")  #: what writes one
BEFORE = ("pretrain", "train", "predict", "rf-baseline")  #: what it consists of

#: What is read: the option of `aam`, its name in QIIME 2, and the commands.
READ = [
    ("table", "table", (*BEFORE, *DOOR, "embed", "explain", FOLDS)),
    ("metadata", "metadata", (*BEFORE, "evaluate", "explain", "embed")),
    ("metadata_column", "metadata", (*DOOR, FOLDS)),  # a column is metadata in QIIME 2
    ("metadata_column", "truth", ("evaluate",)),
    ("group_column", "groups", (*DOOR, "evaluate", FOLDS)),
    ("sequences", "sequences", (*LEARN, "predict", *DOOR, "embed", "explain", FOLDS)),
    ("tree", "phylogeny", (*LEARN, *DOOR, "plot-contributions")),
    ("unifrac_matrix", "distance_matrix", LEARN),
    ("pretrained_encoder", "pretrained_encoder", ("pretrain",)),  # encoder is written
    ("pretrained_encoder", "encoder", ("train", *DOOR, FOLDS)),
    ("resume_from", "resume_from", LEARN),
    ("model", "model", ("predict", "rf-baseline", "summarize", "explain", "embed")),
    ("contributions", "contributions", ("plot-contributions",)),
    ("taxonomy", "taxonomy", (*DOOR, "plot-contributions")),
    ("encoder", "encoder", ("embed",)),
    ("predictions", "predictions", ("evaluate",)),
    ("details", "details", ("evaluate",)),
    ("other_predictions", "other_predictions", ("evaluate",)),
    ("other_details", "other_details", ("evaluate",)),
    ("cross_validation", "cross_validation", (DRAWN,)),
]
#: What only one has, in which commands, and why.
ONLY_AAM = [
    ("metadata", (*DOOR, FOLDS), "in QIIME 2 a column brings its metadata along"),
    ("classes", ("evaluate",), "in QIIME 2 the type of the predictions says it"),
    ("taxonomy", ("explain",), "in QIIME 2 plot-contributions takes it"),
    ("tree", ("explain",), "in QIIME 2 plot-contributions takes it"),
    (
        "output_dir",
        (*LEARN, *DOOR, "embed", "explain", FOLDS),
        "QIIME 2 names each output itself",
    ),
    (
        "output",
        (*ONE_FILE, "summarize", "plot-contributions", DRAWN),
        "QIIME 2 names each output itself",
    ),
    ("details", ("predict",), "QIIME 2 names each output itself"),
    ("overwrite", ALL, "artifacts are never changed"),
    ("train_samples", ("rf-baseline",), "in QIIME 2 the samples are a model's"),
    ("val_samples", ("rf-baseline",), "in QIIME 2 the samples are a model's"),
    ("classifier", ("train", "rf-baseline"), "a shorter spelling of task"),
    ("classifier", (FOLDS,), "in QIIME 2 the type of the column says it"),
    ("resume", (FOLDS,), "an action of QIIME 2 returns the folds that are done"),
    ("resume_from", DOOR, "in QIIME 2 train resumes; the pipeline calls it anew"),
    ("categorical_help", ("train",), "prints a guide and ends"),
    ("normalize_targets", ("train",), "an older spelling of target_transform"),
    ("log_transform_targets", ("train",), "an older spelling of target_transform"),
    ("normalize_targets_by", ("train",), "an older spelling of normalize_by"),
    ("out_dim", ("train",), "refused with a reason, for users of other tools"),
    ("no_sequence_cache", (*LEARN, "predict"), "of no effect, for users of AAM"),
    ("asv_sampling", ("predict",), "the model's own, for users of AAM"),
    ("fsdp", LEARN, "a shorter spelling of strategy fsdp"),
    ("distributed", LEARN, "a shorter spelling of strategy ddp"),
    ("data_parallel", LEARN, "a shorter spelling of strategy data-parallel"),
    ("sync_batchnorm", LEARN, "refused with a reason, for users of other tools"),
]
#: Commands that are no actions, and why.
COMMANDS_OF_AAM = {"strip": "the provenance of its result would hold all of it again"}
ONLY_QIIME: list[tuple[str, tuple[str, ...], str]] = [
    ("importance", ("evaluate",), "aam classify and regress show it"),
    ("model", ("evaluate",), "aam classify and regress show it"),
    ("contributions", ("evaluate",), "aam classify and regress show them"),
    ("taxonomy", ("evaluate",), "aam classify and regress take it"),
    ("phylogeny", ("evaluate",), "aam classify and regress take it"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_both_faces_have_every_declared_option_and_no_other(command):
    declared = {spec.name for spec in option_specs(COMMANDS[command])}
    in_aam = [parameter.name for parameter in main.commands[command].params]
    signature = plugin.actions[action_of(command)].signature
    in_qiime = [*signature.inputs, *signature.parameters]
    for names in (in_aam, in_qiime):
        assert len(set(names)) == len(names)
    read_by_aam = {aam for aam, _, commands in READ if command in commands}
    read_by_qiime = {name for _, name, commands in READ if command in commands}
    only_aam = {name for name, commands, _ in ONLY_AAM if command in commands}
    only_qiime = {name for name, commands, _ in ONLY_QIIME if command in commands}
    assert set(in_aam) == declared | read_by_aam | only_aam
    assert set(in_qiime) == declared | read_by_qiime | only_qiime


def test_commands_are_the_actions():
    assert set(main.commands) == {*COMMANDS, *COMMANDS_OF_AAM}
    assert set(plugin.actions) == set(map(action_of, COMMANDS))
