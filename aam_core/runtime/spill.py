"""A buffer for what is computed once per run: in memory up to a limit, else on disk."""

import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from aam_core.config import CacheOptions
from aam_core.errors import InputError
from aam_core.reporting import Report, logger
from aam_core.runtime.process_memory import available

GB = 10**9
FRACTION = 0.25  #: of the free memory, where `cache_memory` is not given


class SpillBuffer:
    """Hands out tensors to fill, and maps those beyond a limit to temporary files.

    Parameters
    ----------
    limit : int
        Bytes of memory for all of them together.
    device : torch.device
        Where those in memory are; those on disk are the CPU's.
    report : callable
        Is told, once, that a file is used.

    Notes
    -----
    What is in them belongs to one run, with its weights and samples: nothing is
    found again by a later run. A file is taken out of its folder as soon as it is
    mapped, so that its space is free again when its tensor is gone, however the
    process ends.
    """

    def __init__(
        self,
        limit: int,
        device: torch.device,
        report: Report = logger.info,
    ) -> None:
        self.limit = self.left = limit
        self.device = device
        self.report = report
        self.told = False

    @classmethod
    def of(
        cls,
        options: CacheOptions,
        device: torch.device,
        report: Report,
    ) -> "SpillBuffer":
        """The buffer that the options leave."""
        if options.cache_memory is not None:
            return cls(int(options.cache_memory * GB), device, report)
        return cls(int(FRACTION * free_memory(device)), device, report)

    def tensor(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """A tensor (rows, width) whose values are still to be set."""
        size = rows * width * dtype.itemsize
        if size <= self.left:
            self.left -= size
            return torch.empty(rows, width, dtype=dtype, device=self.device)
        if not self.told:
            self.told = True
            self.report(
                f"What is encoded once takes more than the {self.limit / GB:.3g} GB of "
                "memory that it may (cache_memory): the rest is in a temporary file."
            )
        return _on_disk(size, dtype).view(rows, width)


def _on_disk(size: int, dtype: torch.dtype) -> Tensor:
    """A tensor of so many bytes that is mapped to a file without a name."""
    with tempfile.TemporaryDirectory(
        prefix="aam-", ignore_cleanup_errors=True
    ) as folder:
        _check_space(size, folder)
        path = Path(folder) / "cache"
        with open(path, "wb") as handle:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                # A disk that fills up later would end the process by a signal.
                os.posix_fallocate(handle.fileno(), 0, size)
            else:
                handle.truncate(size)
        count = size // dtype.itemsize
        return torch.from_file(str(path), shared=True, size=count, dtype=dtype)


def _check_space(size: int, folder: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"What is encoded once takes {size / GB:.1f} GB beyond cache_memory, and "
            f"{Path(folder).parent} has {free / GB:.1f} GB left: set TMPDIR to a "
            "folder with more, or raise cache_memory."
        )


def free_memory(device: torch.device) -> int:
    """Bytes that could still be filled: of the machine, and of the GPU if it is one."""
    free = available()
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0])
    return free
