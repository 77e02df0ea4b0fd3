"""Encoders and models from their directories."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from aam_core.config import Architecture
from aam_core.errors import InputError
from aam_core.io.model_folder import WEIGHTS, check_layout, read_config
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.predictor import SequencePredictor

#: What the names of arrays start with that are no network's.
OTHER_MEMBERS = ("kernel.", "trees.", "asvs.")


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
    """A pre-trained encoder; `arch` may change its dropout."""
    config = read_kind(directory, "encoder")
    encoder = Encoder(arch or architecture(config))
    encoder.load_state_dict(load_file(directory / WEIGHTS))
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
    """
    config = read_kind(directory, "model")
    described = network_descriptions(config)
    weights = load_file(directory / WEIGHTS) if described else {}
    shared = {n: w for n, w in weights.items() if n.startswith("base.")}
    base, networks = None, []
    for number, one in enumerate(described):
        head = {
            n: tuple(v) if isinstance(v, list) else v for n, v in one["head"].items()
        }
        prefix = network_prefix(number, len(described))
        if base is None or not shared:
            base = Encoder(architecture(config))
        network = SequencePredictor(base, HeadShape(**head))
        own = {
            n.removeprefix(prefix): w
            for n, w in weights.items()
            if n.startswith(prefix)
        }
        own = {n: w for n, w in own.items() if not n.startswith(OTHER_MEMBERS)}
        network.load_state_dict(shared | own)
        networks.append(network.eval())
    return networks
