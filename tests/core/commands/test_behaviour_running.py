"""What options change in how a whole run computes, by independent expectations."""

import os

import numpy as np
import pytest
import torch

from aam_core.config import PredictConfig, PretrainConfig, TrainConfig
from aam_core.data.batches import BatchMaker
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.nn import attention, compilation, transformer
from aam_core.nn.dropout import DropoutAdd
from aam_core.nn.encoder import Encoder, NucleotideEncoder
from aam_core.nn.transformer import Block
from aam_core.runtime.device import choose_device
from tests.runs import go, layers, shapes

COMMANDS = ["pretrain", "train", "predict"]
trained = pytest.mark.parametrize("command", ["pretrain", "train"])
computed = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def start(made, saved_model, tmp_path):
    """Runs a command; returns where the model is."""

    def run(command, name="m", **options):
        path = saved_model if command == "predict" else tmp_path / name
        go(command, made, path, **options)
        return path

    return run


def watch(monkeypatch, kind, name, note):
    """Keep what `note` says of each call of a method, given its arguments."""
    seen = []
    plain = getattr(kind, name)

    def watched(self, *args, **options):
        seen.append(note(self, *args))
        return plain(self, *args, **options)

    monkeypatch.setattr(kind, name, watched)
    return seen


# --- device and memory ---


@pytest.mark.behaviour("batch_size")
@computed
def test_samples_of_a_batch(monkeypatch, start, command):
    sizes = watch(
        monkeypatch,
        Encoder,
        "forward",
        lambda self, batch, *known: (self.training, len(batch.rows)),
    )
    start(command, batch_size=6)
    found = [size for training, size in sizes if training == (command != "predict")]
    # 25 of the 32 are for training; a last one alone joins those before it
    expected = [6, 6, 6, 6, 6, 2] if command == "predict" else [6, 6, 6, 7]
    assert found == expected


@pytest.mark.behaviour("asv_chunk_size")
@computed
def test_asvs_encoded_at_a_time(monkeypatch, start, command):
    sizes = watch(
        monkeypatch,
        NucleotideEncoder,
        "forward",
        lambda self, tokens, *more: (self.training, len(tokens)),
    )
    start(command, asv_chunk_size=7)
    for training in {mode for mode, _ in sizes}:
        assert max(size for mode, size in sizes if mode == training) == 7
    sizes.clear()
    start(command, name="whole", asv_chunk_size=0)
    assert max(size for _, size in sizes) > 30  # nearly all of the 40
    if command != "predict":
        assert sum(training for training, _ in sizes) == 3  # one per batch


@pytest.mark.behaviour("mixed_precision")
@computed
def test_products_in_bf16(monkeypatch, start, command):
    def precision(module, *_):
        one = torch.ones(1, 1)
        return module.training, torch.is_inference_mode_enabled(), (one @ one).dtype

    of_asvs = watch(monkeypatch, NucleotideEncoder, "forward", precision)
    of_samples = watch(monkeypatch, Encoder, "encode_samples", precision)
    training, inference = (True, False), (False, True)
    phases = {inference} if command == "predict" else {training, inference}
    start(command, name="plain")
    for seen in (of_asvs, of_samples):
        assert {dtype for *_, dtype in seen} == {torch.float32}
        seen.clear()
    start(command, mixed_precision="bf16")
    for seen in (of_asvs, of_samples):
        # the start of the weights is found in neither phase, and in float32
        found = {mode for mode in seen if any(mode[:2])}
        assert found == {(*phase, torch.bfloat16) for phase in phases}


@pytest.mark.behaviour("attn_implementation")
@computed
def test_the_kernel_of_each_attention(monkeypatch, start, command):
    calls = []
    plain = attention.sdpa_kernel
    monkeypatch.setattr(
        attention, "sdpa_kernel", lambda kinds: calls.append(kinds) or plain(kinds)
    )
    start(command, name="plain")
    assert calls == []
    start(command, attn_implementation="math")
    assert len(calls) > 3
    assert all(kinds == [attention.BACKENDS["math"]] for kinds in calls)


@pytest.mark.behaviour("num_workers")
@computed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers would not inherit this")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_other_processes_make_the_batches(monkeypatch, start, tmp_path, command):
    """The samples of training and of validation, by two workers or more."""
    pids = tmp_path / "pids"
    pids.mkdir()

    def note(self, key):
        with (pids / str(os.getpid())).open("a") as file:
            print(*key[1], file=file)

    watch(monkeypatch, BatchMaker, "__getitem__", note)
    start(command, name="alone")
    assert [p.name for p in pids.iterdir()] == [str(os.getpid())]
    start(command, num_workers=2)
    others = [
        p.read_text().split() for p in pids.iterdir() if p.name != str(os.getpid())
    ]
    assert len(others) >= 2
    assert {int(row) for rows in others for row in rows} == set(range(32))


@pytest.mark.behaviour("memory_profile")
@computed
def test_peaks_are_told(made, saved_model, tmp_path, command):
    lines = []
    path = saved_model if command == "predict" else tmp_path / "m"
    go(command, made, path, {"report": lines.append}, memory_profile=True)
    told = [line for line in lines if line.startswith("Peak memory")]
    assert len(told) == 1
    phase = "prediction" if command == "predict" else "validation"
    assert told[0].rstrip(".").endswith(phase)
    if command != "predict":
        assert model_folder.read_config(path)["memory"]["peak_bytes"]["training"] > 1e7


@pytest.mark.behaviour("gradient_checkpointing")
@trained
def test_layers_are_computed_again(monkeypatch, start, command):
    calls = []
    plain = transformer.checkpoint
    monkeypatch.setattr(
        transformer, "checkpoint", lambda *a, **o: calls.append(a[0]) or plain(*a, **o)
    )
    start(command, name="plain")
    assert calls == []
    start(command, gradient_checkpointing=True)
    assert len(set(calls)) == 3 + (command == "train")  # each layer there is


@pytest.mark.behaviour("compile_model")
@trained
def test_every_layer_is_compiled(monkeypatch, start, command):
    monkeypatch.setattr(compilation, "compiler", lambda: "g++")
    seen = []
    monkeypatch.setattr(Block, "compile", lambda self, **options: seen.append(self))
    start(command, name="plain")
    assert seen == []
    start(command, compile_model=True)
    assert len(set(seen)) == 3 + (command == "train")


@pytest.mark.behaviour("device")
def test_the_device(monkeypatch, start):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for kind in (PretrainConfig, TrainConfig, PredictConfig):
        more = {"metadata_column": "x"} if kind is TrainConfig else {}
        found = [choose_device(kind(device=d, **more)) for d in ("auto", "cpu", "mps")]
        assert [d.type for d in found] == ["mps", "cpu", "mps"]
    for command in COMMANDS:  # each asks for the device of its options
        with pytest.raises(InputError, match="device is 'cuda', but this machine has"):
            start(command, device="cuda")


# --- architecture ---


@pytest.mark.behaviour(
    "embedding_dim",
    "attention_heads",
    "attention_layers",
    "nucleotide_patch",
    "max_bp",
    "count_embedding",
)
@trained
def test_sizes_of_the_model(start, command):
    path = start(
        command,
        embedding_dim=24,
        attention_heads=3,
        attention_layers=2,
        nucleotide_patch=5,
        max_bp=31,
        count_embedding=False,
    )
    found = shapes(path)
    assert found["nucleotides.position_PD"] == (7, 24)  # 31 / 5, rounded up
    assert found["nucleotides.embed.weight"] == (24, 5 * 7)  # 4 letters, 3 signs
    assert found["pool.query"] == (1, 3, 1, 8)
    for stack in ("nucleotides.transformer", "sample", "encoder"):
        assert layers(found, stack) == 2
    assert not any(name.startswith("abundance.") for name in found)
    assert any(name.startswith("abundance.") for name in shapes(start(command, "b")))


@pytest.mark.behaviour("nucleotide_overlap")
@trained
def test_what_a_position_reads(start, command):
    found = shapes(start(command, nucleotide_patch=6, nucleotide_overlap=2, max_bp=30))
    assert found["nucleotides.position_PD"] == (5, 16)  # as without an overlap
    assert found["nucleotides.embed.weight"] == (16, (6 + 2 * 2) * 7)


@pytest.mark.behaviour("count_embedding_method")
@trained
def test_how_abundances_join(start, command):
    found = {m: shapes(start(command, m, count_embedding_method=m)) for m in METHODS}
    own = {m: {n: s for n, s in f.items() if n[:4] == "abun"} for m, f in found.items()}
    assert own == {
        "add": ABUNDANCE,
        "concat": ABUNDANCE
        | {"abundance.project.weight": (16, 32), "abundance.project.bias": (16,)},
        "film": ABUNDANCE
        | {"abundance.embed.2.weight": (32, 16), "abundance.embed.2.bias": (32,)},
    }


METHODS = ("add", "concat", "film")
ABUNDANCE = {
    "abundance.embed.0.weight": (16, 3),
    "abundance.embed.0.bias": (16,),
    "abundance.embed.2.weight": (16, 16),
    "abundance.embed.2.bias": (16,),
}


@pytest.mark.behaviour("preset")
@trained
def test_a_preset_sets_all_sizes(start, command):
    sizes = ("embedding_dim", "attention_heads", "attention_layers", "nucleotide_patch")
    found = shapes(start(command, preset="tiny", **dict.fromkeys(sizes)))
    assert found["nucleotides.embed.weight"] == (64, 6 * 7)
    assert found["pool.query"] == (1, 4, 1, 16)
    assert layers(found, "encoder") == 2


@pytest.fixture
def dropped(monkeypatch):
    """The shares that dropout takes away in training, by modules that dropped any."""
    shares = []

    def note(module, x, y):
        if module.training and (x != 0).sum() > 50:
            shares.append(float(((y == 0) & (x != 0)).sum() / (x != 0).sum()))

    def of_head(self, x, plain=torch.nn.Dropout.forward):
        y = plain(self, x)
        note(self, x, y)
        return y

    def of_layers(self, residual, x, plain=DropoutAdd.forward):
        y = plain(self, torch.zeros_like(x), x)
        note(self, x, y)
        return residual + y

    monkeypatch.setattr(torch.nn.Dropout, "forward", of_head)
    monkeypatch.setattr(DropoutAdd, "forward", of_layers)
    return shares


@pytest.mark.behaviour("dropout")
@trained
def test_share_that_dropout_takes(start, dropped, command):
    plain = {"pooled_features": 0} if command == "train" else {}
    start(command, name="off", dropout=0, **plain)
    assert set(dropped) == {0.0}
    dropped.clear()
    start(command, dropout=0.4, **plain)
    assert np.mean(dropped) == pytest.approx(0.4, abs=0.03)


@pytest.mark.behaviour("regressor_dropout", "pooled_dropout")
@pytest.mark.parametrize(
    "options",
    [
        {"regressor_hidden_dims": (64,), "regressor_dropout": 0.3}
        | {"pooled_features": 0},
        {"pooled_dropout": 0.3},
    ],
)
def test_share_that_dropout_of_the_head_takes(start, dropped, options):
    start("train", dropout=0, **options)
    of_head = [share for share in dropped if share]
    assert len(of_head) == 3  # batches
    assert np.mean(of_head) == pytest.approx(0.3, abs=0.06)
