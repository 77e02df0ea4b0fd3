"""Memory: what is expected, what is measured, and what follows from it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import (
    PRESETS,
    MemoryOptions,
    ModelOptions,
    PredictConfig,
    PretrainConfig,
    TrainConfig,
    resolve_architecture,
)
from aam_core.data.inputs import Inputs
from aam_core.data.study import prepare_study
from aam_core.data.unifrac import BatchUniFrac
from aam_core.distributed.strategy import Strategy
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import KEPT_AROUND
from aam_core.reporting import silent
from aam_core.training import memory, memory_estimate
from aam_core.training.memory import fit_to_memory, largest_batch
from aam_core.training.memory_estimate import (
    check_weights,
    expected_bytes,
    load_of,
    parts_of,
)
from aam_core.training.pretrain_session import PretrainSession
from tests import generate
from tests.forked import in_new_process
from tests.runs import ONE_NETWORK, go
from tests.step_memory import measured

CPU = torch.device("cpu")
SMALL = generate.SIZES | {
    "attention_layers": 2,
    "rarefy_depth": 300,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def inputs(smaller):
    study = prepare_study(
        smaller.table,
        smaller.sequences,
        PretrainConfig(**SMALL),
        max_bp=60,
        seed=0,
        report=silent,
    )
    phylogeny = smaller.phylogeny.shear(study.table.feature_ids)
    return Inputs(study, BatchUniFrac(phylogeny, study.table, "unweighted"))


def session_of(inputs, model=None, rows=20, **options):
    config = PretrainConfig(**SMALL | options)
    torch.manual_seed(0)
    model = model or Encoder(resolve_architecture(config))
    rows = np.arange(rows)
    return PretrainSession(config, model, inputs, rows, rows, CPU)


# --- model summary ---


def by_hand(width, layers, patch, positions):
    """Parameters of an encoder, from its description."""
    layer = 4 * (width * width + width) + 8 * width * width + 5 * width + 4 * width
    stack = layers * layer + 2 * width
    pool = width + 2 * (width * width + width) + width * width + width + 2 * width
    nucleotides = (7 * patch * width + width) + positions * width + stack + pool
    nucleotides += 4 * patch * width + 4 * patch
    abundance = 3 * width + width + width * width + width
    heads = width * width + width + 2 * (width + 1)
    return nucleotides + 2 * stack + pool + abundance + heads


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("tiny", 0.34), ("small", 2.6), ("medium", 90), ("large", 390)],
)
def test_presets_can_be_built(preset, millions):
    arch = resolve_architecture(ModelOptions(preset=preset), longest=150)
    with torch.device("meta"):
        model = Encoder(arch)
    found = sum(p.numel() for p in model.parameters())
    positions = -(-150 // arch.nucleotide_patch)
    width, layers = arch.embedding_dim, arch.attention_layers
    expected = by_hand(width, layers, arch.nucleotide_patch, positions)
    assert found == expected + arch.attention_heads  # the powers of the abundance
    assert found / 1e6 == pytest.approx(millions, rel=0.1)
    assert sum(parts_of(model).values()) == found


def test_documented_sizes():
    sizes = ("embedding_dim", "attention_heads", "attention_layers")
    assert [PRESETS["medium"][name] for name in sizes] == [768, 6, 4]
    assert [PRESETS["large"][name] for name in sizes] == [1152, 12, 8]


def test_the_parts_of_a_predictor_are_all_of_it():
    encoder = Encoder(resolve_architecture(PretrainConfig(**SMALL)))
    alone = parts_of(encoder)
    model = SequencePredictor(encoder, HeadShape(outputs=1))
    parts = parts_of(model)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert {n: s for n, s in parts.items() if n != "target"} == alone


def test_the_load_is_that_of_the_largest_samples(inputs):
    counts = inputs.study.table.counts.toarray() > 0
    rows = np.arange(3, 20)
    largest = sorted(rows, key=lambda r: -counts[r].sum())[:4]
    load = load_of(inputs.study, rows, 4, 1024)
    assert load.largest == counts[largest].sum(axis=1).max()
    assert load.samples == 4
    assert load.asvs == counts[largest].sum()
    assert load.distinct == counts[largest].any(axis=0).sum()
    assert load.length == 60
    cut = load_of(inputs.study, rows, 4, 5)
    assert (cut.largest, cut.asvs, cut.distinct) == (5, 20, 20)


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "tiny", "batch_size": 16, "nucleotide_patch": 1},
        {"preset": "small", "batch_size": 16, "nucleotide_patch": 2},
        {
            "preset": "small",
            "batch_size": 16,
            "nucleotide_patch": 2,
            "gradient_checkpointing": True,
        },
    ],
    ids=["tiny", "small", "checkpointing"],
)
def test_expected_memory_is_what_a_step_takes(options):
    used, expected = in_new_process(measured, options)
    # generous: what the allocator keeps differs between machines
    assert 0.45 < expected / used < 2.2


def test_the_summary_is_told_before_training(smaller, tmp_path):
    lines = []
    config = PretrainConfig(**SMALL, epochs=1)
    inputs = {"table": smaller.table, "sequences": smaller.sequences}
    pretrain(
        config,
        tmp_path / "e",
        **inputs,
        phylogeny=smaller.phylogeny,
        report=lines.append,
    )
    told = next(i for i, line in enumerate(lines) if line.startswith("Parameters: "))
    assert "step on 8 samples" in lines[told]
    assert " MB" in lines[told]
    assert told < next(i for i, line in enumerate(lines) if line.startswith("Best"))


# --- gradient checkpointing ---


def kept_bytes(session):
    """What a forward pass keeps for the backward pass."""
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    batch = session.batches().dataset[0, session.training]
    torch.manual_seed(1)
    session.model.train().zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total, _ = session.losses(batch)
    total.backward()
    gradients = [p.grad for p in session.model.parameters() if p.grad is not None]
    gradient = torch.cat([g.flatten() for g in gradients])
    return sum(seen.values()), gradient


def test_checkpointing_changes_memory_but_no_gradient(inputs):
    session = session_of(inputs)
    kept, gradient = {}, {}
    for on in (False, True):
        session.model.set_checkpointing(on)
        kept[on], gradient[on] = kept_bytes(session)
    assert kept[True] < kept[False] / 3
    torch.testing.assert_close(gradient[True], gradient[False])


def test_whole_chunks_are_computed_again_where_that_keeps_less(inputs, monkeypatch):
    session = session_of(inputs, asv_chunk_size=2, dropout=0.0)
    session.model.set_checkpointing(True)
    assert len(session.batches().dataset[0, session.training].chunks) > 10
    kept, gradient = {}, {}
    for around in (-(10**6), KEPT_AROUND, 10**6):
        monkeypatch.setattr("aam_core.nn.encoder.KEPT_AROUND", around)
        kept[around], gradient[around] = kept_bytes(session)
    layers, chosen, chunks = kept.values()
    assert chosen == chunks < 0.7 * layers
    by_layers, by_choice, by_chunks = gradient.values()
    torch.testing.assert_close(by_chunks, by_layers)
    torch.testing.assert_close(by_choice, by_layers)


def test_checkpointing_is_expected_to_help(inputs):
    session = session_of(inputs)
    load = load_of(inputs.study, session.training, 8, 1024)
    by_choice = [
        expected_bytes(session.model, load, session.config, on) for on in (0, 1)
    ]
    assert by_choice[1] < by_choice[0]


@pytest.mark.behaviour("gradient_checkpointing", "max_memory_fraction")
@pytest.mark.parametrize(
    ("given", "fraction", "on"),
    [
        (None, None, False),
        (None, 0.5, True),
        (False, None, False),
        (True, None, True),
    ],
)
def test_checkpointing_on_a_cpu_follows_what_is_expected(
    inputs, monkeypatch, given, fraction, on
):
    options = {"gradient_checkpointing": given, "max_memory_fraction": fraction}
    options = {name: value for name, value in options.items() if value is not None}
    session, lines = session_of(inputs, **options), []
    load = load_of(inputs.study, session.training, 8, 1024)
    least = expected_bytes(session.model, load, session.config, False)
    free = least / memory.MEMORY_FRACTION * 1.01
    monkeypatch.setattr(memory, "available", lambda: int(free))
    plan = fit_to_memory(session, lines.append)
    encoder = session.model
    encoder.set_checkpointing(plan.gradient_checkpointing)
    stacks = (encoder.nucleotides, encoder.sample, encoder.encoder)
    assert [s.checkpointing for s in stacks] == [on] * 3
    told = [line for line in lines if "gradient_checkpointing is on" in line]
    assert len(told) == len(lines) == (given is None and on)


def test_processes_of_one_machine_share_its_memory(inputs, monkeypatch):
    """Each of two takes half of a batch, and half of the memory."""
    found = []
    for beside in (1, 2):
        session = session_of(inputs)
        strategy = Strategy(CPU)
        strategy.world, strategy.beside = 2, beside
        load = load_of(inputs.study, session.training, 4, 1024)
        free = 1.5 * expected_bytes(session.model, load, session.config, False)
        free = int(free / memory.MEMORY_FRACTION)
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        plan = fit_to_memory(session, [].append, strategy=strategy)
        found.append(plan.gradient_checkpointing)
    assert found == [False, True]


def test_checkpointing_reaches_all_of_a_predictor():
    encoder = Encoder(resolve_architecture(PretrainConfig(**SMALL)))
    model = SequencePredictor(encoder, HeadShape(outputs=1))
    model.set_checkpointing(True)
    assert encoder.sample.checkpointing
    assert model.target.checkpointing


# --- a GPU's decisions, with a gauge that stands for the GPU ---


class Gauge:
    """A GPU on which a step takes 100 bytes per sample, 30 with checkpointing."""

    def __init__(self, session, size):
        self.model, self.size, self.tried = session.model, size, []
        losses = session.losses

        def counted(batch):
            self.tried.append(len(batch.rows))
            return losses(batch)

        session.losses = counted

    def available(self):
        return self.size

    def reset(self):
        pass

    def peak(self):
        return self.tried[-1] * (30 if self.model.sample.checkpointing else 100)


def decide(inputs, size, monkeypatch, **options):
    # no moments
    monkeypatch.setitem(memory_estimate.TRAINED, "adamw", memory_estimate.FLOAT)
    session = session_of(inputs, **options)
    gauge, lines = Gauge(session, size), []
    before = torch.get_rng_state()
    weights = {n: t.clone() for n, t in session.model.state_dict().items()}
    plan = fit_to_memory(session, lines.append, gauge)
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in session.model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert all(p.grad is None for p in session.model.parameters())
    return plan, gauge, lines


def test_checkpointing_on_a_gpu_follows_the_memory(inputs, monkeypatch):
    plan, _, lines = decide(inputs, 1000, monkeypatch)  # 800 bytes of 800
    assert not plan.gradient_checkpointing
    assert lines == []
    plan, _, lines = decide(inputs, 999, monkeypatch)
    assert plan.gradient_checkpointing
    assert "gradient_checkpointing is on" in lines[0]


@pytest.mark.behaviour("gradient_checkpointing")
def test_checkpointing_on_a_gpu_can_be_overridden(inputs, monkeypatch):
    plan, gauge, _ = decide(inputs, 1, monkeypatch, gradient_checkpointing=False)
    assert not plan.gradient_checkpointing
    assert gauge.tried == []


@pytest.mark.behaviour("auto_batch_size", "max_memory_fraction")
def test_auto_batch_size_takes_the_largest_that_fits(inputs, monkeypatch):
    options = {"auto_batch_size": True, "batch_size": 2}
    plan, gauge, lines = decide(inputs, 1500, monkeypatch, **options)
    assert plan.batch_size == 8  # 800 of 1200 bytes; 16 would take 1600
    assert gauge.tried == [2, 2, 4, 8, 16]
    assert "8 samples" in lines[-1]
    options["max_memory_fraction"] = 0.5
    plan, _, _ = decide(inputs, 1500, monkeypatch, **options)
    assert plan.batch_size == 4


def test_auto_batch_size_has_ends(inputs, monkeypatch):
    options = {"auto_batch_size": True, "batch_size": 8}
    plan, _, _ = decide(inputs, 10**6, monkeypatch, **options)
    assert plan.batch_size == 20  # all training samples
    options["target_effective_batch_size"] = 12
    plan, _, _ = decide(inputs, 10**6, monkeypatch, **options)
    assert plan.batch_size == 12
    with pytest.raises(InputError, match="Not even batch_size 8 fits"):
        decide(inputs, 100, monkeypatch, **options)


def test_running_out_of_memory_is_an_answer(inputs, monkeypatch):
    def full(batch):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Gauge, "peak", lambda self: 0)
    monkeypatch.setattr(PretrainSession, "losses", lambda self, batch: full(batch))
    plan, _, lines = decide(inputs, 10**6, monkeypatch)
    assert plan.gradient_checkpointing
    assert "does not fit" in lines[0]


def test_largest_batch():
    assert largest_batch(lambda size: size <= 48, 8, 1000) == 32
    assert largest_batch(lambda size: size <= 100, 8, 100) == 100
    assert largest_batch(lambda size: size <= 100, 8, 8) == 8
    assert largest_batch(lambda size: False, 8, 100) is None


def test_a_fraction_needs_something_to_decide():
    MemoryOptions(max_memory_fraction=0.5)
    MemoryOptions(
        max_memory_fraction=0.5, auto_batch_size=True, gradient_checkpointing=True
    )
    with pytest.raises(InputError, match="max_memory_fraction has no effect"):
        MemoryOptions(max_memory_fraction=0.5, gradient_checkpointing=False)


# --- effective batch size ---


@pytest.mark.parametrize(
    ("target", "size", "steps"), [(64, 8, 8), (20, 8, 3), (8, 8, 1), (None, 8, 1)]
)
def test_effective_batch_size(target, size, steps):
    config = PretrainConfig(target_effective_batch_size=target, batch_size=size)
    assert config.accumulation() == steps


@pytest.mark.behaviour("target_effective_batch_size")
def test_effective_batch_size_gives_the_run_of_its_accumulation(smaller, tmp_path):
    found = []
    for options in (
        {"target_effective_batch_size": 10},
        {"gradient_accumulation_steps": 3},
        {},
    ):
        config = PretrainConfig(**SMALL | options, batch_size=4, epochs=2)
        path = tmp_path / str(len(found))
        inputs = {"table": smaller.table, "sequences": smaller.sequences}
        pretrain(
            config,
            path,
            **inputs,
            phylogeny=smaller.phylogeny,
            report=silent,
        )
        found.append((path / model_folder.WEIGHTS).read_bytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 2}, "leave one of them out"),
        ({"batch_size": 128}, "below batch_size 128"),
    ],
)
def test_effective_batch_size_contradicted(options, message):
    with pytest.raises(InputError, match=message):
        PretrainConfig(target_effective_batch_size=64, **options)


# --- memory profile ---


def test_memory_profile(smaller, tmp_path):
    lines = []
    config = TrainConfig(
        **SMALL,
        **ONE_NETWORK,
        epochs=1,
        metadata_column="value",
        memory_profile=True,
    )
    inputs = {"table": smaller.table, "sequences": smaller.sequences}
    train(
        config,
        tmp_path / "m",
        **inputs,
        metadata=smaller.metadata,
        report=lines.append,
    )
    used = model_folder.read_config(tmp_path / "m")["memory"]
    assert used["device"] == "cpu"
    peaks = used["peak_bytes"]
    assert list(peaks) == ["preparation", "training", "validation"]
    status = Path("/proc/self/status")
    if status.exists():  # the kernel's own high-water mark
        peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
        assert peaks["validation"] == pytest.approx(peak, rel=0.1)
    assert sorted(peaks.values()) == list(peaks.values())
    assert any(line.startswith("Peak memory") for line in lines)
    lines.clear()
    predict(
        PredictConfig(memory_profile=True, device="cpu"),
        tmp_path / "m",
        **inputs,
        report=lines.append,
    )
    assert "prediction" in lines[-1]


def test_without_a_profile_nothing_is_recorded():
    profile = memory.MemoryProfile(CPU, on=False)
    profile.mark("training")
    assert profile.tell(pytest.fail) == {}


# --- workers ---


def test_batches_of_spawned_processes(inputs):
    """As macOS starts workers: everything is pickled."""
    maker = session_of(inputs).batches().dataset
    keys = [(0, np.array([0, 3, 5])), (1, np.array([2, 4]))]
    spawned = torch.utils.data.DataLoader(
        maker,
        sampler=keys,
        batch_size=None,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    for found, key in zip(spawned, keys, strict=True):
        expected = maker[key]
        assert found.distances is not None
        for field in dataclasses.fields(expected):
            a, b = getattr(found, field.name), getattr(expected, field.name)
            assert torch.equal(a, b) if torch.is_tensor(a) else np.array_equal(a, b)


def test_weights_need_memory_that_is_free(tmp_path, smaller, monkeypatch):
    """What is too large is refused before anything is built."""
    largest = ModelOptions(
        embedding_dim=16_384, attention_heads=1024, attention_layers=256
    )
    message = r"parameters \(embedding_dim 16,384, .* GB for its weights alone, but 64"
    with pytest.raises(InputError, match=message):
        check_weights(resolve_architecture(largest), 64 * 10**9)
    small = resolve_architecture(ModelOptions(**generate.SIZES))
    needed = 4 * sum(p.numel() for p in Encoder(small).parameters())
    check_weights(small, needed)
    with pytest.raises(InputError, match="choose a smaller preset"):
        check_weights(small, needed - 1)
    monkeypatch.setattr("aam_core.training.run.available", lambda: 1000)
    with pytest.raises(InputError, match="but 0 MB of memory are free"):
        go("pretrain", smaller, tmp_path / "m")
    assert not (tmp_path / "m").exists()
