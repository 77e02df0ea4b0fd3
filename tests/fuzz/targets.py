"""All that is fuzzed, by name.

A module that fuzzes has a function `targets`, which takes a folder for what its cases
are made of (models, tables), makes that once and returns the targets.
"""

import importlib
from pathlib import Path

from tests.fuzz.harness import Target

MODULES = ("artifacts", "inputs", "results", "states")


def targets(work: Path) -> dict[str, Target]:
    """By name; what they mutate is made in `work`."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"tests.fuzz.{name}")
        (work / name).mkdir(parents=True, exist_ok=True)
        found |= {target.name: target for target in module.targets(work / name)}
    return found
