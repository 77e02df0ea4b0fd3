"""Activation recomputation (gradient checkpointing) by whole calls of a module.

`torch.utils.checkpoint` keeps the graph of each call, empty, and so leaves thousands of
small blocks among the large ones that it freed: on a CPU the memory of a process grows
with the number of calls all the same. Here the first pass has no graph at all.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aam_core.nn.dropout import SEEDS
from aam_core.runtime.device import is_sharded


def recomputed(
    call: Callable[[], tuple[Tensor | None, ...]],
    weights: Iterable[Tensor],
    device: torch.device,
) -> tuple[Tensor | None, ...]:
    """What a call returns; in the backward pass it is called once more.

    Parameters
    ----------
    call : callable
        Returns a tuple of tensors, or None in places. It depends on the `weights`, and
        on nothing else that has a gradient.
    weights : iterable of Tensor
        What gradients go to; those without gradient are left out.
    device : torch.device
        Where it computes. The same random numbers are drawn both times, from a seed
        that PyTorch's generator gives, and autocast is as it was.

    Returns
    -------
    tuple
    """
    weights = [w for w in weights if w.requires_grad]
    if any(map(is_sharded, weights)):  # FSDP puts them together within the call
        return checkpoint(call, use_reentrant=False)
    return _Recomputed.apply(_Repeatable(call, device), *weights)


class _Repeatable:
    """A call that repeats itself to the bit."""

    def __init__(self, call: Callable[[], Any], device: torch.device) -> None:
        self.call = call
        self.devices = [device] if device.type == "cuda" else []
        self.seed = int(torch.randint(SEEDS, ()))
        self.autocast = {
            "device_type": device.type,
            "enabled": torch.is_autocast_enabled(device.type),
            "dtype": torch.get_autocast_dtype(device.type),
        }

    def __call__(self) -> Any:
        """Call it, without traces in the generators' state."""
        with torch.random.fork_rng(self.devices), torch.autocast(**self.autocast):
            torch.manual_seed(self.seed)
            return self.call()


class _Recomputed(torch.autograd.Function):
    """See `recomputed`."""

    @staticmethod
    def forward(ctx: Any, repeat: _Repeatable, *weights: Tensor) -> Any:
        """Call, without a graph."""
        ctx.set_materialize_grads(False)
        ctx.repeat, ctx.weights = repeat, weights
        return repeat()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Call again, with a graph, and go back through it."""
        with torch.enable_grad():
            found = ctx.repeat()
        used = [(f, g) for f, g in zip(found, gradients, strict=True) if g is not None]
        outputs, gradients = zip(*used, strict=True)
        return None, *torch.autograd.grad(
            outputs, ctx.weights, gradients, allow_unused=True
        )
