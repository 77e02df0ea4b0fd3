"""Requests to end training early: SIGTERM, and the hours that a run may take."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any


class StopRequest:
    """Whether training should end early: SIGTERM came, or the time is over.

    A context manager: within it SIGTERM, with which batch systems announce the end
    of a job, does not end the process.

    Parameters
    ----------
    max_hours : float, optional
        Most hours from now.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self.hours = max_hours
        self._end = math.inf
        if max_hours is not None:
            self._end = time.monotonic() + 3600 * max_hours
        self._signalled = False
        self._before: Any = None

    def __enter__(self) -> "StopRequest":
        # Python allows handlers in the main thread only; QIIME 2 may use others.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        if isinstance(getattr(self._before, "__self__", None), StopRequest):
            self._before(number, frame)  # one that is around this one

    @property
    def reason(self) -> str | None:
        """Why training should end, or None."""
        if self._signalled:
            return "it was asked to (SIGTERM)"
        if time.monotonic() > self._end:
            return f"max_hours {self.hours:g} is over"
        return None

    @property
    def hours_left(self) -> float | None:
        """Hours until the time is over; None without a limit."""
        if self.hours is None:
            return None
        return max(self._end - time.monotonic(), 0.0) / 3600


class Interrupted(BaseException):
    """A request to end came while work was interruptible.

    It is no `Exception`, so that nothing within that work takes it for a failure.
    """


class Interruption(StopRequest):
    """A request to end that interrupts work whose part is worth nothing.

    Within `interruptible` the request raises `Interrupted`, wherever the main thread
    is, also in runs that watch a request of their own. In other threads, where Python
    allows no handlers, it is seen between two pieces of work only.
    """

    _open = False

    def __enter__(self) -> "Interruption":
        super().__enter__()
        if self._main and self.hours is not None:
            self._alarm = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, max(3600 * self.hours_left, 1e-3))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main and self.hours is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm or signal.SIG_DFL)
        super().__exit__(*exception)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that ends where the request comes.

        Raises
        ------
        Interrupted
            If it comes, or was there before.
        """
        self._open = True
        try:
            if self.reason is not None:
                raise Interrupted
            yield
        finally:
            self._open = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        super()._handle(number, frame)
        self._raise()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._raise()

    def _raise(self) -> None:
        if self._open:
            self._open = False  # a second request must not break what cleans up
            raise Interrupted
