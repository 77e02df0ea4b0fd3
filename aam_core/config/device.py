"""The options of device, memory and caches.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError

#: Fraction of a GPU's memory that a run plans with where nothing else is asked for.
MEMORY_FRACTION = 0.8


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
        high=1024,
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
        "Recompute the layers in the backward pass, or whole chunks of ASVs where "
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
        "Fraction of the free memory, of the GPU or else of the machine, that "
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
