"""The layout of an encoder or model on disk.

A directory of `config.json` (what it is and how it came to be),
`model.safetensors` (weights) and `history.tsv` (losses by epoch). That of a run which
was stopped may also have `state.pt`, from which the run resumes. The QIIME 2 artifacts
have the same layout. Nothing here imports torch at load.
"""

import contextlib
import csv
import io
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

import aam_core
from aam_core.errors import InputError, some
from aam_core.io.config_rules import SCHEMA, check_content, check_not_later
from aam_core.io.json_file import read_json
from aam_core.io.training_state import PART, STATE, check_state, read_state

CONFIG, WEIGHTS, HISTORY = "config.json", "model.safetensors", "history.tsv"
#: What the folder of an artifact may hold.
ENTRIES = (CONFIG, WEIGHTS, HISTORY, STATE)
#: What network disks leave of files that are deleted while they are open.
REMAINS = ".nfs"
#: Of tensors, as safetensors names them.
TYPES = ("F16", "F32", "I32", "U8")
#: Of `history.tsv`: far more than there are losses and scores.
MOST_COLUMNS, MOST_EPOCHS = 1000, 1e9


def software() -> dict[str, str]:
    """The versions that wrote a model."""
    names = ("torch", "numpy", "pandas", "scikit-learn")
    versions = {"q2-aam": aam_core.__version__, "python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def save(
    directory: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    history: list[dict[str, float]],
) -> None:
    """Write a model; each file appears whole or not at all.

    Parameters
    ----------
    directory : Path
        Made if it is not there.
    config : dict
        Content of `config.json`; schema, software and tensor shapes are added.
    state : dict of torch.Tensor
        Weights by name.
    history : list of dict
        One row per epoch.
    """
    from safetensors.torch import save as to_bytes

    directory.mkdir(parents=True, exist_ok=True)
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    full = {"schema": SCHEMA, "software": software()} | dict(config)
    full["tensors"] = shapes
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    write_atomically(directory / WEIGHTS, to_bytes(state))
    table = pd.DataFrame(history).to_csv(sep="\t", index=False)
    write_atomically(directory / HISTORY, table.encode())
    write_config(directory, full)


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`, whole or not at all."""
    text = json.dumps(_plain(config), indent=1, allow_nan=False)
    write_atomically(directory / CONFIG, (text + "\n").encode())


def _plain(value: Any) -> Any:
    """`value` in types that JSON has; NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there."""
    part = path.with_name(path.name + PART)  # a kill leaves it for the next to replace
    try:
        with open(part, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` when all went well.

    Raises
    ------
    InputError
        If there is something already.
    """
    folder = folder.absolute()
    if folder.is_file():
        raise InputError(f"{folder} is a file: name a folder for the model.")
    check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".aam-") as beside:
        made = Path(beside) / folder.name
        made.mkdir()
        yield made
        os.replace(made, folder)


def check_empty(
    directory: Path, resume_from: Path | None = None, state: Path | None = None
) -> None:
    """Refuse to write a model where something lies already.

    A run that resumes may replace the model that its first part was stopped with; one
    that resumes from its own `state` also what a kill has left of that part's last
    act, since a run whose model is written has no state.
    """
    unfinished = resume_from is not None and (
        (state is not None and state.resolve() == resume_from.resolve())
        or ((directory / CONFIG).is_file() and not is_completed(directory))
    )
    if directory.exists() and any(directory.iterdir()) and not unfinished:
        raise InputError(f"{directory} is not empty; nothing is overwritten.")


def is_completed(directory: Path) -> bool:
    """Whether the run that wrote a model reached its end."""
    return read_config(directory).get("completed", True)


def read_config(directory: Path | str) -> dict[str, Any]:
    """The checked content of `config.json`.

    Raises
    ------
    InputError
        If there is none, or it is not one that this version can read.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise InputError(
            f"{directory} is no encoder or model: it has no {CONFIG}. Name the "
            "directory that pretrain or train wrote."
        )
    config = read_json(path)
    check_config(config, path)
    return config


def check_config(config: Any, path: Path | str) -> None:
    """Raise `InputError` unless `config` holds what is read of it later."""
    check_not_later(config, path)
    try:
        check_content(config)
    except InputError as error:
        raise InputError(
            f"{path} was damaged, or not written by q2-aam. {error}"
        ) from None


def read_history(directory: Path | str) -> pd.DataFrame:
    """`history.tsv`, one row per epoch; see `read_history_file`."""
    return read_history_file(Path(directory) / HISTORY)


def read_history_file(path: Path | str) -> pd.DataFrame:
    """A table of numbers by epoch.

    Raises
    ------
    InputError
        If it is not there, or something else.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))
        _check_rows(rows)
        history = pd.read_csv(io.StringIO(text), sep="\t")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not the history of a run: {error}") from None
    for name in history:
        values = history[name]
        if values.dtype.kind not in "if" and values.notna().any():
            raise InputError(f"{path} has a column {name!r} that is not of numbers.")
    for name in {"epoch", "fold"} & set(history):
        values = history[name].to_numpy(dtype=float)
        if not ((values >= 0) & (values < MOST_EPOCHS) & (values % 1 == 0)).all():
            raise InputError(f"{path} has a column {name!r} that does not count.")
    return history


def _check_rows(rows: list[list[str]]) -> None:
    header = rows[0] if rows else []
    if "epoch" not in header:
        raise ValueError("it has no column 'epoch'.")
    if len(header) > MOST_COLUMNS:
        raise ValueError(f"it has {len(header):,} columns.")
    if unfit := [n for n in header if n != n.strip() or not n or header.count(n) > 1]:
        raise ValueError(f"names of columns are empty or there twice: {some(unfit)}.")
    if len(rows) < 2:
        raise ValueError("it has no rows.")
    for number, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise ValueError(f"line {number} has {len(row)} fields, not {len(header)}.")


def check_entries(directory: Path | str) -> None:
    """Raise `InputError` where a folder holds what no encoder or model has.

    What somebody sent may hold more than it shows: hidden files, or the parts of a
    training state, which an artifact has in one file. Nothing of that is read.
    """
    directory = Path(directory)
    with os.scandir(directory) as entries:
        strange = [
            entry.name
            for entry in entries
            if not (entry.is_file(follow_symlinks=False) and _is_listed(entry.name))
        ]
    if strange:
        raise InputError(
            f"{directory} holds what no encoder or model has: {some(sorted(strange))}. "
            f"Allowed are the files {', '.join(ENTRIES)}. Use the artifact as it was "
            "written; if somebody sent it, ask what these are."
        )


def _is_listed(name: str) -> bool:
    return name in ENTRIES or name.startswith(REMAINS)


def read_shapes(path: Path | str) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, by name; no value is read.

    Raises
    ------
    InputError
        If it is no such file, or was cut off.
    """
    return {name: shape for name, (_, shape) in read_tensors(path).items()}


def read_tensors(path: Path | str) -> dict[str, tuple[str, list[int]]]:
    """The types, as safetensors names them, and shapes of all tensors."""
    try:
        with safe_open(path, framework="np") as weights:
            names = list(weights.keys())
            parts = {name: weights.get_slice(name) for name in names}
            found = {n: (p.get_dtype(), p.get_shape()) for n, p in parts.items()}
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is not a safetensors file, or it was cut off: {error}."
        ) from None
    strange = [name for name, (kind, _) in found.items() if kind not in TYPES]
    if strange:
        raise InputError(
            f"{path} has tensors of types that no model has: {some(strange)}. Use the "
            "file as q2-aam wrote it."
        )
    return found


def check_layout(directory: Path | str, level: str = "max") -> None:
    """Validate a model's directory.

    Parameters
    ----------
    directory : Path
        The directory.
    level : {'min', 'max'}
        `min` reads headers only. `max` also checks that the weights are finite, that
        epochs rise, and that a training state can be read.

    Raises
    ------
    InputError
        That names what is wrong.
    """
    directory = Path(directory)
    config = read_config(directory)
    shapes = read_shapes(directory / WEIGHTS)
    wanted = config["tensors"]
    if shapes != wanted:
        wrong = [n for n in {**shapes, **wanted} if shapes.get(n) != wanted.get(n)]
        raise InputError(
            f"The weights of {directory} do not fit its {CONFIG}: "
            f"{some(sorted(wrong))}."
        )
    state = directory / STATE
    if state.exists():
        check_state(state, level)
    if level == "min":
        return
    if state.exists():
        _check_state_of(config, directory)
    history = read_history(directory)
    folds = history.groupby(history.get("fold", pd.Series(1, history.index)))["epoch"]
    if not folds.apply(lambda e: e.is_monotonic_increasing and e.is_unique).all():
        raise InputError(f"The epochs in {directory / HISTORY} do not rise.")
    check_finite(directory / WEIGHTS)


def _check_state_of(config: dict, directory: Path) -> None:
    state = read_state(directory)
    if state.get("shards"):
        raise InputError(
            f"The training state in {directory} is in parts; beside a model it is one "
            "file. Take it from the folder of the run, by aam … --resume-from."
        )
    command = state["identity"].get("command")
    if command != {"encoder": "pretrain", "model": "train"}[config["kind"]]:
        raise InputError(
            f"The training state in {directory} is one of {command!r}, which writes no "
            f"{config['kind']}."
        )


def check_finite(path: Path) -> None:
    """Raise `InputError` where a weight is not a finite number."""
    with safe_open(path, framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118 (no mapping)
            tensor = weights.get_tensor(name)
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                raise InputError(
                    f"{path} has weights that are not finite: {name!r}. It was "
                    "damaged, or its training failed: use the file as q2-aam wrote it, "
                    "or train anew."
                )
