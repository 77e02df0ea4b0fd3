"""Of damaged inputs, results or the project's own errors come out, and nothing else.

A few cases of each target, always the same; `make fuzz` tries many.
"""

import pytest

from tests.fuzz import artifacts, harness, results, states
from tests.fuzz.harness import Worker, fuzz
from tests.models import SORTS


@pytest.mark.parametrize("place", range(len(SORTS)), ids=SORTS)
def test_damaged_artifacts(models, place, tmp_path):
    target = artifacts.of_models(models)[place]
    found = fuzz(target, tmp_path, seed=1, number=target.number, seconds=30)
    assert not found.failures, "\n".join(found.failures)
    assert found.counts[harness.REFUSED] > 1


def test_damaged_results(tmp_path):
    for target in results.targets(tmp_path):
        found = fuzz(target, tmp_path, seed=1, number=target.number, seconds=30)
        assert not found.failures, "\n".join(found.failures)
        assert found.counts[harness.REFUSED] > 1


def test_damaged_states(tmp_path):
    for target in states.targets(tmp_path):
        found = fuzz(target, tmp_path, seed=1, number=target.number, seconds=30)
        assert not found.failures, "\n".join(found.failures)
        assert found.counts[harness.REFUSED] > 1


def test_a_whole_state_is_read_and_resumed(tmp_path):
    bytes_, content = states.targets(tmp_path)
    for target in (bytes_, content):
        folder = tmp_path / target.name
        target.write((), folder)
        assert not list(harness.not_finite(target.read(folder)))


def test_whole_artifacts(models):
    with Worker(artifacts.use) as worker:
        outcomes = {name: worker(*model) for name, model in models.items()}
    for name, outcome in outcomes.items():
        assert outcome.kind == harness.OK, f"{name}: {outcome.text}"
        assert outcome.value["found"] is not None
