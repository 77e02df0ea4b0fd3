"""Several processes, each with a device, compute one run with the result of one device.

A batch is the same on every process: `BatchMaker` makes it from seeds. Its work is
divided. Each process encodes its part of the distinct ASVs, and the embeddings are
gathered; it then encodes its part of the samples, and what losses read of them is
gathered; every process computes the loss L of the whole batch, with all pairs of
samples.

The gradient is that of one process. Regard the W processes as one computation with W
copies of the weights, θ₁ … θ_W. Gathering is a part of it; its backward pass is to sum,
over the processes, the gradients of what each received. Starting the backward pass
everywhere differentiates L₁ + … + L_W = W·L, and leaves d(W·L)/dθᵣ on process r. All
copies being equal, their sum is W·dL/dθ, and their mean over processes, which FSDP and
DDP take, is dL/dθ. No factor is left, however often a step gathers.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from aam_core.config import RunConfig
from aam_core.data.batches import Batch, Chunk
from aam_core.distributed.batch_split import (
    KEPT_APART,
    asv_shard,
    in_order,
    logits_in_order,
    most_masked,
    sample_shard,
    shard_rows,
)
from aam_core.distributed.strategy import Stop, Strategy, T, placed, without_gradient
from aam_core.nn.transformer import Block
from aam_core.runtime.device import PRECISIONS, is_sharded

#: Bytes of a trained weight in a run: itself, its gradient, and two moments.
PER_WEIGHT = 16
#: Fraction of a GPU's memory that weights may fill before `auto` divides the model.
LARGE = 0.25
#: Time that the main process may take for what it does alone.
LONGEST_WAIT = timedelta(days=7)


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
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total[ctx.group.rank()], None


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

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        super().__init__(device)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.beside = int(os.environ.get("LOCAL_WORLD_SIZE", self.world))
        self.config = config
        self.sharded = config.fsdp_sharded_checkpoint
        # of their own, so that nothing overtakes the reductions of FSDP or DDP
        self.gathers = dist.new_group()
        self.control = dist.new_group(backend="gloo")
        self.root: nn.Module | None = None
        self.waits = 0

    def prepare(self, model: nn.Module, first_loss: Callable[[], Tensor]) -> None:
        """Share the work of a model, which may be divided; see `Strategy`."""
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor.detach(), 0)
        root = Root(model)
        if self.kind(model) == "fsdp":
            self.root = self._divide(root)
        else:
            self.root = self._replicate(root, first_loss)
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
        return "fsdp" if self.broadcast(size > LARGE * memory) else "ddp"

    def _divide(self, root: Root) -> nn.Module:
        offload = self.config.fsdp_cpu_offload
        options: dict[str, Any] = {
            "mesh": self._mesh(),
            "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
        }
        # Layers only: the rest is small, and the bias of a head needs its digits.
        # What is computed in which precision is up to autocast, as on one device; that
        # of a CPU does not normalise by weights in bf16.
        dtype = PRECISIONS.get(self.config.mixed_precision)
        precision = MixedPrecisionPolicy(
            param_dtype=dtype if self.device.type == "cuda" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for module in root.modules():
            if isinstance(module, Block):
                fully_shard(module, mp_policy=precision, **options)
        return fully_shard(root, reshard_after_forward=False, **options)

    def _mesh(self) -> DeviceMesh:
        """All processes; several nodes divide the model within each node only."""
        kind, local = self.device.type, self.beside
        if local == self.world or self.world % local:
            return init_device_mesh(kind, (self.world,))
        names = ("replicate", "shard")
        shape = (self.world // local, local)
        return init_device_mesh(kind, shape, mesh_dim_names=names)

    def _replicate(self, root: Root, first_loss: Callable[[], Tensor]) -> nn.Module:
        # of a parameter with a dimension of 1; it costs nothing
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view")
        unread = without_gradient(root.model, first_loss)
        unread += [name for name, _ in root.model.named_buffers()]  # never change
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            root, [f"model.{name}" for name in unread]
        )
        return DistributedDataParallel(root)

    def gather(self, value: Tensor) -> Tensor:
        """(W, …) values of all processes; differentiable."""
        if value.itemsize < torch.float32.itemsize:
            value = value.float()
        return Gather.apply(value, self.gathers)

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """What the model returns for a batch, but for what no loss reads."""
        return self.root(partial(self._step, batch))

    def _step(self, batch: Batch, model: nn.Module) -> dict[str, Tensor]:
        encoder = model.base
        part = asv_shard(batch, self.rank, self.world)
        embedded, logits = encoder.encode_asvs(part)
        asv_UD = in_order(self.gather(embedded), len(batch.features))
        if logits is not None:
            short = most_masked(batch, self.world) - len(logits)
            logits = self.gather(F.pad(logits, (0, 0, 0, short)))
            logits = logits_in_order(logits, batch)
        out = model(sample_shard(batch, self.rank, self.world), asv_UD)
        found = {
            name: in_order(self.gather(value), len(batch.rows)).clone()  # no views
            for name, value in out.items()
            if name not in KEPT_APART
        }
        return found | {"nucleotides": logits}

    def inside(self, function: Callable[[], T]) -> T:
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
        for number, place in enumerate(shard_rows(len(chunks), self.rank, self.world)):
            yield chunks[place], place == number * self.world + self.rank

    def all_reduce_sum(self, *numbers: float) -> tuple[float, ...]:
        """Sums of numbers over the processes."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return tuple(sums.tolist())

    def broadcast(self, value: Any) -> Any:
        """The main process's value, on all."""
        values = [value]
        dist.broadcast_object_list(values, 0, group=self.control)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any process."""
        return self.all_reduce_sum(float(flag))[0] > 0

    def all_gather(self, value: Any) -> list[Any]:
        """The values of all processes."""
        values = [None] * self.world
        dist.all_gather_object(values, value, group=self.control)
        return values

    def stop(self, request: Stop) -> Stop:
        """A request to stop that all processes see at the same place."""
        return SharedStop(request, self)

    def barrier(self) -> None:
        """Wait for all processes."""
        dist.barrier(group=self.control)

    def wait_for_main(self) -> None:
        """Wait by the store: a barrier would give up after minutes."""
        store = dist.distributed_c10d._get_default_store()
        self.waits += 1
        key = f"aam-main-{self.waits}"
        if self.main:
            store.set(key, "done")
        else:
            store.wait([key], LONGEST_WAIT)

    def load(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        """Set all weights to those that the main process has."""
        for name, target in model.state_dict().items():
            value = torch.empty(target.shape, dtype=target.dtype, device=self.device)
            if self.main:
                value.copy_(state[name])
            dist.broadcast(value, 0)
            value = placed(value, target)
            if is_sharded(target):
                value, target = value.to_local(), target.to_local()
            with torch.no_grad():
                target.copy_(value)


class SharedStop:
    """A `StopRequest` of all processes: one that is asked to stop stops all.

    Each look at `reason` takes all processes.
    """

    def __init__(self, request: Stop, strategy: Processes) -> None:
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
                reasons = [r for r in self.strategy.all_gather(own) if r is not None]
                self._reason = reasons[0]
        return self._reason

    def learned(self) -> None:
        """From now on there is something to keep."""
        self.request.learned()

    def interruptible(self) -> AbstractContextManager[None]:
        """Work that takes all processes: none of them can leave it alone."""
        return nullcontext()

    waiting = interruptible
