"""Running a model without training it: each ASV is encoded once.

Shapes: F features of a study, U distinct ASVs of a batch, D width.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy

import numpy as np
import torch
from torch import Tensor, nn

from aam_core.config import DeviceOptions
from aam_core.data.batches import (
    Batch,
    BatchMaker,
    Chunk,
    RowBatches,
    chunks_of,
    loader,
    start,
)
from aam_core.data.masking import Masking, mask_nucleotides
from aam_core.data.sequences import MASK, PAD
from aam_core.data.study import Study
from aam_core.distributed.strategy import Strategy
from aam_core.nn.encoder import Encoder
from aam_core.nn.losses import nucleotide_loss
from aam_core.runtime.device import autocast
from aam_core.runtime.draws import generator
from aam_core.runtime.spill import SpillBuffer

PIECE = 4096  #: ASVs of which something is computed from their embeddings at a time
CHUNK = 256  #: ASVs of a chunk where all could be encoded together
#: Numbers (positions × D) of a chunk, per thread, that a CPU encodes fastest, with its
#: caches, and the fewest ASVs that are worth the overhead of a chunk.
CPU_NUMBERS, CPU_LEAST = 200_000, 8


class AsvTable:
    """The embeddings of a study's ASVs, computed once.

    Parameters
    ----------
    features : numpy.ndarray
        Columns of the study.
    vectors_FD : Tensor
        Their embeddings.
    total : int
        Columns that the study has.
    device : torch.device
        Where embeddings are asked for; the table itself may be on disk.
    """

    def __init__(
        self,
        features: np.ndarray,
        vectors_FD: Tensor,
        total: int,
        device: torch.device,
    ) -> None:
        self.vectors_FD = vectors_FD
        self.device = device
        self.place = np.full(total, -1, dtype=np.int64)
        self.place[features] = np.arange(len(features))

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "AsvTable":
        """What a function makes of the embeddings of the same ASVs, some at a time."""
        with torch.inference_mode():
            parts = self.vectors_FD.split(PIECE)
            found = [function(part.to(self.device)) for part in parts]
        table = copy(self)
        table.vectors_FD = torch.cat(found)
        return table

    def __call__(self, batch: Batch) -> Tensor:
        """The embeddings (U, D) of the ASVs of a batch."""
        place = torch.from_numpy(self.place[batch.features])
        found = self.vectors_FD.index_select(0, place.to(self.vectors_FD.device))
        return found.to(self.device)


def contributions_of(
    model: nn.Module, table: AsvTable
) -> Callable[[Batch], Tensor | None]:
    """What the ASVs of a batch add to its linear model, (U, O); None without one."""
    if model.linear is None:
        return lambda batch: None
    return table.mapped(model.linear.contributions)


def encode_table(
    encoder: Encoder,
    study: Study,
    rows: np.ndarray,
    options: DeviceOptions,
    device: torch.device,
    *,
    buffer: SpillBuffer | None = None,
    strategy: Strategy | None = None,
) -> AsvTable:
    """Encode each ASV of the given samples once.

    Parameters
    ----------
    encoder : Encoder
        Put into evaluation by the caller.
    study : Study
        Where the ASVs are.
    rows : numpy.ndarray
        Rows of the study.
    options : DeviceOptions
        Chunk size and precision.
    device : torch.device
        Where the encoder is.
    buffer : SpillBuffer, optional
        Where the embeddings are kept; in memory if not given.
    strategy : Strategy, optional
        Of processes that share the work.

    Returns
    -------
    AsvTable
    """
    features, tokens, lengths = _sorted_asvs(study, rows)
    chunks = chunks_of(lengths, chunk_size(encoder, tokens.shape[1], options, device))
    buffer = buffer or SpillBuffer(sys.maxsize, device)
    width = encoder.arch.embedding_dim
    vectors_FD = buffer.tensor(len(features), width, torch.float32)

    def encode(chunk: Chunk) -> Tensor:
        part = torch.from_numpy(tokens[chunk.start : chunk.stop, : chunk.length])
        return encoder.nucleotides(part.to(device), chunk)[0].float()

    with torch.inference_mode(), autocast(options, device):
        found = (strategy or Strategy(device)).map(encode, chunks)
        for chunk, pooled in zip(chunks, found, strict=True):
            vectors_FD[chunk.start : chunk.stop] = pooled
    return AsvTable(features, vectors_FD, study.table.shape[1], device)


def masked_nucleotides(
    encoder: Encoder,
    study: Study,
    rows: np.ndarray,
    masking: Masking,
    options: DeviceOptions,
    device: torch.device,
    strategy: Strategy | None = None,
) -> tuple[float, float]:
    """Loss (nats) and accuracy of masked nucleotides, the same ones at each call.

    Each distinct ASV of the given samples counts once.
    """
    _, tokens, lengths = _sorted_asvs(study, rows)
    size = chunk_size(encoder, tokens.shape[1], options, device)
    masked = mask_nucleotides(tokens, masking, np.random.default_rng(0))
    seen = np.where(masked, np.uint8(MASK), tokens)
    row, column = np.nonzero(masked)
    strategy = strategy or Strategy(device)
    loss = right = 0.0
    with torch.inference_mode(), autocast(options, device):
        for chunk, counts in strategy.mine(chunks_of(lengths, size, row)):
            batch = _MaskedPlaces(row, column, device)
            part = torch.from_numpy(seen[chunk.start : chunk.stop, : chunk.length])
            _, logits = encoder.nucleotides(part.to(device), chunk, batch)
            if not counts:
                continue
            here = slice(chunk.first_masked, chunk.last_masked)
            truth = tokens[row[here], column[here]].astype(np.int64) - 1
            truth = torch.from_numpy(truth).to(device)
            loss += float(nucleotide_loss(logits, truth)) * len(truth)
            right += float((logits.argmax(-1) == truth).sum())
    loss, right = strategy.all_reduce_sum(loss, right)
    return loss / max(len(row), 1), right / max(len(row), 1)


class _MaskedPlaces:
    """The part of a `Batch` that the nucleotide encoder reads."""

    def __init__(self, row: np.ndarray, column: np.ndarray, device: torch.device):
        self.masked_row_M = torch.from_numpy(row).to(device)
        self.masked_column_M = torch.from_numpy(column).to(device)


def chunk_size(
    encoder: Encoder,
    length: int,
    options: DeviceOptions,
    device: torch.device,
    training: bool = False,
) -> int:
    """ASVs of this length to encode at a time, at most `asv_chunk_size`.

    In training 0 encodes all of a batch together; otherwise there may be any number,
    and it means `CHUNK`.
    """
    if training and not options.asv_chunk_size:
        return 0
    asked = options.asv_chunk_size or CHUNK
    if device.type != "cpu":
        return asked
    arch = encoder.arch
    positions = -(-length // arch.nucleotide_patch)
    each = positions * arch.embedding_dim
    fastest = CPU_NUMBERS * torch.get_num_threads() // each
    return min(asked, max(fastest, CPU_LEAST))


def _sorted_asvs(study: Study, rows: np.ndarray):
    """Features of the samples, shortest first, their tokens and lengths."""
    features = np.unique(study.table.counts[rows].indices)
    lengths = (study.tokens_FL[features] != PAD).sum(axis=1)
    features = features[np.argsort(lengths, kind="stable")]
    lengths = np.sort(lengths)
    tokens = study.tokens_FL[features, : lengths.max()]
    return features, tokens, lengths


def outputs(
    model: nn.Module,
    batches: Iterable[Batch],
    table: AsvTable,
    options: DeviceOptions,
    device: torch.device,
) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Yield each batch with what the model returns for it, in evaluation."""
    model.eval()
    for batch in batches:
        with torch.inference_mode(), autocast(options, device):
            moved = batch.to(device)
            yield moved, model(moved, table(batch))


def collect(
    run: Callable[[Batch], dict[str, Tensor]],
    maker: BatchMaker,
    rows: np.ndarray,
    names: Collection[str],
    options: DeviceOptions,
    device: torch.device,
    draw: int = 0,
) -> dict[str, Tensor]:
    """Some of what a model returns for samples, in their order.

    Samples of like size share a batch, the largest first, since smaller ones then fit
    into the memory that these leave. All else that the model returns is dropped after
    each batch, so that memory does not grow with the samples' ASVs.

    Parameters
    ----------
    run : callable
        Takes a batch on the device and returns what the model makes of it; the model
        is in evaluation.
    maker : BatchMaker
        How samples are read.
    rows : numpy.ndarray
        N rows of the study.
    names : collection of str
        Outputs with one entry per sample; those that there are not are left out.
    options : DeviceOptions
        Batch size, precision, worker processes.
    device : torch.device
        Where the model is.
    draw : int
        Which random ASVs are read.

    Returns
    -------
    dict
        (N, …) by name.
    """
    order = np.argsort(-maker.sizes[rows], kind="stable")
    batches = RowBatches(rows[order], options.batch_size, shuffle=False, epoch=draw)
    found: dict[str, list[Tensor]] = {}
    made = loader(maker, batches, device, options.num_workers, generator())
    for batch in start(made):
        with torch.inference_mode(), autocast(options, device):
            out = run(batch.to(device))
        for name in set(names) & set(out):
            found.setdefault(name, []).append(out[name])
    back = torch.from_numpy(np.argsort(order)).to(device)
    return {name: torch.cat(parts)[back] for name, parts in found.items()}
