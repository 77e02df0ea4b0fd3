"""The file of a training state is what was written, to the bit, or it is refused."""

import json
import zipfile

import numpy as np
import pytest
import torch

from aam_core.errors import InputError
from aam_core.io.training_state import (
    LIST,
    SHARDS,
    STATE,
    SUM_LENGTH,
    check_state,
    read_state,
    sum_of,
    write_state,
)
from aam_core.training.resume import StateKeeper

CONTENT = {
    "schema": 1,
    "identity": {"command": "train"},
    "model": {"weight": torch.arange(300.0)},
}


@pytest.fixture
def written(tmp_path):
    write_state(tmp_path, CONTENT)
    return tmp_path / STATE


def test_it_is_read_as_it_was_written(written):
    state = read_state(written.parent)
    assert torch.equal(state["model"]["weight"], torch.arange(300.0))
    assert zipfile.ZipFile(written).comment.startswith(b"sha256:")
    assert [p.name for p in written.parent.iterdir()] == [STATE]


def test_any_flipped_bit_is_found(written):
    """Also in what a zip file fills up with, in its list, and in the sum itself."""
    whole = written.read_bytes()
    every = np.unique(np.linspace(0, len(whole) - 1, 300).astype(int))
    tail = np.arange(len(whole) - SUM_LENGTH - 24, len(whole))
    for place in np.union1d(every, tail):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        written.write_bytes(changed)
        with pytest.raises(InputError, match=f"{STATE} is") as caught:
            read_state(written.parent)
        assert "start the run anew" in str(caught.value), place


def test_one_that_was_cut_off_is_found_by_its_end(written):
    whole = written.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - SUM_LENGTH, len(whole) - 1):
        written.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut off"):
            check_state(written, "min")


def test_those_of_earlier_versions_are_read(tmp_path):
    """They have no sum of the whole, but of their parts."""
    torch.save(CONTENT, tmp_path / STATE)
    assert read_state(tmp_path)["schema"] == 1
    weights = CONTENT["model"]["weight"].numpy().tobytes()
    changed = bytearray((tmp_path / STATE).read_bytes())
    changed[changed.index(weights) + 5] ^= 1
    (tmp_path / STATE).write_bytes(changed)
    with pytest.raises(InputError, match=r"damaged: its part '.*data/0' was changed"):
        read_state(tmp_path)


def test_one_that_is_compressed_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / STATE, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match="is not a training state"):
        read_state(tmp_path)


@pytest.mark.parametrize("lost", ["identity", "schema"])
def test_one_that_lacks_something_is_refused(tmp_path, lost):
    write_state(tmp_path, {n: v for n, v in CONTENT.items() if n != lost})
    with pytest.raises(InputError, match=r"its 'identity' is missing|cannot be read"):
        read_state(tmp_path)


PROGRESS = {"epoch": 1, "history": [{}], "best": 1.0, "best_epoch": 1}
PROGRESS |= {"best_state": {}}
DECIDED = {"batch_size": 8, "gradient_checkpointing": False}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"decided": 5}, "decided"),
        ({"decided": {"gradient_checkpointing": "x"}}, "decided"),
        ({"decided": {"batch_size": 8}}, "decided"),
        ({"decided": {"batch_size": 0, "gradient_checkpointing": True}}, "decided"),
        ({"decided": {"batch_size": 8, "gradient_checkpointing": 1}}, "decided"),
        ({"decided": {"a": 1, **DECIDED}}, "decided"),
        ({"finished": None}, "finished"),
        ({"finished": [{}]}, "finished"),
        ({"progress": {}}, "progress"),
        ({"progress": PROGRESS | {"epoch": "x"}}, "progress"),
        ({"progress": PROGRESS | {"epoch": 10**9}}, "progress"),
        ({"progress": PROGRESS | {"best": float("nan")}}, "progress"),
        ({"progress": PROGRESS | {"best_epoch": 0}}, "progress"),
        ({"progress": PROGRESS | {"history": []}}, "progress"),
        ({"model": {"weight": torch.tensor([float("nan")])}}, "model"),
        ({"stepper": {"state": {0: {"x": torch.tensor(torch.inf)}}}}, "stepper"),
    ],
)
def test_what_no_run_writes_is_named(tmp_path, change, named):
    """In a state without a sum, as somebody could have changed it."""
    whole = CONTENT | {"progress": PROGRESS, "decided": DECIDED}
    torch.save(whole, tmp_path / STATE)
    assert read_state(tmp_path)["progress"]["epoch"] == 1
    torch.save(CONTENT | change, tmp_path / STATE)
    with pytest.raises(InputError, match=f"its '{named}' is missing, or is not what"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"identity": {}}, {"identity": {"command": "train", "options": 3}}],
)
def test_one_whose_content_is_another_s_is_refused(tmp_path, change):
    write_state(tmp_path, CONTENT | change)
    with pytest.raises(InputError, match="does not fit this run"):
        StateKeeper(None, tmp_path, {"command": "train", "options": {"lr": 1}})


def test_the_files_of_all_processes_have_sums(tmp_path):
    shards = tmp_path / f"{SHARDS}1"
    shards.mkdir()
    (shards / "part").write_bytes(b"weights")
    listed = {"sums": {"part": sum_of(shards / "part")}}
    (shards / LIST).write_text(json.dumps(listed))
    state = CONTENT | {"shards": shards.name, "sum_of_list": sum_of(shards / LIST)}
    write_state(tmp_path, state)
    assert read_state(tmp_path)["shards"] == shards.name
    (shards / "part").write_bytes(b"weighty")
    with pytest.raises(InputError, match="damaged: 'part' is not what was written"):
        read_state(tmp_path)
    (shards / LIST).write_text("{}")
    with pytest.raises(InputError, match=f"damaged: '{LIST}' is not"):
        read_state(tmp_path)
    (shards / LIST).unlink()
    with pytest.raises(InputError, match="lacks parts"):
        read_state(tmp_path)
