"""Options as keyword arguments of Python functions and classes.

Names, types, defaults and descriptions follow the declarations, so that `help()`, tab
completion and scikit-learn's `get_params` know every option.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from aam_core.config.option import Options, OptionSpec, option_specs

T = TypeVar("T", bound=Callable)
MARK = "{options}"  #: in a docstring, where the options are described
WIDTH = 80  #: columns of a description


def options_with(config: type[Options], **fixed: str) -> list[OptionSpec]:
    """The options that can have an effect beside others whose values are fixed.

    Parameters
    ----------
    config : type
        `PretrainConfig`, `TrainConfig`, …
    **fixed
        Values that are not the user's to choose. These options are left out, and with
        them those that need another value, and those that need one of these.

    Examples
    --------
    >>> from aam_core.config import TrainConfig
    >>> from aam_core.config.signature import options_with
    >>> names = [spec.name for spec in options_with(TrainConfig, task="regression")]
    >>> "quantiles" in names, "class_weights" in names, "task" in names
    (True, False, False)
    """
    specs = option_specs(config)
    idle: set[str] = set()
    for _ in specs:  # each turn finds those that need what the one before found
        idle |= {s.name for s in specs if _is_idle(s, fixed, idle)}
    return [s for s in specs if s.name not in idle | set(fixed)]


def _is_idle(spec: OptionSpec, fixed: Mapping[str, str], idle: set[str]) -> bool:
    return any(
        other in idle or (other in fixed and fixed[other] not in values)
        for other, values in spec.only_with.items()
    )


def takes_options(
    config: type[Options],
    *,
    without: Collection[str] = (),
    own: bool = False,
    **fixed: str,
) -> Callable[[T], T]:
    """Give a function with `**options` the options of a config class by name.

    Parameters
    ----------
    config : type
        `PretrainConfig`, `TrainConfig`, …
    without : collection of str
        Options that are left out.
    own : bool
        The function decides what an option is that is not given: its default is None
        instead of the declared one.
    **fixed
        As for `options_with`.

    Returns
    -------
    callable
        Decorator of a function, or of a class for its `__init__`. A name that is no
        option is a `TypeError`, as of any function. Where the docstring says
        ``{options}``, the options are described.
    """
    specs = [s for s in options_with(config, **fixed) if s.name not in without]

    def decorate(thing: T) -> T:
        if inspect.isclass(thing):
            made = thing
            made.__init__ = _taking(thing.__init__, specs, own)
        else:
            made = _taking(thing, specs, own)
        if thing.__doc__:  # there is none with python -OO
            made.__doc__ = _described(thing.__doc__, specs, own)
        return made

    return decorate


def _taking(function: Callable, specs: list[OptionSpec], own: bool) -> Callable:
    """`function`, which refuses other names than those of its signature."""
    signature = inspect.signature(function)
    first = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    signature = signature.replace(
        parameters=first + [_parameter(spec, own) for spec in specs]
    )

    @functools.wraps(function)
    def checked(*given: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*given, **options)
        except TypeError as error:
            raise TypeError(f"{function.__qualname__}() {error}") from None
        bound.apply_defaults()
        return function(*bound.args, **bound.kwargs)

    checked.__signature__ = signature
    return checked


def _parameter(spec: OptionSpec, own: bool) -> inspect.Parameter:
    return inspect.Parameter(
        spec.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if own else spec.default,
        annotation=spec.annotation | None if own else spec.annotation,
    )


def _described(doc: str, specs: list[OptionSpec], own: bool) -> str:
    """A docstring in numpydoc's form, with its options."""
    before, mark, _ = doc.partition(MARK)
    if not mark:
        return doc
    indent = before.rpartition("\n")[2]
    text = "\n".join(_entry(spec, own) for spec in specs)
    return doc.replace(indent + MARK, textwrap.indent(text, indent))


def _entry(spec: OptionSpec, own: bool) -> str:
    kind = f"sequence of {spec.type.__name__}" if spec.many else spec.type.__name__
    if spec.choices:
        kind = "{" + ", ".join(map(repr, spec.choices)) + "}"
    head = f"{spec.name} : {kind}"
    if own or spec.default is None:
        head += ", optional"
    else:
        head += f", default {spec.default!r}"
    text = spec.help
    if spec.default is None and spec.shown_default and not own:
        text += f" Default: {spec.shown_default}."
    lines = textwrap.fill(text, WIDTH, break_on_hyphens=False)
    return head + "\n" + textwrap.indent(lines, "    ")
