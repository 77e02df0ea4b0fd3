"""Requests to end early: SIGTERM, SIGINT, and the hours that a run may take."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from aam_core.distributed.launch import SIGNALS
from aam_core.errors import RunError

#: Seconds that data may still take to come when the time is over already.
GRACE = 10.0


class Interrupted(BaseException):
    """A request to end came while work was interruptible.

    It is no `Exception`, so that nothing within that work takes it for a failure.
    """


class StopRequest:
    """Whether training should end early: a signal came, or the time is over.

    A context manager: within it SIGTERM, with which batch systems announce the end
    of a job, does not end the process, nor does SIGINT (Ctrl-C) when it comes first.
    Within another request it knows of what came to that one.

    Parameters
    ----------
    max_hours : float, optional
        Most hours from now.
    """

    _open = False  #: whether a request raises `Interrupted`

    def __init__(self, max_hours: float | None = None) -> None:
        self.hours = max_hours
        self._end = math.inf
        if max_hours is not None:
            self._end = time.monotonic() + 3600 * max_hours
        self._signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._main = False

    def __enter__(self) -> "StopRequest":
        # Python allows handlers in the main thread only; QIIME 2 may use others.
        self._main = threading.current_thread() is threading.main_thread()
        for number in SIGNALS if self._main else ():
            if number == signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
                continue  # as a shell starts what is in the background
            self._before[number] = signal.signal(number, self._handle)
        if self._outer is not None:
            self._signal = self._outer._signal
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before or signal.SIG_DFL)

    @property
    def _outer(self) -> "StopRequest | None":
        """The request that this one is within."""
        found = getattr(self._before.get(signal.SIGTERM), "__self__", None)
        return found if isinstance(found, StopRequest) else None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            raise KeyboardInterrupt  # who presses Ctrl-C again cannot wait
        self._signal = signal.Signals(number)
        if self._outer is not None:
            self._outer._handle(number, frame)
        self._raise()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._raise()

    def _raise(self) -> None:
        if self._open:
            self._open = False  # a second request must not break what cleans up
            raise Interrupted

    @property
    def reason(self) -> str | None:
        """Why training should end, or None."""
        if self._signal is not None:
            return f"it was asked to ({self._signal.name})"
        if time.monotonic() > self._end:
            return f"max_hours {self.hours:g} is over"
        return None

    @property
    def hours_left(self) -> float | None:
        """Hours until the time is over; None without a limit."""
        if self.hours is None:
            return None
        return max(self._end - time.monotonic(), 0.0) / 3600

    def learned(self) -> None:
        """From now on there is something to keep, and nobody may interrupt the run."""
        if self._outer is not None:
            self._outer._learned_within()

    def _learned_within(self) -> None:
        self.learned()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that ends where the request comes.

        The request raises wherever the main thread is, also in runs that watch a
        request of their own. In other threads, where Python allows no handlers, it is
        seen between two pieces of work only.

        Raises
        ------
        Interrupted
            If it comes, or was there before.
        """
        with self._opened(1e-3):
            if self.reason is not None:
                raise Interrupted
            yield

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait for data, which may never come.

        Raises
        ------
        Interrupted
            If the request comes; where it was there before, after `GRACE` seconds.
        """
        with self._opened(GRACE if self.reason else 1e-3):
            yield

    @contextlib.contextmanager
    def _opened(self, least: float) -> Iterator[None]:
        """Let a request raise; the end of the time too, in `least` seconds or later."""
        if not self._main:
            yield
            return
        seconds = self._end - time.monotonic()
        if self._signal is not None or seconds < least:
            seconds = least
        with _alarm(seconds, self._ring):
            before, self._open = self._open, True
            try:
                yield
            finally:
                self._open = before and self._signal is None


@contextlib.contextmanager
def _alarm(seconds: float, ring: Any) -> Iterator[None]:
    """Call `ring` after some seconds, unless the work ends before."""
    if math.isinf(seconds):
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    earlier, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        if earlier:  # of a request around this one
            left = earlier - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))


class Interruption(StopRequest):
    """A request to end that interrupts work whose part is worth nothing.

    What is learned within such work is not worth to be kept.
    """

    def _learned_within(self) -> None:
        """What is around learns of whole pieces of work alone."""


class Action(StopRequest):
    """A request to end from an action's first line to its last.

    Until something is learned, the request ends the action where it is. From then on
    what is within heeds it, or ends as if it had not come: so do further actions of the
    same pipeline.

    Parameters
    ----------
    stays : bool
        Heed no signal after the action either, if it ended well: the process has only
        to save what it returned.

    Raises
    ------
    RunError
        If the request came before anything was learned.
    """

    def __init__(self, stays: bool = False) -> None:
        super().__init__()
        self.stays = stays

    def __enter__(self) -> "Action":
        super().__enter__()
        within = self._outer
        self._open = not isinstance(within, Action) or within._open
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._open = False
        if not self.stays or kind is not None:
            super().__exit__(kind, error, trace)
        if isinstance(error, Interrupted):
            why = self.reason or "its time is over"
            raise RunError(
                f"The run ended before anything was learned, because {why}: there is "
                "no result. Start it again."
            ) from None

    def learned(self) -> None:
        """Let requests be heeded by what is within."""
        self._open = False
        super().learned()
