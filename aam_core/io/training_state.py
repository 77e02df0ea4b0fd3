"""The file with the state of training, from which an interrupted run resumes.

It is what `torch.save` writes, a zip file, with the SHA-256 of all that precedes as the
comment at its end: any bit that changes is found. No code in it is run. Nothing here
imports torch at load.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from aam_core.errors import InputError, some
from aam_core.io.state_content import wrong_in

STATE = "state.pt"  #: of an unfinished run, in a folder of its own or the model's
STATE_SCHEMA = 1
SHARDS = "shards-"  #: and the epoch: a folder with the tensors of all processes
LIST = "parts.json"  #: in that folder: where each part of each tensor lies
PART = ".part"  #: ends the name of a file that is being written
#: Start of the comment, and its length with the digest.
SUM, SUM_LENGTH = b"sha256:", 7 + 64
#: End of a zip file without comment: its signature, and the length in its last bytes.
ZIP_END, ZIP_END_LENGTH = b"PK\x05\x06", 22
AGAIN = (
    "Resume from another copy of it, or start the run anew (without resume_from; in "
    "aam with --overwrite)."
)


class _Summed:
    """A file to write to, which knows the sum of what was written but its end.

    What fails is kept: PyTorch raises an error of its own then.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self.handle = handle
        self.sum = hashlib.sha256()
        self.last = b""
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            self.handle.write(view)
        except OSError as error:
            self.error = error
            raise
        if len(view) < 2:
            view = memoryview(self.last + view)
        else:
            self.sum.update(self.last)
        self.sum.update(view[:-2])
        self.last = bytes(view[-2:])
        return view.nbytes

    def flush(self) -> None:
        self.handle.flush()


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state in a folder, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; the earlier one is still there.
    """
    import torch  # slow

    part = folder / f"{STATE}{PART}"
    try:
        with open(part, "wb") as handle:
            summed = _Summed(handle)
            try:
                torch.save(state, summed)
            except RuntimeError:
                if summed.error is not None:
                    raise summed.error from None
                raise
            _add_sum(handle, summed)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # what is half makes a full disk fuller
        raise
    os.replace(part, folder / STATE)


def _add_sum(handle: BinaryIO, summed: _Summed) -> None:
    """End a zip file with a comment: the sum of all before."""
    length = SUM_LENGTH.to_bytes(2, "little")
    handle.seek(-2, os.SEEK_END)
    summed.sum.update(length)
    handle.write(length + SUM + summed.sum.hexdigest().encode())


def find_state(*folders: Path) -> Path:
    """The file with the training state of an interrupted run.

    Raises
    ------
    InputError
        If none of the folders has one.
    """
    for folder in folders:
        if (folder / STATE).is_file():
            return folder / STATE
    raise InputError(
        f"{folders[-1]} has no training state ({STATE}): either the run reached its "
        "end, or it was stopped before training began. Start it without resume_from."
    )


def check_state(path: Path | str, level: str = "max") -> None:
    """Raise `InputError` unless a file is a whole training state, as torch writes it.

    `min` reads the list of the file's parts, which is its end; `max` all of it: each
    bit is that which was written. Nothing is unpickled. States of versions that wrote
    no sum of the whole have sums of their parts, which are checked.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            whole = any(name.endswith("/data.pkl") for name in parts.namelist())
            # what is compressed could be far larger than the file; torch never does
            whole &= not any(part.compress_type for part in parts.infolist())
            summed = bool(parts.comment)
            damaged = None
            if level == "max" and not summed:
                damaged = parts.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        whole = False
    if not whole or not _ends(path, summed):
        raise InputError(f"{path} is not a training state, or it was cut off. {AGAIN}")
    if damaged is not None:
        raise InputError(
            f"{path} is damaged: its part {damaged!r} was changed. {AGAIN}"
        )
    if level == "max" and summed and not _has_its_sum(path):
        raise InputError(
            f"{path} is damaged: it is not what was written, as its sum (SHA-256) "
            f"shows. {AGAIN}"
        )


def _ends(path: Path | str, summed: bool) -> bool:
    """Whether a zip file ends in a sum, or as one without any."""
    with open(path, "rb") as handle:
        handle.seek(-(SUM_LENGTH if summed else ZIP_END_LENGTH), os.SEEK_END)
        end = handle.read()
    if summed:
        return end.startswith(SUM)
    return end.startswith(ZIP_END) and end.endswith(b"\0\0")


def _has_its_sum(path: Path | str) -> bool:
    """Whether a file has the sum that stands at its end."""
    with open(path, "rb") as handle:
        found = _sum_of_next(handle, os.path.getsize(path) - SUM_LENGTH)
        return handle.read() == SUM + found.encode()


def sum_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as handle:
        return _sum_of_next(handle, os.path.getsize(path))


def _sum_of_next(handle: BinaryIO, left: int) -> str:
    """The SHA-256 of so many bytes from where a file is read."""
    found = hashlib.sha256()
    while left > 0 and (block := handle.read(min(left, 1 << 20))):
        found.update(block)
        left -= len(block)
    return found.hexdigest()


def _check_shards(folder: Path, sum_of_list: str | None) -> None:
    """Raise unless the files of all processes are those that were written.

    States of versions that wrote no sum have none of their files either.
    """
    if sum_of_list is None:
        return
    wrong = [LIST] if sum_of(folder / LIST) != sum_of_list else []
    if not wrong:
        sums = json.loads((folder / LIST).read_text(encoding="utf-8"))["sums"]
        wrong = [n for n, value in sums.items() if sum_of(folder / n) != value]
    if wrong:
        raise InputError(
            f"{folder} is damaged: {some(wrong)} is not what was written, as the sums "
            f"(SHA-256) show. {AGAIN}"
        )


def read_state(folder: Path) -> dict[str, Any]:
    """The state of an interrupted run, checked to be what was written.

    Raises
    ------
    InputError
        If there is none, or the file is not one, or is damaged.
    """
    import torch  # slow

    path = find_state(folder)
    check_state(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        schema = state["schema"]
    except Exception as error:  # torch raises many kinds on a broken file
        raise InputError(
            f"{path} cannot be read as a training state ({type(error).__name__}): it "
            f"may be cut off. {AGAIN}"
        ) from error
    if schema != STATE_SCHEMA:
        raise InputError(
            f"{path} has schema {schema!r}; this version of q2-aam resumes from "
            f"{STATE_SCHEMA}. Use the version that wrote it."
        )
    if wrong := wrong_in(state, summed=_ends(path, True)):
        raise InputError(
            f"{path} is no state of a run: its {wrong!r} is missing, or is not what a "
            f"run writes. {AGAIN}"
        )
    shards = state.get("shards")
    if shards and shards not in [p.name for p in folder.glob(f"{SHARDS}*")]:
        raise InputError(
            f"{path} lacks its parts: the folder {shards} should be beside it "
            "(fsdp_sharded_checkpoint). Copy it too, or start the run anew."
        )
    if shards:
        try:
            _check_shards(folder / shards, state.get("sum_of_list"))
        except OSError as error:
            raise InputError(
                f"{folder / shards} lacks parts: {error}. {AGAIN}"
            ) from None
    return state
