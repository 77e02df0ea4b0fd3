"""Encoders and models from their directories."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from aam_core.config import Architecture
from aam_core.errors import InputError
from aam_core.io.model_folder import (
    CONFIG,
    WEIGHTS,
    check_finite,
    check_layout,
    read_config,
    read_tensors,
)
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.predictor import SequencePredictor
from aam_core.runtime.draws import trains

#: What the names of arrays start with that are no network's.
OTHER_MEMBERS = ("kernel.", "trees.", "asvs.")
BASE = "base."  #: what the names of an encoder's weights start with in a predictor
NETWORK_TYPE = "F32"  #: of the weights of networks, as safetensors names it
SHOWN = 3  #: tensors that do not fit, in a message


def read_kind(directory: Path, kind: str) -> dict[str, Any]:
    """The configuration of an encoder or model, checked to be of this `kind`."""
    config = read_config(directory)
    if config["kind"] != kind:
        remedy = {
            "encoder": "Name what pretrain wrote.",
            "model": "Name what train wrote.",
        }
        raise InputError(
            f"{directory} is of kind {config['kind']!r}, not {kind!r}. {remedy[kind]}"
        )
    check_layout(directory, "min")
    return config


def architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a configuration describes."""
    return Architecture(**config["architecture"])


def load_encoder(directory: Path, arch: Architecture | None = None) -> Encoder:
    """A pre-trained encoder; `arch` may change its dropout.

    Raises
    ------
    InputError
        If it is none, or its weights are not those that it describes, or not finite.
    """
    config = read_kind(directory, "encoder")
    check_fit(config, directory)
    with _unfilled():
        encoder = Encoder(arch or architecture(config))
    _fill(encoder, load_file(directory / WEIGHTS))
    return encoder.eval()


def network_prefix(number: int, total: int) -> str:
    """What the names of a network's weights start with, if there are several."""
    return "" if total == 1 else f"networks.{number}."


def network_descriptions(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Head, target and categories of each network of a model."""
    if "ensemble" in config:
        return config["ensemble"].get("network", [])
    return [config]  # schema 1 has one network


def load_networks(directory: Path) -> list[SequencePredictor]:
    """The networks of a model, in evaluation.

    Those with a frozen encoder have the same one.

    Raises
    ------
    InputError
        If the folder is no model's, or its weights are not those that it describes,
        or not finite.
    """
    config = read_kind(directory, "model")
    check_fit(config, directory)
    if not network_descriptions(config):
        return []
    weights = load_file(directory / WEIGHTS)
    with _unfilled():
        networks = _networks(config, _is_shared(weights))
    for prefix, network in networks.items():
        _fill(network, _of_network(weights, prefix))
        network.eval()
    return list(networks.values())


def _unfilled() -> AbstractContextManager:
    """Where modules are built that get their weights at once.

    Without memory, and so without a random start, whose draws a training in another
    thread would miss. A training draws one: what it draws next follows from its seed.
    """
    return nullcontext() if trains() else torch.device("meta")


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module these weights."""
    own = {name: tensor.clone() for name, tensor in tensors.items()}  # not the file's
    module.load_state_dict(own, assign=True)


def _networks(config: Mapping[str, Any], shared: bool) -> dict[str, SequencePredictor]:
    """Untrained networks, by what the names of their weights start with."""
    described = network_descriptions(config)
    base, networks = None, {}
    for number, one in enumerate(described):
        head = {
            n: tuple(v) if isinstance(v, list) else v for n, v in one["head"].items()
        }
        if base is None or not shared:
            base = Encoder(architecture(config))
        prefix = network_prefix(number, len(described))
        networks[prefix] = SequencePredictor(base, HeadShape(**head))
    return networks


def _is_shared(tensors: Mapping[str, Any]) -> bool:
    return any(name.startswith(BASE) for name in tensors)


def _of_network(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What belongs to one network, by its names there."""
    found = {n: t for n, t in tensors.items() if n.startswith(BASE)}
    found |= {
        n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)
    }
    return {n: t for n, t in found.items() if not n.startswith(OTHER_MEMBERS)}


def check_fit(config: Mapping[str, Any], directory: Path) -> None:
    """Raise unless the weights are those that `config` describes, and finite.

    The networks are built without memory for that (torch's device `meta`), so that
    sizes which somebody made up cost nothing.
    """
    tensors = read_tensors(directory / WEIGHTS)
    if _layers(config) > len(tensors):
        raise InputError(
            f"{directory / CONFIG} describes {_layers(config):,} layers, but there are "
            f"{len(tensors):,} arrays of weights. Use the folder as q2-aam wrote it."
        )
    with torch.device("meta"):
        if config["kind"] == "encoder":
            modules = {"": Encoder(architecture(config))}
        else:
            modules = _networks(config, _is_shared(tensors))
    taken = set()
    for prefix, module in modules.items():
        own = _of_network(tensors, prefix) if config["kind"] == "model" else tensors
        _check_same(module, own, prefix, directory)
        taken |= {f"{prefix}{name}" for name in own} | set(own)
    others = {n for n in tensors if n.startswith(OTHER_MEMBERS)}
    if config["kind"] == "encoder":
        others = set()
    if left := sorted(set(tensors) - taken - others):
        _refuse(directory, [f"{name} belongs to no part" for name in left])
    check_finite(directory / WEIGHTS)


def _layers(config: Mapping[str, Any]) -> int:
    """Layers that have weights of their own, or fewer."""
    heads = [one["head"] for one in network_descriptions(config) if "head" in one]
    total = config["architecture"]["attention_layers"]
    for head in heads:
        total += head.get("target_layers", 1) + len(head.get("hidden_dims", ()))
        if head.get("cardinalities") and head.get("categorical_fusion") == "perceiver":
            total += head.get("perceiver_num_layers", 0)
    return total


def _check_same(
    module: nn.Module,
    tensors: Mapping[str, tuple[str, list[int]]],
    prefix: str,
    directory: Path,
) -> None:
    """Raise unless names, shapes and types are those of the module's weights."""
    wanted = {n: (NETWORK_TYPE, list(t.shape)) for n, t in module.state_dict().items()}
    found = {_present_name(n): t for n, t in tensors.items()}
    wrong = [
        f"{prefix}{name} is {_shown(found.get(name))}, but should be "
        f"{_shown(wanted.get(name))}"
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if wrong:
        _refuse(directory, wrong)


def _present_name(name: str) -> str:
    """Before 0.1.0 was released, the mixing weight was saved as `share`."""
    return "linear.mixing_weight" if name == "linear.share" else name


def _shown(tensor: tuple[str, list[int]] | None) -> str:
    if tensor is None:
        return "missing"
    return f"{tensor[0]} of shape {tensor[1]}"


def _refuse(directory: Path, wrong: list[str]) -> None:
    more = f" ({len(wrong) - SHOWN:,} more)" if len(wrong) > SHOWN else ""
    raise InputError(
        f"The weights of {directory} are not those that its {CONFIG} describes: "
        f"{'; '.join(wrong[:SHOWN])}{more}. Use the folder as q2-aam wrote it."
    )
