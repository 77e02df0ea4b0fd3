"""Strategies of damage: to values of JSON, to texts, to bytes.

A case is a small description, so that it can be shown and repeated; `apply_…` makes
the damaged content of it.
"""

import copy
import json
import struct
from typing import Any, NamedTuple

from hypothesis import strategies as st

#: What a value of JSON is replaced by; names in capitals are made by `_value`.
VALUES = [
    "DELETED", "DOUBLED", None, True, False, "", "x", -1, 0, 1, 3, 10**9, 10**30,
    -(10**9), 1.5, -0.5, 1e308, "NAN", "INF", [], {}, [1], ["a"], [[]], [None],
    {"a": 1}, "../../x", "\u202e\u0000e\u0301", "\ud800", "LONG", "DEEP", "DIGITS",
]  # fmt: skip


class JsonChange(NamedTuple):
    """One value of JSON, found by turns at each level, that becomes another."""

    turns: tuple[int, ...]
    value: Any


class ByteChange(NamedTuple):
    """Bytes that are changed, cut out, cut off, or put in."""

    how: str
    at: float  #: fraction of the length
    size: int
    byte: int


def json_changes() -> st.SearchStrategy:
    """Of one to three values, mostly of one."""
    turns = st.lists(st.integers(0, 10_000), min_size=1, max_size=7).map(tuple)
    one = st.builds(JsonChange, turns, st.sampled_from(VALUES))
    return st.lists(one, min_size=1, max_size=3).map(tuple)


def byte_changes() -> st.SearchStrategy:
    """Of one to four places."""
    one = st.builds(
        ByteChange,
        st.sampled_from(("flip", "set", "delete", "cut", "insert", "repeat")),
        st.floats(0, 1),
        st.integers(1, 200),
        st.integers(0, 255),
    )
    return st.lists(one, min_size=1, max_size=4).map(tuple)


class CellChange(NamedTuple):
    """One cell of a table that becomes another text."""

    row: int
    column: int
    text: str


#: What a cell is replaced by.
CELLS = [
    "", " ", "NA", "nan", "inf", "-inf", "1e400", "-1", "0", "1", "1.5", "1_0", "1,5",
    "0x1F", "９", "x", "id", '"', "'", "#", "\t", "\n", "\r", "\0", "9" * 5000,
    "a\tb", "é", "\ufeff", "all", "true", "A" * 200_000,
]  # fmt: skip


def cell_changes() -> st.SearchStrategy:
    """Of one to three cells."""
    one = st.builds(
        CellChange,
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        st.sampled_from(CELLS),
    )
    return st.lists(one, min_size=1, max_size=3).map(tuple)


def apply_cells(raw: bytes, changes: tuple[CellChange, ...]) -> bytes:
    """A TSV with these changes; the header is a row like others."""
    rows = [line.split("\t") for line in raw.decode().splitlines()]
    for row, column, text in changes:
        cells = rows[row % len(rows)]
        cells[column % len(cells)] = text
    return "\n".join(["\t".join(cells) for cells in rows] + [""]).encode()


def apply_json(raw: bytes, changes: tuple[JsonChange, ...]) -> bytes:
    """JSON with these changes; NaN and Infinity as Python writes them."""
    root = apply_changes(json.loads(raw), changes)
    text = json.dumps(root).replace(f'"{DIGITS}"', "9" * 5000)
    return text.encode("utf-8", "surrogatepass")


def apply_changes(root: Any, changes: tuple[JsonChange, ...]) -> Any:
    """Dictionaries and lists with these changes, made in place."""
    for change in changes:
        _change(root, change)
    return root


DIGITS = "so many digits"


def _value(value: Any) -> Any:
    if value == "LONG":
        return "A" * 1_000_000
    if value == "DEEP":
        found: Any = 1
        for _ in range(400):
            found = [found]
        return found
    made = {"NAN": float("nan"), "INF": float("inf"), "DIGITS": DIGITS}
    return made[value] if value in tuple(made) else copy.deepcopy(value)


def _change(at: Any, change: JsonChange) -> None:
    place = None
    for turn in change.turns:
        if not isinstance(at, dict | list) or not at:
            break
        keys = list(at) if isinstance(at, dict) else range(len(at))
        place = (at, keys[turn % len(keys)])
        at = at[place[1]]
    if place is None:
        return
    parent, key = place
    if change.value == "DELETED":
        del parent[key]
    elif change.value == "DOUBLED" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = _value(change.value)


def apply_bytes(raw: bytes, changes: tuple[ByteChange, ...]) -> bytes:
    """The bytes with these changes."""
    found = bytearray(raw)
    for how, fraction, size, byte in changes:
        at = min(int(fraction * len(found)), max(len(found) - 1, 0))
        if how == "cut":
            del found[at:]
        elif how == "delete":
            del found[at : at + size]
        elif how == "insert":
            found[at:at] = bytes([byte]) * size
        elif how == "repeat":
            found[at:at] = found[at : at + size]
        elif found:
            found[at] = found[at] ^ (1 << byte % 8) if how == "flip" else byte
    return bytes(found)


def split_tensors(raw: bytes) -> tuple[bytes, bytes]:
    """Header and numbers of a safetensors file."""
    (length,) = struct.unpack("<Q", raw[:8])
    return raw[8 : 8 + length], raw[8 + length :]


def join_tensors(header: bytes, numbers: bytes) -> bytes:
    """The reverse."""
    return struct.pack("<Q", len(header)) + header + numbers
