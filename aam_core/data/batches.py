"""Batches of samples in which each distinct ASV appears once.

Shapes: S samples, A ASVs of the largest sample, U distinct ASVs of the batch,
L nucleotides, M masked nucleotides, K categorical columns, V features of a sample,
T target columns.
"""

import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from aam_core.data.masking import Masking, mask_nucleotides
from aam_core.data.packing import Packing
from aam_core.data.sequences import MASK, PAD
from aam_core.data.study import Study


@dataclass(frozen=True)
class Chunk:
    """Rows of `tokens_UL` that are encoded together."""

    start: int
    stop: int
    length: int  #: longest sequence of the chunk
    ragged: bool  #: whether some are shorter, so that a mask is needed
    first_masked: int = 0
    last_masked: int = 0


@dataclass(frozen=True)
class Batch:
    """Samples as the model reads them; see the shapes above."""

    rows: np.ndarray  #: (S,) rows of the study
    features: np.ndarray  #: (U,) columns of the study; see `BatchMaker`
    tokens_UL: torch.Tensor  #: uint8, with MASK where nucleotides are masked
    chunks: tuple[Chunk, ...]
    index_SA: torch.Tensor  #: int64, each ASV's row among the U; 0 at padding
    abundance_SA: torch.Tensor  #: float32 relative abundance; 0 at padding
    present_SA: torch.Tensor  #: bool, False at padding
    sizes: tuple[int, ...]  #: ASVs of each sample
    place_T: torch.Tensor  #: int64, where the ASVs are among the S · A
    masked_row_M: torch.Tensor | None = None
    masked_column_M: torch.Tensor | None = None
    masked_truth_M: torch.Tensor | None = None  #: int64, 0-3 for A C G T
    masked_SA: torch.Tensor | None = None  #: bool, ASVs whose abundance is masked
    distances: torch.Tensor | None = None  #: (S, S), or (S,) for Faith's PD
    categories_SK: torch.Tensor | None = None
    features_SV: torch.Tensor | None = None  #: see `sample_features`
    targets_ST: torch.Tensor | None = None  #: scaled targets, or (S,) classes

    @property
    def ragged(self) -> bool:
        """Whether there is padding among the ASVs."""
        return len(self.place_T) < self.present_SA.numel()

    @property
    def keep_SA(self) -> torch.Tensor | None:
        """Where there is no padding; None without any."""
        return self.present_SA if self.ragged else None

    @property
    def packing(self) -> Packing | None:
        """The way to the ASVs without padding; None without any."""
        if not self.ragged:
            return None
        return Packing(self.sizes, self.place_T, self.present_SA)

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def packed(self) -> "PackedBatch":
        """The batch as it travels between processes."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {n: v.numpy() for n, v in found.items() if torch.is_tensor(v)}
        return PackedBatch(found | arrays, tuple(arrays))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads while the program goes on.

        A `DataLoader` calls this.
        """
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {n: change(v) for n, v in found.items() if torch.is_tensor(v)}
        return replace(self, **changed)


@dataclass(frozen=True)
class PackedBatch:
    """A batch in arrays, which go from a worker process through a pipe.

    Tensors would go through shared memory, of which a container has little (64 MB are
    usual): where it ends, a worker fails in silence, and the run waits for ever.
    """

    content: dict[str, Any]
    tensors: tuple[str, ...]  #: names of those that are tensors of the batch

    def unpacked(self) -> Batch:
        """The batch itself."""
        made = {n: torch.from_numpy(self.content[n]) for n in self.tensors}
        return Batch(**self.content | made)

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU reads; a `DataLoader` calls this."""
        return self.unpacked().pin_memory()


def chunks_of(
    lengths: np.ndarray, size: int, masked_rows: np.ndarray | None = None
) -> tuple[Chunk, ...]:
    """Cut ASVs, sorted by length, into chunks of at most `size` (0: one)."""
    total = len(lengths)
    size = size or max(total, 1)
    chunks = []
    for start in range(0, total, size):
        stop = min(start + size, total)
        first, last = 0, 0
        if masked_rows is not None:
            first, last = np.searchsorted(masked_rows, [start, stop])
        longest = int(lengths[start:stop].max())
        ragged = bool(lengths[start:stop].min() < longest)
        chunks.append(Chunk(start, stop, longest, ragged, int(first), int(last)))
    return tuple(chunks)


class BatchMaker(Dataset):
    """Makes batches from lists of rows; the dataset of a `DataLoader`.

    Parameters
    ----------
    study : Study
        The samples.
    token_limit, asv_sampling
        As in `InputOptions`.
    chunk_size : int
        ASVs encoded at a time; 0 for all.
    distances : callable, optional
        Returns the distances between the given rows, (S, S) or (S,).
    scale : float
        What distances are divided by.
    masking : Masking
        What is masked.
    categories_NK, features_NV, targets_NT : numpy.ndarray, optional
        Covariates, features and targets of all rows of the study.
    tokens : bool
        Whether the model reads nucleotides: then the features of a batch are distinct
        and sorted by the length of their sequences. False where their embeddings are
        known already: then they are those of the samples, packed.
    seed : int
        Together with an epoch and the rows, it fixes all random choices.
    """

    def __init__(
        self,
        study: Study,
        *,
        token_limit: int,
        asv_sampling: str,
        chunk_size: int = 0,
        distances: Callable[[np.ndarray], np.ndarray] | None = None,
        scale: float = 1.0,
        masking: Masking | None = None,
        categories_NK: np.ndarray | None = None,
        features_NV: np.ndarray | None = None,
        targets_NT: np.ndarray | None = None,
        tokens: bool = True,
        seed: int = 0,
    ) -> None:
        self.study = study
        self.token_limit = token_limit
        self.asv_sampling = asv_sampling
        self.chunk_size = chunk_size
        self.distances = distances
        self.scale = scale
        self.masking = masking or Masking()
        self.categories_NK = categories_NK
        self.features_NV = features_NV
        self.targets_NT = targets_NT
        self.tokens = tokens
        self.seed = seed
        self.depths_N = study.depths
        self.sizes = study.table.richness.clip(max=token_limit)

    @cached_property
    def lengths_F(self) -> np.ndarray:
        """Nucleotides of each feature."""
        return (self.study.tokens_FL != PAD).sum(axis=1)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Batch:
        """The batch of `key`, an epoch and rows of the study."""
        epoch, rows = key
        rows = np.asarray(rows, dtype=np.int64)
        generator = np.random.default_rng([self.seed, epoch, *rows])
        samples = [self._sample(row, epoch) for row in rows]
        sizes = np.array([len(columns) for columns, _ in samples])
        features, place = self._features([columns for columns, _ in samples])
        present = np.arange(sizes.max()) < sizes[:, None]
        index = np.zeros(present.shape, dtype=np.int64)
        index[present] = place
        abundance = np.zeros(present.shape, dtype=np.float32)
        abundance[present] = np.concatenate(
            [c / self.depths_N[r] for r, (_, c) in zip(rows, samples, strict=True)]
        )
        return Batch(
            rows=rows,
            features=features,
            index_SA=torch.from_numpy(index),
            abundance_SA=torch.from_numpy(abundance),
            present_SA=torch.from_numpy(present),
            sizes=tuple(sizes.tolist()),
            place_T=torch.from_numpy(np.flatnonzero(present)),
            **self._tokens(features, generator),
            **self._labels(rows, present, generator),
        )

    def _sample(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        generator = None
        if self.asv_sampling == "random":
            # by the sample's id, so that its draw does not depend on its company
            name = zlib.crc32(str(self.study.table.sample_ids[row]).encode())
            generator = np.random.default_rng([self.seed, epoch, name])
        return self.study.sample(row, self.token_limit, self.asv_sampling, generator)

    def _features(self, columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The features of a batch, and which of them each ASV of its samples is."""
        every = np.concatenate(columns)
        if not self.tokens:
            return every, np.arange(len(every))
        features, inverse = np.unique(every, return_inverse=True)
        order = np.argsort(self.lengths_F[features], kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return features[order], place[inverse]

    def _tokens(
        self, features: np.ndarray, generator: np.random.Generator
    ) -> dict[str, Any]:
        if not self.tokens:
            return {"tokens_UL": torch.empty(0, 0, dtype=torch.uint8), "chunks": ()}
        lengths = self.lengths_F[features]
        tokens = self.study.tokens_FL[features, : lengths.max()]
        if not self.masking.ratio:
            chunks = chunks_of(lengths, self.chunk_size)
            return {"tokens_UL": torch.from_numpy(tokens), "chunks": chunks}
        masked = mask_nucleotides(tokens, self.masking, generator)
        rows, columns = np.nonzero(masked)
        truth = tokens[rows, columns].astype(np.int64) - 1
        tokens[rows, columns] = MASK
        return {
            "tokens_UL": torch.from_numpy(tokens),
            "chunks": chunks_of(lengths, self.chunk_size, rows),
            "masked_row_M": torch.from_numpy(rows),
            "masked_column_M": torch.from_numpy(columns),
            "masked_truth_M": torch.from_numpy(truth),
        }

    def _labels(
        self, rows: np.ndarray, present: np.ndarray, generator: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        labels: dict[str, Any] = {}
        if self.masking.abundances:
            draws = generator.random(present.shape)
            labels["masked_SA"] = present & (draws < self.masking.abundances)
        if self.distances is not None:
            values = np.asarray(self.distances(rows), dtype=np.float32)
            labels["distances"] = values / np.float32(self.scale)
        if self.categories_NK is not None:
            labels["categories_SK"] = self.categories_NK[rows]
        if self.features_NV is not None:
            labels["features_SV"] = self.features_NV[rows]
        if self.targets_NT is not None:
            labels["targets_ST"] = self.targets_NT[rows]
        return {name: torch.as_tensor(value) for name, value in labels.items()}


class RowBatches(Sampler):
    """Lists of rows, shuffled anew each epoch or in their own order.

    Parameters
    ----------
    rows : numpy.ndarray
        Rows of the study.
    batch_size : int
        Rows of a batch. A last batch of one row joins the one before, since a
        lone sample has no distance to learn.
    shuffle : bool
        Whether the order changes with the epoch.
    seed : int
        Seed of the order.
    epoch : int
        The first epoch; also which random ASVs a sample is read by.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        self.rows = np.asarray(rows)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        """How many batches there are."""
        full, rest = divmod(len(self.rows), self.batch_size)
        alone = rest == 1 and full > 0 and self.batch_size > 1
        return full + (rest > 0) - alone

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the epoch and the rows of each batch."""
        rows = self.rows
        if self.shuffle:
            rows = np.random.default_rng([self.seed, self.epoch]).permutation(rows)
        cuts = np.arange(1, len(self)) * self.batch_size
        for part in np.split(rows, cuts):
            yield self.epoch, part


def loader(
    maker: BatchMaker,
    batches: RowBatches,
    device: torch.device,
    workers: int = 0,
    generator: torch.Generator | None = None,
) -> DataLoader:
    """A `DataLoader` of batches for a device, made by `workers` other processes.

    It draws from `generator`, or from PyTorch's own.
    """
    return DataLoader(
        maker,
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        collate_fn=Batch.packed if workers else _same,
        worker_init_fn=_heed_parent_only,
        generator=generator,
        pin_memory=device.type == "cuda",
    )


def start(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Begin an epoch, with signals held back while worker processes are made.

    Batch systems send SIGTERM to all processes of a job, and a terminal SIGINT. The
    main process then ends training well, and ends its workers itself; a worker that is
    still being made would die of the signal and take the main process with it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        made = iter(batches)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return map(_unpacked, made)


def _unpacked(batch: Batch | PackedBatch) -> Batch:
    return batch.unpacked() if isinstance(batch, PackedBatch) else batch


def _heed_parent_only(worker: int) -> None:
    """Let a worker process end by a SIGTERM of its parent, and of nobody else."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _same(batch: Batch) -> Batch:
    return batch
