"""Feature tables as text: features in rows, samples in columns, tabs between.

As `biom convert --to-tsv` and spreadsheet programs write them. Nothing is guessed: a
cell that is no number, or a row that is shorter or longer than the header, is an error
that says where it is.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from scipy import sparse

from aam_core.data.spelled_numbers import is_number
from aam_core.errors import InputError, some

#: Names of a last column of text, in any case.
TAXONOMY = ("taxonomy", "taxon", "lineage", "consensus lineage", "consensuslineage")
_GZIP = b"\x1f\x8b"
_OTHERS = b"\x89HDF", b"{", b"PK\x03\x04"  # HDF5, JSON, an artifact


@dataclass(frozen=True, eq=False)
class TextTable:
    """What a file holds."""

    sample_ids: list[str]
    feature_ids: list[str]
    counts: sparse.csr_matrix  #: features × samples, float64


@dataclass(frozen=True)
class _Line:
    """A line that is not blank, and where it stands."""

    where: str
    cells: list[str]


def is_text_table(path: Path) -> bool:
    """Whether a file is a table of text, not BIOM, by how it begins."""
    try:
        with _opened(path) as handle:
            head = handle.read(1024)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return True
    return not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_OTHERS)


def read_text_table(path: Path) -> TextTable:
    """Read a feature table.

    Parameters
    ----------
    path : Path
        UTF-8, also compressed with gzip. Lines of a single cell that start with `#`
        may come before the header; after it each line is a feature. A last column
        named taxonomy is left out if it holds text.

    Returns
    -------
    TextTable

    Raises
    ------
    InputError
        That names line, feature, sample and value, if it is not such a table.
    """
    try:
        lines = _lines(path)
        header = _header(lines, path)
        return _rows(header, lines, path)
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a feature table: it is neither BIOM nor text in UTF-8. "
            "Save it as tab-separated text in UTF-8."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} cannot be unpacked: {error}. Get or compress it anew."
        ) from None


def _opened(path: Path, mode: str = "rb", **settings: str) -> IO:
    with path.open("rb") as handle:
        packed = handle.read(2) == _GZIP
    return gzip.open(path, mode, **settings) if packed else path.open(mode, **settings)


def _lines(path: Path) -> Iterator[_Line]:
    """The lines that are not blank; nothing in a table spans lines."""
    with _opened(path, "rt", encoding="utf-8-sig") as lines:
        for number, text in enumerate(lines, start=1):
            if "\0" in text:
                raise InputError(
                    f"{path} is not a feature table: line {number} is not text."
                )
            if text.strip():
                cells = [cell.strip() for cell in text.split("\t")]
                yield _Line(f"{path}, line {number}", cells)


def _header(lines: Iterator[_Line], path: Path) -> _Line:
    for line in lines:
        cells = line.cells
        while not cells[-1]:
            cells = cells[:-1]
        if len(cells) > 1:
            return _checked_header(_Line(line.where, cells))
        if not cells[0].startswith("#"):
            raise InputError(_why_no_table(cells[0], line.where, path))
    raise InputError(
        f"{path} is not a feature table: it is empty, or has no line with tabs."
    )


def _why_no_table(cell: str, where: str, path: Path) -> str:
    if cell.startswith(">"):
        return f"{path} is not a feature table: it looks like sequences (FASTA)."
    for separator, name in ((",", "commas"), (";", "semicolons"), (" ", "blanks")):
        if separator in cell:
            return (
                f"{path} is not a feature table: {where.rpartition(', ')[2]} has no "
                f"tabs, but {name}. Save it as tab-separated text."
            )
    return (
        f"{path} is not a feature table: {where.rpartition(', ')[2]} is {cell[:40]!r}, "
        "where the header is expected: `#OTU ID` and the sample ids, separated by tabs."
    )


def _checked_header(header: _Line) -> _Line:
    if len(header.cells) > 2 and all(_is_quoted(cell) for cell in header.cells if cell):
        raise InputError(
            f"{header.where}: the names of the header are in quotes, which would be "
            "part of the ids. Write the table without (in R: quote = FALSE)."
        )
    samples = header.cells[1:]
    if not all(samples):
        raise InputError(
            f"{header.where}: column {samples.index('') + 2} has no name in the header."
        )
    if twice := sorted({name for name in samples if samples.count(name) > 1}):
        raise InputError(
            f"{header.where}: sample ids occur more than once: {some(twice)}."
        )
    return header


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _rows(header: _Line, lines: Iterator[_Line], path: Path) -> TextTable:
    samples, width = header.cells[1:], len(header.cells)
    maybe_taxa = samples[-1].lower() in TAXONOMY
    last: list[_Line] = []
    features: dict[str, str] = {}
    columns, data, ends = [], [], [0]
    for line in lines:
        cells = _fit(line, width)
        name = _new_name(line, features)
        if maybe_taxa:
            last.append(_Line(line.where, [name, cells.pop()]))
        values = _numbers(line.where, name, cells[1:], samples)
        here = np.flatnonzero(values)
        columns.append(here)
        data.append(values[here])
        ends.append(ends[-1] + len(here))
    if not features:
        raise InputError(
            f"{path} is not a feature table: there is no row below its header."
        )
    shape = (len(features), len(samples) - maybe_taxa)
    parts = [np.concatenate(part) for part in (data, columns)]
    counts = sparse.csr_matrix((*parts, ends), shape)
    if maybe_taxa and not _are_taxa(last, samples[-1]):
        cells = [(one.where, one.cells[0], one.cells[1:]) for one in last]
        sample = [_numbers(*given, samples[-1:]) for given in cells]
        counts = sparse.hstack([counts, np.stack(sample)], format="csr")
    return TextTable(samples[: counts.shape[1]], list(features), counts)


def _new_name(line: _Line, features: dict[str, str]) -> str:
    """The feature of a row, which is noted beside where it stands."""
    name = line.cells[0]
    if not name:
        raise InputError(f"{line.where}: the feature id is missing.")
    if name in features:
        raise InputError(
            f"{line.where}: feature {name!r} occurs more than once, first in "
            f"{features[name].rpartition(', ')[2]}."
        )
    features[name] = line.where
    return name


def _fit(line: _Line, width: int) -> list[str]:
    """The cells of a row; beyond the header only empty ones are allowed."""
    cells = line.cells
    if len(cells) < width or any(cells[width:]):
        hint = ""
        if len(cells) == width + 1:
            hint = (
                " If the header lacks a name for the column of feature ids (as R "
                "writes it), put one before the others."
            )
        raise InputError(
            f"{line.where}: the row of {cells[0]!r} has {len(cells):,} cells, but the "
            f"header {width:,}.{hint}"
        )
    return cells[:width]


def _numbers(
    where: str, feature: str, cells: Sequence[str], samples: Sequence[str]
) -> np.ndarray:
    """The reads of a row, or an error that names the first cell that is no number."""
    try:
        values = np.array(cells, dtype=np.float64)
        wrong = not np.isfinite(values).all() or "_" in "".join(cells)
    except ValueError:
        wrong = True
    if not wrong:
        return values
    place = next(i for i, cell in enumerate(cells) if not is_number(cell))
    value = cells[place]
    found = f"is {value!r}, which is no number" if value else "is empty"
    hint = ""
    if samples[place].lower() in TAXONOMY:
        hint = " A taxonomy may only stand in the last column."
    raise InputError(
        f"{where}: sample {samples[place]!r} of feature {feature!r} {found}. Write the "
        f"number of reads, 0 where there are none.{hint}"
    )


def _are_taxa(last: Sequence[_Line], name: str) -> bool:
    """Whether the last column holds text, so that it is no sample."""
    numbers = [line for line in last if is_number(line.cells[1])]
    texts = [line for line in last if line.cells[1] and line not in numbers]
    if numbers and texts:
        raise InputError(
            f"{texts[0].where}: the last column, {name!r}, is {texts[0].cells[1]!r} "
            f"here, and a number in {len(numbers):,} other rows: a taxonomy is text in "
            "all of them, a sample a number."
        )
    return not numbers
