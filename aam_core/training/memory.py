"""How much memory a run takes and may take, and what is decided by it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from aam_core.config import MEMORY_FRACTION, MemoryOptions
from aam_core.distributed.strategy import Strategy
from aam_core.errors import InputError
from aam_core.reporting import Report
from aam_core.runtime.device import autocast
from aam_core.runtime.process_memory import available, peak_resident
from aam_core.training.loop import Objective
from aam_core.training.memory_estimate import (
    FLOAT,
    TRAINED,
    as_text,
    expected_bytes,
    heaviest,
    load_of,
)
from aam_core.training.session import Session


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
