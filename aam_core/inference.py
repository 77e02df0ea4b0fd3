"""Running a model without training it: each ASV is encoded once.

Shapes: F features of a study, U distinct ASVs of a batch, D width.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from aam_core.batches import Batch, Chunk, Masking, chunks_of, mask_nucleotides
from aam_core.config import DeviceOptions
from aam_core.device import autocast
from aam_core.distributed import Strategy
from aam_core.losses import nucleotide_loss
from aam_core.model import Encoder
from aam_core.sequences import MASK, PAD
from aam_core.study import Study

CHUNK = 256  #: ASVs of a chunk where all could be encoded together


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
    """

    def __init__(self, features: np.ndarray, vectors_FD: Tensor, total: int) -> None:
        self.vectors_FD = vectors_FD
        self.place = np.full(total, -1, dtype=np.int64)
        self.place[features] = np.arange(len(features))

    def __call__(self, batch: Batch) -> Tensor:
        """The embeddings (U, D) of the ASVs of a batch."""
        place = torch.from_numpy(self.place[batch.features])
        return self.vectors_FD[place.to(self.vectors_FD.device)]


def encode_table(
    encoder: Encoder,
    study: Study,
    rows: np.ndarray,
    options: DeviceOptions,
    device: torch.device,
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
    strategy : Strategy, optional
        Of processes that share the work.

    Returns
    -------
    AsvTable
    """
    features, tokens, chunks = _sorted_asvs(study, rows, options)

    def encode(chunk: Chunk) -> Tensor:
        part = torch.from_numpy(tokens[chunk.start : chunk.stop, : chunk.length])
        return encoder.nucleotides(part.to(device), chunk)[0].float()

    with torch.inference_mode(), autocast(options, device):
        parts = (strategy or Strategy(device)).map(encode, chunks)
    return AsvTable(features, torch.cat(parts), study.table.shape[1])


def masked_nucleotides(
    encoder: Encoder,
    study: Study,
    rows: np.ndarray,
    masking: Masking,
    options: DeviceOptions,
    device: torch.device,
    strategy: Strategy | None = None,
) -> tuple[float, float]:
    """Loss (nats) and accuracy of hidden nucleotides, the same ones at each call.

    Each distinct ASV of the given samples counts once.
    """
    _, tokens, _ = _sorted_asvs(study, rows, options)
    masked = mask_nucleotides(tokens, masking, np.random.default_rng(0))
    hidden = np.where(masked, np.uint8(MASK), tokens)
    row, column = np.nonzero(masked)
    lengths = (tokens != PAD).sum(axis=1)
    chunks = chunks_of(lengths, options.asv_chunk_size or CHUNK, row)
    strategy = strategy or Strategy(device)
    loss = right = 0.0
    with torch.inference_mode(), autocast(options, device):
        for chunk, counts in strategy.mine(chunks):
            batch = _Hidden(row, column, device)
            part = torch.from_numpy(hidden[chunk.start : chunk.stop, : chunk.length])
            _, logits = encoder.nucleotides(part.to(device), chunk, batch)
            if not counts:
                continue
            here = slice(chunk.first_masked, chunk.last_masked)
            truth = tokens[row[here], column[here]].astype(np.int64) - 1
            truth = torch.from_numpy(truth).to(device)
            loss += float(nucleotide_loss(logits, truth)) * len(truth)
            right += float((logits.argmax(-1) == truth).sum())
    loss, right = strategy.total(loss, right)
    return loss / max(len(row), 1), right / max(len(row), 1)


class _Hidden:
    """The part of a `Batch` that the nucleotide encoder reads."""

    def __init__(self, row: np.ndarray, column: np.ndarray, device: torch.device):
        self.masked_row_M = torch.from_numpy(row).to(device)
        self.masked_column_M = torch.from_numpy(column).to(device)


def _sorted_asvs(study: Study, rows: np.ndarray, options: DeviceOptions):
    features = np.unique(study.table.counts[rows].indices)
    lengths = (study.tokens_FL[features] != PAD).sum(axis=1)
    features = features[np.argsort(lengths, kind="stable")]
    lengths = np.sort(lengths)
    tokens = study.tokens_FL[features, : lengths.max()]
    return features, tokens, chunks_of(lengths, options.asv_chunk_size or CHUNK)


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
