"""The memory of a process, without PyTorch."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from aam_core.errors import InputError

STATUS = Path("/proc/self/status")  #: on Linux
GROUPS = Path("/proc/self/cgroup")  #: control groups that this process is in
HIERARCHIES = Path("/sys/fs/cgroup")
#: Of versions 2 and 1: the limit, what is used, and what of it is cached files that
#: were not read for a while (an entry of `memory.stat`).
UNIFIED = ("memory.max", "memory.current", "inactive_file")
DIVIDED = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
#: Parameters of glibc's `mallopt`, and the largest value that it takes.
TRIM_THRESHOLD, MMAP_THRESHOLD, MOST = -1, -3, 2**31 - 1


def peak_resident() -> int:
    """The most memory that this process has ever occupied, in bytes.

    On Linux of this program only: what `getrusage` says includes the process that it
    was started from, which may be larger.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):  # in kB
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise InputError(
            "memory_profile reads the resource usage of a Unix process, which this "
            "system lacks: leave memory_profile out."
        ) from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available() -> int:
    """Bytes that this process could still occupy.

    What the system has available or, where that is less, what is left of the limits of
    the control groups that a container or a batch job runs in.
    """
    return min([psutil.virtual_memory().available, *_left_of_groups()])


def _left_of_groups() -> Iterator[int]:
    lines = GROUPS.read_text().splitlines() if GROUPS.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = HIERARCHIES, UNIFIED
        elif "memory" in controllers.split(","):
            root, names = HIERARCHIES / "memory", DIVIDED
        else:
            continue
        # A container may see its own group as the root, and the path from outside.
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(root):
                yield from _left_of_group(group, *names)


def _left_of_group(group: Path, limit: str, used: str, cached: str) -> Iterator[int]:
    try:
        most = int((group / limit).read_text())  # 'max': none
        taken = int((group / used).read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        kept = dict(line.split() for line in lines)
    except (OSError, ValueError):
        return
    yield max(most - taken + int(kept.get(cached, 0)), 0)


def keep_freed() -> None:
    """Let this process keep the memory that it frees, for what it allocates next.

    Otherwise the C library returns large blocks to the system, and the pages of tensors
    are made and cleared anew at each step: a tenth of its time. The peak does not
    change. Where the C library is not glibc, nothing happens.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, MOST)
        library.mallopt(TRIM_THRESHOLD, MOST)


def return_freed() -> None:
    """Return to the system what is free."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
