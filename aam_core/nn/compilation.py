"""Compilation of the transformer layers."""

import os
import shutil
import sys

import torch
from torch import nn

from aam_core.config import MemoryOptions
from aam_core.errors import InputError
from aam_core.nn.transformer import Block
from aam_core.reporting import Report


def compile_layers(
    model: nn.Module,
    options: MemoryOptions,
    device: torch.device,
    report: Report,
) -> None:
    """Compile the transformer layers in place, if `options` ask for it.

    The names of the weights stay as they are. All layers share one compiled graph,
    and sizes are symbols in it, since batches differ in their samples and ASVs.

    Raises
    ------
    InputError
        If there is no C++ compiler.
    """
    if not options.compile_model:
        return
    unsupported = "ROCm" if torch.version.hip else "mps" * (device.type == "mps")
    if unsupported:
        report(
            f"Warning: compile_model is skipped, since torch.compile is not reliable "
            f"on {unsupported}."
        )
        return
    if not compiler():
        raise InputError(
            "compile_model needs a C++ compiler, and none is there: load one (on many "
            "clusters: module load gcc), name it in CXX, or leave compile_model out."
        )
    for layer in model.modules():
        if isinstance(layer, Block):
            layer.compile(dynamic=True)


def compiler() -> str | None:
    """Where the C++ compiler is that torch.compile would use."""
    usual = "clang++" if sys.platform == "darwin" else "g++"
    return shutil.which(os.environ.get("CXX") or usual)
