"""Sample metadata, read as QIIME 2 reads it (but without QIIME 2).

The rules are those of https://docs.qiime2.org/2024.10/tutorials/metadata/.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.data.file_kinds import check_kind
from aam_core.data.missing import SCHEMES, is_missing
from aam_core.data.spelled_numbers import SpelledNumbers, is_number
from aam_core.errors import InputError, some

ID_HEADERS_ANY_CASE = (
    "id",
    "sampleid",
    "sample id",
    "sample-id",
    "featureid",
    "feature id",
    "feature-id",
)
ID_HEADERS = ("#SampleID", "#Sample ID", "#OTUID", "#OTU ID", "sample_name")
COLUMN_TYPES = ("categorical", "numeric")


@dataclass
class _Rows:
    """Cells of a metadata file, sorted into what they are."""

    header: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    data: list[list[str]] = field(default_factory=list)


def read_metadata(path: str | Path, *, comments: bool = True) -> pd.DataFrame:
    """Read sample metadata.

    Parameters
    ----------
    path : path
        A metadata file of QIIME 2, or any other table with a header whose first
        column holds the ids: comma-separated if the name ends in `.csv`, otherwise
        tab-separated.
    comments : bool
        Whether rows below the header that start with `#` are comments, as in QIIME 2.
        In results that are read back they are not.

    Returns
    -------
    DataFrame
        Index: the ids (str). A column is numeric (`SpelledNumbers`) if all its values
        are numbers, or are missing, or `#q2:types` says numeric; otherwise object,
        with NaN where a value is missing.

    Raises
    ------
    InputError
        If the file breaks the rules: ids or columns that occur twice or have no
        name, rows longer than the header, a numeric column that holds text.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a metadata file.")
    check_kind(path, "metadata")
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            rows = _sort_rows(reader, path, comments)
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not UTF-8 text; save it as such ('Text (Tab delimited)' or "
            "'CSV UTF-8' in a spreadsheet program)."
        ) from None
    except csv.Error as error:
        raise InputError(f"{path} is not a table of text: {error}.") from None
    index = pd.Index([row[0] for row in rows.data], dtype=object, name=rows.header[0])
    if not index.is_unique:
        raise InputError(
            f"Ids occur more than once in {path}: "
            f"{some(index[index.duplicated()].unique())}."
        )
    columns = zip(*(row[1:] for row in rows.data), strict=True)
    return pd.DataFrame(
        {
            name: _column(name, values, rows, index)
            for name, values in zip(rows.header[1:], columns, strict=True)
        },
        index=index,
    )


def _sort_rows(reader, path: Path, comments: bool) -> _Rows:
    rows = _Rows()
    comment: list[str] = []
    for cells in reader:
        where = f"{path}, line {reader.line_num}"
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if cells[0].startswith("#q2:"):
            _add_directive(rows, cells, where)
        elif _is_comment(cells[0]) and (comments or not rows.header):
            comment = cells
        elif not rows.header:
            rows.header = _header(cells, comment, where)
        else:
            rows.data.append(_data(rows, cells, where))
    if not rows.header:
        raise InputError(f"{path} holds no header: it is empty, or all comments.")
    if not rows.data:
        raise InputError(f"{path} holds no samples, only a header.")
    return rows


def _is_comment(cell: str) -> bool:
    return cell.startswith("#") and not _is_id_header(cell)


def _is_id_header(name: str) -> bool:
    return name in ID_HEADERS or name.lower() in ID_HEADERS_ANY_CASE


def _header(cells: list[str], comment: list[str], where: str) -> list[str]:
    while not cells[-1]:
        cells = cells[:-1]
    if not _is_id_header(cells[0]) and len(comment) > 1:
        raise InputError(
            f"{where}: the header before it starts with {comment[0]!r}, which makes it "
            "a comment. Name the first column sample-id."
        )
    if not all(cells):
        raise InputError(f"{where}: a column has no name in the header.")
    if len(cells) == 1 and re.search("[,;\t]", cells[0]):
        raise InputError(
            f"{where}: the header is a single column, {cells[0]!r}. Separate columns "
            "by tabs, or by commas in a file whose name ends in .csv."
        )
    twice = [name for name, number in Counter(cells).items() if number > 1]
    if twice:
        raise InputError(f"{where}: column names occur more than once: {some(twice)}.")
    return cells


def _add_directive(rows: _Rows, cells: list[str], where: str) -> None:
    if not rows.header or rows.data:
        raise InputError(
            f"{where}: {cells[0]!r} belongs directly below the header, before the "
            "samples."
        )
    kinds: dict[str, tuple[dict, tuple[str, ...], Callable[[str], str]]] = {
        "#q2:types": (rows.types, COLUMN_TYPES, str.lower),
        "#q2:missing": (rows.missing, SCHEMES, str),
    }
    kind = cells[0].split(" ")[0]
    if kind not in kinds:
        raise InputError(f"{where}: {cells[0]!r} is unknown; allowed: {some(kinds)}.")
    target, allowed, clean = kinds[kind]
    cells = _fit(rows, cells, where)
    for name, value in zip(rows.header[1:], cells[1:], strict=True):
        if value and clean(value) not in allowed:
            raise InputError(
                f"{where}: {kind} of column {name!r} is {value!r}; allowed are "
                f"{', '.join(allowed)}."
            )
        if value:
            target[name] = clean(value)


def _data(rows: _Rows, cells: list[str], where: str) -> list[str]:
    if not cells[0]:
        raise InputError(f"{where}: the id is missing.")
    if _is_id_header(cells[0]):
        raise InputError(f"{where}: {cells[0]!r} names the id column; it is no id.")
    return _fit(rows, cells, where)


def _fit(rows: _Rows, cells: list[str], where: str) -> list[str]:
    width = len(rows.header)
    if any(cells[width:]):
        raise InputError(
            f"{where}: the row has {len(cells)} cells, but the header {width}."
        )
    return cells[:width] + [""] * (width - len(cells))


def _column(name: str, values: tuple, rows: _Rows, index: pd.Index) -> pd.Series:
    scheme = rows.missing.get(name, "blank")
    values = [np.nan if is_missing(v, scheme) else v for v in values]
    present = [v for v in values if isinstance(v, str)]
    if scheme == "no-missing" and len(present) < len(values):
        raise InputError(
            f"Column {name!r} has no value in samples "
            f"{some(index[[not isinstance(v, str) for v in values]])}, but its "
            "#q2:missing is no-missing."
        )
    text = dict.fromkeys(v for v in present if not is_number(v))
    kind = rows.types.get(name)
    if kind == "numeric" and text:
        raise InputError(
            f"Column {name!r} is numeric (#q2:types), but holds {some(text)} (samples "
            f"{some(index[[v in text for v in values]])})."
        )
    if kind == "numeric" or (kind is None and not text):
        return pd.Series(SpelledNumbers(values), index=index)
    return pd.Series(values, index=index, dtype=object)
