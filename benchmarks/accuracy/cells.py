"""Cells of the yardstick: one contender on one fold, kept when it is computed.

A cell is a file, so that a run that was stopped resumes where it was, and runs with
other contenders share what is there.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core.data.folds import balanced_folds
from aam_core.data.subsets import drawn
from aam_core.runtime.process_memory import peak_resident
from benchmarks.accuracy.opponents import OPPONENTS
from benchmarks.accuracy.targets import Samples, Target, read_samples, values_of
from benchmarks.measure import environment

READS = ("all", "rarefied")
#: Contenders that are q2-aam, with options as `name=value` behind a colon.
OURS = "q2-aam"
#: Option of a contender: the column whose values it never divides, instead of the
#: target's. What is held out is the same.
GROUP = "group"


@dataclass(frozen=True)
class Cell:
    """A contender on a fold, or on the samples that have one value of a column."""

    target: Target
    reads: str  #: all, or rarefied to the depth of the target
    contender: str  #: of `OPPONENTS`, or q2-aam: option=value …
    seed: int  #: of folds, reads and contender
    fold: int
    folds: int
    labels: int | None = None  #: training samples, about; None: all
    left_out: tuple[str, str] | None = None  #: column and value, instead of a fold

    @property
    def name(self) -> str:
        """Seed, and what is held out; the same for all contenders."""
        name = f"seed-{self.seed}-fold-{self.fold}-of-{self.folds}"
        if self.left_out is not None:
            name = f"seed-{self.seed}-without-{_word('-'.join(self.left_out))}"
        return name if self.labels is None else f"{name}-labels-{self.labels}"

    def path(self, results: Path) -> Path:
        """Where it is kept."""
        folder = results / self.target.name / self.reads / _word(self.contender)
        return folder / f"{self.name}.json"


def _word(text: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", text)


def parts_of(cell: Cell, samples: Samples) -> tuple[Samples, Samples]:
    """Samples to fit to, and those to predict."""
    if cell.left_out is None:
        folds = balanced_folds(samples.labels, samples.groups, cell.folds, cell.seed)
        training, held_out = folds[cell.fold]
    else:
        column, value = cell.left_out
        out_N = (values_of(cell.target, column, samples) == value).to_numpy()
        training, held_out = np.flatnonzero(~out_N), np.flatnonzero(out_N)
    if cell.labels is not None:
        known = samples.take(training)
        rows = drawn(known.labels, known.groups, cell.labels, cell.seed)
        training = training[rows]
    return samples.take(training), samples.take(held_out)


def compute(cell: Cell) -> dict[str, Any]:
    """Fit the contender to the other samples, and predict these."""
    samples = read_samples(cell.target, cell.reads == "rarefied", cell.seed)
    training, held_out = parts_of(cell, samples)
    start, notes = time.perf_counter(), list(samples.notes)
    if cell.contender in OPPONENTS:
        found = OPPONENTS[cell.contender](training, held_out, cell.seed)
    else:
        from benchmarks.accuracy.ours import q2_aam  # torch is slow to import
        from benchmarks.encoders import parse_setting

        options = parse_setting(cell.contender.partition(":")[2])
        if (column := options.pop(GROUP, None)) is not None:
            names = values_of(cell.target, column, training)
            training = replace(training, groups=names.to_numpy(str))
        found, said = q2_aam(training, held_out, cell.seed, options)
        notes += said
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_resident(),
        "training": len(training.labels),
        "notes": notes,
        "environment": environment(),
        "ids": list(found.index),
        "columns": list(found.columns),
        "values": found.to_numpy().tolist(),
    }


def keep(cell: Cell, results: Path) -> None:
    """Compute a cell, and write it whole or not at all."""
    found = compute(cell)
    path = cell.path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(found))
    part.replace(path)


def compute_all(
    cells: Sequence[Cell], results: Path, jobs: int
) -> Iterable[tuple[Cell, str]]:
    """Compute what is not there, each cell in a process of its own; yield as they end.

    One that fails is told, and does not end the others.
    """
    left = [cell for cell in cells if not cell.path(results).exists()]
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        running = {pool.submit(keep, cell, results): cell for cell in left}
        for done in as_completed(running):
            error = done.exception()
            yield running[done], "" if error is None else f"{error!r}"


def predictions(cells: Iterable[Cell], results: Path) -> tuple[pd.DataFrame, dict]:
    """Predictions of the folds of one seed together, and what they took.

    Returns
    -------
    pandas.DataFrame
        One row a sample; a class that a fold's training samples lack has 0 there, an
        interval that there is not is NaN.
    dict
        Seconds of all folds, the peak memory in bytes, and training samples of a fold.
    """
    found = [json.loads(cell.path(results).read_text()) for cell in cells]
    frames = [pd.DataFrame(f["values"], f["ids"], f["columns"]) for f in found]
    cost = {
        "seconds": sum(f["seconds"] for f in found),
        "memory": max(f["peak_bytes"] for f in found),
        "training": sum(f["training"] for f in found) / len(found),
    }
    joined = pd.concat(frames)
    return joined if "prediction" in joined else joined.fillna(0.0), cost
