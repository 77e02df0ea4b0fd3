"""Distances between samples from a matrix, read row by row where it lies in a file.

Shapes: N samples of the matrix, S samples in a batch.
"""

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from aam_core.data.file_kinds import check_kind
from aam_core.data.hdf5 import check_hdf5
from aam_core.data.spelled_numbers import is_number
from aam_core.errors import InputError, some

CHECKED_AT_ONCE = 2_000  #: most samples whose distances are checked at the start
BLOCK = 256  #: rows read at once by `MatrixDistances.largest`
TOLERANCE = (
    1e-5  #: of asymmetry and of the diagonal, as a fraction of the largest value
)

TEXT_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
HDF5_SUFFIXES = (".h5", ".hdf5")


class MatrixFile(ABC):
    """A square matrix in a file of which single rows are read.

    It can be pickled and used after a fork: each process opens the file itself.

    Parameters
    ----------
    path : str or Path
        The file.

    Attributes
    ----------
    shape : tuple of int
    dtype : np.dtype
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._opened: tuple[int, Any] | None = None  # process id, and the array
        self.shape = self._array().shape
        self.dtype = self._array().dtype

    @abstractmethod
    def _open(self) -> Any:
        """Open the file, without reading the matrix."""

    def _array(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = None  # closed before it is opened again
            self._opened = (os.getpid(), self._open())
        return self._opened[1]

    def __getitem__(self, row: int) -> np.ndarray:
        """Read one row."""
        return self._array()[row]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return self.__dict__ | {"_opened": None}


class NpyMatrix(MatrixFile):
    """A matrix in a `.npy` file, memory-mapped."""

    def _open(self) -> np.ndarray:
        return np.lib.format.open_memmap(self.path, mode="r")


class Hdf5Matrix(MatrixFile):
    """The dataset `matrix` of an HDF5 file."""

    def _open(self) -> h5py.Dataset:
        return h5py.File(self.path, "r")["matrix"]


Matrix = np.ndarray | MatrixFile


def read_distance_matrix(
    path: str | Path, ids: Sequence[str] | None = None
) -> tuple[np.ndarray, Matrix]:
    """Read the distances between samples.

    Parameters
    ----------
    path : str or Path
        One of

        - `.npy`: a square matrix; it is memory-mapped. The ids come from `ids`, or
          from a text file beside it, one a line: `NAME.ids.txt` for `NAME.npy`.
        - `.h5`, `.hdf5`: datasets `order` (ids) and `matrix` (square), as `ssu` of
          unifrac-binaries writes with `--format hdf5`; rows are read as needed.
        - `.csv`, `.tsv`, `.txt` (tabs): a matrix labelled with ids in the first line
          and column.
    ids : sequence of str, optional
        Sample ids of a `.npy` file, in the order of its rows.

    Returns
    -------
    ids : np.ndarray of object, (N,)
    matrix : np.ndarray or MatrixFile, (N, N)
        Its values are checked where they are used, by `MatrixDistances`.

    Raises
    ------
    InputError
        If the file cannot be read, or ids and matrix do not fit each other.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if ids is not None and suffix != ".npy":
        raise InputError(f"{path} has ids of its own; ids are only given for .npy.")
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if suffix in TEXT_SEPARATORS:
        check_kind(path, "a distance matrix as text")
    if suffix == ".npy":
        found, matrix = _read_npy(path, ids)
    elif suffix in HDF5_SUFFIXES:
        found, matrix = _read_hdf5(path)
    elif suffix in TEXT_SEPARATORS:
        found, matrix = _read_text(path, TEXT_SEPARATORS[suffix])
    else:
        allowed = ", ".join([".npy", *HDF5_SUFFIXES, *TEXT_SEPARATORS])
        raise InputError(f"{path}: a distance matrix is a file of {allowed}.")
    try:
        _check_ids(found, matrix.shape)
        if matrix.dtype.kind not in "fiu":
            raise InputError(f"Distances must be numbers, not {matrix.dtype}.")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return found, matrix


def _read_npy(path: Path, ids: Sequence[str] | None) -> tuple[np.ndarray, NpyMatrix]:
    if ids is None:
        beside = path.with_suffix(".ids.txt")
        if not beside.is_file():
            raise InputError(
                f"{path} holds no sample ids: write them to {beside.name} beside it, "
                "one a line in the order of the rows."
            )
        try:
            ids = beside.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(
                f"{beside} could not be read: it is not UTF-8 text; save it as such."
            ) from None
    try:
        matrix = NpyMatrix(path)
    except Exception as error:  # numpy reads the header as Python
        raise InputError(f"{path} could not be read as .npy: {error}") from error
    return np.array([str(i).strip() for i in ids], dtype=object), matrix


def _read_hdf5(path: Path) -> tuple[np.ndarray, Hdf5Matrix]:
    check_hdf5(path, rows=32)
    try:
        with h5py.File(path, "r") as file:
            names = list(file)
            if not {"order", "matrix"} <= set(names):
                raise InputError(
                    f"{path} must hold the datasets order and matrix, as ssu writes "
                    f"them with --format hdf5, but it holds {some(names) or 'none'}."
                )
            ids = np.array(file["order"].asstr()[:], dtype=object)
        matrix = Hdf5Matrix(path)
        if matrix.shape is None:
            raise InputError(f"{path} could not be read as HDF5: its matrix is empty.")
        return ids, matrix
    except InputError:
        raise
    except Exception as error:  # h5py raises whatever: groups, links, no text
        raise InputError(f"{path} could not be read as HDF5: {error}") from error


def _read_text(path: Path, separator: str) -> tuple[np.ndarray, np.ndarray]:
    options = {"sep": separator, "header": None, "keep_default_na": False}
    try:
        first = pd.read_csv(path, nrows=1, dtype=str, **options)
        lines = pd.read_csv(path, skiprows=1, dtype={0: str}, **options)
        ids = lines[0].to_numpy(dtype=object)
        matrix = lines.iloc[:, 1:].to_numpy(dtype=np.float64)
        if np.isnan(matrix).any():
            _refuse_cells(path, separator)
    except pd.errors.EmptyDataError:
        raise InputError(
            f"{path} could not be read as a distance matrix: it is empty, or has only "
            "a header."
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path} could not be read: it is not UTF-8 text; save it as such."
        ) from None
    except ValueError as error:  # the errors of pandas among them
        _refuse_cells(path, separator)
        raise InputError(
            f"{path} could not be read as a matrix labelled with ids, with "
            f"{'commas' if separator == ',' else 'tabs'} between values: {error}"
        ) from error
    header = first.iloc[0].tolist()
    columns = header[-len(ids) :]  # with or without a field above the ids
    if columns != ids.tolist() or len(header) > len(ids) + 1:
        raise InputError(
            f"{path}: the ids of rows and columns must be the same, in the same order. "
            f"Rows: {some(ids)}; columns: {some(columns)}."
        )
    return ids, matrix


def _refuse_cells(path: Path, separator: str) -> None:
    """Name the first row that is too short or long, or the first cell without number.

    pandas has read the file, or failed, without saying where.
    """
    with path.open(newline="", encoding="utf-8-sig") as handle:
        try:
            rows = [row for row in csv.reader(handle, delimiter=separator) if any(row)]
        except csv.Error:
            return
    ids = [row[0] for row in rows[1:]]
    for name, cells in zip(ids, (row[1:] for row in rows[1:]), strict=True):
        if len(cells) != len(ids):
            raise InputError(
                f"{path}: the row of {name!r} has {len(cells):,} distances, but there "
                f"are {len(ids):,} samples."
            )
        for other, cell in zip(ids, cells, strict=True):
            if not is_number(cell.strip()):
                raise InputError(
                    f"{path}: the distance between {name!r} and {other!r} is {cell!r}, "
                    "which is no number."
                )


def _check_ids(ids: Sequence[str], shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(f"A distance matrix must be square, not of shape {shape}.")
    if len(ids) != shape[0]:
        raise InputError(
            f"{len(ids):,} sample ids were given for a distance matrix of "
            f"{shape[0]:,} rows."
        )
    unique, n = np.unique(np.asarray(ids, dtype=object), return_counts=True)
    if len(unique) < len(ids):
        raise InputError(
            f"Sample ids of the distance matrix must be unique, but "
            f"{some(unique[n > 1])} occur more than once."
        )


def missing_from(ids: Collection[str], sample_ids: Sequence[str]) -> list[str]:
    """List the samples that a distance matrix lacks.

    Parameters
    ----------
    ids : collection of str
        Ids of the matrix.
    sample_ids : sequence of str
        Samples of the table.

    Returns
    -------
    list of str
        In the order of `sample_ids`.

    Examples
    --------
    >>> from aam_core.data.distance_matrix import missing_from
    >>> missing_from(["a", "b"], ["c", "b"])
    ['c']
    """
    present = set(ids)
    return [sample for sample in sample_ids if sample not in present]


class MatrixDistances:
    """Distances between samples of a table, from a matrix.

    Parameters
    ----------
    ids : sequence of str, (N,)
        Sample ids of the matrix.
    matrix : np.ndarray or MatrixFile, (N, N)
        Distances; see `read_distance_matrix`.
    sample_ids : sequence of str
        Ids of the table's rows. Other samples of the matrix are not read.

    Attributes
    ----------
    pairwise : bool
        True: the values are between two samples.

    Raises
    ------
    InputError
        If a sample is not in the matrix, or the matrix is not one of distances:
        square, with unique ids, finite, non-negative, symmetric and zero on its
        diagonal. The values of the first samples are checked at once, those of others
        when they are read.
    """

    pairwise = True

    def __init__(
        self, ids: Sequence[str], matrix: Matrix, sample_ids: Sequence[str]
    ) -> None:
        _check_ids(ids, matrix.shape)
        missing = missing_from(ids, sample_ids)
        if missing:
            raise InputError(
                f"{len(missing):,} of {len(sample_ids):,} samples are not in the "
                f"distance matrix: {some(missing)}. Filter them from the table, or "
                "leave them out with missing_samples ignore."
            )
        position = {name: i for i, name in enumerate(ids)}
        self._position = np.array([position[s] for s in sample_ids], dtype=np.int64)
        self._sample_ids = np.array(sample_ids, dtype=object)
        self._matrix = matrix
        self(np.arange(min(len(sample_ids), CHECKED_AT_ONCE)))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Read the distances between samples of the table.

        Parameters
        ----------
        rows : np.ndarray of int, (S,)
            Rows of the table.

        Returns
        -------
        np.ndarray of float32, (S, S)
            Values as they are in the matrix.
        """
        rows = np.asarray(rows)
        block = self._read(rows, rows)
        slack = TOLERANCE * block.max(initial=0.0)
        self._refuse(np.diag(np.diag(block) > slack), rows, rows, "not zero")
        self._refuse(abs(block - block.T) > slack, rows, rows, "not symmetric")
        return block.astype(np.float32)

    def scale(self, rows: np.ndarray) -> float:
        """What divides the distances so that those of `rows` are within [0, 1].

        Parameters
        ----------
        rows : np.ndarray of int
            Rows of the table.

        Returns
        -------
        float
            The largest distance between them; 1 if none exceeds 1.
        """
        return max(1.0, self.largest(rows))

    def largest(self, rows: np.ndarray) -> float:
        """Find the largest distance between samples of the table.

        Parameters
        ----------
        rows : np.ndarray of int
            Rows of the table.

        Returns
        -------
        float
        """
        rows = np.asarray(rows)
        blocks = (
            self._read(rows[i : i + BLOCK], rows) for i in range(0, len(rows), BLOCK)
        )
        return float(max((block.max(initial=0.0) for block in blocks), default=0.0))

    def _read(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        wanted = self._position[columns]
        block = np.empty((len(rows), len(columns)))
        for i, row in enumerate(self._position[rows]):
            block[i] = self._matrix[row][wanted]
        self._refuse(~np.isfinite(block), rows, columns, "not finite")
        self._refuse(block < 0, rows, columns, "negative")
        return block

    def _refuse(
        self, wrong: np.ndarray, rows: np.ndarray, columns: np.ndarray, what: str
    ) -> None:
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            pair = f"{self._sample_ids[rows[i]]!r} and {self._sample_ids[columns[j]]!r}"
            raise InputError(
                f"The distance between {pair} is {what}; distances must be finite, "
                "non-negative, the same in both directions, and zero from a sample to "
                "itself."
            )
