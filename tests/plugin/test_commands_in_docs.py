"""Commands in the documentation: each option is there, and none is missing."""

import re
import shlex
from pathlib import Path

import click
import pytest
from qiime2.sdk import PluginManager
from qiime2.sdk.util import is_metadata_column_type, is_metadata_type

from aam_core.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


#: Commands of `qiime` that are no plugins.
OWN = ("dev", "info", "tools")


def commands():
    """Each command of `qiime` and of `aam`, with its page."""
    for page in PAGES:
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["aam"] or (
                    words[:1] == ["qiime"] and words[1] not in OWN
                ):
                    name = next(w for w in words if w not in ("aam", "qiime"))
                    yield pytest.param(words[0], words[1:], id=f"{page.stem}-{name}")


def of_qiime(plugin, action):
    """All options of an action, and those that have to be given."""
    plugins = PluginManager().plugins
    if plugin not in plugins:
        pytest.skip(f"needs q2-{plugin}")
    signature = plugins[plugin].actions[action.replace("-", "_")].signature
    every, needed = {"--output-dir", "--verbose", "--quiet"}, set()
    for kind, specs in (("i", signature.inputs), ("p", signature.parameters)):
        for name, spec in specs.items():
            word = name.replace("_", "-")
            words = [f"--{kind}-{word}"]
            if is_metadata_type(spec.qiime_type):
                words = [f"--m-{word}-file"]
                if is_metadata_column_type(spec.qiime_type):
                    words.append(f"--m-{word}-column")
            elif spec.qiime_type.name == "Bool":
                words.append(f"--p-no-{word}")
            every |= set(words)
            needed |= set() if spec.has_default() else set(words)
    outputs = {f"--o-{name.replace('_', '-')}" for name in signature.outputs}
    return every | outputs, needed, outputs


@pytest.mark.parametrize(("program", "words"), list(commands()))
def test_options_are_those_of_the_command(program, words):
    given = {word for word in words if word.startswith("--")}
    if program == "qiime":
        every, needed, outputs = of_qiime(*words[:2])
        if "--output-dir" not in given:
            needed |= outputs
    else:
        params = main.commands[words[0]].params
        params = [p for p in params if isinstance(p, click.Option)]
        every = {word for p in params for word in (*p.opts, *p.secondary_opts)}
        needed = {p.opts[0] for p in params if p.required}
    assert given <= every
    if "…" not in words:
        assert needed <= given


def test_there_are_commands():
    assert len(list(commands())) > 15
