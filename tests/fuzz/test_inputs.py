"""Of damaged inputs only the project's own errors come out; `make fuzz` tries many."""

import pytest

from tests.fuzz import inputs
from tests.fuzz.harness import ALLOWED, OK, fuzz


@pytest.mark.parametrize("name", inputs.KINDS)
def test_damaged_inputs(tmp_path, name):
    made = tmp_path / "made"
    made.mkdir()
    (target,) = (t for t in inputs.targets(made) if t.name == name)
    found = fuzz(target, tmp_path, seed=1, number=target.number, seconds=30)
    assert not found.failures, "\n".join(found.failures)
    assert set(found.counts) <= set(ALLOWED)
    assert inputs.read(name, made / name.replace(".", "-")) is not None


def test_whole_inputs_are_read(tmp_path):
    for target in inputs.targets(tmp_path):
        folder = tmp_path / "whole"
        folder.mkdir(exist_ok=True)
        inputs.write(tmp_path / target.name.replace(".", "-"), "", None, folder)
        assert target.read(folder) is not None
    assert OK in ALLOWED
