"""No file that somebody may have sent can run code: nothing is unpickled anywhere."""

import ast
import json
import os
import pickle
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest
import torch
from torch import nn

import aam_core
from aam_core.cli.files import read_list
from aam_core.data.distance_matrix import read_distance_matrix
from aam_core.data.metadata import read_metadata
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable
from aam_core.distributed import sharded_state
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.load import load_encoder, load_networks
from aam_core.io.training_state import STATE, read_state
from aam_core.training.resume import StateKeeper
from tests.earlier import SCHEMA_1, unpacked

PACKAGES = [
    folder
    for folder in Path(aam_core.__file__).parents[1].iterdir()
    if folder.name in ("aam_core", "q2_aam")
]
MODULES = sorted(path for folder in PACKAGES for path in folder.rglob("*.py"))
#: Modules that unpickle, and functions of others that do.
UNPICKLERS = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve")
FUNCTIONS = ("read_pickle", "unsafe_load", "eval", "exec", "load_bytes")


def names_of(node):
    """The dotted name that is called."""
    return ast.unparse(node.func)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_module_reads_in_a_way_that_could_run_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = [getattr(node, "module", None) or ""]
            origin += [alias.name for alias in node.names]
            assert not {o.split(".")[0] for o in origin} & set(UNPICKLERS), origin
        if not isinstance(node, ast.Call):
            continue
        called = names_of(node)
        given = {k.arg: k.value for k in node.keywords}
        assert (
            called.split(".")[-1] not in FUNCTIONS
            or "model.eval" in called
            or (called.endswith(".eval") and not node.args)
        ), called
        if called == "torch.load":
            assert ast.literal_eval(given["weights_only"]) is True
        if called in ("np.load", "numpy.load"):
            assert not ast.literal_eval(given.get("allow_pickle", ast.Constant(False)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)


def written_shards(folder):
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters())
    model.layer(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    sharded_state.save_shards(folder, model, optimizer)
    return model, optimizer


@pytest.fixture
def nothing_unpickles(monkeypatch, tmp_path):
    """Fails where anything is unpickled."""
    written_shards(tmp_path / "shards-0")  # PyTorch imports what it needs

    def refuse(*given, **options):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"")


def test_no_reader_unpickles(tmp_path, nothing_unpickles):
    dense = np.arange(6.0).reshape(2, 3)
    square = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))
    table = biom.Table(dense, ["ACGT", "AAAA"], ["s0", "s1", "s2"])
    with h5py.File(tmp_path / "table.biom", "w") as file:
        table.to_hdf5(file, "a test")
    (tmp_path / "json.biom").write_text(table.to_json("a test"))
    for name in ("table.biom", "json.biom"):
        FeatureTable.read(tmp_path / name)
    FeatureTable.read(SCHEMA_1 / "table.tsv")
    read_fasta(SCHEMA_1 / "seqs.fasta")
    read_metadata(SCHEMA_1 / "metadata.tsv")
    Phylogeny.read(SCHEMA_1 / "tree.nwk")
    read_list(SCHEMA_1 / "seqs.fasta")
    np.save(tmp_path / "matrix.npy", square)
    (tmp_path / "matrix.ids.txt").write_text("s0\ns1\ns2\n")
    text = "\ts0\ts1\ts2\n" + "".join(
        f"s{i}\t" + "\t".join(map(str, row)) + "\n" for i, row in enumerate(square)
    )
    (tmp_path / "matrix.tsv").write_text(text)
    with h5py.File(tmp_path / "matrix.h5", "w") as file:
        file["order"] = np.array(["s0", "s1", "s2"], dtype=h5py.string_dtype())
        file["matrix"] = square
    for name in ("matrix.npy", "matrix.tsv", "matrix.h5"):
        read_distance_matrix(tmp_path / name)
    for name, load in (("encoder", load_encoder), ("regression", load_networks)):
        folder = unpacked(name, tmp_path / name)
        model_folder.check_layout(folder)
        load(folder)
    stopped = unpacked("stopped", tmp_path / "stopped")
    model_folder.check_layout(stopped)
    read_state(stopped)
    model, optimizer = written_shards(tmp_path / "shards-1")
    weights, moments = sharded_state.read_shards(tmp_path / "shards-1")
    assert torch.equal(weights["layer.weight"], model.layer.weight)
    other = Model()
    fresh = torch.optim.AdamW(other.parameters())
    groups = optimizer.state_dict()["param_groups"]
    sharded_state.load_shards(tmp_path / "shards-1", other, fresh, groups)
    assert torch.equal(other.layer.weight, model.layer.weight)
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(moments[number][name], value)
            assert torch.equal(fresh.state_dict()["state"][number][name], value)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "harm").exists()


def test_a_pickled_list_of_parts_is_not_read(here):
    """As PyTorch writes one, hidden, beside the parts."""
    folder = here / "shards-1"
    written_shards(folder)
    assert [p.name for p in folder.glob(".*")] == []
    (folder / ".metadata").write_bytes(pickle.dumps(Harmful()))
    sharded_state.read_shards(folder)
    (folder / sharded_state.LIST).unlink()
    with pytest.raises(InputError, match="no readable list of its parts"):
        sharded_state.read_shards(folder)


def test_parts_that_are_pickles_are_not_read(here):
    folder = here / "shards-1"
    written_shards(folder)
    for part in folder.glob("*.distcp"):
        part.write_bytes(pickle.dumps(Harmful()).ljust(part.stat().st_size, b"\0"))
    with pytest.raises(InputError, match=r"shards-1 .*damaged"):
        sharded_state.read_shards(folder)


def test_an_array_of_objects_is_no_distance_matrix(here):
    np.save(here / "matrix.npy", np.array([[Harmful()]]), allow_pickle=True)
    (here / "matrix.ids.txt").write_text("s0\n")
    with pytest.raises(InputError):
        read_distance_matrix(here / "matrix.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part, tensor: part.update(file="../elsewhere"), "elsewhere"),
        (lambda part, tensor: part.update(start=10**6), "cut off"),
        (lambda part, tensor: part.update(length=-5), "no size"),
        (lambda part, tensor: tensor.update(size=[10**6, 10**6]), "larger than"),
        (lambda part, tensor: tensor.update(dtype="object"), "object"),
        (lambda part, tensor: tensor.update(size="wide"), ""),
    ],
)
def test_a_list_that_does_not_fit_its_parts_is_refused(here, change, message):
    (here / "elsewhere").write_bytes(b"\0" * 10**5)
    folder = here / "shards-1"
    written_shards(folder)
    found = json.loads((folder / sharded_state.LIST).read_text())
    tensor = found["tensors"]["model.layer.weight"]
    change(tensor["parts"][0], tensor)
    (folder / sharded_state.LIST).write_text(json.dumps(found))
    with pytest.raises(InputError, match=f"no readable list.*{message}"):
        sharded_state.read_shards(folder)


def test_a_state_with_parts_is_none_of_an_artifact(here):
    folder = unpacked("stopped", here / "stopped")
    state = read_state(folder)
    state["shards"] = "shards-1"
    torch.save(state, folder / STATE)
    with pytest.raises(InputError, match="lacks its parts"):
        model_folder.check_layout(folder)
    (folder / "shards-1").mkdir()
    (folder / "shards-1" / ".metadata").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="is in parts"):
        model_folder.check_layout(folder)
    with pytest.raises(InputError, match="what no encoder or model has: 'shards-1'"):
        model_folder.check_entries(folder)
    keeper = StateKeeper(resume_from=folder)
    with pytest.raises(InputError, match="no readable list of its parts"):
        keeper.restore(*stepped(written_shards(here / "other")))


def stepped(written):
    model, optimizer = written
    stepper = type("Stepper", (), {"optimizer": optimizer})()
    return model, stepper


@pytest.mark.parametrize("name", [".metadata", "notes.txt", "model.safetensors.part"])
def test_a_folder_with_other_files_is_no_artifact(name, tmp_path):
    folder = unpacked("encoder", tmp_path / "encoder")
    model_folder.check_entries(folder)
    (folder / ".nfs0123").write_bytes(b"left by a network disk")
    model_folder.check_entries(folder)
    (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"what no encoder or model has: '{name}'"):
        model_folder.check_entries(folder)


def test_a_link_is_no_file_of_an_artifact(tmp_path):
    folder = unpacked("encoder", tmp_path / "encoder")
    (folder / model_folder.HISTORY).rename(tmp_path / "elsewhere.tsv")
    (folder / model_folder.HISTORY).symlink_to(tmp_path / "elsewhere.tsv")
    with pytest.raises(InputError, match=model_folder.HISTORY):
        model_folder.check_entries(folder)
