"""The options of runs on several devices.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelOptions(Options):
    """On how many devices a run computes, and how they share the work."""

    topic: typing.ClassVar[str] = "Several devices"

    strategy: str = option(
        "none",
        "How several devices share each batch: fsdp divides the model too, ddp keeps "
        "it whole on each, data-parallel uses several GPUs from one process, auto "
        "chooses; none uses one device.",
        choices=("none", "auto", "fsdp", "ddp", "data-parallel"),
        when="Choose auto on a machine with several GPUs; fsdp where the model does "
        "not fit into one of them.",
    )
    devices: int = option(
        0,
        "GPUs of this machine, or processes on a CPU; 0 takes all GPUs. Under torchrun "
        "leave it out.",
        low=0,
        high=1024,
        when="Set it to use fewer GPUs than the machine has, or several processes on a "
        "CPU.",
    )
    fsdp_sharded_checkpoint: bool = option(
        False,
        "Each process writes its own part of the training state (fsdp), which is "
        "faster for large models; the final model is always one file.",
        when="Turn it on where writing the state after each epoch takes long.",
        only_with={"strategy": ("fsdp",)},
    )
    fsdp_cpu_offload: bool = option(
        False,
        "Keep parameters and the optimiser's state in the memory of the CPU while the "
        "GPU does not need them (fsdp).",
        when="Turn it on where a model does not fit into the GPUs even when it is "
        "divided among them; steps take longer.",
        only_with={"strategy": ("fsdp",)},
    )

    def _check(self) -> None:
        if self.devices > 1 and self.strategy == "none":
            raise InputError(
                f"devices is {self.devices}, but strategy is none, which uses one: "
                "choose a strategy (auto, fsdp, ddp, data-parallel), or leave devices "
                "out."
            )
        if self.strategy != "none":
            self._check_others()

    def _check_others(self) -> None:
        """Refuse options of other topics that several devices cannot follow."""
        if getattr(self, "freeze_base", False):
            raise InputError(
                f"strategy is {self.strategy}, but with freeze_base the ASVs are "
                "encoded once per run and one device is enough: leave strategy out."
            )
        if getattr(self, "auto_batch_size", False):
            raise InputError(
                "auto_batch_size measures the memory of one device, and strategy is "
                f"{self.strategy}: choose batch_size, which is that of all devices "
                "together."
            )
        precision = getattr(self, "mixed_precision", "none")
        if self.strategy == "fsdp" and precision == "fp16":
            raise InputError(
                "mixed_precision fp16 scales the loss by gradients that no process of "
                "fsdp has whole: choose mixed_precision bf16, or strategy ddp."
            )
