"""The options of optimisation, device and memory.

Declared as `aam_core.config` describes.
"""

import dataclasses
import math
import typing
from typing import Any

from aam_core.errors import InputError
from aam_core.options import Options, option

#: Share of a GPU's memory that a run plans with where nothing else is asked for.
MEMORY_FRACTION = 0.8

#: Options of the schedulers where they are left open.
SCHEDULER: dict[str, Any] = {
    "scheduler_t_mult": 2,
    "scheduler_eta_min": 0.0,
    "scheduler_patience": 5,
    "scheduler_factor": 0.3,
    "scheduler_min_lr": 0.0,
}


#: Which schedulers each of them belongs to.
SCHEDULER_OF: dict[str, tuple[str, ...]] = {
    "warmup_steps": ("warmup_cosine",),
    "scheduler_t0": ("cosine_restarts",),
    "scheduler_t_mult": ("cosine_restarts",),
    "scheduler_eta_min": ("warmup_cosine", "cosine", "cosine_restarts"),
    "scheduler_patience": ("plateau",),
    "scheduler_factor": ("plateau",),
    "scheduler_min_lr": ("plateau",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserOptions(Options):
    """Optimiser, learning rate and when to stop."""

    topic: typing.ClassVar[str] = "Optimisation"

    epochs: int = option(100, "Most passes over the training samples.", low=1)
    lr: float = option(1e-4, "Peak learning rate.", low=0, open_low=True)
    optimizer: str = option("adamw", "Optimiser.", choices=("adamw", "adam", "sgd"))
    weight_decay: float = option(0.01, "Weight decay of weight matrices.", low=0)
    scheduler: str = option(
        "warmup_cosine",
        "Course of the learning rate.",
        choices=("warmup_cosine", "cosine", "cosine_restarts", "plateau", "onecycle"),
    )
    warmup_steps: int | None = option(
        None,
        "Optimiser steps of linear warm-up (warmup_cosine).",
        low=0,
        shown=lambda: "a tenth of all steps",
    )
    scheduler_t0: int | None = option(
        None,
        "Optimiser steps before the first restart (cosine_restarts).",
        low=1,
        shown=lambda: "a quarter of all steps",
    )
    scheduler_t_mult: int | None = option(
        None,
        "What the steps between restarts are multiplied by at each (cosine_restarts).",
        low=1,
        shown=lambda: str(SCHEDULER["scheduler_t_mult"]),
    )
    scheduler_eta_min: float | None = option(
        None,
        "Lowest learning rate (warmup_cosine, cosine, cosine_restarts).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_eta_min"]),
    )
    scheduler_patience: int | None = option(
        None,
        "Epochs without a better validation score before the learning rate falls "
        "(plateau).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_patience"]),
    )
    scheduler_factor: float | None = option(
        None,
        "What the learning rate is then multiplied by (plateau).",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        shown=lambda: str(SCHEDULER["scheduler_factor"]),
    )
    scheduler_min_lr: float | None = option(
        None,
        "Lowest learning rate (plateau).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_min_lr"]),
    )
    patience: int = option(
        10, "Epochs without a better validation score before training ends.", low=1
    )
    max_hours: float | None = option(
        None,
        "Hours after which training ends early, with the best model so far, marked as "
        "not completed.",
        low=0,
        open_low=True,
        shown=lambda: "no limit",
    )
    max_grad_norm: float | None = option(
        1.0, "Clip the gradient to this norm; 0 turns it off.", low=0
    )
    gradient_accumulation_steps: int = option(
        1, "Batches whose gradients are averaged for one step.", low=1
    )
    target_effective_batch_size: int | None = option(
        None,
        "Samples that each step shall see: sets gradient_accumulation_steps to what "
        "that takes, rounded up.",
        low=1,
        shown=lambda: "batch_size times gradient_accumulation_steps",
    )

    def _check(self) -> None:
        self._check_accumulation()
        for name, schedulers in SCHEDULER_OF.items():
            if getattr(self, name) is not None and self.scheduler not in schedulers:
                raise InputError(
                    f"{name} has no effect with scheduler {self.scheduler!r}, but with "
                    f"{' and '.join(schedulers)}: leave {name} out, or choose one."
                )

    def _check_accumulation(self) -> None:
        target = self.target_effective_batch_size
        if target is None:
            return
        if self.gradient_accumulation_steps > 1:
            raise InputError(
                f"target_effective_batch_size is {target} and "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}: one "
                "follows from the other, so leave one of them out."
            )
        batch_size = getattr(self, "batch_size", 1)
        if target < batch_size:
            raise InputError(
                f"target_effective_batch_size is {target}, which is below batch_size "
                f"{batch_size}: leave it out, or lower batch_size."
            )

    def accumulation(self) -> int:
        """Batches of one step (of a config that has `DeviceOptions` too)."""
        if self.target_effective_batch_size is None:
            return self.gradient_accumulation_steps
        return math.ceil(self.target_effective_batch_size / self.batch_size)

    def scheduler_value(self, name: str) -> float:
        """An option of the scheduler, or its default."""
        value = getattr(self, name)
        return SCHEDULER[name] if value is None else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where and how the computation runs."""

    topic: typing.ClassVar[str] = "Device and memory"

    batch_size: int = option(8, "Samples of a batch.", low=1)
    device: str = option(
        "auto",
        "Device; auto takes the GPU where there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    mixed_precision: str = option(
        "none",
        "Precision of matrix products.",
        choices=("none", "fp16", "bf16"),
    )
    asv_chunk_size: int = option(
        256, "Most ASVs encoded at a time; 0 encodes all of a batch together.", low=0
    )
    num_workers: int = option(
        0, "Processes that prepare batches ahead; 0 prepares them in this one.", low=0
    )
    attn_implementation: str = option(
        "sdpa",
        "Kernel of the attention; sdpa takes the fastest that serves each call.",
        choices=("sdpa", "flash", "mem_efficient", "math"),
    )
    tf32: bool = option(
        False,
        "Let an NVIDIA GPU round the factors of float32 matrix products to 10 bits, "
        "which is faster.",
    )
    use_expandable_segments: bool = option(
        False,
        "Let the GPU memory of this process grow in place, which helps where an "
        "out-of-memory error tells of memory that is reserved but unallocated.",
    )
    memory_profile: bool = option(
        False, "Report the peak memory of each phase of the run."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheOptions(Options):
    """Memory for what a run computes only once."""

    topic: typing.ClassVar[str] = "Device and memory"

    cache_memory: float | None = option(
        None,
        "GB of memory (of the GPU, if one computes) for what is encoded only once: "
        "ASVs and, with freeze_base, samples. What exceeds it is in a temporary file.",
        low=0,
        shown=lambda: "a quarter of what is free",
    )

    def _check(self) -> None:
        # Only `train` has the option, and only sometimes a frozen encoder.
        if self.cache_memory is not None and not getattr(self, "freeze_base", True):
            raise InputError(
                "cache_memory has no effect without freeze_base: leave cache_memory "
                "out, or choose freeze_base."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryOptions(Options):
    """How training fits into memory, and its compilation."""

    topic: typing.ClassVar[str] = "Device and memory"

    gradient_checkpointing: bool | None = option(
        None,
        "Compute the layers again in the backward pass instead of keeping their "
        "results: a fraction of the memory for about a third more time.",
        shown=lambda: "on an NVIDIA or AMD GPU where a step does not fit without it",
    )
    compile_model: bool = option(
        False,
        "Compile the transformer layers with torch.compile; needs a C++ compiler, and "
        "a long run to pay.",
    )
    auto_batch_size: bool = option(
        False,
        "Double batch_size as long as a training step fits into max_memory_fraction "
        "of the GPU's memory.",
    )
    max_memory_fraction: float | None = option(
        None,
        "Share of the GPU's memory that auto_batch_size and the decision on "
        "gradient_checkpointing may fill.",
        low=0,
        high=1,
        open_low=True,
        shown=lambda: str(MEMORY_FRACTION),
    )

    def _check(self) -> None:
        decided = self.gradient_checkpointing is not None and not self.auto_batch_size
        if decided and self.max_memory_fraction is not None:
            raise InputError(
                "max_memory_fraction has no effect without auto_batch_size where "
                "gradient_checkpointing is given: leave one of the two out, or choose "
                "auto_batch_size."
            )
