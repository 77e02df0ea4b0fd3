"""Cells that are computed, and what makes a run the continuation of another.

A cell is a JSON file, so that a run that was stopped resumes at the fold where it was.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import aam_core
from aam_core.commands.cross_validation_cells import Cell, Given
from aam_core.errors import InputError, some
from aam_core.io.model_folder import WEIGHTS, write_atomically
from aam_core.training.identity import checksum

IDENTITY = "identity.json"
#: Options that may differ when a run resumes.
FREE = ("device", "max_hours", "repeats")


class Cells:
    """The cells of a run that are computed, in a folder or in memory.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept; cells of an earlier run of the same input are found.
    identity : mapping
        Of `identity_of`.

    Raises
    ------
    InputError
        If the folder holds cells of another input.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = identity
        self.results: dict[str, dict[str, Any]] = {}
        if folder is None:
            return
        path = folder / IDENTITY
        if path.is_file():
            check_same(json.loads(path.read_text(encoding="utf-8")), identity, folder)
        elif folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder} holds files that no cross-validation wrote: choose another "
                "folder."
            )

    def find(self, cells: Sequence[Cell]) -> None:
        """Read those of the cells that are there."""
        for cell in cells if self.folder is not None else ():
            path = self.folder / f"{cell.name}.json"
            if path.is_file():
                found = json.loads(path.read_text(encoding="utf-8"))
                sides = found["training"], found["held_out"]
                if sides == (cell.training, cell.held_out):  # as numpy draws it now
                    self.results[cell.name] = found

    def keep(self, cell: Cell, result: dict[str, Any]) -> None:
        """Add what was computed; its file is whole or is not there."""
        text = json.dumps(result)
        self.results[cell.name] = json.loads(text)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / IDENTITY).is_file():
            whose = json.dumps(self.identity, indent=1)
            write_atomically(self.folder / IDENTITY, whose.encode())
        write_atomically(self.folder / f"{cell.name}.json", text.encode())


def identity_of(given: Given) -> dict[str, Any]:
    """What a run that resumes must have in common with the one that was stopped."""
    table, ids = given.table, list(given.target.index)
    rows = pd.Index(table.sample_ids).get_indexer(ids)
    counts = table.counts[rows]
    arrays = [np.asarray(a, dtype=np.int64) for a in (counts.indices, counts.data)]
    sequences = [(given.sequences or {}).get(f) for f in table.feature_ids]
    weights = None if given.encoder is None else given.encoder / WEIGHTS
    read = {
        "table": np.concatenate([*arrays, np.asarray(counts.indptr, dtype=np.int64)]),
        "samples": np.array(ids, dtype=object),
        "features": np.array(table.feature_ids, dtype=object),
        "sequences": np.array(sequences, dtype=object),
        "metadata column": np.array(given.target.tolist(), dtype=object),
        "groups": given.groups,
        "encoder": weights,
    }
    options = {n: v for n, v in given.config.to_dict().items() if n not in FREE}
    return {
        "version": aam_core.__version__,
        "metadata_column": given.column,
        "task": given.task,
        "group_column": given.group_column,
        "options": options,
        "read": {name: checksum(value) for name, value in read.items()},
    }


def check_same(
    earlier: Mapping[str, Any], now: Mapping[str, Any], folder: Path
) -> None:
    """Raise unless cells in a folder are of the same input.

    Raises
    ------
    InputError
        That names what differs.
    """
    hint = (
        "To resume, repeat the command as it was (only "
        f"{', '.join(FREE)} may differ); for another input choose another folder."
    )
    plain = [(n, earlier.get(n), v) for n, v in now.items() if not isinstance(v, dict)]
    plain += [(n, earlier["options"].get(n), v) for n, v in now["options"].items()]
    for name, before, value in plain:
        if before != value:
            raise InputError(
                f"{name} is {value!r}, but was {before!r} in the run in {folder}. "
                f"{hint}"
            )
    if wrong := [n for n, v in now["read"].items() if earlier["read"].get(n) != v]:
        raise InputError(f"Not what the run in {folder} read: {some(wrong)}. {hint}")
