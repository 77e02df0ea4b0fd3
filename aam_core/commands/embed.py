"""Embeddings of samples and ASVs, predicted distances, and their ordination."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from aam_core.config import EmbedConfig
from aam_core.data.table import FeatureTable
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

AXES = 10  #: of the ordination
#: Above so many samples the ordination finds its first axes by random projections.
EXACT = 2_000


@dataclass(frozen=True, eq=False)
class Embedded:
    """What an encoder makes of a table."""

    samples: pd.DataFrame  #: (N, D), columns dim_0 …
    asvs: pd.DataFrame  #: (F, D)
    distances: "skbio.DistanceMatrix"  #: predicted between samples
    pcoa: "skbio.OrdinationResults"  #: of the distances


def embed(
    config: EmbedConfig,
    encoder: Path | None = None,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
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
        Counts; features may be others than those of pre-training.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    Embedded

    Raises
    ------
    InputError
        If the input or an option is wrong, the encoder has not learned distances, or
        fewer than three samples are left.

    Notes
    -----
    The ordination is a principal coordinates analysis by scikit-bio. Predicted
    distances are not Euclidean, so that some of its smaller eigenvalues are negative.
    """
    encoder = GENERAL if encoder is None else encoder
    saved = read_kind(encoder, "encoder")
    check_learned(saved)
    names = ("sample", "distance_embedding")
    given = (config, encoder, table, sequences)
    found = outputs_of_samples(names, saved, *given, report)
    samples = found["sample"]
    if len(samples) < 3:
        raise InputError(
            f"{len(samples)} samples are left, but an ordination needs at least three: "
            "give more samples."
        )
    asvs = embed_asvs(config, encoder, table=table, sequences=sequences, report=silent)
    import skbio  # slow

    between = distances_between(
        found["distance_embedding"].to_numpy(), saved["distance"]["scale"]
    )
    distances = skbio.DistanceMatrix(between.astype(float), list(samples.index))
    report(
        f"{len(samples):,} samples and {len(asvs):,} ASVs are embedded in "
        f"{samples.shape[1]} dimensions."
    )
    return Embedded(samples, asvs, distances, ordination(distances))


def ordination(distances: "skbio.DistanceMatrix") -> "skbio.OrdinationResults":
    """Principal coordinates of distances, `AXES` of them or fewer."""
    from skbio.stats.ordination import pcoa

    total = len(distances.ids)
    method = "eigh" if total <= EXACT else "fsvd"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of negative eigenvalues
        return pcoa(distances, method, number_of_dimensions=min(AXES, total - 1))
