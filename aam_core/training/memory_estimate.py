"""How much memory a training step is expected to take.

Shapes: S samples, A ASVs of the largest sample, U distinct ASVs of the batch,
P positions of the nucleotide transformer, D width, H heads.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from aam_core.config import Architecture, RunConfig
from aam_core.data.sequences import VOCABULARY_SIZE
from aam_core.data.study import Study
from aam_core.errors import InputError
from aam_core.inference.encode import chunk_size
from aam_core.nn.attention import SHORT
from aam_core.nn.encoder import Encoder, keeps_chunks
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import KEPT, KEPT_AROUND, MLP_RATIO

FLOAT = 4  #: bytes
#: As `KEPT`, for dropout.
KEPT_BY_DROPOUT = 2
#: What the backward pass of one layer needs besides: gradients within the MLP.
GRADIENTS = 2 * MLP_RATIO
#: Fraction of all this that mixed precision leaves: much stays in float32.
MIXED = 0.75
#: Bytes per trained weight: gradient, and the optimiser's two moments or one.
TRAINED = {"adamw": 12, "adam": 12, "sgd": 8}


@dataclass(frozen=True, kw_only=True)
class Load:
    """The most that one batch holds."""

    samples: int  #: S
    largest: int  #: A
    asvs: int  #: of all its samples
    distinct: int  #: U; 0 where no ASV is encoded
    length: int  #: longest sequence


def check_weights(arch: Architecture, free: int) -> None:
    """Raise `InputError` where the weights alone need more than the free memory.

    The encoder is built without memory for that (torch's device `meta`).
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        number = sum(p.numel() for p in Encoder(arch).parameters())
    if FLOAT * number > free:
        raise InputError(
            f"An encoder of {number:,} parameters (embedding_dim "
            f"{arch.embedding_dim:,}, attention_layers {arch.attention_layers:,}, "
            f"max_bp {arch.max_bp:,}) needs {as_text(FLOAT * number)} for its weights "
            f"alone, but {as_text(free)} of memory are free: choose a smaller preset, "
            "or smaller values of these."
        )


def heaviest(study: Study, rows: np.ndarray, size: int) -> np.ndarray:
    """The `size` samples with the most ASVs."""
    sizes = study.table.richness[rows]
    return rows[np.argsort(-sizes, kind="stable")[:size]]


def load_of(study: Study, rows: np.ndarray, size: int, token_limit: int) -> Load:
    """The load of the batch of those `size` samples that have the most ASVs."""
    rows = heaviest(study, rows, size)
    sizes = study.table.richness[rows].clip(max=token_limit)
    distinct = len(np.unique(study.table.counts[rows].indices))
    return Load(
        samples=len(rows),
        largest=int(sizes.max()),
        asvs=int(sizes.sum()),
        distinct=min(distinct, int(sizes.sum())),
        length=study.tokens_FL.shape[1],
    )


def expected_bytes(
    model: Encoder | SequencePredictor,
    load: Load,
    config: RunConfig,
    checkpointing: bool | None = None,
) -> int:
    """Memory of a training step: weights, optimiser, and what the layers keep.

    Parameters
    ----------
    model : Encoder or SequencePredictor
        What is trained.
    load : Load
        The batch.
    config : PretrainConfig or TrainConfig
        Optimiser, precision, attention and chunks.
    checkpointing : bool, optional
        Whether layers are recomputed; else as the model is set.

    Returns
    -------
    int
        Bytes, good to a factor of about two. What PyTorch itself takes (0.3 GB on a
        CPU, 0.5 GB on a GPU) comes on top.
    """
    encoder = model.base
    arch = encoder.arch
    if checkpointing is None:
        checkpointing = encoder.sample.checkpointing
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = FLOAT * sum(p.numel() for p in model.parameters())
    weights += TRAINED[config.optimizer] * trained

    device = next(model.parameters()).device

    def by_layer(neighbours: int) -> float:
        """Kept per position, in units of D."""
        scores = arch.attention_heads * neighbours / arch.embedding_dim
        if config.attn_implementation == "math":
            scores *= 2
        elif device.type != "cpu" or neighbours > SHORT:
            scores = 0
        return KEPT + KEPT_BY_DROPOUT * (arch.dropout > 0) + scores

    def stack(positions: int, neighbours: int, layers: int, at_once: int) -> float:
        each = by_layer(neighbours)
        kept = each * layers * positions
        if checkpointing:
            kept = layers * positions + each * at_once
        return kept + KEPT_AROUND * positions + GRADIENTS * at_once

    layers = 2 * arch.attention_layers
    if model is not encoder:
        layers = model.shape.target_layers + layers * (not model.frozen)
    numbers = stack(load.asvs, load.largest, layers, load.asvs)
    encoded = 0 if model.frozen else load.distinct
    if encoded:
        patches = -(-load.length // arch.nucleotide_patch)
        size = chunk_size(encoder, load.length, config, device, training=True)
        chunk = min(size or encoded, encoded)
        if checkpointing and keeps_chunks(-(-encoded // chunk), arch.attention_layers):
            each = by_layer(patches) * arch.attention_layers + KEPT_AROUND + GRADIENTS
            numbers += each * chunk * patches
            encoded = chunk
        else:
            numbers += stack(
                encoded * patches, patches, arch.attention_layers, chunk * patches
            )
    activations = FLOAT * arch.embedding_dim * numbers
    if config.mixed_precision != "none":
        activations *= MIXED
    places = -(-load.length // arch.nucleotide_patch) * arch.reach
    one_hot = FLOAT * encoded * places * VOCABULARY_SIZE
    return int(weights + activations + one_hot)


def parts_of(model: Encoder | SequencePredictor) -> dict[str, int]:
    """Parameters of each part of a model, by name."""
    encoder = model.base
    parts = {
        "nucleotides": encoder.nucleotides,
        "samples": nn.ModuleList([encoder.sample, encoder.encoder, encoder.pool]),
    }
    if encoder.abundance is not None:
        parts["abundance"] = encoder.abundance
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in parts.items()}
    every = sum(p.numel() for p in encoder.parameters())
    counts["self-supervised heads"] = every - sum(counts.values())
    if model is not encoder:
        counts["target"] = sum(p.numel() for p in model.parameters()) - every
    return counts


def as_text(size: float) -> str:
    """A number of bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def summary(
    model: Encoder | SequencePredictor,
    study: Study,
    training: np.ndarray,
    config: RunConfig,
) -> str:
    """The size of a model by part, and the memory that a training step takes."""
    load = load_of(study, training, config.batch_size, config.token_limit)
    size = as_text(expected_bytes(model, load, config))
    encoder = model.base
    checkpointing = " with gradient checkpointing" * encoder.sample.checkpointing
    parts = ", ".join(f"{name} {n:,}" for name, n in parts_of(model).items())
    return (
        f"Parameters: {parts}. A training step on {load.samples} samples of up to "
        f"{load.largest:,} ASVs ({load.distinct:,} distinct) is expected to take about "
        f"{size}{checkpointing}."
    )
