"""The memory of a process, without PyTorch."""

import sys
from pathlib import Path

from aam_core.errors import InputError

STATUS = Path("/proc/self/status")  #: on Linux


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
