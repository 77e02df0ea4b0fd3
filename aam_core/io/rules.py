"""Rules of what JSON must hold: types and ranges, checked by content.

A rule takes a value and its place (`target.scaler.shift[0]`), and raises `InputError`
where the value is not what the rule says. `record` and `listing` make rules of rules.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aam_core.errors import InputError, some

Rule = Callable[[Any, str], None]
#: Numbers beyond overflow where they are multiplied.
LARGEST = 1e300
SHOWN = 60  #: characters of a value in a message


def refuse(value: Any, place: str, wanted: str) -> None:
    """Raise the error of a value that is not what it must be."""
    shown = repr(value)
    if len(shown) > SHOWN:
        shown = f"{shown[:SHOWN]}…"
    raise InputError(f"{place or 'It'} is {shown}, but must be {wanted}.")


def number(low: float = -LARGEST, high: float = LARGEST, above: bool = False) -> Rule:
    """A finite number from `low`, or above it, to `high`."""
    wanted = f"a number {_range(low, high, above)}".rstrip()

    def rule(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(value, place, wanted)
        if not low <= value <= high or (above and value == low):
            refuse(value, place, wanted)

    return rule


def whole(low: int = 0, high: float = LARGEST) -> Rule:
    """A whole number from `low` to `high`."""
    wanted = f"a whole number {_range(low, high)}"

    def rule(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            refuse(value, place, wanted)
        if not low <= value <= high:
            refuse(value, place, wanted)

    return rule


def _range(low: float, high: float, above: bool = False) -> str:
    least = "" if low == -LARGEST else f"{'above' if above else 'of at least'} {low:,}"
    most = "" if high == LARGEST else f"at most {high:,}"
    return " and ".join(part for part in (least, most) if part)


def anything(value: Any, place: str) -> None:
    """Whatever JSON holds."""


def text(value: Any, place: str) -> None:
    """Any text."""
    if not isinstance(value, str):
        refuse(value, place, "text")


def flag(value: Any, place: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        refuse(value, place, "true or false")


def nothing(value: Any, place: str) -> None:
    """Null."""
    if value is not None:
        refuse(value, place, "null")


def choice(*allowed: Any) -> Rule:
    """One of some texts or numbers."""

    def rule(value: Any, place: str) -> None:
        if not any(type(value) is type(a) and value == a for a in allowed):
            refuse(value, place, f"one of {some(allowed, len(allowed))}")

    return rule


def maybe(rule_of: Rule) -> Rule:
    """Null, or what the rule says."""

    def rule(value: Any, place: str) -> None:
        if value is not None:
            rule_of(value, place)

    return rule


def listing(
    rule_of: Rule, lengths: Collection[int] | None = None, distinct: bool = False
) -> Rule:
    """A list of what the rule says.

    Parameters
    ----------
    rule_of : Rule
        Of each element.
    lengths : collection of int, optional
        Allowed lengths.
    distinct : bool
        Whether no element, a text or a number, may be there twice.
    """

    def rule(value: Any, place: str) -> None:
        if not isinstance(value, list):
            refuse(value, place, "a list")
        if lengths is not None and len(value) not in lengths:
            refuse(value, place, f"a list of length {_lengths(lengths)}")
        for at, one in enumerate(value):
            rule_of(one, f"{place}[{at}]")
        if distinct and len(set(value)) < len(value):
            twice = [one for one, times in Counter(value).items() if times > 1]
            raise InputError(f"{place} names {some(twice)} more than once.")

    return rule


def _lengths(lengths: Collection[int]) -> str:
    if isinstance(lengths, range):
        return f"{lengths.start} or more"
    return " or ".join(map(str, lengths))


def mapping(rule_of: Rule) -> Rule:
    """An object of any names, each with what the rule says."""

    def rule(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            refuse(value, place, "an object")
        for name, one in value.items():
            rule_of(one, f"{place}.{name}")

    return rule


def record(
    needed: Mapping[str, Rule],
    others: Mapping[str, Rule] | None = None,
    strict: bool = False,
) -> Rule:
    """An object of these names.

    Parameters
    ----------
    needed : mapping
        Rules of what must be there.
    others : mapping, optional
        Rules of what may be there.
    strict : bool
        Whether nothing else may be there.
    """
    rules = dict(needed) | dict(others or {})

    def rule(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            refuse(value, place, "an object")
        if missing := [name for name in needed if name not in value]:
            raise InputError(f"{place or 'It'} lacks {some(missing)}.")
        if strict and (strange := sorted(set(value) - set(rules))):
            raise InputError(
                f"{place or 'It'} has {some(strange)}, which this version of q2-aam "
                "does not know."
            )
        for name, one in value.items():
            if name in rules:
                rules[name](one, f"{place}.{name}".lstrip("."))

    return rule
