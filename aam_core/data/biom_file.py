"""BIOM files, read by biom-format, with its own words where it cannot."""

import gzip
import json
from pathlib import Path
from typing import IO

import biom
import h5py
import numpy as np

from aam_core.data.file_kinds import GZIP, HDF5
from aam_core.errors import InputError, some


def read_biom(path: Path) -> biom.Table:
    """Read a BIOM file.

    `biom.load_table` tries one format after the other and hides why each failed, so
    the file is given to the reader of the format that it begins like.

    Parameters
    ----------
    path : Path
        HDF5, or JSON, which may be compressed (gzip).

    Returns
    -------
    biom.Table

    Raises
    ------
    InputError
        With the cause that biom-format names.
    """
    with path.open("rb") as handle:
        head = handle.read(len(HDF5))
    kind = "HDF5" if head == HDF5 else "JSON"
    try:
        if head == HDF5:
            with h5py.File(path) as file:
                return _of_hdf5(file, path)
        with _opened(path, head) as handle:
            return biom.Table.from_json(json.load(handle))
    except InputError:
        raise
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a feature table: it is neither BIOM nor text in UTF-8."
        ) from None
    except Exception as error:  # whatever the parsers raise
        raise InputError(
            f"{path} is not a feature table (BIOM, or text with features in rows); as "
            f"{kind} it cannot be read: {_cause(error)}."
        ) from error


def _opened(path: Path, head: bytes) -> IO[str]:
    if head.startswith(GZIP):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _of_hdf5(file: h5py.File, path: Path) -> biom.Table:
    """The table, unless there are ids that biom-format cannot read."""
    for axis in ("sample", "observation"):
        if f"{axis}/ids" not in file:
            raise KeyError(f"{axis}/ids")
        ids = [_text(name) for name in np.asarray(file[f"{axis}/ids"]).ravel()]
        if strange := [name for name in ids if not name.isascii()]:
            raise InputError(
                f"{path} has {axis} ids that are not ASCII, which biom-format cannot "
                f"read in HDF5: {some(strange)}. Rename them, or convert the table to "
                "text: biom convert --to-tsv"
            )
    return biom.Table.from_hdf5(file)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _cause(error: Exception) -> str:
    """What an exception says, or what it is where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"it has no {text}"
    return text[:300].rstrip(".")
