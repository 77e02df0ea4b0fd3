"""Which device computes, and in which precision."""

import contextlib

import torch

from aam_core.config import DeviceOptions
from aam_core.errors import InputError

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
    if name == "cuda":
        # cuDNN attention gives NaN gradients with masks on Hopper (pytorch#196678).
        torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device(name)


def autocast(
    options: DeviceOptions, device: torch.device
) -> contextlib.AbstractContextManager:
    """The context in which the model computes in the options' precision."""
    dtype = PRECISIONS.get(options.mixed_precision)
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
