"""What a run says, and who hears it."""

import logging
from collections.abc import Callable

logger = logging.getLogger("aam_core")

Report = Callable[[str], None]  #: takes sentences for the user


def silent(line: str) -> None:
    """Hear nothing."""


class Log:
    """A `Report` that also keeps what was said, for the model's `config.json`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Pass a sentence on, and keep it."""
        self.lines.append(line)
        self._report(line)
