"""QIIME 2 accepts exactly what the declared options accept."""

import itertools

import pytest

from aam_core.config import COMMANDS, TrainConfig
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from q2_aam._signature import parameter_descriptions, parameter_type, takes_options
from q2_aam.plugin_setup import plugin

from .conftest import action_of

SPECS = {
    (command, spec.name): spec
    for command, config in COMMANDS.items()
    for spec in option_specs(config)
}
PROBES = {
    int: [-2, -1, 0, 1, 7, 8, 63, 64, 65, 2**32 - 1, 2**32],
    float: [-1e-9, 0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 1e6],
    str: ["none", "regression", "sqrt", "no such thing"],
    bool: [True, False],
}


@pytest.mark.parametrize(("command", "name"), SPECS)
def test_option(command, name):
    spec = SPECS[command, name]
    parameter = plugin.actions[action_of(command)].signature.parameters[name]
    assert parameter.description.startswith(spec.help)
    assert spec.default is not None or spec.shown_default in parameter.description
    if (command, name) == ("train", "metadata_column"):
        assert not parameter.has_default()
    else:
        assert spec.check(parameter.default) == spec.default
    for probe in [*PROBES[spec.type], *(spec.choices or ())]:
        value = [probe] if spec.many else probe
        assert (value in parameter.qiime_type) == accepts(spec, value), value


def accepts(spec, value):
    try:
        spec.check(value)
    except InputError:
        return False
    return True


def test_views_are_plain_python_types():
    parameters = plugin.actions["train"].signature.parameters
    views = {name: parameters[name].view_type for name in ("epochs", "lr", "quantiles")}
    assert views == {"epochs": int, "lr": float, "quantiles": list}
    assert parameters["group_column"].view_type is str
    assert parameters["count_embedding"].view_type is bool


def test_none_is_explained():
    text = parameter_descriptions(TrainConfig)["warmup_steps"]
    assert text.endswith("warm-up (warmup_cosine). Default: a tenth of all steps.")


def test_bounds_of_a_share():
    spec = SPECS["train", "test_size"]
    share = parameter_type(spec)
    assert [v in share for v in (0.0, 0.01, 0.99, 1.0)] == [False, True, True, False]


def test_required_options_come_before_optional_ones():
    @takes_options(TrainConfig, required=("metadata_column",))
    def action(table: int, encoder: str | None = None, **options) -> int:
        """Do nothing."""

    parameters = action.__signature__.parameters
    assert list(itertools.islice(parameters, 3)) == [
        "table",
        "metadata_column",
        "encoder",
    ]
    assert "options" not in parameters
    assert action.__annotations__["return"] is int
