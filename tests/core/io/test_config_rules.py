"""config.json is checked by content: what is read of it later fits, or is named."""

import copy
import dataclasses
import json

import pytest

from aam_core.config import Architecture, TrainConfig
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from aam_core.io.config_rules import check_content
from aam_core.nn.head import HeadShape
from tests.earlier import unpacked


@pytest.fixture(scope="module")
def configs(models, tmp_path_factory):
    """By name; tests change copies."""
    folders = {name: folder for name, (_, folder) in models.items()}
    folders["earlier"] = unpacked("regression", tmp_path_factory.mktemp("earlier"))
    return {n: json.loads((p / "config.json").read_text()) for n, p in folders.items()}


def test_what_is_written_is_accepted(configs):
    for config in configs.values():
        check_content(config)


NETWORK = "ensemble.network.0"
#: Configuration, place, value (`...`: nothing is there), and what is said.
WRONG = [
    ("encoder", "schema", True, "schema True"),
    ("encoder", "schema", [], "schema []"),
    ("encoder", "task", "regression", "which no encoder has"),
    ("encoder", "software", {}, "software lacks 'q2-aam'"),
    ("encoder", "architecture", [], "architecture is [], but must be an object"),
    ("encoder", "architecture.embedding_dim", 10**9, "at most 16,384"),
    ("encoder", "architecture.embedding_dim", 10**30, "at most 16,384"),
    ("encoder", "architecture.embedding_dim", 17, "no multiple of"),
    ("encoder", "architecture.attention_heads", 0, "of at least 1"),
    ("encoder", "architecture.attention_layers", 10**9, "at most 256"),
    ("encoder", "architecture.attention_layers", 2.0, "must be a whole number"),
    ("encoder", "architecture.attention_layers", True, "must be a whole number"),
    ("encoder", "architecture.max_bp", "x", "architecture.max_bp is 'x'"),
    ("encoder", "architecture.max_bp", None, "architecture.max_bp is None"),
    ("encoder", "architecture.max_bp", ..., "architecture lacks 'max_bp'"),
    ("encoder", "architecture.extra", 1, "architecture has 'extra', which this"),
    ("encoder", "architecture.dropout", float("nan"), "must be a number"),
    ("encoder", "architecture.dropout", -0.5, "must be a number"),
    ("encoder", "architecture.count_embedding_method", [], "must be one of 'add'"),
    ("encoder", "options.seed", "x", "options.seed is 'x'"),
    ("encoder", "options.seed", ..., "options lacks 'seed'"),
    ("encoder", "options.rarefy_depth", None, "options.rarefy_depth is None"),
    ("encoder", "options.token_limit", 0, "options.token_limit is 0"),
    ("encoder", "options.penalty", "1", "options.penalty is '1'"),
    ("encoder", "split.training", {}, "split.training is {}"),
    ("encoder", "tensors", ..., "lacks 'tensors'"),
    ("encoder", "tensors.extra", [1, -1], "tensors.extra[1] is -1"),
    ("encoder", "distance", None, "distance is None"),
    ("encoder", "distance.scale", float("inf"), "must be a number above 0"),
    ("encoder", "report", ["x", 1], "report[1] is 1, but must be text"),
    ("encoder", "samples", {"a": 1}, "samples lacks 'samples'"),
    ("encoder", "completed", 1, "must be true or false"),
    ("encoder", "run", {"seconds": 1}, "run lacks 'device'"),
    ("regression", "target", None, "target is None, but must be an object"),
    ("regression", "target.columns", [], "a list of length 1 or more"),
    ("regression", "target.scaler", None, "target.scaler is None"),
    ("regression", "target.scaler.scale", [1.0, 2.0], "a list of length 1"),
    ("regression", "target.scaler.scale.0", 0, "must be a number above 0"),
    ("regression", "target.scaler.columns.0", "other", "are not target.columns"),
    ("regression", "target.scaler.transform", "zscore-category", "normalize_by"),
    ("regression", "target.classes", {"labels": ["a", "b"]}, "must be null"),
    ("regression", "target.half_widths", [-1], "target.half_widths[0] is -1"),
    ("regression", "target.temperature", 0, "must be a number above 0"),
    ("regression", "target.quantiles", [0.5, 0.1], "must rise and hold 0.5"),
    ("regression", "categories.columns.0.categories", ["a", "a"], "names 'a' more"),
    ("regression", "categories.columns", [], "categories is [], but must be a list"),
    ("regression", "target.normalize_by", ["a", "a"], "names 'a' more than once"),
    ("regression", "ensemble", ..., "lacks 'ensemble'"),
    ("regression", "ensemble.weights", {"network": 0.5}, "sum to 0.5"),
    ("regression", "ensemble.weights.network", None, "weights.network is None"),
    ("regression", "ensemble.scores", {}, "ensemble.scores lacks"),
    ("regression", "ensemble.trees", {}, "ensemble.trees lacks 'clades'"),
    ("regression", "ensemble.network", [], "a list of length 1 or more"),
    ("regression", f"{NETWORK}.head.outputs", 10**9, "head.outputs is 1000000000"),
    ("regression", f"{NETWORK}.head.outputs", 2, "need 1"),
    ("regression", f"{NETWORK}.head.cardinalities", [9], "need [4]"),
    ("regression", f"{NETWORK}.head.scaled_by", [1], "a column that is not there"),
    ("regression", f"{NETWORK}.head.residual", True, "needs head.hidden_dims"),
    ("regression", f"{NETWORK}.head.pooled_features", 3, "unequal pooled_features"),
    ("regression", f"{NETWORK}.head.hidden_dims", [10**9], "at most 16,384"),
    ("regression", f"{NETWORK}.head.extra", 1, "has 'extra'"),
    ("regression", f"{NETWORK}.best_epoch", ..., "network lacks 'best_epoch'"),
    ("regression", f"{NETWORK}.target.columns", ["other"], "columns"),
    ("regression", "labels.0.held_out", [], "a list of length 1"),
    ("regression", "labels.0.held_out.0.quartiles", ..., "lacks 'quartiles'"),
    ("classes", "target.classes.labels", ["high"], "a list of length 2 or more"),
    ("classes", "target.classes.labels", ["high", "high"], "more than once"),
    ("classes", "ensemble.frequencies", [1.0], "one number a class"),
    ("classes", "ensemble.frequencies", [0.9, 0.9], "sum to 1.8"),
    ("classes", f"{NETWORK}.target.classes.labels", ["a", "b"], "not that of the"),
    ("quantiles", f"{NETWORK}.head.median", 0, "head.median is 0"),
    ("quantiles", f"{NETWORK}.head.quantiles", 10**9, "at most 1,000,000"),
    ("quantiles", f"{NETWORK}.head.cross_attn_heads", 3, "heads does not divide 16"),
    ("earlier", "head", ..., "lacks 'head'"),
    ("earlier", "head.outputs", -1, "head.outputs is -1"),
]


def changed(config, place, value):
    config = copy.deepcopy(config)
    at, names = config, place.split(".")
    for name in names[:-1]:
        at = at[int(name)] if isinstance(at, list) else at[name]
    key = int(names[-1]) if isinstance(at, list) else names[-1]
    if value is ...:
        del at[key]
    else:
        at[key] = value
    return config


@pytest.mark.parametrize(
    ("name", "place", "value", "message"), WRONG, ids=[f"{w[1]}={w[2]}" for w in WRONG]
)
def test_what_is_wrong_is_named(configs, name, place, value, message):
    with pytest.raises(InputError) as error:
        check_content(changed(configs[name], place, value))
    assert message in str(error.value)


@pytest.mark.parametrize("content", [[], None, "kind", 1])
def test_it_is_an_object(content):
    with pytest.raises(InputError, match="must hold a JSON object"):
        check_content(content)


def test_every_part_of_a_head_and_an_architecture_has_a_rule(configs):
    """So that what is added to them is checked, too."""
    head = configs["regression"]["ensemble"]["network"][0]["head"]
    fields = {f.name for f in dataclasses.fields(HeadShape)}
    assert set(head) == fields
    for name in fields:
        with pytest.raises(InputError, match=rf"head\.{name} is"):
            check_content(
                changed(configs["regression"], f"{NETWORK}.head.{name}", object())
            )
    for field in dataclasses.fields(Architecture):
        with pytest.raises(InputError, match=rf"architecture\.{field.name} is"):
            check_content(
                changed(configs["encoder"], f"architecture.{field.name}", object())
            )


def test_every_saved_option_has_the_rule_of_its_declaration(configs):
    for spec in option_specs(TrainConfig):
        if spec.name not in configs["regression"]["options"]:
            continue
        with pytest.raises(InputError, match=rf"options\.{spec.name} is"):
            check_content(
                changed(configs["regression"], f"options.{spec.name}", object())
            )


def test_options_that_this_version_does_not_know_are_left_alone(configs):
    check_content(changed(configs["encoder"], "options.of_tomorrow", {"a": [1]}))
