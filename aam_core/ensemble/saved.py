"""The ensemble of a model's folder, ready to predict.

Shapes: N samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from aam_core.config import UnknownOptions
from aam_core.data.categories import CategoricalEncoder, category_labels
from aam_core.data.profiles import PROFILE
from aam_core.data.target_decoder import Decoder
from aam_core.ensemble.classical import KERNEL, TREES, Classical, read_classical
from aam_core.ensemble.mixture import NETWORK, Space
from aam_core.errors import InputError, some
from aam_core.io.load import (
    OTHER_MEMBERS,
    load_networks,
    network_descriptions,
    read_kind,
)
from aam_core.io.model_folder import WEIGHTS
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Report, silent

#: Name of the profiles of the ASVs of training among the arrays of a model.
PROFILES = "asvs.profiles"
#: Types of arrays by the last part of their name; all others are float32.
TYPES = {
    "digests": np.uint8,
    "prevalent": np.uint8,
    "column": np.int32,
    "other": np.int32,
    "first": np.int32,
}


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network, with its scale and categories."""

    model: SequencePredictor
    decoder: Decoder
    categories: CategoricalEncoder | None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """All that a model predicts with.

    Attributes
    ----------
    saved : mapping
        Its `config.json`.
    space : Space
        What members are mixed in.
    networks : tuple of Network
        Those with a frozen encoder have the same one.
    classical : Classical
        Members beside the networks.
    categories : CategoricalEncoder or None
        Of the whole model.
    weights : mapping
        Of the members, by name.
    profiles_VD : numpy.ndarray or None
        Profiles of the ASVs of training; older models have none.
    """

    saved: Mapping[str, Any]
    space: Space
    networks: tuple[Network, ...]
    classical: Classical
    categories: CategoricalEncoder | None
    weights: Mapping[str, float]
    profiles_VD: np.ndarray | None = None  #: of the ASVs of training


def load_ensemble(directory: Path) -> Ensemble:
    """The members of a model, in evaluation.

    Raises
    ------
    InputError
        If the folder is not a model's, or its parts do not fit each other.
    """
    saved = read_kind(directory, "model")
    decoder = Decoder.from_dict(saved["task"], saved["target"])
    categories = saved["categories"] and CategoricalEncoder.from_dict(
        saved["categories"]
    )
    described = saved.get("ensemble", {"weights": {NETWORK: 1.0}})
    space = Space(
        decoder,
        tuple(described.get("frequencies", ())),
        saved["options"].get("bounded_targets", False),
    )
    networks = tuple(
        Network(
            model,
            Decoder.from_dict(saved["task"], one["target"]),
            one["categories"] and CategoricalEncoder.from_dict(one["categories"]),
        )
        for model, one in zip(
            load_networks(directory), network_descriptions(saved), strict=True
        )
    )
    arrays = {
        name: value
        for name, value in load_file(directory / WEIGHTS).items()
        if name.startswith(OTHER_MEMBERS)
    }
    profiles_VD = arrays.pop(PROFILES, None)
    classical = _classical(directory, arrays, described, categories, decoder)
    _check_members(directory, described["weights"], networks, classical, decoder)
    if profiles_VD is not None and profiles_VD.shape[1:] != (PROFILE,):
        raise _unreadable(directory, f"{PROFILES} has shape {profiles_VD.shape}")
    return Ensemble(
        saved,
        space,
        networks,
        classical,
        categories,
        described["weights"],
        profiles_VD,
    )


def _classical(
    directory: Path,
    arrays: Mapping[str, np.ndarray],
    described: Mapping[str, Any],
    categories: CategoricalEncoder | None,
    decoder: Decoder,
) -> Classical:
    members = {name: described[name] for name in (KERNEL, TREES) if name in described}
    if not members:
        return Classical()
    cardinalities = ()
    if categories is not None:
        cardinalities = tuple(categories.get_cardinalities().values())
    classes = 0 if decoder.classes is None else len(decoder.classes.labels)
    try:
        _check_types(arrays)
        return read_classical(arrays, members, cardinalities, classes)
    except KeyError as error:
        raise _unreadable(directory, f"the array {error} is missing") from None
    except (ValueError, IndexError, TypeError) as error:
        raise _unreadable(directory, str(error)) from None


def _unreadable(directory: Path, why: str) -> InputError:
    return InputError(
        f"The members of the ensemble in {directory} cannot be read: {why}. Use the "
        "model as train wrote it."
    )


def _check_types(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `ValueError` unless each array is of the type that is saved of it."""
    for name, array in arrays.items():
        wanted = TYPES.get(name.rpartition(".")[2], np.float32)
        if array.dtype != wanted:
            raise ValueError(f"{name} is of type {array.dtype}")


def _check_members(
    directory: Path,
    weights: Mapping[str, float],
    networks: tuple[Network, ...],
    classical: Classical,
    decoder: Decoder,
) -> None:
    """Raise unless those that have a weight are there, and predict the target."""
    there = [*([NETWORK] if networks else []), *classical.names]
    if lost := sorted(set(weights) - set(there)):
        raise _unreadable(directory, f"there is no {some(lost)}, which has a weight")
    if decoder.quantiles and not networks:
        raise _unreadable(directory, "there is no network, which quantiles need")
    columns = decoder.columns if decoder.classes is None else decoder.classes.labels
    if classical.outputs - {len(columns)}:
        raise _unreadable(
            directory, f"they return {classical.outputs} numbers of {len(columns)}"
        )


def indices_of(
    encoder: CategoricalEncoder | None,
    metadata: pd.DataFrame | None,
    ids: np.ndarray,
) -> np.ndarray | None:
    """Covariates (N, K) as a member of the ensemble numbers them.

    A category that the whole model knows may be new to one that was fitted to folds.
    """
    if encoder is None:
        return None
    return encoder.transform(metadata, ids, "ignore", silent)


def check_covariates(
    ensemble: Ensemble,
    options: UnknownOptions,
    metadata: pd.DataFrame | None,
    ids: np.ndarray,
    report: Report,
) -> list[str] | None:
    """The categories that the target's scale depends on, when all is there.

    Raises
    ------
    InputError
        If metadata is missing, a column of it, or a category is unknown.
    """
    decoder, encoder = ensemble.space.decoder, ensemble.categories
    by_scale = list(decoder.normalize_by)
    names = by_scale + (list(encoder.get_cardinalities()) if encoder else [])
    if not names:
        return None
    if metadata is None:
        raise InputError(
            f"The model is conditioned on the metadata columns {some(names)}: pass the "
            "sample metadata."
        )
    if encoder is not None:
        encoder.transform(metadata, ids, options.unknown_categories, report)
    if not by_scale:
        return None
    groups = category_labels(metadata, by_scale, ids, report)
    if unseen := decoder.scaler.unseen(groups):
        report(
            "Categories that training did not see take the scale of all samples: "
            f"{some(unseen)}."
        )
    return groups
