"""What a run says, and who hears it."""

import logging
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

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


def progress(items: Iterable, **settings: Any) -> Any:
    """A progress bar over items: in a notebook a widget, if it has widgets, else text.

    Where nobody watches, as in the log of a batch job, it says little.

    Parameters
    ----------
    items : iterable
        Yielded one after the other.
    **settings
        Of `tqdm`.

    Returns
    -------
    tqdm.tqdm
    """
    if _has_widgets():
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    watched = sys.stderr.isatty() or "ipykernel.zmqshell" in sys.modules
    interval = 0.5 if watched else 20
    return tqdm(items, mininterval=interval, dynamic_ncols=True, **settings)


def _has_widgets() -> bool:
    """Whether there are widgets, of a version that notebooks still know (7 on)."""
    try:
        return int(metadata.version("ipywidgets").partition(".")[0]) >= 7
    except metadata.PackageNotFoundError:
        return False
