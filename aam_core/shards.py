"""Weights and optimiser state, written by each process on its own.

The parts are those of `torch.distributed.checkpoint`, which reads them into any number
of processes, also one. What is a parameter's own is named by the parameter's number in
the optimiser, as in the optimiser's `state_dict`.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter


def save_shards(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the tensors of both; takes all processes."""
    state = _weights(model)
    for number, values in optimizer.state_dict()["state"].items():
        state |= {
            f"optimizer.{number}.{name}": value
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
    dcp.save(state, storage_writer=FileSystemWriter(folder), no_dist=_alone())


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
    with warnings.catch_warnings():
        # that a single process is taken for one
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.load(state, storage_reader=FileSystemReader(folder), no_dist=_alone())
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
    reader = FileSystemReader(folder)
    state = {
        name: torch.empty(tensor.size, dtype=tensor.properties.dtype)
        for name, tensor in reader.read_metadata().state_dict_metadata.items()
    }
    with warnings.catch_warnings():
        # that a single process is taken for one
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.load(state, storage_reader=reader, no_dist=True)
    weights, moments = {}, {}
    for key, value in state.items():
        kind, name = key.split(".", 1)
        if kind == "model":
            weights[name] = value
        else:
            number, name = name.split(".", 1)
            moments.setdefault(int(number), {})[name] = value
    return weights, moments


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def _empty_moments(
    folder: Path, optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """Room for what the optimiser keeps, shared as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    written = FileSystemReader(folder).read_metadata().state_dict_metadata
    for key, tensor in written.items():
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
