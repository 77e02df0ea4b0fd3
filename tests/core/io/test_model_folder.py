import json
import math

import pytest
import torch

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
    ids=lambda value: repr(value)[:30],
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
