"""How one run computes on several devices, with the result of one device.

`Strategy` is what a run asks for all that depends on other devices; itself it is a run
on one. `aam_core.distributed.processes` has the strategy of several processes, and the
reason why its gradient is that of one.

Model and losses know nothing of all this.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from aam_core.data.batches import Batch, Chunk
from aam_core.distributed.batch_split import (
    asv_shard,
    in_order,
    logits_in_order,
    most_masked,
)
from aam_core.nn.activation_checkpoint import recomputed
from aam_core.reporting import Report, silent
from aam_core.runtime.device import is_sharded

T = TypeVar("T")


class Stop(Protocol):
    """A request to end training early: a context manager."""

    @property
    def reason(self) -> str | None:
        """Why training should end, or None."""

    def learned(self) -> None:
        """From now on there is something to keep."""

    def interruptible(self) -> AbstractContextManager[None]:
        """Work that ends where the request comes."""

    def waiting(self) -> AbstractContextManager[None]:
        """A wait for data, which ends where the request comes."""

    def __enter__(self) -> "Stop": ...

    def __exit__(self, *exception: object) -> None: ...


class Strategy:
    """One device: nothing is divided.

    Parameters
    ----------
    device : torch.device
        Where this process computes.
    """

    rank, world = 0, 1
    beside = 1  #: processes on this machine, with this one
    sharded = False  #: whether each process writes its part of the state

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def main(self) -> bool:
        """Whether this process speaks to the user and writes files."""
        return self.rank == 0

    def told(self, report: Report) -> Report:
        """Report from the main process only."""
        return report if self.main else silent

    def prepare(self, model: nn.Module, first_loss: Callable[[], Tensor]) -> None:
        """Share the work of a model, which will not change its shape.

        Parameters
        ----------
        model : torch.nn.Module
            What is trained.
        first_loss : callable
            Returns the loss of a few samples, computed in this process alone.
        """

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the model returns for a batch of training."""
        return model(batch)

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function that uses the model other than by `forward`."""
        return function()

    def map(
        self, run: Callable[[Chunk], Tensor], chunks: Sequence[Chunk]
    ) -> Iterable[Tensor]:
        """The (U, D) results of a function of chunks, which processes share."""
        return map(run, chunks)

    def mine(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bool]]:
        """This process's chunks, and whether each counts (or is a repeated one)."""
        return ((chunk, True) for chunk in chunks)

    def all_reduce_sum(self, *numbers: float) -> tuple[float, ...]:
        """Sums of numbers over the processes."""
        return numbers

    def broadcast(self, value: Any) -> Any:
        """The main process's value, on all."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any process."""
        return flag

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes."""
        return [value]

    def stop(self, request: Stop) -> Stop:
        """A request to stop that all processes see at the same place."""
        return request

    def barrier(self) -> None:
        """Wait for all processes."""

    def wait_for_main(self) -> None:
        """Wait for what the main process does alone, however long it takes."""

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """A copy of all weights, in the memory of the CPU of the main process."""
        return gather_full(model.state_dict(), self.main, copy=True)

    def load(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Set all weights to those that the main process has."""
        model.load_state_dict(state)


def gather_full(tree: Any, keep: bool = True, copy: bool = False) -> Any:
    """Nested tensors with those that are sharded put together, on the CPU.

    Takes all processes; where not `keep`, sharded tensors and copies are left out.
    """
    if isinstance(tree, dict):
        found = {k: gather_full(v, keep, copy) for k, v in tree.items()}
        return {k: v for k, v in found.items() if v is not None or tree[k] is None}
    if is_sharded(tree):
        full = tree.full_tensor()
        return full.detach().cpu() if keep else None
    if copy and isinstance(tree, Tensor):
        return tree.detach().cpu().clone() if keep else None
    return tree


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, in the way that `like` is sharded."""
    if not is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh = like.device_mesh
    value = value.to(mesh.device_type)
    return distribute_tensor(value, mesh, like.placements, src_data_rank=None)


class DataParallel(Strategy):
    """One process with several devices: they share the ASVs of each batch.

    The samples, which cost little beside their ASVs, are encoded on the first device.

    Parameters
    ----------
    devices : list of torch.device
        The model is on the first.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        super().__init__(devices[0])
        self.devices = list(devices)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the model returns for a batch of training."""
        encoder = model.base
        parts = [
            self._encode(encoder, batch, number) for number in range(len(self.devices))
        ]
        embedded = torch.stack([pooled for pooled, _ in parts])
        asv_UD = in_order(embedded, len(batch.features))
        logits = None
        if batch.masked_row_M is not None:
            most = most_masked(batch, len(parts))
            padded = [F.pad(m4, (0, 0, 0, most - len(m4))) for _, m4 in parts]
            logits = logits_in_order(torch.stack(padded), batch)
        return model(batch, asv_UD) | {"nucleotides": logits}

    def _encode(
        self, encoder: nn.Module, batch: Batch, number: int
    ) -> tuple[Tensor, Tensor | None]:
        """One device's part, brought back to the first."""
        device, module = self.devices[number], encoder.nucleotides
        # copies that pass their gradient back to the weights
        weights = {n: p.to(device) for n, p in module.named_parameters()}
        parts = len(self.devices)
        part = asv_shard(batch, number, parts).to(device)
        module.transformer.checkpointing = False

        def run(chunk: Chunk) -> tuple[Tensor, Tensor | None]:
            tokens = part.tokens_UL[chunk.start : chunk.stop, : chunk.length]
            return functional_call(module, weights, (tokens, chunk, part))

        if module.checkpointing:
            # of whole chunks, since recomputed layers would not find their copies
            copies = list(weights.values())
            found = [recomputed(partial(run, c), copies, device) for c in part.chunks]
        else:
            found = [run(chunk) for chunk in part.chunks]
        pooled = torch.cat([p for p, _ in found]).to(self.device)
        if part.masked_row_M is None:
            return pooled, None
        return pooled, torch.cat([m4 for _, m4 in found]).to(self.device)


def without_gradient(model: nn.Module, first_loss: Callable[[], Tensor]) -> list[str]:
    """Names of the parameters that a loss does not depend on.

    Heads whose loss is off, for example.
    """
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    device = next(iter(named.values())).device
    model.train()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        total = first_loss()
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return [n for n, g in zip(named, found, strict=True) if g is None]
