"""What `config.json` of an encoder or model must hold, by content.

Everything that is read later is checked here, once: types, ranges, lengths, and that
parts fit each other. Whether it fits the weights, `aam_core.io.load` looks at.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aam_core.config import Architecture, ModelOptions, PretrainConfig, TrainConfig
from aam_core.config.option import OptionSpec, option_specs
from aam_core.errors import InputError, some
from aam_core.io.rules import (
    Rule,
    choice,
    flag,
    listing,
    mapping,
    maybe,
    nothing,
    number,
    record,
    text,
    whole,
)

SCHEMA = 2
#: Schemas that are read: 1 had one network, with a linear model of the community in it.
READ = (1, 2)
KINDS = ("encoder", "model")
TASKS = ("regression", "classification")
#: The config class of what trains each kind.
CONFIGS = {"encoder": PretrainConfig, "model": TrainConfig}
#: What a file of another kind would lack.
HALLMARKS = ("schema", "kind", "task", "software", "architecture", "options", "split")
#: Options that say how new samples are read.
READING = ("rarefy_depth", "token_limit", "asv_sampling", "seed")
#: Beside them, what an encoder has learned of distances, and what a model predicts.
BESIDE = {"encoder": ("penalty", "unifrac_metric"), "model": ("metadata_column",)}
#: Sizes of parts that no option limits: classes, categories.
MANY = 1_000_000
TOLERANCE = 1e-3  #: of sums that are 1
MEDIAN = 0.5


def check_not_later(config: Any, path: Path | str) -> None:
    """Raise `InputError` if a `config.json` is one of a later version."""
    schema = config.get("schema") if isinstance(config, dict) else None
    if type(schema) is not int or schema <= max(READ):
        return
    software = config.get("software")
    version = software.get("q2-aam") if isinstance(software, dict) else None
    raise InputError(
        f"{path} was written by a later version of q2-aam"
        + f" ({version})" * isinstance(version, str)
        + f": it has schema {schema}, and this version reads up to {max(READ)}. "
        "Upgrade q2-aam."
    )


def check_content(config: Any) -> None:
    """Raise `InputError` unless a `config.json` holds what is read of it later."""
    if not isinstance(config, dict):
        raise InputError("It must hold a JSON object.")
    if missing := [name for name in HALLMARKS if name not in config]:
        raise InputError(f"It lacks {some(missing)}: it is not a model's.")
    if type(config["schema"]) is not int or config["schema"] not in READ:
        raise InputError(
            f"It has schema {config['schema']!r}, but there are "
            f"{' and '.join(map(str, READ))}."
        )
    choice(*KINDS)(config["kind"], "kind")
    choice(*TASKS, None)(config["task"], "task")
    if (config["task"] in TASKS) != (config["kind"] == "model"):
        raise InputError(
            f"It has task {config['task']!r}, which no {config['kind']} has."
        )
    _common(config["kind"])(config, "")
    arch = config["architecture"]
    if arch["embedding_dim"] % arch["attention_heads"]:
        raise InputError(
            "architecture.embedding_dim is no multiple of architecture.attention_heads."
        )
    if config["kind"] == "model":
        _check_model(config)


def _common(kind: str) -> Rule:
    """Of what both kinds have."""
    needed = (*READING, *BESIDE[kind])
    options = {s.name: of_option(s) for s in option_specs(CONFIGS[kind])}
    depth = whole()  # the run has chosen one where the option left it open
    samples = record({"samples": whole()}, {})
    side = _either(whole(), listing(text))
    return record(
        {
            "software": record({"q2-aam": text}),
            "architecture": _architecture(),
            "options": record(
                {name: options[name] for name in needed} | {"rarefy_depth": depth},
                {n: r for n, r in options.items() if n not in needed},
            ),
            "split": record(
                {"training": side, "validation": side},
                {"folds": listing(side)},
            ),
            "tensors": mapping(listing(whole())),
        }
        | ({"distance": _distance()} if kind == "encoder" else {}),
        {
            "seed": whole(),
            "samples": _both(samples, mapping(whole())),
            "completed": flag,
            "run": record(
                {"seconds": number(0), "device": text}, {"peak_memory_bytes": whole()}
            ),
            "best_epoch": whole(),
            "scores": mapping(maybe(number())),
            "report": listing(text),
        },
    )


def _either(first: Rule, second: Rule) -> Rule:
    """What one or the other allows: the second, where it is a list."""

    def rule(value: Any, place: str) -> None:
        (second if isinstance(value, list) else first)(value, place)

    return rule


def _both(first: Rule, second: Rule) -> Rule:
    def rule(value: Any, place: str) -> None:
        first(value, place)
        second(value, place)

    return rule


def of_option(spec: OptionSpec) -> Rule:
    """The rule of a saved option, whose type has to be exact."""
    if spec.choices:
        one = choice(*spec.choices)
    elif spec.type is bool:
        one = flag
    elif spec.type is str:
        one = text
    else:
        limits = {"low": spec.low, "high": spec.high}
        limits = {name: limit for name, limit in limits.items() if limit is not None}
        kind = whole if spec.type is int else number
        one = kind(**limits)
    if spec.many:
        return listing(one)
    return maybe(one) if spec.optional else one


def _architecture() -> Rule:
    """Each field as its option is, but never left open."""
    options = {s.name: s for s in option_specs(ModelOptions)}
    rules, needed = {}, []
    for field in dataclasses.fields(Architecture):
        rules[field.name] = of_option(
            dataclasses.replace(options[field.name], optional=False)
        )
        if field.default is dataclasses.MISSING:
            needed.append(field.name)
    return record(
        {name: rules.pop(name) for name in needed},
        rules,
        strict=True,
    )


def _divided(task: str, targets: int) -> Rule:
    """Of the targets of both sides of a part."""
    kinds = {
        "classification": {"classes": mapping(whole())},
        "regression": {"quartiles": listing(maybe(number()), lengths=(5,))},
    }
    side = listing(record({"samples": whole()} | kinds[task]), lengths=(targets,))
    return record({"fitted": side, "held_out": side})


def _distance() -> Rule:
    return record({"scale": number(0, above=True)})


def _head() -> Rule:
    """As `aam_core.nn.head.HeadShape`, whose names are these."""
    option = {s.name: of_option(s) for s in option_specs(TrainConfig)}
    names = (
        "categorical_embed_dim",
        "categorical_fusion",
        "perceiver_num_latents",
        "perceiver_num_layers",
        "cross_attn_heads",
        "target_layers",
        "pooled_features",
        "pooled_dropout",
    )
    return record(
        {"outputs": whole(1, MANY)},
        {name: option[name] for name in names}
        | {
            "cardinalities": listing(whole(1, MANY)),
            "scaled_by": listing(whole(), distinct=True),
            "quantiles": whole(0, MANY),
            "layer_norm": flag,
            "hidden_dims": option["regressor_hidden_dims"],
            "hidden_dropout": option["regressor_dropout"],
            "residual": flag,
            "bounded": flag,
            "activation": option["output_activation"],
            "output_scale": flag,
            "classes": flag,
            "median": whole(),
            "linear": whole(0, MANY),
        },
        strict=True,
    )


def _categories() -> Rule:
    column = record({"name": text, "categories": listing(text, distinct=True)})
    return maybe(
        record({"columns": listing(column), "embed_dim": whole(1), "required": flag})
    )


def _target(task: str, targets: int) -> Rule:
    """Of the target and its scale, of so many columns."""
    every = listing(number(), lengths=(targets,))
    scale = listing(number(0, above=True), lengths=(targets,))
    widths = listing(number(0), lengths=(0, targets))
    columns = listing(text, lengths=(targets,), distinct=True)
    transforms = next(
        s.choices for s in option_specs(TrainConfig) if s.name == "target_transform"
    )
    scaler = record(
        {
            "columns": columns,
            "transform": choice(*transforms),
            "shift": every,
            "scale": scale,
            "categories": mapping(record({"shift": every, "scale": scale})),
        }
    )
    labels = listing(text, lengths=range(2, MANY), distinct=True)
    regression = task == "regression"
    return record(
        {
            "columns": columns,
            "scaler": scaler if regression else nothing,
            "classes": nothing if regression else record({"labels": labels}),
            "normalize_by": listing(text, distinct=True),
            "quantiles": listing(number(0, 1, above=True), distinct=True),
            "half_widths": widths,
        },
        {
            "widening": widths,
            "non_negative": flag,
            "temperature": number(0, above=True),
        },
    )


def _check_model(config: Mapping[str, Any]) -> None:
    record({"target": record({"columns": listing(text, lengths=range(1, MANY))})})(
        config, ""
    )
    task, targets = config["task"], len(config["target"]["columns"])
    record({}, {"labels": listing(_divided(task, targets))})(config, "")
    own = {"target": _target(task, targets)}
    own["categories"] = _categories()
    record(own)(config, "")
    _check_target(config, "")
    alone = {"head": _head()}
    if config["schema"] == 1:
        record(alone)(config, "")
        _check_network(config, config, "")
        return
    network = record(
        own | alone,
        {"best_epoch": whole(), "scores": mapping(maybe(number()))},
    )
    weight = number(0, 1 + TOLERANCE)
    record(
        {
            "ensemble": record(
                {
                    "weights": mapping(weight),
                    "scores": mapping(mapping(maybe(number()))),
                },
                {
                    "network": listing(network, lengths=range(1, MANY)),
                    "kernel": record({"strengths": mapping(number())}),
                    "trees": record({"clades": listing(whole(1))}),
                    "frequencies": listing(weight),
                },
            )
        }
    )(config, "")
    _check_ensemble(config)


def _check_ensemble(config: Mapping[str, Any]) -> None:
    ensemble, target = config["ensemble"], config["target"]
    _check_sum(ensemble["weights"].values(), "ensemble.weights")
    networks = ensemble.get("network", [])
    if len({one["head"].get("pooled_features", 0) for one in networks}) > 1:
        raise InputError("ensemble.network has heads of unequal pooled_features.")
    if lost := set(ensemble["weights"]) - set(ensemble["scores"]):
        raise InputError(f"ensemble.scores lacks {some(sorted(lost))}.")
    if config["task"] == "classification":
        frequencies = ensemble.get("frequencies", [])
        if len(frequencies) != len(target["classes"]["labels"]):
            raise InputError("ensemble.frequencies must hold one number a class.")
        _check_sum(frequencies, "ensemble.frequencies")
    for at, one in enumerate(networks):
        place = f"ensemble.network[{at}]."
        _check_target(one, place)
        _check_network(config, one, place)
        if not _same_target(one["target"], target):
            raise InputError(f"{place}target is not that of the model.")
    if len(networks) > 1 and (
        lost := [n for n in ("best_epoch",) if any(n not in one for one in networks)]
    ):
        raise InputError(f"ensemble.network lacks {some(lost)}.")


def _check_sum(parts: Any, place: str) -> None:
    total = math.fsum(parts)
    if abs(total - 1) > TOLERANCE:
        raise InputError(f"{place} sum to {total:g}, but must to 1.")


def _same_target(one: Mapping[str, Any], whole_model: Mapping[str, Any]) -> bool:
    """Whether a network's target can be brought to the scale of its model."""
    names = ("columns", "normalize_by", "quantiles")
    same = all(one[name] == whole_model[name] for name in names)
    if one["classes"] is None:
        transforms = [t["scaler"]["transform"] for t in (one, whole_model)]
        return same and len(set(transforms)) == 1
    labels = [set(t["classes"]["labels"]) for t in (one, whole_model)]
    return same and labels[0] <= labels[1]


def _check_target(config: Mapping[str, Any], place: str) -> None:
    """Raise unless the parts of a target fit each other."""
    target = config["target"]
    scaler = target["scaler"]
    if scaler is not None and scaler["columns"] != target["columns"]:
        raise InputError(f"{place}target.scaler.columns are not target.columns.")
    by_category = scaler is not None and scaler["transform"] == "zscore-category"
    if by_category != bool(target["normalize_by"]):
        raise InputError(f"{place}target.normalize_by does not fit the scaler.")
    levels = target["quantiles"]
    if levels and (levels != sorted(levels) or MEDIAN not in levels or scaler is None):
        raise InputError(
            f"{place}target.quantiles must rise and hold {MEDIAN}, in a regression."
        )
    if config["categories"] is not None:
        names = [column["name"] for column in config["categories"]["columns"]]
        listing(text, range(1, MANY), distinct=True)(names, f"{place}categories")


def _check_network(
    config: Mapping[str, Any], one: Mapping[str, Any], place: str
) -> None:
    """Raise unless a head fits target, categories and width."""
    head, target = one["head"], one["target"]
    outputs = len((target["classes"] or {}).get("labels", target["columns"]))
    columns = (one["categories"] or {"columns": []})["columns"]
    hidden = head.get("hidden_dims", [])
    wanted = {
        "outputs": outputs,
        "quantiles": len(levels := target["quantiles"]),
        "classes": target["classes"] is not None,
        "median": levels.index(MEDIAN) if levels else 0,
        "cardinalities": [len(column["categories"]) + 1 for column in columns],
    }
    for name, value in wanted.items():
        found = head.get(name, type(value)())
        if found != value:
            raise InputError(
                f"{place}head.{name} is {found}, but target and categories need "
                f"{value}."
            )
    if any(column >= len(columns) for column in head.get("scaled_by", [])):
        raise InputError(f"{place}head.scaled_by names a column that is not there.")
    if head.get("residual", False) and not hidden:
        raise InputError(f"{place}head.residual needs head.hidden_dims.")
    by_attention = head.get("categorical_fusion") in ("cross-attention", "perceiver")
    width, heads = config["architecture"]["embedding_dim"], head.get("cross_attn_heads")
    if columns and by_attention and width % (heads or 1):
        raise InputError(f"{place}head.cross_attn_heads does not divide {width}.")
