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


def load_model(directory: Path) -> SequencePredictor:
    """A trained predictor, in evaluation."""
    config = read_kind(directory, "model")
    head = {
        n: tuple(v) if isinstance(v, list) else v for n, v in config["head"].items()
    }
    model = SequencePredictor(Encoder(architecture(config)), HeadShape(**head))
    model.load_state_dict(load_file(directory / WEIGHTS))
    return model.eval()
