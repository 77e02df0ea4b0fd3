"""How an option is declared, checked and described to the front ends."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from aam_core.errors import InputError

#: In `only_with`: any value but the default.
GIVEN = ("given",)


def option(
    default: Any,
    help: str,
    *,
    when: str,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    shown: Callable[[], str] | None = None,
    only_with: Mapping[str, tuple[Any, ...]] | None = None,
) -> Any:
    """Declare one option as a dataclass field.

    Parameters
    ----------
    default : object
        Default value; the annotation of the field gives the type.
    help : str
        One line for `--help`, the plugin and the documentation.
    when : str
        One sentence for the documentation: when to choose another value.
    choices : tuple of str, optional
        Allowed values.
    low, high : float, optional
        Range of a number (of each number of a list).
    open_low, open_high : bool
        Whether the bound itself is excluded.
    shown : callable, optional
        Returns what to print as the default where it is not `default`.
    only_with : mapping, optional
        Other options, and the values of theirs with which this one has an effect
        (`GIVEN`: any but its default). Elsewhere a value that is not the default is
        refused, because it would be ignored.
    """
    spec = {"help": help, "choices": choices, "low": low, "high": high}
    spec |= {"open_low": open_low, "open_high": open_high, "shown": shown}
    spec |= {"only_with": only_with or {}}
    spec["when"] = when
    return dataclasses.field(default=default, metadata=spec)


@dataclasses.dataclass(frozen=True)
class OptionSpec:
    """What a front end needs to know of one option."""

    name: str
    type: type  #: int, float, str or bool (of one element where `many`)
    many: bool  #: a list of values
    optional: bool  #: None is allowed
    default: Any
    help: str
    when: str  #: when to choose another value than the default
    topic: str
    choices: tuple[str, ...] | None
    low: float | None
    high: float | None
    open_low: bool
    open_high: bool
    shown_default: str
    only_with: Mapping[str, tuple[Any, ...]]

    @property
    def range_text(self) -> str:
        """The allowed values in words, for messages and tables."""
        if self.choices:
            return ", ".join(self.choices)
        if self.type is bool:
            return "true, false"
        low = high = ""
        if self.low is not None:
            low = f"{'>' if self.open_low else '≥'} {self.low:,}"
        if self.high is not None:
            high = f"{'<' if self.open_high else '≤'} {self.high:,}"
        return " and ".join(part for part in (low, high) if part)

    @property
    def annotation(self) -> Any:
        """The type of its values, as Python writes it."""
        if self.many:
            return tuple[self.type, ...]
        return self.type | None if self.optional else self.type

    def check(self, value: Any) -> Any:
        """Return `value` in the option's type, or raise `InputError`.

        None stands for the default of a list: QIIME 2 declares no list as default.
        """
        if self.many and value is None:
            return self.default
        if value is None or (self.many and value in ("", (), [])):
            if self.optional or self.many:
                return () if self.many else None
            raise InputError(f"{self.name} needs a value ({self.range_text}).")
        if self.many:
            values = value.split(",") if isinstance(value, str) else value
            if not isinstance(values, list | tuple):
                raise InputError(f"{self.name} is {value!r}, but must be a list.")
            words = [v.strip() for v in values if isinstance(v, str)]
            if "" in words and not self.choices:
                raise InputError(
                    f"{self.name} is {value!r}: one of its values is empty."
                )
            return tuple(self._check_one(v) for v in values)
        return self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        try:
            value = _convert(value, self.type)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{self.name} is {value!r}, but must be of type {self.type.__name__}."
            ) from None
        if self.choices and value not in self.choices:
            raise InputError(
                f"{self.name} is {value!r}; allowed are {self.range_text}."
            )
        if self.low is not None and (
            value < self.low or (self.open_low and value == self.low)
        ):
            raise InputError(f"{self.name} is {value}, but must be {self.range_text}.")
        if self.high is not None and (
            value > self.high or (self.open_high and value == self.high)
        ):
            raise InputError(f"{self.name} is {value}, but must be {self.range_text}.")
        return value


def _convert(value: Any, to: type) -> Any:
    if to is bool:
        if isinstance(value, str) or value not in (0, 1):
            raise TypeError
        return bool(value)
    if to is str:
        if not isinstance(value, str):
            raise TypeError
        return value.strip()
    if isinstance(value, bool):
        raise TypeError
    number = to(value)
    if isinstance(value, float) and number != value:
        raise ValueError
    if not math.isfinite(number):
        raise ValueError
    return number


class Options:
    """Base of all groups of options: checks each field against its declaration."""

    topic: typing.ClassVar[str] = ""

    def __post_init__(self) -> None:
        for spec in option_specs(type(self)):
            object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
        self._refuse_idle()
        for group in type(self).__mro__:
            if "_check" in vars(group):
                vars(group)["_check"](self)

    def _refuse_idle(self) -> None:
        """Refuse an option that has no effect with the others."""
        specs = {spec.name: spec for spec in option_specs(type(self))}
        for name, spec in specs.items():
            if getattr(self, name) == spec.default:
                continue
            for other, values in spec.only_with.items():
                if other in specs:
                    self._refuse_beside(name, specs[other], values)

    def _refuse_beside(
        self, name: str, other: "OptionSpec", values: tuple[Any, ...]
    ) -> None:
        found = getattr(self, other.name)
        if values == GIVEN:
            if found == other.default:
                raise InputError(
                    f"{name} has no effect without {other.name}: give {other.name} "
                    f"too, or leave {name} out."
                )
        elif found not in values:
            allowed = " and ".join(shown(v) for v in values if v is not None)
            raise InputError(
                f"{name} has no effect with {other.name} {shown(found)}, but with "
                f"{allowed}: leave {name} out, or choose {other.name} {allowed}."
            )

    def to_dict(self) -> dict[str, Any]:
        """All options by name, as plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def option_specs(config: type) -> list[OptionSpec]:
    """The options of a config class, in the order of their declaration.

    Parameters
    ----------
    config : type
        `PretrainConfig`, `TrainConfig`, … or one group of options.

    Returns
    -------
    list of OptionSpec
    """
    topics = {
        name: group.topic
        for group in reversed(config.__mro__)
        for name in vars(group).get("__annotations__", {})
    }
    hints = typing.get_type_hints(config)
    specs = []
    for field in dataclasses.fields(config):
        kind, many, optional = _kind(hints[field.name])
        meta = dict(field.metadata)
        shown_as = meta.pop("shown")
        specs.append(
            OptionSpec(
                name=field.name,
                type=kind,
                many=many,
                optional=optional,
                default=field.default,
                topic=topics[field.name],
                shown_default=shown_as() if shown_as else shown(field.default),
                **meta,
            )
        )
    return specs


def _kind(hint: Any) -> tuple[type, bool, bool]:
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return args[0], True, False
    if isinstance(hint, types.UnionType):
        return next(a for a in args if a is not type(None)), False, True
    return hint, False, False


def shown(default: Any) -> str:
    """A default as help texts print it."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
