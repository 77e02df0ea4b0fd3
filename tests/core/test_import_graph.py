"""Each folder of the engine imports from those above it only, and nothing in a circle.

The order is that of CONTRIBUTING.md. Imports within functions count too.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aam_core

ROOT = Path(aam_core.__file__).parent
#: From the top down: what all may use, first.
ORDER = (
    ("errors", "reporting", "metrics", "bootstrap"),
    ("config",),
    ("data",),
    ("runtime",),
    ("nn",),
    ("io",),
    ("distributed",),
    ("inference",),
    ("ensemble",),
    ("training",),
    ("commands",),
    ("report",),
    ("cli", "diagnose", "api"),
    ("__main__",),
)
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names}


def modules(root):
    """The modules below a folder, by dotted name below it."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:  # the package itself offers what is below, by name
            found[name] = path
    return found


def imports(path, known):
    """The modules of `known` that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            name = name.removeprefix("aam_core.")
            while name and name not in known:
                name = name.rpartition(".")[0]
            found.add(name)
    return found - {""}


def graph(root):
    known = modules(root)
    return {name: imports(path, known) - {name} for name, path in known.items()}


def wrong(edges):
    """Imports against the order."""
    return sorted(
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in others
        if FLOOR[other.split(".")[0]] > FLOOR[name.split(".")[0]]
    )


def test_folders_import_from_above_only():
    assert wrong(graph(ROOT)) == []


def test_nothing_imports_in_a_circle():
    list(TopologicalSorter(graph(ROOT)).static_order())


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("from aam_core.training.loop import fit", "nn/losses.py"),
        ("def f():\n    from aam_core.commands import train", "data/table.py"),
        ("import aam_core.cli.main", "runtime/device.py"),
    ],
)
def test_an_import_against_the_order_is_found(line, place, tmp_path):
    for name, path in modules(ROOT).items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
        assert name
    changed = tmp_path / place
    changed.write_text(changed.read_text() + "\n\n" + line + "\n")
    assert len(wrong(graph(tmp_path))) == 1


def test_a_circle_is_found(tmp_path):
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "one.py").write_text("from aam_core.nn.two import x")
    (tmp_path / "nn" / "two.py").write_text("from aam_core.nn import one")
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph(tmp_path)).static_order())


def test_the_map_names_every_module_in_this_order():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text().partition("## Map")[2]
    folder, shown = "", []
    for line in text.splitlines():
        if row := re.match(r"- `(\w+)/`: ", line):
            folder = "" if row[1] == "aam_core" else f"{row[1]}."
        elif row := re.match(r"  - `(\w+)\.py`: ", line):
            shown.append(f"{folder}{row[1]}")
    packages = {name for name, path in modules(ROOT).items() if path.stem == "__init__"}
    assert sorted(shown) == sorted(set(modules(ROOT)) - packages)
    floors = [FLOOR[name.split(".")[0]] for name in shown]
    assert floors == sorted(floors)
