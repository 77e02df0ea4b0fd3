"""Requests to end training early: SIGTERM, and the hours that a run may take."""

import math
import signal
import threading
import time
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

    @property
    def reason(self) -> str | None:
        """Why training should end, or None."""
        if self._signalled:
            return "it was asked to (SIGTERM)"
        if time.monotonic() > self._end:
            return f"max_hours {self.hours:g} is over"
        return None
