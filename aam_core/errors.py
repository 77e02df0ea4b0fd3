"""Errors that a user can cause, and how ids are listed in them."""

import contextlib
import errno
from collections.abc import Iterable, Iterator

SHOWN_IDS = 5


class InputError(ValueError):
    """The input or an option is wrong, and the message says how to mend it."""


class RunError(Exception):
    """A run ended after it had done work; what it saved stays, and the message says so.

    Unlike an `InputError`, it refuses nothing.
    """


class NotFinite(InputError):
    """A loss is no longer a finite number."""


#: What to do about an error of the system, by its number.
REMEDIES = {
    errno.ENOSPC: "Free some space, or name a folder on another disk (TMPDIR, too).",
    errno.EDQUOT: "Your quota is used up: delete something, or name another disk.",
    errno.EACCES: "Change who may read and write there, or name another place.",
    errno.EPERM: "Change who may read and write there, or name another place.",
    errno.EROFS: "Nothing can be written there: name another place.",
    errno.ENOTDIR: "A part of this path is a file: name another place.",
    errno.EISDIR: "It is a folder: name a file.",
    errno.EEXIST: "It is there already: name another place.",
    errno.ENOENT: "A part of this path is not there: make it first, or mend the name.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the number of files that may be open (ulimit -n).",
    errno.EIO: "The disk or the network failed: look at it, and run again.",
}


#: What PyTorch says, as a `RuntimeError`, of memory on a CPU and on a GPU.
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")


def is_of_memory(error: Exception) -> bool:
    """Whether the memory did not suffice, whoever says so."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in OUT_OF_MEMORY)
    return isinstance(error, MemoryError)


def of_system(error: OSError | MemoryError | RuntimeError) -> str:
    """An error of the operating system, with what to do, as one sentence or two.

    Parameters
    ----------
    error : OSError, MemoryError or RuntimeError
        Whatever reading, writing or reserving memory raised.

    Returns
    -------
    str

    Examples
    --------
    >>> from aam_core.errors import of_system
    >>> of_system(OSError(28, "No space left on device", "run/model"))
    'run/model: No space left on device. Free some space, or name a folder on another \
disk (TMPDIR, too).'
    """
    if not isinstance(error, OSError):
        why = f" ({str(error).splitlines()[0]})" if str(error) else ""
        return (
            f"The memory does not suffice{why}. Choose a smaller batch_size or preset, "
            "or a machine with more."
        )
    where = f"{error.filename}: " if error.filename is not None else ""
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}. {remedy}".rstrip()


@contextlib.contextmanager
def system_errors_told() -> Iterator[None]:
    """Errors of the operating system within become errors that say what to do.

    Raises
    ------
    RunError
        Instead of an `OSError`, a `MemoryError`, or what PyTorch raises in its place.
        Only who reads our output may leave: a `BrokenPipeError` passes.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, OSError) or is_of_memory(error):
            raise RunError(of_system(error)) from error
        raise


def some(ids: Iterable, shown: int = SHOWN_IDS) -> str:
    """List up to five ids, and say how many more there are.

    Parameters
    ----------
    ids : iterable
        Ids of samples or features, or values.
    shown : int
        How many to name.

    Returns
    -------
    str

    Examples
    --------
    >>> from aam_core.errors import some
    >>> some(["a", "b"])
    "'a', 'b'"
    >>> some(range(8), shown=2)
    '0, 1 and 6 more'
    """
    ids = [str(i) if isinstance(i, str) else i for i in ids]
    more = f" and {len(ids) - shown:,} more" if len(ids) > shown else ""
    return ", ".join(map(repr, ids[:shown])) + more
