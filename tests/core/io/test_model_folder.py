import contextlib
import json
import math
import platform

import pytest
import torch

import aam_core
from aam_core.config import ModelOptions, resolve_architecture
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.load import load_encoder, read_kind
from aam_core.nn.encoder import Encoder

#: Of an encoder, that are read again.
OPTIONS = {
    "rarefy_depth": 100,
    "token_limit": 64,
    "asv_sampling": "abundance",
    "seed": 1,
    "penalty": 1.0,
    "unifrac_metric": "unweighted",
}


@pytest.fixture
def saved(tmp_path):
    arch = resolve_architecture(
        ModelOptions(embedding_dim=8, attention_heads=2, attention_layers=1)
    )
    torch.manual_seed(0)
    encoder = Encoder(arch)
    config = {
        "kind": "encoder",
        "task": None,
        "architecture": vars(arch),
        "options": OPTIONS,
        "distance": {"scale": 1.0},
        "split": {"training": ["a"], "validation": ["b"]},
        "scores": {"val_loss": math.nan},
    }
    history = [{"epoch": 1, "val_loss": 2.0}, {"epoch": 2, "val_loss": 1.0}]
    model_folder.save(tmp_path / "e", config, encoder.state_dict(), history)
    return tmp_path / "e", encoder


def edit(directory, change):
    path = directory / model_folder.CONFIG
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_round_trip(saved):
    directory, encoder = saved
    model_folder.check_layout(directory, "max")
    loaded = load_encoder(directory)
    assert not loaded.training
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    config = model_folder.read_config(directory)
    assert config["scores"] == {"val_loss": None}
    assert config["software"]["q2-aam"]
    assert model_folder.read_history(directory)["val_loss"].tolist() == [2.0, 1.0]
    assert {p.name for p in directory.iterdir()} == {
        "config.json",
        "model.safetensors",
        "history.tsv",
    }


def test_older_encoders_have_no_overlap(tmp_path, saved):
    """Neither in their configuration nor in their weights."""
    sizes = {"embedding_dim": 8, "attention_heads": 2, "attention_layers": 1}
    arch = resolve_architecture(ModelOptions(**sizes))
    config = model_folder.read_config(saved[0])
    config["architecture"] = {
        name: value for name, value in vars(arch).items() if "overlap" not in name
    }
    model_folder.save(
        tmp_path / "old", config, Encoder(arch).state_dict(), [{"epoch": 1}]
    )
    loaded = load_encoder(tmp_path / "old")
    assert loaded.arch == arch
    assert resolve_architecture(ModelOptions(), loaded.arch) == arch


def test_a_cut_weights_file_is_found_at_min_level(saved):
    path = saved[0] / model_folder.WEIGHTS
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"cut off: .*incomplete"):
        model_folder.check_layout(saved[0], "min")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        b"PK\x03\x04" + b"\0" * 50,
        (4).to_bytes(8, "little") + b"[12]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
    ],
)
def test_other_files_are_no_weights(saved, content):
    (saved[0] / model_folder.WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="safetensors"):
        model_folder.check_layout(saved[0], "min")


def test_shapes_must_fit_the_config(saved):
    edit(saved[0], lambda c: c["tensors"].update({"pool.query": [1, 2, 1, 9]}))
    with pytest.raises(InputError, match=r"do not fit.*pool\.query"):
        model_folder.check_layout(saved[0], "min")


def test_width_must_fit_the_weights(saved):
    edit(saved[0], lambda c: c["architecture"].update(embedding_dim=16))
    with pytest.raises(InputError, match=r"not those .*describes: nucleotides"):
        load_encoder(saved[0])


def test_weights_must_be_finite(saved):
    directory, encoder = saved
    state = encoder.state_dict()
    state["pool.query"][0, 0, 0, 0] = math.nan
    config = model_folder.read_config(directory)
    model_folder.save(directory, config, state, [{"epoch": 1}])
    model_folder.check_layout(directory, "min")
    with pytest.raises(InputError, match=r"not finite.*pool\.query"):
        model_folder.check_layout(directory, "max")


@pytest.mark.parametrize("epochs", [[2, 1], [1, 1]])
def test_epochs_must_rise(saved, epochs):
    text = "epoch\tval_loss\n" + "".join(f"{e}\t1.0\n" for e in epochs)
    (saved[0] / model_folder.HISTORY).write_text(text)
    with pytest.raises(InputError, match="do not rise"):
        model_folder.check_layout(saved[0], "max")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=99), "schema 99"),
        (lambda c: c.update(kind="forest"), "kind is 'forest'"),
        (lambda c: c.update(task="regression"), "no encoder has"),
        (lambda c: c.pop("split"), "lacks 'split'"),
    ],
)
def test_config_is_checked(saved, change, message):
    edit(saved[0], change)
    with pytest.raises(InputError, match=message):
        model_folder.read_config(saved[0])


def test_an_encoder_is_no_model(saved):
    with pytest.raises(InputError, match="Name what train wrote"):
        read_kind(saved[0], "model")


def test_no_config_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="is no encoder or model"):
        model_folder.read_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'epoch'"),
        (b"epoch\tval_loss\n", "no rows"),
        (b"lr\tval_loss\n1\t2\n", "no column 'epoch'"),
        (b"epoch\tepoch\n1\t2\n", "there twice: 'epoch'"),
        (b"epoch\t\n1\t2\n", "are empty or there twice"),
        (b"epoch\tval_loss\n1\t2\t3\n", "line 2 has 3 fields, not 2"),
        (b"epoch\tval_loss\n1\tx\n", "column 'val_loss' that is not of numbers"),
        (b"epoch\tval_loss\n1_0\t1\n", "column 'epoch' that is not of numbers"),
        (b"epoch\tval_loss\nnan\t1\n", "'epoch' that does not count"),
        (b"epoch\tval_loss\n-1\t1\n", "'epoch' that does not count"),
        (b"epoch\tval_loss\n1.5\t1\n", "'epoch' that does not count"),
        (b"epoch\tfold\n1\t1e300\n", "'fold' that does not count"),
        (b"epoch\tl\xe9\n1\t1\n", "'utf-8' codec"),
        (b"epoch\n" + b"9" * 200_000, "field larger than field limit"),
        ("\t".join(["epoch", *map(str, range(5000))]).encode(), "5,001 columns"),
    ],
    ids=lambda value: repr(value)[:30].replace("\\", ""),
)
def test_histories_of_something_else_are_refused(tmp_path, content, message):
    (tmp_path / model_folder.HISTORY).write_bytes(content)
    with pytest.raises(InputError) as error:
        model_folder.read_history(tmp_path)
    assert message in str(error.value)


def test_a_history_may_have_gaps(tmp_path):
    text = "epoch\tfold\tval_loss\tr2\n1\t1\tinf\t\n1\t2\t0.5\t\n"
    (tmp_path / model_folder.HISTORY).write_text(text)
    found = model_folder.read_history(tmp_path)
    assert found["fold"].tolist() == [1, 2]
    assert found["val_loss"].tolist() == [math.inf, 0.5]
    assert found["r2"].isna().all()


def test_epochs_count_from_zero(tmp_path):
    """A model without networks has one row, of epoch 0."""
    (tmp_path / model_folder.HISTORY).write_text("epoch\tval_loss\n0\t1\n")
    assert model_folder.read_history(tmp_path)["epoch"].tolist() == [0]


def test_a_folder_is_made_with_all_above_it(saved, tmp_path):
    _, encoder = saved
    folder = tmp_path / "a" / "b"
    for _ in range(2):  # what was there is replaced
        model_folder.save(folder, {"x": 1}, encoder.state_dict(), [{"epoch": 1}])
    assert sorted(p.name for p in folder.iterdir()) == [
        model_folder.CONFIG,
        model_folder.HISTORY,
        model_folder.WEIGHTS,
    ]


def test_numbers_of_numpy_are_plain_ones(saved, tmp_path):
    import numpy as np

    values = {"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2), 4: (np.nan,)}
    model_folder.save(tmp_path / "n", values, saved[1].state_dict(), [{"epoch": 1}])
    found = json.loads((tmp_path / "n" / model_folder.CONFIG).read_text())
    plain = {"a": 0.5, "b": 3, "c": [0, 1], "4": [None]}
    assert {name: found[name] for name in plain} == plain


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    model_folder.write_atomically(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        model_folder.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_versions_of_the_software_are_kept(saved):
    import numpy as np
    import pandas as pd
    import sklearn

    found = model_folder.read_config(saved[0])["software"]
    assert found.pop("python") == platform.python_version()
    assert found.pop("q2-aam") == aam_core.__version__
    modules = {"numpy": np, "pandas": pd, "scikit-learn": sklearn, "torch": torch}
    assert set(found) == set(modules)
    for name, module in modules.items():
        assert module.__version__.startswith(found[name].partition("+")[0]), name


def test_only_an_unfinished_run_may_be_written_over(saved, tmp_path):
    folder, _ = saved
    model_folder.check_empty(tmp_path / "new")
    (tmp_path / "new").mkdir()
    model_folder.check_empty(tmp_path / "new")

    def refused(*given):
        with contextlib.suppress(InputError):
            model_folder.check_empty(folder, *given)
            return False
        return True

    assert refused()
    assert refused(tmp_path / "elsewhere", tmp_path)  # finished: nothing says otherwise
    edit(folder, lambda config: config.update(completed=True))
    assert refused(tmp_path / "elsewhere", tmp_path)
    edit(folder, lambda config: config.update(completed=False))
    assert not refused(tmp_path / "elsewhere", tmp_path)
    assert not refused(tmp_path / "elsewhere")
    assert refused()  # a run that resumes nothing
    with pytest.raises(InputError, match="e is not empty; nothing is overwritten"):
        model_folder.check_empty(folder)
    (folder / model_folder.CONFIG).unlink()  # what a kill has left of the last act
    assert refused(tmp_path / "elsewhere", tmp_path / "state")
    assert not refused(tmp_path / "x" / ".." / "state", tmp_path / "state")


def test_what_is_not_installed_has_no_version(monkeypatch):
    real = model_folder.metadata.version

    def version(name):
        if name == "pandas":
            raise model_folder.metadata.PackageNotFoundError(name)
        return real(name)

    every = set(model_folder.software())
    monkeypatch.setattr(model_folder.metadata, "version", version)
    assert set(model_folder.software()) == every - {"pandas"}


@pytest.mark.parametrize("file", sorted(model_folder.ENTRIES))
def test_files_of_an_artifact_are_listed(tmp_path, file):
    (tmp_path / file).touch()
    (tmp_path / ".nfs0001").touch()  # what network disks leave
    model_folder.check_entries(tmp_path)
    (tmp_path / f"{file}.old").touch()
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError) as error:
        model_folder.check_entries(tmp_path)
    assert f"holds what no encoder or model has: 'a', '{file}.old'. " in str(
        error.value
    )
    assert "Allowed are the files config.json, model.safetensors, " in str(error.value)


@pytest.mark.parametrize("file", model_folder.ENTRIES)
def test_links_are_no_files_of_an_artifact(tmp_path, file):
    (tmp_path / "elsewhere").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"'{file}'"):
        model_folder.check_entries(tmp_path / "a")


@pytest.mark.parametrize(
    ("kind", "command", "message"),
    [
        ("encoder", "pretrain", None),
        ("model", "train", None),
        ("encoder", "train", "is one of 'train', which writes no encoder"),
        ("model", "pretrain", "is one of 'pretrain', which writes no model"),
        ("model", None, "is one of None, which writes no model"),
    ],
)
def test_a_state_beside_a_model_is_of_its_command(
    tmp_path, monkeypatch, kind, command, message
):
    state = {"identity": {} if command is None else {"command": command}}
    monkeypatch.setattr(model_folder, "read_state", lambda folder: state)
    if message is None:
        model_folder._check_state_of({"kind": kind}, tmp_path)
        state["shards"] = "state-shards-1"
        message = "is in parts; beside a model it is one file"
    with pytest.raises(InputError, match=message):
        model_folder._check_state_of({"kind": kind}, tmp_path)
