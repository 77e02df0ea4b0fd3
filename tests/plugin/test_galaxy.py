"""What q2galaxy makes tools of, it can read: rules whose breach ends in no tool.

q2galaxy is not on PyPI; `make galaxy` tries the tools themselves.
"""

from importlib import metadata

import pytest
from qiime2.sdk import PluginManager
from qiime2.sdk.usage import DiagnosticUsage

from q2_aam.plugin_setup import plugin

LONGEST_LABEL = 140  #: characters of `name: type`, on two lines of a form
FRONT_DOOR = ("classify_samples", "regress_samples")  #: forms that most users see
LONGEST_OF_FRONT_DOOR = 70  #: one line
MOST_FIELDS = 12
ESCAPED = "__"  #: what q2galaxy writes special characters with

every_action = pytest.mark.parametrize(
    "action", plugin.actions.values(), ids=lambda action: action.id
)


def fields(action):
    return action.signature.inputs | action.signature.parameters


def label(name, field):
    return f"{name}: {field.qiime_type}"


def choices(field):
    """Of a parameter; of a `TypeMap` it has several types."""
    parts = [getattr(part, "predicate", None) for part in field.qiime_type]
    found = [p.template.choices for p in parts if p is not None and p.name == "Choices"]
    return [choice for part in found for choice in part]


class Calls(DiagnosticUsage):
    """Notes which actions an example calls, and runs none."""

    def __init__(self):
        super().__init__()
        self.called = []

    def action(self, action, inputs, outputs):
        self.called.append(action.action_id)
        return super().action(action, inputs, outputs)


def test_entry_point_has_the_name_of_the_project():
    """rachis takes the one for the other, and q2galaxy asks for its version."""
    found = metadata.entry_points(group="qiime2.plugins")
    (ours,) = (entry for entry in found if entry.value.startswith("q2_aam."))
    assert ours.name == ours.dist.name == "q2-aam"
    assert PluginManager().plugins["aam"].project_name == "q2-aam"


@every_action
def test_examples_call_one_action_each(action):
    """Each example becomes one test of the tool."""
    for example in action.examples.values():
        use = Calls()
        example(use)
        assert use.called == [action.id]


@every_action
def test_fields(action):
    for name, field in fields(action).items():
        default = field.default if field.has_default() else "required"
        assert default != "", f"{name}: an empty text is taken for none"
        assert not isinstance(default, list | set | tuple), f"{name}: no form shows it"
        assert len(label(name, field)) <= LONGEST_LABEL
        assert not any(ESCAPED in text for text in (name, *choices(field)))


@every_action
def test_help_survives(action):
    """It becomes an attribute of XML: one line of printable characters."""
    for field in fields(action).values():
        assert field.description.isprintable()
        assert field.description == " ".join(field.description.split())
        assert field.description.endswith(".")


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_front_door_is_short(name):
    shown = fields(plugin.actions[name])
    assert len(shown) <= MOST_FIELDS
    longest = max(len(label(*field)) for field in shown.items())
    assert longest <= LONGEST_OF_FRONT_DOOR


@pytest.mark.parametrize("name", FRONT_DOOR)
def test_choices_of_the_front_door_are_described(name):
    """Of a field with choices q2galaxy drops the help; it has the action's."""
    action = plugin.actions[name]
    chosen = {n: choices(field) for n, field in action.signature.parameters.items()}
    for field, values in chosen.items():
        if values:
            assert field in action.description
    assert all(effort in action.description for effort in chosen["effort"])


def test_defaults_of_lists_are_told():
    parameter = plugin.actions["train"].signature.parameters["quantiles"]
    assert parameter.default is None
    assert parameter.description.endswith("Default: 0.1,0.5,0.9.")
