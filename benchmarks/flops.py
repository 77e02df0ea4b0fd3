"""What the model needs, by formula: floating-point operations, two per multiply-add.

Shapes: P positions of an ASV, A ASVs of a sample, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aam_core.config import PRESETS, Architecture, PretrainConfig, resolve_architecture
from aam_core.data.batches import Chunk
from aam_core.data.sequences import VOCABULARY_SIZE
from aam_core.nn.attention import SHORT
from aam_core.nn.encoder import AbundanceEmbedding, NucleotideEncoder
from aam_core.nn.transformer import MLP_RATIO, Transformer
from benchmarks.contenders import counted

MLP = 2 * MLP_RATIO  #: its two products, each as wide as D × MLP_RATIO


def layers(arch: Architecture, positions: int) -> tuple[int, int]:
    """Of a transformer, per position: products with weights, and of attention."""
    width, depth = arch.embedding_dim, arch.attention_layers
    return depth * 2 * (4 + MLP) * width**2, depth * 4 * positions * width


def of_asv(arch: Architecture, length: int, training: bool = False) -> int:
    """To encode an ASV of so many nucleotides.

    `training` adds the backward pass: two products for each of the forward pass (one
    for the first, whose input has no gradient), and see `of_attention`. The prediction
    of masked nucleotides, less than 1 %, is left out, and so is what is computed once
    for all ASVs together (`of_query`).
    """
    width = arch.embedding_dim
    positions = -(-length // arch.nucleotide_patch)
    first = 2 * positions * arch.reach * VOCABULARY_SIZE * width
    weights, attention = (positions * n for n in layers(arch, positions))
    weights += 4 * positions * width * arch.attention_heads + 4 * width**2  # pooling
    if not training:
        return first + weights + attention
    return int(2 * first + 3 * weights + of_attention(positions) * attention)


def of_attention(positions: int) -> float:
    """Forward and backward pass of attention, in forward passes.

    The kernel computes its scores once more in the backward pass.
    """
    return 3 if positions <= SHORT else 3.5


def of_query(arch: Architecture, training: bool = False) -> int:
    """To put the query and the keys' weights of the pooling of ASVs together."""
    return 2 * arch.embedding_dim**2 * (3 if training else 1)


def of_slot(arch: Architecture, asvs: int, training: bool = False) -> int:
    """For an ASV among so many of a sample, beyond its encoding.

    Two transformers; heads and pooling, less than 2 %, are left out. `training` adds
    the backward pass as for `of_asv`.
    """
    weights, attention = (2 * n for n in layers(arch, asvs))
    first = 0
    if arch.count_embedding:
        first = 2 * 3 * arch.embedding_dim
        weights += 2 * arch.embedding_dim**2
    if not training:
        return first + weights + attention
    return int(2 * first + 3 * weights + of_attention(asvs) * attention)


def counted_of_asv(arch: Architecture, length: int, training: bool = False) -> int:
    """What PyTorch counts for one ASV."""
    encoder = NucleotideEncoder(arch)
    tokens = torch.randint(1, 5, (1, length), dtype=torch.uint8)
    chunk = Chunk(0, 1, length, ragged=False)
    return count(encoder, lambda: encoder(tokens, chunk)[0], training)


def counted_of_slot(arch: Architecture, asvs: int, training: bool = False) -> int:
    """What PyTorch counts for a sample, divided by its ASVs."""
    width = arch.embedding_dim
    parts = [
        Transformer(width, arch.attention_heads, arch.attention_layers, 0.0)
        for _ in range(2)
    ]
    abundance = AbundanceEmbedding(width, arch.count_embedding_method)
    x = torch.randn(1, asvs, width, requires_grad=True)

    def run() -> Tensor:
        return parts[1](parts[0](abundance(x, torch.rand(1, asvs), None)))

    return count(nn.ModuleList([*parts, abundance]), run, training) // asvs


def count(model: nn.Module, run: Callable[[], Tensor], training: bool) -> int:
    """What PyTorch counts for a call, and for its backward pass."""
    model.train(training)
    with counted() as counter, torch.set_grad_enabled(training):
        result = run().sum()
        if training:
            result.backward()
    return counter.get_total_flops()


def table(length: int, asvs: int, check: bool) -> list[dict[str, Any]]:
    """A row for each preset; with `check`, also what PyTorch counts."""
    rows = []
    for preset in PRESETS:
        arch = resolve_architecture(PretrainConfig(preset=preset, max_bp=length))
        row = {"preset": preset}
        row["GFLOP per ASV"] = of_asv(arch, length) / 1e9
        row["in training"] = of_asv(arch, length, training=True) / 1e9
        if check:
            row["counted"] = counted_of_asv(arch, length) / 1e9
            row["counted in training"] = counted_of_asv(arch, length, True) / 1e9
        row["GFLOP per ASV of a sample"] = of_slot(arch, asvs) / 1e9
        row["its training"] = of_slot(arch, asvs, training=True) / 1e9
        rows.append(row)
    return rows
