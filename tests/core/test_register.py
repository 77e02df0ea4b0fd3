"""Every option has a test of what it does, and says when to change it."""

import ast
import textwrap
from pathlib import Path

import pytest

from aam_core.config import COMMANDS
from aam_core.config.option import option_specs

TESTS = Path(__file__).parents[1]
OPTIONS = {
    (command, spec.name): spec
    for command, config in COMMANDS.items()
    for spec in option_specs(config)
}


def marks_of(text):
    """The options that `@pytest.mark.behaviour` names on tests, as (command, name).

    Without `command` a mark holds for all commands that have the option.
    """
    tree = ast.parse(text)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and is_mark(n.func)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for call in node.decorator_list:
                if call in calls:
                    calls.remove(call)
                    found |= named_by(call)
    assert not calls, f"line {calls[0].lineno}: a behaviour mark that is on no test"
    return found


def is_mark(function):
    return ast.unparse(function) == "pytest.mark.behaviour"


def named_by(call):
    names = [ast.literal_eval(argument) for argument in call.args]
    command = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert set(command) <= {"command"}, ast.unparse(call)
    meant = {
        (c, n) for c, n in OPTIONS if n in names and c == command.get("command", c)
    }
    unknown = set(names) - {name for _, name in meant}
    assert names, f"{ast.unparse(call)} names no option"
    assert not unknown, f"{ast.unparse(call)}: no option {sorted(unknown)}"
    return meant


def test_every_option_has_a_test_of_its_behaviour():
    marked = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        marked |= marks_of(path.read_text())
    missing = [f"{command} {name}" for command, name in set(OPTIONS) - marked]
    assert not missing, (
        "write a test of what these options change, and mark it with "
        f"@pytest.mark.behaviour: {', '.join(sorted(missing))}"
    )


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ('@mark("learning_rate")', "no option"),
        ('@mark("n_jobs", command="train")', "no option"),
        ('@mark("lr", commands="train")', "commands"),
        ("@mark()", "names no option"),
        ('x = mark("lr")', "on no test"),
        ('@mark("lr")\ndef helper():\n    pass', "on no test"),
    ],
)
def test_marks_that_mean_nothing_are_found(mark, message):
    text = f"{mark}\ndef test_it():\n    pass\n".replace("mark(", MARK)
    with pytest.raises(AssertionError, match=message):
        marks_of(text)


MARK = "pytest.mark.behaviour("


def test_what_a_mark_covers():
    text = textwrap.dedent("""
        @mark("seed")
        @mark("task", command="rf-baseline")
        def test_it():
            pass
    """).replace("mark(", MARK)
    commands = {"pretrain", "train", "rf-baseline", "classify", "regress"}
    commands |= {"explain", "cross-validate"}
    assert marks_of(text) == {(c, "seed") for c in commands} | {("rf-baseline", "task")}


@pytest.mark.parametrize(("command", "name"), OPTIONS)
def test_every_option_says_when(command, name):
    spec = OPTIONS[command, name]
    assert spec.when == " ".join(spec.when.split())  # one line
    assert spec.when.endswith(".")
    assert spec.when != spec.help
