"""Random draws of PyTorch, which has one generator for all threads of a process."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aam_core.reporting import Report

if TYPE_CHECKING:
    import torch

_lock = threading.RLock()
_here = threading.local()  #: `trains`, in a thread that trains


@contextlib.contextmanager
def own_draws(report: Report) -> Iterator[None]:
    """A training that no other one of this process takes draws from.

    Of trainings in several threads each waits for the one before, so that each gives
    what it gives alone.

    Parameters
    ----------
    report : callable
        Is told that this one waits.
    """
    held = _lock
    if not held.acquire(blocking=False):
        report(
            "Another training of this process draws random numbers: this one waits "
            "for its end."
        )
        held.acquire()
    before, _here.trains = trains(), True
    try:
        yield
    finally:
        _here.trains = before
        held.release()


def trains() -> bool:
    """Whether this thread is at a training, so that PyTorch's draws are its own."""
    return getattr(_here, "trains", False)


def generator() -> "torch.Generator | None":
    """What a thread draws from: PyTorch's own in a training, else one for itself."""
    import torch  # slow to import

    return None if trains() else torch.Generator()


def _anew() -> None:
    """In a forked process nobody holds the lock, whoever held it before."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_anew)
