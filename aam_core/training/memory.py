"""How much memory a run is expected to take, takes, and may take.

Shapes: S samples, A ASVs of the largest sample, U distinct ASVs of the batch,
P positions of the nucleotide transformer, D width, H heads.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from aam_core.config import MEMORY_FRACTION, MemoryOptions, RunConfig
from aam_core.data.sequences import VOCABULARY_SIZE
from aam_core.data.study import Study
from aam_core.distributed.strategy import Strategy
from aam_core.errors import InputError
from aam_core.inference.encode import chunk_size
from aam_core.nn.attention import SHORT
from aam_core.nn.encoder import Encoder, keeps_chunks
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import KEPT, KEPT_AROUND, MLP_RATIO
from aam_core.reporting import Report
from aam_core.runtime.device import autocast
from aam_core.runtime.process_memory import available, peak_resident
from aam_core.training.loop import Objective
from aam_core.training.session import Session

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


class Gauge(Protocol):
    """Measures the memory of a GPU."""

    def available(self) -> int:
        """Bytes that this process could fill."""

    def reset(self) -> None:
        """Start a new peak."""

    def peak(self) -> int:
        """Most bytes in use since `reset`."""


class GpuGauge:
    """The gauge of an NVIDIA or AMD GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def available(self) -> int:
        """What is free, and what this process holds."""
        free, _ = torch.cuda.mem_get_info(self.device)
        return free + torch.cuda.memory_reserved(self.device)

    def reset(self) -> None:
        """Return what is cached to the device, and start a new peak."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Most bytes of tensors since `reset`."""
        return torch.cuda.max_memory_allocated(self.device)


@dataclass(frozen=True)
class MemoryPlan:
    """What was decided about memory."""

    batch_size: int
    gradient_checkpointing: bool


def fit_to_memory(
    session: Session,
    report: Report,
    gauge: Gauge | None = None,
    strategy: Strategy | None = None,
    before: Mapping[str, Any] | None = None,
) -> MemoryPlan:
    """Decide on gradient checkpointing and, if asked for, on the batch size.

    On a GPU both are decided by training steps on the samples with the most ASVs; on a
    CPU checkpointing by what such a step is expected to take (a process that tried, and
    failed, would be killed); elsewhere it is off unless asked for.

    Parameters
    ----------
    session : Session
        Its model keeps its weights, and the random state is unchanged.
    report : callable
        Takes sentences for the user.
    gauge : Gauge, optional
        Measures the memory; the GPU's own if there is one.
    strategy : Strategy, optional
        Of processes that share each batch.
    before : mapping, optional
        What an interrupted run decided, which holds for the run that resumes: else
        dropout would draw other numbers, and an epoch have other steps.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    InputError
        If auto_batch_size finds that not even batch_size fits.
    """
    if before:
        return MemoryPlan(**before)
    config, device = session.config, session.device
    strategy = strategy or Strategy(device)
    if gauge is None and device.type == "cuda":
        gauge = GpuGauge(device)
    on = bool(config.gradient_checkpointing)
    if gauge is None and device.type != "cpu":
        return MemoryPlan(config.batch_size, on)
    budget = _budget(config, gauge, strategy)
    part = -(-config.batch_size // strategy.world)
    if config.gradient_checkpointing is None and strategy.any(
        not _fits(session, part, on, gauge, budget)
    ):
        on = True
        report(
            f"A training step of {part} samples does not fit into "
            f"{as_text(budget)}: gradient_checkpointing is on."
        )
    size = config.batch_size
    if gauge is not None and config.auto_batch_size:
        size = _largest_fitting(session, on, gauge, budget)
        report(
            f"auto_batch_size: {size} samples of a batch fit into {as_text(budget)}."
        )
    return MemoryPlan(size, on)


def _budget(config: MemoryOptions, gauge: Gauge | None, strategy: Strategy) -> int:
    """Bytes that a step may take."""
    free = gauge.available() if gauge else available() // strategy.beside
    return int((config.max_memory_fraction or MEMORY_FRACTION) * free)


def _fits(
    session: Session, size: int, checkpointing: bool, gauge: Gauge | None, budget: int
) -> bool:
    """Whether a step of `size` samples stays within the budget."""
    if gauge is None:
        return _expected(session, size, checkpointing) <= budget
    session.model.set_checkpointing(checkpointing)
    peak = _try_step(session, gauge, size)
    return peak is not None and peak <= budget


def _largest_fitting(
    session: Session, checkpointing: bool, gauge: Gauge, budget: int
) -> int:
    config = session.config
    most = min(len(session.training), config.target_effective_batch_size or sys.maxsize)

    def fits(size: int) -> bool:
        return _fits(session, size, checkpointing, gauge, budget)

    size = largest_batch(fits, config.batch_size, most)
    if size is None:
        raise InputError(
            f"Not even batch_size {config.batch_size} fits into {as_text(budget)} of "
            "the GPU: lower batch_size or token_limit, or raise max_memory_fraction."
        )
    return size


def largest_batch(fits: Callable[[int], bool], first: int, most: int) -> int | None:
    """The largest size that fits, by doubling `first`; `most` at most."""
    if not fits(first):
        return None
    size = first
    while size < most and fits(min(2 * size, most)):
        size = min(2 * size, most)
    return size


def _expected(session: Session, size: int, checkpointing: bool) -> int:
    """Bytes that a training step on the samples with the most ASVs should take."""
    config, study = session.config, session.inputs.study
    load = load_of(study, session.training, size, config.token_limit)
    return expected_bytes(session.model, load, config, checkpointing)


def _try_step(session: Session, gauge: Gauge, size: int) -> int | None:
    """Peak of a training step without the update; None if memory ran out."""
    config, model, device = session.config, session.model, session.device
    maker = session.training_maker()
    rows = heaviest(maker.study, session.training, size)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    moments = (TRAINED[config.optimizer] - FLOAT) * trained
    devices = [device] if device.type == "cuda" else []
    model.train()
    gauge.reset()
    try:
        with torch.random.fork_rng(devices=devices):
            with autocast(config, device):
                total, _ = session.losses(maker[0, rows].to(device))
            total.backward()
        return gauge.peak() + moments
    except torch.OutOfMemoryError:
        return None
    finally:
        model.zero_grad(set_to_none=True)
        gauge.reset()


@dataclass
class MemoryProfile:
    """The peak memory of each phase of a run.

    On a GPU that of its tensors; elsewhere the resident memory of the process up to
    the end of the phase, since a process cannot forget its peak.
    """

    device: torch.device
    on: bool = True  #: otherwise nothing is recorded
    peaks: dict[str, int] = field(default_factory=dict)  #: bytes

    def mark(self, phase: str) -> None:
        """Record what was reached since the last mark as the peak of `phase`."""
        if not self.on:
            return
        if self.device.type == "cuda":
            gauge = GpuGauge(self.device)
            peak = gauge.peak()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            peak = peak_resident()
        self.peaks[phase] = max(self.peaks.get(phase, 0), peak)

    def watch(self, objective: Objective) -> Objective:
        """An objective whose training and validation are told apart."""
        self.mark("preparation")

        def validate() -> dict[str, float]:
            self.mark("training")
            scores = objective.validate()
            self.mark("validation")
            return scores

        return replace(objective, validate=validate)

    def tell(self, report: Report) -> dict[str, Any]:
        """Report the peaks, and return them for the run's `config.json`."""
        if not self.on:
            return {}
        kind = "GPU tensors" if self.device.type == "cuda" else "this process so far"
        peaks = [f"{as_text(size)} {phase}" for phase, size in self.peaks.items()]
        report(f"Peak memory ({kind}): {', '.join(peaks)}.")
        return {"memory": {"device": self.device.type, "peak_bytes": self.peaks}}
