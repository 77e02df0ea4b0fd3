"""Inputs are tried in a child process under limits, and what comes out is named.

A `Worker` calls one function again and again in a process that it forks once, and once
more after a case that has ended it. A `Target` says what is tried: a strategy of cases,
how one is written to a folder, and what reads that folder. `fuzz` tries many of them.
"""

import contextlib
import multiprocessing
import os
import resource
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import SearchStrategy

from aam_core.errors import InputError
from tests import forked

OK, REFUSED = "ok", "refused"
FOREIGN = "foreign exception"  #: neither a result nor an error of our own
TIME_OUT, KILLED = "time-out", "killed"
MEMORY, NOT_FINITE = "over memory", "not finite"
#: What may come out of a case.
ALLOWED = (OK, REFUSED)
#: Cases after which a new process is forked, so that none leans on what others left.
CASES_OF_A_PROCESS = 500
#: Cases that are generated at a time, each time from the next number.
CHUNK, SEEDS_APART = 100, 1_000_000
LINES = 12  #: of a traceback that are kept
#: How libraries say that memory is lacking, in exceptions of other kinds.
OUT_OF_MEMORY = ("allocate", "out of memory", "bad_alloc")


@dataclass(frozen=True)
class Limits:
    """Of each case."""

    seconds: float = 20.0
    memory: int = 2 << 30  #: bytes beyond what the process had before its first case


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    kind: str
    text: str = ""  #: the error's message, or the end of its traceback
    value: Any = None  #: what the function returned


@dataclass(frozen=True)
class Target:
    """What is tried, and by what.

    Attributes
    ----------
    name : str
        Of the target.
    cases : SearchStrategy
        Of cases; the representation of one says what it changes.
    write : callable
        Takes a case and an empty folder, and lays the input down there.
    read : callable
        Takes the folder, in the child: a function of a module. Numbers that it returns
        have to be finite.
    refusals : tuple of type
        Errors that it may raise.
    number : int
        Cases that `make test` tries.
    limits : Limits
        Of each case.
    """

    name: str
    cases: SearchStrategy
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...] = (InputError,)
    number: int = 100
    limits: Limits = Limits()


class Worker:
    """Calls a function in a child process, and tells what comes of each call.

    Parameters
    ----------
    function : callable
        A function of a module, or a partial one.
    refusals : tuple of type
        The project's own errors.
    limits : Limits
        Of each call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        refusals: tuple[type[Exception], ...] = (InputError,),
        limits: Limits = Limits(),
    ) -> None:
        self._task = (function, refusals, limits.memory)
        self._seconds = limits.seconds
        self._process: Any = None
        self._pipe: Connection | None = None
        self._left = 0

    def __enter__(self) -> "Worker":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, *arguments: Any) -> Outcome:
        """What comes of the function with these arguments."""
        if not self._left:
            self._start()
        self._left -= 1
        try:
            self._pipe.send(arguments)
            if not self._pipe.poll(self._seconds):
                self.close()
                return Outcome(TIME_OUT, f"no end within {self._seconds:g} s")
            outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self.close()
            return Outcome(KILLED, f"exit code {code}")
        if outcome.kind == MEMORY:
            self.close()
        return outcome

    def _start(self) -> None:
        self.close()
        context = multiprocessing.get_context(forked.METHOD)
        self._pipe, end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(end, *self._task), daemon=True
        )
        self._process.start()
        end.close()
        self._left = CASES_OF_A_PROCESS
        self._pipe.recv()  # it has imported what it needs

    def close(self) -> None:
        """End the process, if there is one."""
        self._left = 0
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._pipe.close()
            self._process = self._pipe = None


def _serve(
    pipe: Connection,
    function: Callable[..., Any],
    refusals: tuple[type[Exception], ...],
    memory: int,
) -> None:
    """In the child: call and answer until the pipe is closed."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    limit = psutil.Process().memory_info().vms + memory
    with contextlib.suppress(ValueError, OSError):  # systems without this limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send(None)
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(outcome_of(function, arguments, refusals))


def outcome_of(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    refusals: tuple[type[Exception], ...],
) -> Outcome:
    """What comes of a call in this process."""
    try:
        value = function(*arguments)
    except refusals as error:
        return Outcome(REFUSED, str(error))
    except BaseException as error:
        text = "".join(traceback.format_exception(error, limit=-LINES))
        short = isinstance(error, MemoryError) or any(
            words in str(error) for words in OUT_OF_MEMORY
        )
        return Outcome(MEMORY if short else FOREIGN, text)
    wrong = next(not_finite(value), None)
    return Outcome(OK if wrong is None else NOT_FINITE, wrong or "", value)


def not_finite(value: Any, place: str = "result") -> Iterator[str]:
    """Places of numbers that are not finite."""
    if isinstance(value, pd.DataFrame):
        value = value.select_dtypes("number").to_numpy(dtype=float)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from not_finite(inner, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from not_finite(inner, f"{place}[{number}]")
    elif isinstance(value, np.ndarray | float | np.floating):
        numbers = np.asarray(value)
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            yield f"{place}: {(~np.isfinite(numbers)).sum()} of {numbers.size}"


@dataclass
class Summary:
    """What came of all cases of a target."""

    target: str
    counts: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items()))
        return (
            f"{self.target}: {self.counts.total()} cases in {self.seconds:.0f} s: "
            f"{counts}"
        )


def fuzz(
    target: Target,
    work: Path,
    seed: int,
    number: int,
    seconds: float = float("inf"),
    keep: Path | None = None,
) -> Summary:
    """Try cases of a target until there were `number`, or the time is over.

    Parameters
    ----------
    target : Target
        What is tried.
    work : Path
        A folder for the inputs, one at a time.
    seed : int
        Of the cases.
    number : int
        Cases.
    seconds : float
        After which no case is begun.
    keep : Path, optional
        Where inputs are kept of which something else came out than may.

    Returns
    -------
    Summary
    """
    summary, place = Summary(target.name), work / target.name
    with Worker(target.read, target.refusals, target.limits) as worker:
        start = time.monotonic()

        def over() -> bool:
            late = time.monotonic() - start >= seconds
            return late or summary.counts.total() >= number

        def one(case: Any) -> None:
            if over():
                return
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            target.write(case, place)
            outcome = worker(place)
            summary.counts[outcome.kind] += 1
            if outcome.kind not in ALLOWED:
                _note(summary, case, outcome, place, keep)

        chunk = seed * SEEDS_APART
        while not over():
            _generate(target.cases, chunk, one)
            chunk += 1
    summary.seconds = time.monotonic() - start
    return summary


def _generate(cases: SearchStrategy, seed: int, one: Callable[[Any], None]) -> None:
    """Call `one` with a chunk of cases."""
    chosen = settings(
        max_examples=CHUNK,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seeded(seed)(chosen(given(cases)(one)))()


def _note(
    summary: Summary, case: Any, outcome: Outcome, place: Path, keep: Path | None
) -> None:
    text = f"{case!r}: {outcome.kind}\n{outcome.text}"
    summary.failures.append(text)
    if keep is not None:
        kept = keep / f"{summary.target}-{len(summary.failures):03}"
        shutil.copytree(place, kept, symlinks=True, dirs_exist_ok=True)
        (kept / "outcome.txt").write_text(text, errors="backslashreplace")
