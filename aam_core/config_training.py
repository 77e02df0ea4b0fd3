"""The options of optimisation, device and memory.

Declared as `aam_core.config` describes.
"""

import dataclasses
import math
import typing

from aam_core.errors import InputError
from aam_core.options import Options, option

#: Share of a GPU's memory that a run plans with where nothing else is asked for.
MEMORY_FRACTION = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserOptions(Options):
    """Optimiser, learning rate and when to stop."""

    topic: typing.ClassVar[str] = "Optimisation"

    epochs: int = option(
        100,
        "Most passes over the training samples.",
        low=1,
        when="Raise it where the best epoch is near the last one; patience ends "
        "a run that no longer improves.",
    )
    lr: float = option(
        1e-4,
        "Peak learning rate.",
        low=0,
        open_low=True,
        when="Raise it (0.001) for small models and a frozen base; lower it "
        "where the loss jumps or is no longer finite.",
    )
    optimizer: str = option(
        "adamw",
        "Optimiser.",
        choices=("adamw", "adam", "sgd"),
        when="Choose sgd only with a higher lr and time to tune it; adam for "
        "weight decay inside of the gradient, as older work has it.",
    )
    weight_decay: float = option(
        0.01,
        "Weight decay of weight matrices.",
        low=0,
        when="Raise it where the validation loss rises while the training loss "
        "falls; 0 to compare with work without it.",
    )
    scheduler: str = option(
        "warmup_cosine",
        "Course of the learning rate.",
        choices=("warmup_cosine", "cosine", "cosine_restarts", "plateau", "onecycle"),
        when="Choose plateau where you cannot tell how many epochs are needed; "
        "cosine_restarts or onecycle where one fall gets stuck.",
    )
    warmup_steps: int | None = option(
        None,
        "Optimiser steps of linear warm-up (warmup_cosine).",
        low=0,
        shown=lambda: "a tenth of all steps",
        when="Raise it where the loss jumps in the first epochs; set 0 to start "
        "at the full rate.",
        only_with={"scheduler": ("warmup_cosine",)},
    )
    scheduler_t0: int | None = option(
        None,
        "Optimiser steps before the first restart (cosine_restarts).",
        low=1,
        shown=lambda: "a quarter of all steps",
        when="Set it where the first restart should come sooner or later than "
        "after a quarter of the run; steps of an epoch are samples by "
        "batch_size.",
        only_with={"scheduler": ("cosine_restarts",)},
    )
    scheduler_t_mult: int = option(
        2,
        "What the steps between restarts are multiplied by at each (cosine_restarts).",
        low=1,
        when="Set 1 for restarts at equal intervals.",
        only_with={"scheduler": ("cosine_restarts",)},
    )
    scheduler_eta_min: float = option(
        0.0,
        "Lowest learning rate (warmup_cosine, cosine, cosine_restarts).",
        low=0,
        when="Raise it above 0 where the last epochs should still learn, as in "
        "runs that patience rarely ends.",
        only_with={
            "scheduler": (
                "warmup_cosine",
                "cosine",
                "cosine_restarts",
            )
        },
    )
    scheduler_patience: int = option(
        5,
        "Epochs without a better validation score before the learning rate falls "
        "(plateau).",
        low=0,
        when="Keep it below patience, or training ends before the rate has "
        "fallen; raise it where scores are noisy.",
        only_with={"scheduler": ("plateau",)},
    )
    scheduler_factor: float = option(
        0.3,
        "What the learning rate is then multiplied by (plateau).",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        when="Raise it towards 1 where each fall of the rate ends all progress.",
        only_with={"scheduler": ("plateau",)},
    )
    scheduler_min_lr: float = option(
        0.0,
        "Lowest learning rate (plateau).",
        low=0,
        when="Raise it above 0 where the rate falls so far that epochs pass "
        "without effect.",
        only_with={"scheduler": ("plateau",)},
    )
    patience: int = option(
        10,
        "Epochs without a better validation score before training ends.",
        low=1,
        when="Raise it where few validation samples make the score jump; lower "
        "it to save time in first trials.",
    )
    max_hours: float | None = option(
        None,
        "Hours after which training ends early, with the best model so far, marked as "
        "not completed.",
        low=0,
        open_low=True,
        shown=lambda: "no limit",
        when="Set it somewhat below the time limit of a batch job, so that the "
        "run ends with a model.",
    )
    max_grad_norm: float | None = option(
        1.0,
        "Clip the gradient to this norm; 0 turns it off.",
        low=0,
        when="Lower it where the loss jumps; 0 only to compare with work that "
        "does not clip.",
    )
    gradient_accumulation_steps: int = option(
        1,
        "Batches whose gradients are averaged for one step.",
        low=1,
        when="Raise it where memory allows only a small batch_size and the loss "
        "is noisy; distances are still learned within each batch.",
    )
    target_effective_batch_size: int | None = option(
        None,
        "Samples that each step shall see: sets gradient_accumulation_steps to what "
        "that takes, rounded up.",
        low=1,
        shown=lambda: "batch_size times gradient_accumulation_steps",
        when="Use it instead of gradient_accumulation_steps where batch_size "
        "differs between machines but runs should be alike.",
    )

    def _check(self) -> None:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where and how the computation runs."""

    topic: typing.ClassVar[str] = "Device and memory"

    batch_size: int = option(
        8,
        "Samples of a batch.",
        low=1,
        when="Raise it where memory is to spare, since distances are learned "
        "between the samples of a batch; lower it where memory runs out.",
    )
    device: str = option(
        "auto",
        "Device; auto takes the GPU where there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
        when="Choose cpu to leave the GPU to others, or cuda or mps to be told "
        "at once where it is not there.",
    )
    mixed_precision: str = option(
        "none",
        "Precision of matrix products.",
        choices=("none", "fp16", "bf16"),
        when="Choose bf16 on an NVIDIA GPU of 2020 or later to save memory, fp16 "
        "on older ones; then compare the scores with those of none.",
    )
    asv_chunk_size: int = option(
        256,
        "Most ASVs encoded at a time; 0 encodes all of a batch together. A CPU takes "
        "fewer, as many as fit into its caches.",
        low=0,
        when="Lower it where memory runs out in predict, or in training with "
        "gradient_checkpointing; raise it on a GPU with memory to spare.",
    )
    num_workers: int = option(
        0,
        "Processes that prepare batches ahead; 0 prepares them in this one.",
        low=0,
        when="Set 2 or more where a GPU waits for batches; on a CPU, 0 leaves it "
        "the cores.",
    )
    attn_implementation: str = option(
        "sdpa",
        "Kernel of the attention; sdpa takes the fastest that serves each call.",
        choices=("sdpa", "flash", "mem_efficient", "math"),
        when="Choose math where python -m aam_core.diagnose finds that a kernel "
        "differs or gives NaN; others to compare their speed.",
    )
    tf32: bool = option(
        False,
        "Let an NVIDIA GPU round the factors of float32 matrix products to 10 bits, "
        "which is faster.",
        when="Turn it on for float32 runs on NVIDIA GPUs of 2020 or later where "
        "the last digits do not matter.",
    )
    use_expandable_segments: bool = option(
        False,
        "Let the GPU memory of this process grow in place, which helps where an "
        "out-of-memory error tells of memory that is reserved but unallocated.",
        when="Turn it on after an out-of-memory error in which much memory is "
        "reserved but unallocated, or with very unequal samples.",
    )
    memory_profile: bool = option(
        False,
        "Report the peak memory of each phase of the run.",
        when="Turn it on in a short run to learn how much memory to ask a batch "
        "system for.",
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
        when="Lower it where others share the machine; raise it where a run says that "
        "it uses a temporary file and memory is to spare.",
        only_with={"freeze_base": (True,)},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryOptions(Options):
    """How training fits into memory, and its compilation."""

    topic: typing.ClassVar[str] = "Device and memory"

    gradient_checkpointing: bool | None = option(
        None,
        "Compute the layers again in the backward pass, or whole chunks of ASVs where "
        "there are many, instead of keeping their results: a fraction of the memory "
        "for about a third more time.",
        shown=lambda: "on where a step does not fit without it (never on an Apple GPU)",
        when="Turn it on where training runs out of memory all the same; off where "
        "you know that the run fits and want its speed.",
    )
    compile_model: bool = option(
        False,
        "Compile the transformer layers with torch.compile; needs a C++ compiler, and "
        "a long run to pay.",
        when="Turn it on for long runs on a GPU, where the time that compilation "
        "takes at the start is paid back.",
    )
    auto_batch_size: bool = option(
        False,
        "Double batch_size as long as a training step fits into max_memory_fraction "
        "of the GPU's memory.",
        when="Turn it on where you do not know what fits into the GPU; results "
        "then depend on the GPU, since batch_size does.",
    )
    max_memory_fraction: float | None = option(
        None,
        "Share of the free memory, of the GPU or else of the machine, that "
        "auto_batch_size and the decision on gradient_checkpointing may fill.",
        low=0,
        high=1,
        open_low=True,
        shown=lambda: str(MEMORY_FRACTION),
        when="Lower it where others share the GPU or the machine; raise it where it "
        "is yours alone.",
    )

    def _check(self) -> None:
        decided = self.gradient_checkpointing is not None and not self.auto_batch_size
        if decided and self.max_memory_fraction is not None:
            raise InputError(
                "max_memory_fraction has no effect without auto_batch_size where "
                "gradient_checkpointing is given: leave one of the two out, or choose "
                "auto_batch_size."
            )
