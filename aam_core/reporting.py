"""What a run says, and who hears it."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from typing import Any

logger = logging.getLogger("aam_core")

FEW_OF_CLASS = 5  #: samples below which a class is told
Report = Callable[[str], None]  #: takes sentences for the user
_bars = ContextVar("bars", default=True)  #: whether progress is shown


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


class Once:
    """A `Report` of steps that read the same: what they say of it is said once."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._said: set[str] = set()

    def __call__(self, line: str) -> None:
        """Pass a sentence on, unless it has been said."""
        if line not in self._said:
            self._said.add(line)
            self._report(line)


def closing_lines(config: Mapping[str, Any]) -> list[str]:
    """What of the input a run did not use, or had too little of.

    Parameters
    ----------
    config : mapping
        `config.json` of the run, or what there is of it.

    Returns
    -------
    list of str
        Sentences, none if there is nothing to tell.
    """
    counts = config["samples"]
    lines = []
    for what, total in (("samples", "samples in table"), ("features", None)):
        lost = {
            name.removeprefix(f"{what} "): number
            for name, number in counts.items()
            if name.startswith(f"{what} ") and name != total and number
        }
        if not lost:
            continue
        reasons = ", ".join(f"{number:,} {why}" for why, number in lost.items())
        of = f" of {counts[total]:,}" if total else ""
        lines.append(f"Used: {counts[what]:,}{of} {what}; left out: {reasons}.")
    if cut := counts.get("sequences cut"):
        lines.append(f"{cut:,} sequences were cut.")
    if few := _small_classes(config.get("labels", ())):
        lines.append(
            f"Classes of fewer than {FEW_OF_CLASS} samples can hardly be learned: "
            f"{', '.join(f'{label!r} ({n})' for label, n in few.items())}."
        )
    return lines


def _small_classes(labels: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The first classes of few samples, over both sides of a part."""
    counts: dict[str, int] = {}
    for part in labels[:1]:
        for side in part.values():
            for label, number in side[0].get("classes", {}).items():
                counts[label] = counts.get(label, 0) + number
    few = {c: n for c, n in sorted(counts.items()) if n < FEW_OF_CLASS}
    return dict(list(few.items())[:5])


def duration(seconds: float) -> str:
    """A time in words, to a digit or two.

    Examples
    --------
    >>> from aam_core.reporting import duration
    >>> duration(41.3), duration(600), duration(9000)
    ('41 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h"


def progress(items: Iterable | None, **settings: Any) -> Any:
    """A progress bar over items: in a notebook a widget, if it has widgets, else text.

    Where nobody watches, as in the log of a batch job, it says little.

    Parameters
    ----------
    items : iterable, optional
        Yielded one after the other; without, the bar is told by `update`.
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
    settings["disable"] = settings.get("disable", False) or not _bars.get()
    return tqdm(items, mininterval=interval, dynamic_ncols=True, **settings)


@contextmanager
def no_progress() -> Iterator[None]:
    """Show no progress bars within, where many runs follow one another."""
    token = _bars.set(False)
    try:
        yield
    finally:
        _bars.reset(token)


def _has_widgets() -> bool:
    """Whether there are widgets, of a version that notebooks still know (7 on)."""
    try:
        return int(metadata.version("ipywidgets").partition(".")[0]) >= 7
    except metadata.PackageNotFoundError:
        return False
