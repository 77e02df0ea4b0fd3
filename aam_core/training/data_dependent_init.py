"""A data-dependent start of the weights: standardised embeddings.

An untrained encoder maps all samples to nearly the same point: two random samples
have a cosine of more than 0.99, and the differences that matter are lost beside
what all have in common. So, before the first step, the last normalisation of each
pooling is set such that its outputs have mean 0 and variance 1 in each channel over
training samples (as in Salimans & Kingma 2016, arXiv:1602.07868). Only initial values
of ordinary weights change. docs/benchmarks.md tells where it helps, and where it does
not.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from aam_core.data.batches import Batch
from aam_core.inference.encode import AsvTable
from aam_core.nn.encoder import Encoder
from aam_core.nn.predictor import SequencePredictor

SAMPLES = 256  #: most training samples that are looked at
LEAST_SD = 1e-3


def standardise(norm: nn.LayerNorm, outputs_ND: Tensor) -> None:
    """Set scale and shift so that the given outputs become standardised.

    Parameters
    ----------
    norm : torch.nn.LayerNorm
        A normalisation that is still as it was made.
    outputs_ND : Tensor
        What it returned for N inputs.
    """
    sd, mean = torch.std_mean(outputs_ND.float(), dim=0, unbiased=False)
    sd = sd.clamp_min(LEAST_SD)
    with torch.no_grad():
        norm.weight.copy_(1 / sd)
        norm.bias.copy_(-mean / sd)


def first_rows(training: np.ndarray, seed: int) -> np.ndarray:
    """The training samples that are looked at, at most `SAMPLES`."""
    order = np.random.default_rng(seed).permutation(training)
    return order[:SAMPLES]


@torch.no_grad()
def standardise_asvs(encoder: Encoder, table: AsvTable) -> AsvTable:
    """Standardise the ASV embeddings; return the table in the new terms."""
    norm = encoder.nucleotides.pool.norm
    standardise(norm, table.vectors_FD)
    table.vectors_FD = table.vectors_FD * norm.weight + norm.bias
    return table


@torch.no_grad()
def standardise_samples(
    encoder: Encoder, table: AsvTable, batches: Iterable[Batch]
) -> None:
    """Standardise sample embeddings, and let predicted distances start in scale.

    Parameters
    ----------
    encoder : Encoder
        New, with ASV embeddings that are standardised already.
    table : AsvTable
        These embeddings.
    batches : iterable of Batch
        Training samples on the encoder's device, with distances if they are learned.
    """
    batches = list(batches)
    samples = torch.cat([encoder(b, table(b))["sample"] for b in batches])
    standardise(encoder.pool.norm, samples)
    known = [b for b in batches if b.distances is not None and b.distances.dim() == 2]
    if not known:
        return
    true = np.mean([_mean_pair(b.distances) for b in known])
    wanted = -math.log(1 - min(float(true), 0.99))  # see pairwise_distances
    found = []
    for batch in known:
        position = encoder(batch, table(batch))["distance_embedding"].float()
        found.append(_mean_pair(torch.cdist(position, position)))
    encoder.distance_head.weight.mul_(wanted / max(float(np.mean(found)), 1e-6))


@torch.no_grad()
def standardise_pooled(
    model: SequencePredictor,
    encode: Callable[[Batch], dict[str, Tensor]],
    batches: Iterable[Batch],
) -> None:
    """Standardise what the head of a predictor reads of its encoder's outputs."""
    pooled = [model.pooled(encode(batch), batch) for batch in batches]
    standardise(model.pool.norm, torch.cat(pooled))


def _mean_pair(square_SS: Tensor) -> float:
    size = len(square_SS)
    return float(square_SS.triu(1).sum() / max(size * (size - 1) / 2, 1))
