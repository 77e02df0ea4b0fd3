"""QIIME 2 parameters from the options that `aam_core.config` declares.

Nothing here knows an option by name: types, ranges, defaults and descriptions
follow the declarations, so that the plugin and the `aam` command cannot differ.
"""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from qiime2.plugin import Bool, Choices, Float, Int, List, Range, Str

from aam_core.config.option import Options, OptionSpec, option_specs

_TYPES = {bool: Bool, int: Int, float: Float, str: Str}


def parameter_type(spec: OptionSpec) -> Any:
    """The QIIME 2 type of an option, with its range or its choices."""
    expression = _TYPES[spec.type]
    if spec.choices:
        expression = expression % Choices(*spec.choices)
    elif spec.low is not None or spec.high is not None:
        expression = expression % Range(
            spec.low,
            spec.high,
            inclusive_start=not spec.open_low,
            inclusive_end=spec.high is not None and not spec.open_high,
        )
    return List[expression] if spec.many else expression


def parameter_types(config: type[Options]) -> dict[str, Any]:
    """The QIIME 2 types of all options of a config class, by name."""
    return {spec.name: parameter_type(spec) for spec in option_specs(config)}


def parameter_descriptions(config: type[Options]) -> dict[str, str]:
    """What `--help` says of each option; None as default is put into words."""
    return {
        spec.name: f"{spec.help} Default: {spec.shown_default}."
        if _default(spec) is None and spec.shown_default
        else spec.help
        for spec in option_specs(config)
    }


def takes_options(config: type[Options], required: Collection[str] = ()) -> Callable:
    """Give a function with `**options` the options of a config class by name.

    Parameters
    ----------
    config : type
        `PretrainConfig`, `TrainConfig`, …
    required : collection of str
        Options that the user has to give.

    Returns
    -------
    callable
        Decorator. It returns the function itself, not a wrapper, with a
        `__signature__` and `__annotations__` from which QIIME 2 reads parameters,
        defaults and views; the source that QIIME 2 shows stays the function's own.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        options = [_parameter(s, s.name in required) for s in option_specs(config)]
        parameters = sorted(
            own + options, key=lambda p: p.default is not inspect.Parameter.empty
        )
        function.__signature__ = signature.replace(parameters=parameters)
        function.__annotations__ = {p.name: p.annotation for p in parameters} | {
            "return": signature.return_annotation
        }
        return function

    return decorate


def _default(spec: OptionSpec) -> Any:
    """The default in QIIME 2: None for a list, which no form could show."""
    return None if spec.many else spec.default


def _parameter(spec: OptionSpec, required: bool) -> inspect.Parameter:
    return inspect.Parameter(
        spec.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=inspect.Parameter.empty if required else _default(spec),
        annotation=list if spec.many else spec.type,
    )
