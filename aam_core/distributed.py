"""How one run computes on several devices, with the result of one device.

A batch is the same on every process: `BatchMaker` makes it from seeds. Its work is
divided. Each process encodes its share of the distinct ASVs, and the embeddings are
gathered; it then encodes its share of the samples, and what losses read of them is
gathered; every process computes the loss L of the whole batch, with all pairs of
samples.

The gradient is that of one process. Regard the W processes as one computation with W
copies of the weights, θ₁ … θ_W. Gathering is a part of it; its backward pass is to sum,
over the processes, the gradients of what each received. Starting the backward pass
everywhere differentiates L₁ + … + L_W = W·L, and leaves d(W·L)/dθᵣ on process r. All
copies being equal, their sum is W·dL/dθ, and their mean over processes, which FSDP and
DDP take, is dL/dθ. No factor is left, however often a step gathers.

Model and losses know nothing of this module. `Strategy` is what a run asks for all that
depends on other processes; itself it is a run on one device.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from aam_core.batches import Batch, Chunk
from aam_core.device import PRECISIONS
from aam_core.model import Block
from aam_core.shares import (
    KEPT_APART,
    asv_share,
    in_order,
    logits_in_order,
    most_masked,
    sample_share,
    share,
)

#: Bytes of a trained weight in a run: itself, its gradient, and two moments.
PER_WEIGHT = 16
#: Share of a GPU's memory that weights may fill before `auto` divides the model.
LARGE = 0.25


class Strategy:
    """One device: nothing is shared.

    Parameters
    ----------
    device : torch.device
        Where this process computes.
    """

    rank, world = 0, 1
    sharded = False  #: whether each process writes its part of the state

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def main(self) -> bool:
        """Whether this process speaks to the user and writes files."""
        return self.rank == 0

    def told(self, report: Callable[[str], None]) -> Callable[[str], None]:
        """Report from the main process only."""
        return report if self.main else _silent

    def prepare(self, session: Any, model: nn.Module) -> None:
        """Share the work of a session, whose model will not change its shape."""
        session.strategy = self

    def forward(
        self, model: nn.Module, batch: Batch, asv_UD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the model returns for a batch of training."""
        return model(batch, asv_UD)

    def inside(self, function: Callable[[], Any]) -> Any:
        """Call a function that uses the model other than by `forward`."""
        return function()

    def map(
        self, run: Callable[[Chunk], Tensor], chunks: Sequence[Chunk]
    ) -> list[Tensor]:
        """The (U, D) results of a function of chunks, which processes share."""
        return [run(chunk) for chunk in chunks]

    def mine(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bool]]:
        """This process's chunks, and whether each counts (or is a repeated one)."""
        return ((chunk, True) for chunk in chunks)

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums of numbers over the processes."""
        return numbers

    def same(self, value: Any) -> Any:
        """The main process's value, on all."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any process."""
        return flag

    def each(self, value: Any) -> list[Any]:
        """The values of all processes."""
        return [value]

    def stop(self, request: Any) -> Any:
        """A request to stop that all processes see at the same place."""
        return request

    def barrier(self) -> None:
        """Wait for all processes."""

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """A copy of all weights, in the memory of the CPU of the main process."""
        return whole(model.state_dict(), self.main, copy=True)

    def load(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Set all weights to those that the main process has."""
        model.load_state_dict(state)


def _silent(line: str) -> None:
    pass


def whole(tree: Any, keep: bool = True, copy: bool = False) -> Any:
    """Nested tensors with those that processes share put together, on the CPU.

    Takes all processes; where not `keep`, shared tensors and copies are left out.
    """
    if isinstance(tree, dict):
        found = {k: whole(v, keep, copy) for k, v in tree.items()}
        return {k: v for k, v in found.items() if v is not None or tree[k] is None}
    if isinstance(tree, DTensor):
        full = tree.full_tensor()
        return full.detach().cpu() if keep else None
    if copy and isinstance(tree, Tensor):
        return tree.detach().cpu().clone() if keep else None
    return tree


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, in the way that `like` is shared."""
    if not isinstance(like, DTensor):
        return value
    mesh = like.device_mesh
    value = value.to(mesh.device_type)
    return distribute_tensor(value, mesh, like.placements, src_data_rank=None)


class Gather(torch.autograd.Function):
    """(…) on each process → (W, …) on all; gradients are summed over processes.

    `torch.distributed.nn.functional.all_gather` does the same, but is deprecated.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Gather."""
        ctx.group = group
        found = value.new_empty((group.size(), *value.shape))
        parts = list(found.unbind())
        dist.all_gather(parts, value.contiguous(), group=group)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sum, and keep this process's part."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient[ctx.group.rank()], None


class Root(nn.Module):
    """Calls a function with the model, as one forward pass for FSDP and DDP."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[nn.Module], Any]) -> Any:
        """Return what the function does."""
        return function(self.model)


class Processes(Strategy):
    """Several processes, each with its device.

    Parameters
    ----------
    config : PretrainConfig or TrainConfig
        Strategy, precision and chunk size.
    device : torch.device
        Where this process computes.
    """

    def __init__(self, config: Any, device: torch.device) -> None:
        super().__init__(device)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.config = config
        self.sharded = config.fsdp_sharded_checkpoint
        # of their own, so that nothing overtakes the reductions of FSDP or DDP
        self.gathers = dist.new_group()
        self.control = dist.new_group(backend="gloo")
        self.root: nn.Module | None = None

    def prepare(self, session: Any, model: nn.Module) -> None:
        """Share the work of a session; the model may be divided."""
        super().prepare(session, model)
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), 0)
        root = Root(model)
        if self.kind(model) == "fsdp":
            self.root = self._divide(root)
        else:
            self.root = self._replicate(root, session)
        if self.rank:  # dropout differs between samples, hence between processes
            torch.manual_seed(self.config.seed + self.rank)

    def kind(self, model: nn.Module) -> str:
        """`fsdp` or `ddp`."""
        if self.config.strategy != "auto":
            return self.config.strategy
        if self.device.type == "cpu" or self.config.mixed_precision == "fp16":
            return "ddp"
        memory = torch.cuda.get_device_properties(self.device).total_memory
        size = PER_WEIGHT * sum(p.numel() for p in model.parameters())
        return "fsdp" if self.same(size > LARGE * memory) else "ddp"

    def _divide(self, root: Root) -> nn.Module:
        offload = self.config.fsdp_cpu_offload
        options: dict[str, Any] = {
            "mesh": self._mesh(),
            "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
        }
        # Layers only: the rest is small, and the bias of a head needs its digits.
        # What is computed in which precision is up to autocast, as on one device.
        precision = MixedPrecisionPolicy(
            param_dtype=PRECISIONS.get(self.config.mixed_precision),
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for module in root.modules():
            if isinstance(module, Block):
                fully_shard(module, mp_policy=precision, **options)
        return fully_shard(root, reshard_after_forward=False, **options)

    def _mesh(self) -> Any:
        """All processes; several nodes divide the model within each node only."""
        kind = self.device.type
        local = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))
        if local == self.world or self.world % local:
            return init_device_mesh(kind, (self.world,))
        names = ("replicate", "shard")
        shape = (self.world // local, local)
        return init_device_mesh(kind, shape, mesh_dim_names=names)

    def _replicate(self, root: Root, session: Any) -> nn.Module:
        unused = [f"model.{name}" for name in without_gradient(session, root.model)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            root, unused
        )
        return DistributedDataParallel(root, broadcast_buffers=False)

    def gather(self, value: Tensor) -> Tensor:
        """(W, …) values of all processes; differentiable."""
        if value.itemsize < torch.float32.itemsize:
            value = value.float()
        return Gather.apply(value, self.gathers)

    def forward(
        self, model: nn.Module, batch: Batch, asv_UD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the model returns for a batch, but for what no loss reads."""
        assert asv_UD is None
        return self.root(partial(self._step, batch))

    def _step(self, batch: Batch, model: nn.Module) -> dict[str, Tensor]:
        encoder = getattr(model, "base", model)
        part = asv_share(batch, self.rank, self.world, self.config.asv_chunk_size)
        embedded, logits = encoder.encode_asvs(part)
        asv_UD = in_order(self.gather(embedded), len(batch.features))
        if logits is not None:
            short = most_masked(batch, self.world) - len(logits)
            logits = self.gather(F.pad(logits, (0, 0, 0, short)))
            logits = logits_in_order(logits, batch)
        out = model(sample_share(batch, self.rank, self.world), asv_UD)
        found = {
            name: in_order(self.gather(value), len(batch.rows)).clone()  # no views
            for name, value in out.items()
            if name not in KEPT_APART
        }
        return found | {"nucleotides": logits}

    def inside(self, function: Callable[[], Any]) -> Any:
        """Call a function within a forward pass, where weights can be read."""
        if isinstance(self.root, DistributedDataParallel):
            return function()
        found = self.root(lambda model: function())
        self.root.reshard()
        return found

    def map(
        self, run: Callable[[Chunk], Tensor], chunks: Sequence[Chunk]
    ) -> list[Tensor]:
        """The (U, D) results of a function of chunks, which processes share."""
        sizes = [chunk.stop - chunk.start for chunk in chunks]
        parts = [run(chunk) for chunk, _ in self.mine(chunks)]
        parts = [F.pad(p, (0, 0, 0, max(sizes) - len(p))) for p in parts]
        found = in_order(self.gather(torch.stack(parts)), len(chunks))
        return [part[:size] for part, size in zip(found, sizes, strict=True)]

    def mine(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bool]]:
        """This process's chunks; all processes have equally many."""
        for number, place in enumerate(share(len(chunks), self.rank, self.world)):
            yield chunks[place], place == number * self.world + self.rank

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Sums of numbers over the processes."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return tuple(sums.tolist())

    def same(self, value: Any) -> Any:
        """The main process's value, on all."""
        values = [value]
        dist.broadcast_object_list(values, 0, group=self.control)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any process."""
        return self.total(float(flag))[0] > 0

    def each(self, value: Any) -> list[Any]:
        """The values of all processes."""
        values = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return values

    def stop(self, request: Any) -> Any:
        """A request to stop that all processes see at the same place."""
        return SharedStop(request, self)

    def barrier(self) -> None:
        """Wait for all processes."""
        dist.barrier(group=self.control)

    def load(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Set all weights to those that the main process has."""
        for name, target in model.state_dict().items():
            value = torch.empty(target.shape, dtype=target.dtype, device=self.device)
            if self.main:
                value.copy_(state[name])
            dist.broadcast(value, 0)
            value = placed(value, target)
            if isinstance(target, DTensor):
                value, target = value.to_local(), target.to_local()
            with torch.no_grad():
                target.copy_(value)


class SharedStop:
    """A `StopRequest` of all processes: one that is asked to stop stops all.

    Each look at `reason` takes all processes.
    """

    def __init__(self, request: Any, strategy: Processes) -> None:
        self.request = request
        self.strategy = strategy
        self._reason: str | None = None

    def __enter__(self) -> "SharedStop":
        self.request.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.request.__exit__(*exception)

    @property
    def reason(self) -> str | None:
        """Why training should end, or None."""
        if self._reason is None:
            own = self.request.reason
            if self.strategy.any(own is not None):
                reasons = [r for r in self.strategy.each(own) if r is not None]
                self._reason = reasons[0]
        return self._reason


class DataParallel(Strategy):
    """One process with several devices: they share the ASVs of each batch.

    The samples, which cost little beside their ASVs, are encoded on the first device.

    Parameters
    ----------
    config : PretrainConfig or TrainConfig
        Chunk size.
    devices : list of torch.device
        The model is on the first.
    """

    def __init__(self, config: Any, devices: Sequence[torch.device]) -> None:
        super().__init__(devices[0])
        self.config = config
        self.devices = list(devices)

    def forward(
        self, model: nn.Module, batch: Batch, asv_UD: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the model returns for a batch of training."""
        encoder = getattr(model, "base", model)
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
        """One device's share, brought back to the first."""
        device, module = self.devices[number], encoder.nucleotides
        # copies that pass their gradient back to the weights
        weights = {n: p.to(device) for n, p in module.named_parameters()}
        parts = len(self.devices)
        part = asv_share(batch, number, parts, self.config.asv_chunk_size).to(device)
        stack = module.transformer
        again = stack.checkpointing

        def run(chunk: Chunk) -> tuple[Tensor, Tensor | None]:
            tokens = part.tokens_UL[chunk.start : chunk.stop, : chunk.length]
            stack.checkpointing = False
            try:
                return functional_call(module, weights, (tokens, chunk, part))
            finally:
                stack.checkpointing = again

        if again:
            # of whole chunks, since layers computed again would not find their copies
            found = [checkpoint(run, c, use_reentrant=False) for c in part.chunks]
        else:
            found = [run(chunk) for chunk in part.chunks]
        pooled = torch.cat([p for p, _ in found]).to(self.device)
        if part.masked_row_M is None:
            return pooled, None
        return pooled, torch.cat([m4 for _, m4 in found]).to(self.device)


def without_gradient(session: Any, model: nn.Module) -> list[str]:
    """Names of the parameters that no loss of a session depends on.

    Found by one small step: heads whose loss is off, for example.
    """
    maker = session.batches().dataset
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    devices = [session.device] if session.device.type == "cuda" else []
    strategy, session.strategy = session.strategy, Strategy(session.device)
    model.train()
    with torch.random.fork_rng(devices=devices):
        total, _ = session.losses(maker[0, session.training[:2]].to(session.device))
    session.strategy = strategy
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return [n for n, g in zip(named, found, strict=True) if g is None]
