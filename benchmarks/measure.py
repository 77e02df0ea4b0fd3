"""What the measurements share: processes, repeats, tables and files.

Each contender runs in a process of its own, so that its peak memory is its own.
"""

import importlib
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from aam_core.runtime.process_memory import peak_resident

RESULTS = Path(__file__).parent / "results"
#: Seconds of a first run that counts, and is followed by one more at most; a shorter
#: one only warms up.
LONG = 20
PACKAGES = ("q2-aam", "torch", "numpy", "scipy", "pandas", "biom-format", "scikit-bio")


class Contender:
    """A process that makes one object and calls it whenever told to.

    Parameters
    ----------
    make : str
        Module of `benchmarks` and class, such as `contenders.Step`. An object may
        have `facts`, a dict.
    **sizes
        Its arguments.
    """

    def __init__(self, make: str, **sizes: Any) -> None:
        self.runs: list[float] = []
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(
            target=serve, args=(there, make, sizes), daemon=True
        )
        self.process.start()
        there.close()
        self._answer()

    def run(self) -> float:
        """Call the object; returns the seconds that it took."""
        self.pipe.send(True)
        self.runs.append(self._answer())
        return self.runs[-1]

    def close(self) -> dict[str, Any]:
        """End the process; returns the facts, median seconds and memory in bytes."""
        self.pipe.send(False)
        facts = self._answer()
        self.process.join()
        runs = self.runs
        if len(runs) > 1 and runs[0] < LONG:
            runs = runs[1:]
        return facts | {"runs": runs, "seconds": statistics.median(runs)}

    def _answer(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise SystemExit(
                f"A measurement ended with exit code {self.process.exitcode}; the "
                "reason is above, or memory ran out."
            ) from None


def find(make: str) -> type:
    """The class that is named, such as `contenders.Step`."""
    module, _, name = make.partition(".")
    return getattr(importlib.import_module(f"benchmarks.{module}"), name)


def serve(pipe: Any, make: str, sizes: Mapping[str, Any]) -> None:
    """What the process of a `Contender` does."""
    contender = find(make)(**sizes)
    before = peak_resident()
    pipe.send(None)
    while pipe.recv():
        start = time.perf_counter()
        contender()
        pipe.send(time.perf_counter() - start)
    peak = peak_resident()
    memory = {"peak_bytes": peak, "rise_bytes": peak - before}
    pipe.send(memory | getattr(contender, "facts", {}))


def compare(
    contenders: Mapping[str, tuple[str, Mapping[str, Any]]], repeats: int
) -> dict[str, dict[str, Any]]:
    """Run contenders in turn; what `Contender.close` returns for each."""
    made = {
        name: Contender(make, **sizes) for name, (make, sizes) in contenders.items()
    }
    first = {name: contender.run() for name, contender in made.items()}
    for number in range(repeats):
        for name, contender in made.items():
            if first[name] < LONG or number < min(repeats - 1, 1):
                contender.run()
    return {name: contender.close() for name, contender in made.items()}


def environment() -> dict[str, Any]:
    """Where and when a measurement was made."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": versions,
    }


def tell(
    name: str,
    sizes: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    notes: Sequence[str] = (),
    *,
    path: Path | None = None,
    details: Any = None,
) -> None:
    """Print a table, and write it as JSON with everything that belongs to it."""
    shown = [{k: readable(k, v) for k, v in row.items()} for row in rows]
    print(f"\n{name} ({', '.join(f'{k} {v}' for k, v in sizes.items())})")
    print(pd.DataFrame(shown).fillna("").to_string(index=False))
    for note in notes:
        print(note)
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"name": name, "sizes": sizes, "environment": environment(), "rows": rows}
    result |= {"notes": notes, "details": details}
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"Written to {path}.", flush=True)


def readable(name: str, value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if name.startswith("memory"):
        return f"{value / 1e9:.2f} GB"
    if name.startswith("fraction"):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
