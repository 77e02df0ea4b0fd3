"""What the networks of a model make of samples and ASVs.

Shapes: N samples, F features, D width.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.config import EmbedConfig
from aam_core.data.batches import Batch
from aam_core.data.sample_features import sample_features
from aam_core.data.table import FeatureTable
from aam_core.ensemble.networks import ReadyNetwork, ready_networks
from aam_core.ensemble.saved import check_covariates, load_ensemble
from aam_core.errors import InputError
from aam_core.inference.embed import embedding_frame
from aam_core.inference.encode import collect
from aam_core.inference.reading import (
    batches_as_trained,
    in_table_order,
    metadata_as_trained,
    read_as_trained,
)
from aam_core.reporting import Report, logger
from aam_core.runtime.device import choose_device


def embed_by_model(
    config: EmbedConfig,
    model: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    metadata: pd.DataFrame | None = None,
    report: Report = logger.info,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a model's networks read off samples before they predict, and its ASVs.

    Parameters
    ----------
    config : EmbedConfig
        Device, batches, and what becomes of features without a sequence.
    model : Path
        What `train` wrote.
    table : FeatureTable
        Counts; features may be others than those of training.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    metadata : pandas.DataFrame, optional
        Sample metadata, for models with covariates.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    samples : pandas.DataFrame
        (N, K·D) for K networks of width D: the input of each network's head, side by
        side and divided by √K, so that the squared distance of two samples is the mean
        of those in the networks. Covariates have taken part. In the order of the table.
    asvs : pandas.DataFrame
        (F, D) the embedding of each ASV by the encoder of the networks; where each has
        one of its own, these side by side as above.

    Raises
    ------
    InputError
        If the input or an option is wrong, or the model has no network.
    """
    device = choose_device(config)
    ensemble = load_ensemble(model)
    if not ensemble.networks:
        raise InputError(
            "The model has no network that could embed samples (its members are "
            f"{', '.join(ensemble.weights)}): use an encoder, or train one with a "
            "network (ensemble)."
        )
    study = read_as_trained(
        ensemble.saved, table, sequences, config, report, keep_shallow=True
    )
    metadata = metadata_as_trained(ensemble.saved, metadata)
    check_covariates(ensemble, config, metadata, study.table.sample_ids, report)
    samples: list[Tensor] = []
    asvs: list[Tensor] = []
    base = features_NV = None
    for ready in ready_networks(ensemble, study, config, device, metadata, report):
        network = ready.network.model
        if features_NV is None and network.shape.pooled_features:
            features_NV = sample_features(study, network.shape.pooled_features)
        given = (ready.categories_NK, features_NV)
        maker = batches_as_trained(ensemble.saved, study, *given)
        samples.append(_represented(ready, maker, config, device))
        if network.base is not base:
            base = network.base
            place = torch.from_numpy(ready.asvs.place)
            asvs.append(ready.asvs.vectors_FD[place].float().cpu())
    return (
        _in_order(samples, study.table.sample_ids, table.sample_ids, "samples"),
        _in_order(asvs, study.table.feature_ids, table.feature_ids, "ASVs"),
    )


def _represented(ready: ReadyNetwork, maker, config, device) -> Tensor:
    """(N, D) what the head of a network reads."""

    def of_batch(batch: Batch) -> dict[str, Tensor]:
        added_UO = ready.added(batch)
        return ready.network.model(batch, ready.asvs(batch), added_UO=added_UO)

    every = np.arange(len(maker.sizes))
    found = collect(of_batch, maker, every, ("represented",), config, device)
    return found["represented"].float().cpu()


def _in_order(
    parts: list[Tensor], ids: np.ndarray, wanted: np.ndarray, unit: str
) -> pd.DataFrame:
    """Parts side by side, as one embedding, in the order of the user's table."""
    joined = torch.cat(parts, dim=1) / len(parts) ** 0.5
    return in_table_order(embedding_frame(joined, ids, unit), wanted)
