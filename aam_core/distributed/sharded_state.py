"""Weights and optimiser state, written by each process on its own.

The parts are those of `torch.distributed.checkpoint`, which reads them into any number
of processes, also one. What is a parameter's own is named by the parameter's number in
the optimiser, as in the optimiser's `state_dict`.

PyTorch would keep the list of the parts as a pickle, which could run any code where it
is read. Here it is JSON, and checked: nothing is unpickled.
"""

import contextlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from aam_core.errors import InputError
from aam_core.io.training_state import LIST, sum_of

SCHEMA = 1
#: What weights and moments can be made of.
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
}


class ShardWriter(FileSystemWriter):
    """Writes the list of the parts as JSON."""

    def finish(self, metadata: Metadata, results: list[list[Any]]) -> None:
        """Write the list, when all processes have written their parts."""
        places = {r.index: r.storage_data for written in results for r in written}
        tensors = {
            name: {
                "dtype": str(found.properties.dtype).removeprefix("torch."),
                "size": list(found.size),
                "parts": [
                    _described(part, places[MetadataIndex(name, part.offsets)])
                    for part in found.chunks
                ],
            }
            for name, found in metadata.state_dict_metadata.items()
        }
        files = sorted(Path(self.path).iterdir())
        sums = {p.name: sum_of(p) for p in files if p.is_file() and p.name != LIST}
        text = json.dumps({"schema": SCHEMA, "sums": sums, "tensors": tensors})
        with open(Path(self.path) / LIST, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())


def _described(part: ChunkStorageMetadata, place: _StorageInfo) -> dict[str, Any]:
    return {
        "offset": list(part.offsets),
        "size": list(part.sizes),
        "file": place.relative_path,
        "start": place.offset,
        "length": place.length,
    }


class ShardReader(FileSystemReader):
    """Reads what `ShardWriter` wrote."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The list of the parts.

        Raises
        ------
        InputError
            If there is none, or it cannot be that of the files beside it.
        """
        folder = Path(self.path)
        try:
            found = json.loads((folder / LIST).read_text(encoding="utf-8"))
            if found["schema"] != SCHEMA:
                raise ValueError(f"its schema is {found['schema']!r}")
            return _as_metadata(found["tensors"], folder)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise InputError(
                f"{folder} has no readable list of its parts, {LIST} ({error}): it is "
                "damaged, or an earlier version of q2-aam wrote it. Start the run anew."
            ) from None


def _as_metadata(tensors: Mapping[str, Any], folder: Path) -> Metadata:
    """What PyTorch wants to know of the parts, as far as the files are there."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    state, places = {}, {}
    for name, tensor in tensors.items():
        dtype, size = DTYPES[tensor["dtype"]], _size(tensor["size"])
        if dtype.itemsize * math.prod(size) > sum(sizes.values()):
            raise ValueError(f"{name} would be larger than all parts")
        parts = []
        for part in tensor["parts"]:
            if part["start"] + part["length"] > sizes[part["file"]]:
                raise ValueError(f"{part['file']} was cut off")
            chunk = ChunkStorageMetadata(_size(part["offset"]), _size(part["size"]))
            parts.append(chunk)
            place = _StorageInfo(part["file"], *_size([part["start"], part["length"]]))
            places[MetadataIndex(name, chunk.offsets)] = place
        properties = TensorProperties(dtype=dtype)
        state[name] = TensorStorageMetadata(properties, size, parts)
    return Metadata(state, storage_data=places, storage_meta=StorageMeta())


def _size(numbers: list[int]) -> torch.Size:
    if any(number < 0 for number in numbers):
        raise ValueError(f"{numbers} is no size")
    return torch.Size(numbers)


def save_shards(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> OSError | None:
    """Write the tensors of both; takes all processes.

    Returns why the system did not let one of them write, if it did not.
    """
    state = _weights(model)
    for number, values in optimizer.state_dict()["state"].items():
        state |= {
            f"optimizer.{number}.{name}": value
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
    try:
        with _quiet():
            dcp.save(state, storage_writer=ShardWriter(folder), no_dist=_alone())
    except CheckpointException as failed:
        for error, _ in failed.failures.values():
            if isinstance(error, OSError):
                return error
        raise
    return None


def load_shards(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    groups: list[dict[str, Any]],
) -> None:
    """Set both to what `save_shards` wrote, in another number of processes or not.

    Parameters
    ----------
    folder : Path
        What was written.
    model, optimizer
        As they were made for this run; takes all processes.
    groups : list of dict
        `param_groups` of the optimiser's `state_dict`.
    """
    state = _weights(model)
    moments = _empty_moments(folder, optimizer)
    for number, values in moments.items():
        state |= {f"optimizer.{number}.{name}": v for name, v in values.items()}
    _fill(state, folder, no_dist=_alone())
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def read_shards(folder: Path) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """What `save_shards` wrote, put together in this process alone.

    Returns
    -------
    weights : dict of torch.Tensor
        By name, as in the model's `state_dict`.
    moments : dict
        `state` of the optimiser's `state_dict`.
    """
    state = {
        name: torch.empty(tensor.size, dtype=tensor.properties.dtype)
        for name, tensor in _listed(folder).items()
    }
    _fill(state, folder, no_dist=True)
    weights, moments = {}, {}
    for key, value in state.items():
        kind, name = key.split(".", 1)
        if kind == "model":
            weights[name] = value
        else:
            number, name = name.split(".", 1)
            moments.setdefault(int(number), {})[name] = value
    return weights, moments


def _listed(folder: Path) -> dict[str, TensorStorageMetadata]:
    return ShardReader(folder).read_metadata().state_dict_metadata


def _fill(state: dict[str, Tensor], folder: Path, no_dist: bool) -> None:
    """Read the tensors of a state into those that are there."""
    try:
        with _quiet():
            dcp.load(state, storage_reader=ShardReader(folder), no_dist=no_dist)
    except dcp.CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise InputError(
            f"The parts in {folder} do not fit this run, or they are damaged ({first})."
            " Start the run anew."
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that a single process is taken for one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def _empty_moments(
    folder: Path, optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Empty tensors for what the optimiser keeps, sharded as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _listed(folder).items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            like = parameters[int(number)].detach()
            room = torch.zeros(tensor.size, dtype=tensor.properties.dtype)
            if tensor.size == like.shape and like.dim():
                room = torch.zeros_like(like)
            moments.setdefault(int(number), {})[name] = room
    return moments


def _alone() -> bool:
    return not dist.is_initialized()
