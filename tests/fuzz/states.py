"""Damaged training states: read, and resumed from as commands do."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from aam_core.commands.pretrain import pretrain
from aam_core.config import PretrainConfig
from aam_core.io.model_folder import read_history
from aam_core.io.training_state import STATE, read_state, write_state
from tests import generate
from tests.fuzz.harness import Target
from tests.fuzz.mutations import (
    JsonChange,
    apply_bytes,
    apply_changes,
    byte_changes,
    json_changes,
)
from tests.reports import QUIET
from tests.runs import SMALL, shared

OPTIONS = SMALL | {"epochs": 3}


@functools.cache
def small_study() -> generate.Generated:
    """What is trained on."""
    return generate.study(samples=8)


def run(folder: Path, **options: Any) -> None:
    """Pre-train, or resume a run that was stopped."""
    made = small_study()
    given = shared(made) | {"phylogeny": made.phylogeny, **QUIET}
    limits = {"max_hours": options.pop("max_hours", None)}
    pretrain(PretrainConfig(**OPTIONS | limits), folder, **given | options)


def write_bytes(stopped: Path, changes: tuple, folder: Path) -> None:
    """Lay down a stopped run whose state has other bytes."""
    shutil.copytree(stopped, folder, dirs_exist_ok=True)
    raw = (stopped / STATE).read_bytes()
    (folder / STATE).write_bytes(apply_bytes(raw, changes))


def write_content(stopped: Path, changes: tuple[JsonChange, ...], folder: Path) -> None:
    """Lay down a stopped run whose state holds something else, with the right sum."""
    shutil.copytree(stopped, folder, dirs_exist_ok=True)
    state = torch.load(stopped / STATE, weights_only=True)
    write_state(folder, apply_changes(state, changes))


def read(stopped: Path, folder: Path) -> None:
    """Read a state, which must be that of the stopped run, bit for bit."""
    read_state(folder)
    if (folder / STATE).read_bytes() != (stopped / STATE).read_bytes():
        raise AssertionError("a damaged state was read as if it were whole")


def resume(folder: Path) -> Any:
    """Resume from a state, and return the course of the training."""
    run(folder / "resumed", resume_from=folder, state=folder)
    return read_history(folder / "resumed")


def targets(folder: Path) -> list[Target]:
    """A state with other bytes, and one of another content."""
    stopped = folder / "stopped"
    run(stopped, state=stopped, max_hours=1e-9)

    def target(name: str, cases: st.SearchStrategy, write: Callable, use: Callable):
        lay = functools.partial(write, stopped)
        return Target(f"state-{name}", cases, lay, use, number=12)

    return [
        target("bytes", byte_changes(), write_bytes, functools.partial(read, stopped)),
        target("content", json_changes(), write_content, resume),
    ]
