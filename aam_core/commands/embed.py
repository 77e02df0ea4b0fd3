"""Embeddings of samples and ASVs, predicted distances, and their ordination."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from aam_core.config import EmbedConfig
from aam_core.data.table import FeatureTable
from aam_core.ensemble.embedding import embed_by_model
from aam_core.errors import InputError
from aam_core.inference.embed import (
    check_learned,
    distances_between,
    embed_asvs,
    outputs_of_samples,
)
from aam_core.io.load import read_kind
from aam_core.io.run_layout import GENERAL
from aam_core.reporting import Report, logger, silent

if TYPE_CHECKING:
    import skbio

KNOWN = EmbedConfig.unknown_categories  #: as it is where nobody asks for more
AXES = 10  #: of the ordination
#: Above so many samples the ordination finds its first axes by random projections.
EXACT = 2_000


@dataclass(frozen=True, eq=False)
class Embedded:
    """What an encoder or a model makes of a table."""

    samples: pd.DataFrame  #: (N, D), columns dim_0 …
    asvs: pd.DataFrame  #: (F, D)
    distances: "skbio.DistanceMatrix"  #: between samples
    pcoa: "skbio.OrdinationResults"  #: of the distances


def embed(
    config: EmbedConfig,
    encoder: Path | None = None,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    model: Path | None = None,
    metadata: pd.DataFrame | None = None,
    report: Report = logger.info,
) -> Embedded:
    """Embed samples and ASVs, and predict the distances between samples.

    Parameters
    ----------
    config : EmbedConfig
        Device, batches, and what becomes of features without a sequence.
    encoder : Path, optional
        What `pretrain` wrote; without, the general encoder of the package.
    table : FeatureTable
        Counts; features may be others than those of training.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    model : Path, optional
        What `train` wrote, in place of an encoder: see `embed_by_model`.
    metadata : pandas.DataFrame, optional
        Sample metadata, for models with covariates.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    Embedded

    Raises
    ------
    InputError
        If the input or an option is wrong, the encoder has not learned distances, the
        model has no network, or fewer than three samples are left.

    Notes
    -----
    The ordination is a principal coordinates analysis by scikit-bio. Distances that an
    encoder predicts are not Euclidean, so that some of its smaller eigenvalues are
    negative.
    """
    if model is None and (metadata is not None or config.unknown_categories != KNOWN):
        raise InputError(
            "metadata and unknown_categories are for the covariates of a model, but an "
            "encoder embeds: leave them out, or give a model."
        )
    if model is None:
        samples, asvs, between = _by_encoder(
            config, encoder or GENERAL, table, sequences, report
        )
    elif encoder is None:
        samples, asvs = embed_by_model(
            config,
            model,
            table=table,
            sequences=sequences,
            metadata=metadata,
            report=report,
        )
        between = squareform(pdist(samples.to_numpy(dtype=float)))
    else:
        raise InputError(
            "Both an encoder and a model are given, but one of them embeds: leave the "
            "other out."
        )
    if len(samples) < 3:
        raise InputError(
            f"{len(samples)} samples are left, but an ordination needs at least three: "
            "give more samples."
        )
    import skbio  # slow

    distances = skbio.DistanceMatrix(between.astype(float), list(samples.index))
    report(
        f"{len(samples):,} samples and {len(asvs):,} ASVs are embedded in "
        f"{samples.shape[1]} dimensions."
    )
    return Embedded(samples, asvs, distances, ordination(distances))


def _by_encoder(
    config: EmbedConfig,
    encoder: Path,
    table: FeatureTable,
    sequences: Mapping[str, str] | None,
    report: Report,
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Samples, ASVs, and the distances between samples that the encoder predicts."""
    saved = read_kind(encoder, "encoder")
    check_learned(saved)
    names = ("sample", "distance_embedding")
    given = (config, encoder, table, sequences)
    found = outputs_of_samples(names, saved, *given, report)
    asvs = embed_asvs(config, encoder, table=table, sequences=sequences, report=silent)
    points = found["distance_embedding"].to_numpy()
    return found["sample"], asvs, distances_between(points, saved["distance"]["scale"])


def ordination(distances: "skbio.DistanceMatrix") -> "skbio.OrdinationResults":
    """Principal coordinates of distances, `AXES` of them or fewer."""
    from skbio.stats.ordination import pcoa

    total = len(distances.ids)
    method = "eigh" if total <= EXACT else "fsvd"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of negative eigenvalues
        return pcoa(distances, method, number_of_dimensions=min(AXES, total - 1))
