"""Which device computes, and in which precision."""

import contextlib
import os
from typing import Any

import torch

from aam_core.config import DeviceOptions
from aam_core.errors import InputError
from aam_core.reporting import Report
from aam_core.runtime.process_memory import keep_freed

#: Options that only an NVIDIA or AMD GPU (`cuda` in PyTorch) can follow, and what to do
#: elsewhere.
GPU_ONLY = {
    "tf32": "leave it out",
    "use_expandable_segments": "leave it out",
    "auto_batch_size": "choose batch_size yourself; what a step is expected to take is "
    "said before training starts",
}
ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


#: Instructions of x86 processors that multiply in bf16.
BF16 = ("avx512_bf16", "amx_bf16", "avx10_2")


PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(options: DeviceOptions) -> torch.device:
    """The device of the options; `auto` takes a GPU where there is one.

    Raises
    ------
    InputError
        If the wanted device is not there, or cannot compute in the wanted precision.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    name = options.device
    if name == "auto":
        name = next(d for d in ("cuda", "mps", "cpu") if there[d])
    if not there[name]:
        found = ", ".join(d for d, is_there in there.items() if is_there)
        raise InputError(f"device is {name!r}, but this machine has only: {found}.")
    if options.mixed_precision == "fp16" and name == "cpu":
        raise InputError("mixed_precision fp16 needs a GPU; on a CPU use bf16 or none.")
    for option, remedy in GPU_ONLY.items():
        if name != "cuda" and getattr(options, option, None):
            raise InputError(
                f"{option} needs an NVIDIA or AMD GPU, and the device is {name}: "
                f"{remedy}."
            )
    if name == "mps" and getattr(options, "max_memory_fraction", None):
        raise InputError(
            "max_memory_fraction has no effect on mps, whose free memory is not known: "
            "leave it out."
        )
    if name == "cuda":
        if options.use_expandable_segments:
            _expand_segments()
        _set_tf32(options.tf32)
        # cuDNN attention gives NaN gradients with masks on Hopper (pytorch#196678).
        torch.backends.cuda.enable_cudnn_sdp(False)
    if name == "cpu":
        keep_freed()
    return torch.device(name)


def tell_precision(
    options: DeviceOptions, device: torch.device, report: Report
) -> None:
    """Warn of a precision that this processor has no instructions for."""
    if options.mixed_precision != "bf16" or device.type != "cpu":
        return
    if has_bf16() is False:
        report(
            "Warning: this processor has no instructions for bf16 (AVX-512 BF16 or "
            "AMX): mixed_precision bf16 makes a run several times slower. Choose none."
        )


def has_bf16() -> bool | None:
    """Whether this processor multiplies in bf16; None where PyTorch cannot tell."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # not in old versions
    return any(known[n] for n in BF16 if n in known) if BF16[0] in known else None


def autocast(
    options: DeviceOptions, device: torch.device
) -> contextlib.AbstractContextManager:
    """The context in which the model computes in the options' precision."""
    dtype = PRECISIONS.get(options.mixed_precision)
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _expand_segments() -> None:
    """Configure the allocator; it reads its settings once, when CUDA starts."""
    if torch.cuda.is_initialized():
        raise InputError(
            "use_expandable_segments comes too late: this process uses the GPU "
            "already. Start a new process, or leave it out."
        )
    given = [part for part in os.environ.get(ALLOCATOR, "").split(",") if part]
    others = [p for p in given if not p.startswith("expandable_segments:")]
    os.environ[ALLOCATOR] = ",".join([*others, "expandable_segments:True"])


def _set_tf32(on: bool) -> None:
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # torch 2.9
        matmul.fp32_precision = "tf32" if on else "ieee"
    else:
        matmul.allow_tf32 = on


def is_sharded(value: Any) -> bool:
    """Whether a tensor is divided among processes (a `DTensor`, slow to import)."""
    return hasattr(value, "full_tensor")
