"""JSON that others may have written, read as JSON is defined."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from aam_core.errors import InputError, some

#: Levels of objects and lists in each other; what we write has fewer than ten.
DEEPEST = 40


def read_json(path: Path | str) -> Any:
    """What a JSON file holds.

    Raises
    ------
    InputError
        If it is not JSON in UTF-8, names anything twice in one object, holds NaN or
        Infinity, or goes deeper than `DEEPEST` levels.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        found = json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
        _check_walk(found)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deep to be read.") from None
    except ValueError as error:  # also of UTF-8, and of integers that are too long
        raise InputError(f"{path} is not JSON: {_plain(error)}.") from None
    return found


def _plain(error: ValueError) -> str:
    return str(error).split(";")[0].rstrip(".")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = [name for name, number in counts.items() if number > 1]
        raise ValueError(f"an object names {some(twice)} more than once")
    return found


def _check_walk(value: Any) -> None:
    """Raise unless all texts can be written, and nothing lies too deep."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += [*one, *one.values()]
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str):
                one.encode("utf-8")  # half of a surrogate pair cannot be
        if not below:
            return
        level = below
    raise ValueError(f"it has more than {DEEPEST} levels")
