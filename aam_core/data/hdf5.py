"""Whether the HDF5 library can read a file, tried where it may crash.

Of a damaged file the library may end the process, or never come back, which no
`except` heals.
"""

import signal
import subprocess
import sys
from pathlib import Path

import h5py

from aam_core.errors import InputError

#: Seconds of the processor, however busy it is, and bytes that one reads at least.
SECONDS, BYTES_A_SECOND = 5, 20_000_000
_READ = """
import resource, sys, h5py, numpy
path, rows, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
def tried(read, *given):
    try:
        read(*given)
    except Exception:  # what can be told is told by who reads the file
        pass
seen = set()
def read(name, item):
    if name in seen:
        return
    seen.add(name)
    for key in item.attrs:
        tried(item.attrs.__getitem__, key)
    if isinstance(item, h5py.Dataset):
        tried(values, item)
def values(item):
    if item.dtype.hasobject:  # texts, as they are read: some crash no other way
        numpy.asarray(item)
    if item.shape:
        step = max(1, 1_000_000 // max(1, item.size // max(1, item.shape[0])))
        for start in range(0, min(rows, item.shape[0]), step):
            item[start : min(start + step, rows)]
with h5py.File(path, "r") as file:
    tried(read, "", file)
    # by the names that are read later, too: a list of a damaged file may lack them
    for name in sys.argv[4:]:
        tried(lambda: read(name, file[name]))
    tried(file.visititems, lambda name, item: tried(read, name, item))
"""
#: Datasets that tables and matrices have.
_OF_AXIS = ("ids", "matrix/data", "matrix/indices", "matrix/indptr")
NAMES = ["matrix", "order"]
NAMES += [f"{axis}/{name}" for axis in ("sample", "observation") for name in _OF_AXIS]
ALL = 2**62  #: rows


def check_hdf5(path: Path, rows: int = ALL) -> None:
    """Read a file in a process of its own.

    Parameters
    ----------
    path : Path
        The file.
    rows : int
        How many of each of its datasets are read.

    Raises
    ------
    InputError
        If that process crashes or does not come back. What is an exception of the
        library is left to who reads the file.
    """
    if not h5py.is_hdf5(path):
        return
    seconds = int(SECONDS + path.stat().st_size / BYTES_A_SECOND)
    command = [sys.executable, "-c", _READ, str(path), str(rows), str(seconds), *NAMES]
    code = subprocess.run(command, capture_output=True, check=False).returncode
    if code < 0:
        how = "does not come back" if -code == signal.SIGXCPU else "crashes"
        raise InputError(
            f"{path} is damaged: the HDF5 library {how} when it reads it. Get the file "
            "anew."
        )
