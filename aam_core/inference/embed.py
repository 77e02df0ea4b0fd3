"""What an encoder makes of samples and ASVs, and the distances that it predicts.

Shapes: N samples, F features, D width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.config import EmbedConfig
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError
from aam_core.inference.encode import collect, encode_table
from aam_core.inference.finite import check_finite
from aam_core.inference.reading import (
    batches_as_trained,
    in_table_order,
    made_ready,
    read_as_trained,
)
from aam_core.io.load import load_encoder, read_kind
from aam_core.reporting import Report, logger
from aam_core.runtime.device import choose_device
from aam_core.runtime.spill import SpillBuffer

if TYPE_CHECKING:
    import skbio

BLOCK = 256  #: samples whose distances to all others are computed at a time


def embed_samples(
    config: EmbedConfig,
    encoder: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    report: Report = logger.info,
) -> pd.DataFrame:
    """The embedding of each sample; each distinct ASV is encoded once.

    Parameters
    ----------
    config : EmbedConfig
        Device, batches, and what becomes of features without a sequence.
    encoder : Path
        What `pretrain` wrote. Rarefaction depth, longest sequence and ASVs per sample
        are the encoder's.
    table : FeatureTable
        Counts; features may be others than those of pre-training.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    pandas.DataFrame
        (N, D) float32, columns `dim_0` to `dim_{D-1}`. Samples are in the order of the
        table; those that have too few reads for the encoder's depth are left out.

    Raises
    ------
    InputError
        If the input or an option is wrong.
    """
    saved = read_kind(encoder, "encoder")
    return _of_samples("sample", saved, config, encoder, table, sequences, report)


def embed_asvs(
    config: EmbedConfig,
    encoder: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    report: Report = logger.info,
) -> pd.DataFrame:
    """The embedding of each ASV, which depends on its sequence only.

    Parameters
    ----------
    config, encoder, table, sequences, report
        As for `embed_samples`; nothing is rarefied, since counts do not matter.

    Returns
    -------
    pandas.DataFrame
        (F, D) float32, columns as of `embed_samples`. Features are in the order of the
        table; those without reads are left out.

    Raises
    ------
    InputError
        If the input or an option is wrong.
    """
    device = choose_device(config)
    saved = read_kind(encoder, "encoder")
    study = read_as_trained(saved, table, sequences, config, report, rarefied=False)
    network = made_ready(load_encoder(encoder), config, device, report)
    every = np.arange(study.table.shape[0])
    asvs = encode_table(network, study, every, config, device)
    column = {name: i for i, name in enumerate(study.table.feature_ids)}
    ids = [name for name in table.feature_ids if name in column]
    place = asvs.place[[column[name] for name in ids]]
    return embedding_frame(asvs.vectors_FD[torch.from_numpy(place)], ids, "ASVs")


def predicted_distances(
    config: EmbedConfig,
    encoder: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    report: Report = logger.info,
) -> "skbio.DistanceMatrix":
    """The distances between samples that the encoder predicts, without a phylogeny.

    Parameters
    ----------
    config, encoder, table, sequences, report
        As for `embed_samples`.

    Returns
    -------
    skbio.DistanceMatrix
        (N, N) float32, in the units of the distances that the encoder learned; samples
        as of `embed_samples`. The N² numbers are all that grows faster than N.

    Raises
    ------
    InputError
        If the encoder has not learned distances, and as `embed_samples`.

    Notes
    -----
    The distance of two samples is s · (1 - exp(-u)), with u the Euclidean distance of
    their distance embeddings and s what the true distances were divided by: 1 for
    UniFrac.
    """
    import skbio  # slow

    saved = read_kind(encoder, "encoder")
    check_learned(saved)
    found = _of_samples(
        "distance_embedding", saved, config, encoder, table, sequences, report
    )
    distances = distances_between(found.to_numpy(), saved["distance"]["scale"])
    return skbio.DistanceMatrix(distances, list(found.index))


def distances_between(embedding_ND: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Distances (N, N) of samples from their embeddings, float32; see above."""
    total = len(embedding_ND)
    embedding = torch.from_numpy(embedding_ND)
    found = np.empty((total, total), dtype=np.float32)
    for start in range(0, total, BLOCK):
        rows = slice(start, start + BLOCK)
        # the shortcut by a matrix product is inexact where samples are alike
        far = torch.cdist(
            embedding[rows], embedding, compute_mode="donot_use_mm_for_euclid_dist"
        )
        found[rows] = (-scale * torch.expm1(-far)).numpy()
    np.fill_diagonal(found, 0.0)
    return found


def check_learned(saved: Mapping[str, Any]) -> None:
    """Refuse distances that nothing was learned of."""
    options = saved["options"]
    if not options["penalty"]:
        raise InputError(
            "The encoder was pre-trained with penalty 0, so that it has not learned "
            "distances between samples: pre-train one with a penalty above 0."
        )
    if options["unifrac_metric"] == "faith_pd":
        raise InputError(
            "The encoder has learned Faith's PD of each sample (unifrac_metric "
            "faith_pd), no distances between samples: pre-train one with unweighted or "
            "weighted."
        )


def _of_samples(
    name: str,
    saved: Mapping[str, Any],
    config: EmbedConfig,
    encoder: Path,
    table: FeatureTable,
    sequences: Mapping[str, str] | None,
    report: Report,
) -> pd.DataFrame:
    """An output of the encoder with D numbers per sample, in the table's order."""
    return outputs_of_samples(
        (name,), saved, config, encoder, table, sequences, report
    )[name]


def outputs_of_samples(
    names: Sequence[str],
    saved: Mapping[str, Any],
    config: EmbedConfig,
    encoder: Path,
    table: FeatureTable,
    sequences: Mapping[str, str] | None,
    report: Report,
) -> dict[str, pd.DataFrame]:
    """Outputs of the encoder with D numbers per sample, in the table's order."""
    device = choose_device(config)
    study = read_as_trained(saved, table, sequences, config, report)
    network = made_ready(load_encoder(encoder), config, device, report)
    every = np.arange(study.table.shape[0])
    buffer = SpillBuffer.of(config, device, report)
    asvs = encode_table(network, study, every, config, device, buffer=buffer)
    maker = batches_as_trained(saved, study)
    found = collect(
        lambda batch: network(batch, asvs(batch)),
        maker,
        every,
        tuple(names),
        config,
        device,
    )
    ids = study.table.sample_ids
    frames = {n: embedding_frame(found[n], ids, "samples") for n in names}
    return {n: in_table_order(f, table.sample_ids) for n, f in frames.items()}


def embedding_frame(vectors: Tensor, ids: Sequence[str], unit: str) -> pd.DataFrame:
    """One row per id, one column per dimension."""
    vectors_ND = vectors.float().cpu().numpy()
    check_finite(vectors_ND, ids, "Embeddings", unit)
    columns = [f"dim_{d}" for d in range(vectors.shape[1])]
    index = pd.Index(list(ids), name="id")
    return pd.DataFrame(vectors_ND, index, columns)
