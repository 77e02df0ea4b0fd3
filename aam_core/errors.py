"""Errors that a user can cause, and how ids are listed in them."""

from collections.abc import Iterable

SHOWN_IDS = 5


class InputError(ValueError):
    """The input or an option is wrong, and the message says how to mend it."""


class RunError(Exception):
    """A run ended after it had done work; what it saved stays, and the message says so.

    Unlike an `InputError`, it refuses nothing.
    """


class NotFinite(InputError):
    """A loss is no longer a finite number."""


def some(ids: Iterable, shown: int = SHOWN_IDS) -> str:
    """List up to five ids, and say how many more there are.

    Parameters
    ----------
    ids : iterable
        Ids of samples or features, or values.
    shown : int
        How many to name.

    Returns
    -------
    str

    Examples
    --------
    >>> from aam_core.errors import some
    >>> some(["a", "b"])
    "'a', 'b'"
    >>> some(range(8), shown=2)
    '0, 1 and 6 more'
    """
    ids = [str(i) if isinstance(i, str) else i for i in ids]
    more = f" and {len(ids) - shown:,} more" if len(ids) > shown else ""
    return ", ".join(map(repr, ids[:shown])) + more
