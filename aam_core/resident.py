"""The memory of a process, without PyTorch."""

import ctypes
import sys
from pathlib import Path

from aam_core.errors import InputError

STATUS = Path("/proc/self/status")  #: on Linux
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
