"""What is computed once per run equals what is computed at each step."""

import dataclasses
import weakref
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import (
    Architecture,
    DeviceOptions,
    InputOptions,
    PredictConfig,
    PretrainConfig,
    TrainConfig,
)
from aam_core.data.batches import BatchMaker, RowBatches, loader
from aam_core.data.study import prepare_study
from aam_core.errors import InputError
from aam_core.inference.encode import chunk_size, collect, encode_table
from aam_core.inference.frozen_encoder import FrozenBase
from aam_core.io import model_folder
from aam_core.nn.encoder import Encoder, NucleotideEncoder
from aam_core.reporting import silent
from aam_core.runtime import spill
from aam_core.runtime.spill import SpillBuffer, free_memory
from aam_core.training.train_session import TrainSession
from tests import generate
from tests.runs import ONE_NETWORK

CPU = torch.device("cpu")
SMALL = generate.SIZES | {
    "rarefy_depth": 100,
    "lr": 3e-3,
    "device": "cpu",
}
FROZEN = SMALL | ONE_NETWORK
FROZEN |= {"freeze_base": True, "epochs": 2, "metadata_column": "value"}
LIMIT = 10  #: about a half of the generated samples have more ASVs


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def uneven():
    """Samples of 4 to 24 ASVs, of which some sequences are shorter."""
    plain = generate.study(samples=32)
    counts = plain.table.counts.toarray()
    generator = np.random.default_rng(0)
    for row in counts:
        row[generator.permutation(40)[: generator.integers(8, 34)]] = 0
        row[:2] += 200
    table = dataclasses.replace(plain.table, counts=type(plain.table.counts)(counts))
    cut = {n: s[: 60 - 5 * (i % 3)] for i, (n, s) in enumerate(plain.sequences.items())}
    return dataclasses.replace(plain, table=table, sequences=cut)


@pytest.fixture(scope="module")
def prepared(uneven):
    options = InputOptions(rarefy_depth=100)
    return prepare_study(
        uneven.table, uneven.sequences, options, max_bp=60, seed=1, report=silent
    )


@pytest.fixture(scope="module")
def encoder(uneven, tmp_path_factory):
    output = tmp_path_factory.mktemp("encoder") / "best"
    given = {"table": uneven.table, "sequences": uneven.sequences, "report": silent}
    config = PretrainConfig(**SMALL, epochs=1)
    pretrain(config, output, phylogeny=uneven.phylogeny, **given)
    return output


@pytest.fixture(scope="module")
def model(uneven, encoder, tmp_path_factory):
    output = tmp_path_factory.mktemp("model") / "best"
    start(uneven, TrainConfig(**FROZEN), output, encoder=encoder)
    return output


def start(made, config, output, **options):
    return train(
        config,
        output,
        table=made.table,
        sequences=made.sequences,
        metadata=made.metadata,
        **{"report": silent} | options,
    )


def new_encoder():
    torch.manual_seed(0)
    arch = Architecture(
        **generate.SIZES,
        dropout=0.1,
        count_embedding=True,
        count_embedding_method="add",
    )
    return Encoder(arch).eval()


def maker_of(study, sampling, tokens=False):
    return BatchMaker(study, token_limit=LIMIT, asv_sampling=sampling, tokens=tokens)


def frozen_base(encoder, study, maker, limit=10**9, batch_size=5):
    rows = np.arange(len(study.depths))
    options = DeviceOptions(device="cpu", batch_size=batch_size)
    buffer = SpillBuffer(limit, CPU, silent)
    table = encode_table(encoder, study, rows, options, CPU, buffer=buffer)
    return FrozenBase(encoder, table, maker, rows, buffer, options, CPU)


@pytest.mark.parametrize("sampling", ["first", "abundance", "random"])
@pytest.mark.parametrize("limit", [10**9, 2000, 0])
def test_kept_samples_equal_the_plain_encoder(prepared, sampling, limit):
    """The reference encodes the nucleotides of each batch anew."""
    encoder = new_encoder()
    frozen = frozen_base(encoder, prepared, maker_of(prepared, sampling), limit)
    sizes = np.diff(prepared.table.counts.indptr)
    assert (sizes > LIMIT).any()
    assert (sizes < LIMIT).any()
    order = np.random.default_rng(0).permutation(len(sizes))
    only_large, only_one = np.flatnonzero(sizes > LIMIT)[:3], order[:1]
    plain, known = (maker_of(prepared, sampling, tokens=t) for t in (True, False))
    for rows in (*np.array_split(order, 5), only_large, only_one):
        for epoch in (0, 3):
            with torch.no_grad():
                expected = encoder(plain[epoch, rows])
            found = frozen(known[epoch, rows])
            here = plain[epoch, rows].present_SA
            torch.testing.assert_close(
                found["states"][here], expected["states"][here], atol=1e-5, rtol=0
            )
            assert found["states"].isfinite().all()
            for name in ("distance_embedding", "faith_pd"):
                torch.testing.assert_close(
                    found[name], expected[name], atol=1e-5, rtol=0
                )


COVARIATE = {"categorical_columns": "site", "cross_attn_heads": 2}
RUNS = {
    "plain": {},
    "quantiles": {"loss_type": "quantile", "quantiles": (0.1, 0.5, 0.9)},
    "classes": {"task": "classification", "metadata_column": "kind"},
    "gmu": {"categorical_columns": "site", "categorical_fusion": "gmu"},
    "cross-attention": COVARIATE | {"categorical_fusion": "cross-attention"},
    "perceiver": COVARIATE
    | {"categorical_fusion": "perceiver", "perceiver_num_latents": 4},
    "random": {"asv_sampling": "random", "val_prediction_passes": 2},
}


@pytest.mark.parametrize("name", RUNS)
def test_training_equals_training_without_the_cache(
    uneven, encoder, tmp_path, monkeypatch, name
):
    config = TrainConfig(**FROZEN | {"token_limit": LIMIT} | RUNS[name])
    distances = {"phylogeny": uneven.phylogeny, "encoder": encoder}
    start(uneven, config, tmp_path / "kept", **distances)

    def plain(self, batch):
        with torch.no_grad():
            return self.encoder(batch, self.table(batch))

    monkeypatch.setattr(FrozenBase, "__call__", plain)
    start(uneven, config, tmp_path / "plain", **distances)
    first, second = (
        model_folder.read_history(tmp_path / run) for run in ("kept", "plain")
    )
    assert list(first) == list(second)
    assert "val_unifrac_loss" in first
    np.testing.assert_allclose(first, second, atol=1e-5, rtol=1e-4)


def test_epochs_leave_the_encoder_alone(uneven, encoder, tmp_path, monkeypatch):
    calls = []
    plain = Encoder.forward

    def forward(self, batch, asv_UD):
        calls.append(len(batch.rows))
        return plain(self, batch, asv_UD)

    monkeypatch.setattr(Encoder, "forward", forward)
    config = TrainConfig(**FROZEN | {"epochs": 4})
    start(uneven, config, tmp_path / "m", encoder=encoder)
    split = model_folder.read_config(tmp_path / "m")["split"]
    assert sum(calls) == len(split["training"]) + len(split["validation"])


@pytest.mark.parametrize("sampling", ["abundance", "random"])
def test_resuming_is_exact_wherever_the_cache_is(
    uneven, encoder, tmp_path, monkeypatch, sampling
):
    options = FROZEN | {"epochs": 3, "token_limit": LIMIT, "asv_sampling": sampling}
    config = TrainConfig(**options)
    start(uneven, config, tmp_path / "straight", encoder=encoder)
    state = tmp_path / "last"
    with monkeypatch.context() as patch:
        calls = []
        plain = TrainSession.validate

        def validate(self):
            calls.append(1)
            if len(calls) == 3:
                raise Killed
            return plain(self)

        patch.setattr(TrainSession, "validate", validate)
        with pytest.raises(Killed):
            start(uneven, config, tmp_path / "m", encoder=encoder, state=state)
    torch.manual_seed(5)
    on_disk = dataclasses.replace(config, cache_memory=0)
    again = {"state": state, "resume_from": state, "encoder": encoder}
    start(uneven, on_disk, tmp_path / "m", **again)
    for name in (model_folder.WEIGHTS, model_folder.HISTORY):
        found = (tmp_path / "m" / name).read_bytes()
        assert found == (tmp_path / "straight" / name).read_bytes(), name


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux only")
def test_room_is_in_memory_up_to_its_limit(temporary):
    lines = []
    buffer = SpillBuffer(4 * 60, CPU, lines.append)
    first = buffer.tensor(5, 8, torch.float32)
    assert not lines
    beyond = buffer.tensor(100_000, 8, torch.float32)
    rest = buffer.tensor(5, 4, torch.float32)
    assert buffer.left == 0
    again = buffer.tensor(1, 8, torch.bfloat16)
    assert len(lines) == 1
    assert "cache_memory" in lines[0]
    values = torch.randn(100_000, 8)
    beyond.copy_(values)
    for tensor in (first, rest, again):
        tensor.fill_(1)
    assert torch.equal(beyond, values)
    assert again.shape == (1, 8)
    assert again.dtype == torch.bfloat16
    assert not list(temporary.iterdir())  # the space goes with the tensor
    assert mapped_to(temporary) >= 4 * 800_000
    del beyond, again, tensor
    assert mapped_to(temporary) == 0


def mapped_to(folder):
    """Bytes of files of this folder, deleted or not, that this process maps."""
    with open("/proc/self/maps") as handle:
        spans = [x.split()[0].split("-") for x in handle if str(folder) in x]
    return sum(int(high, 16) - int(low, 16) for low, high in spans)


def test_a_full_disk_is_told_before_the_work(temporary, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(spill.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(InputError, match="set TMPDIR"):
        SpillBuffer(0, CPU, silent).tensor(10, 8, torch.float32)
    assert not list(temporary.iterdir())


def test_a_quarter_of_the_free_memory_is_the_default():
    config = PredictConfig(device="cpu")
    found = SpillBuffer.of(config, CPU, silent).limit
    assert found == pytest.approx(free_memory(CPU) / 4, rel=0.2)
    chosen = dataclasses.replace(config, cache_memory=1.5)
    assert SpillBuffer.of(chosen, CPU, silent).limit == 1_500_000_000


@pytest.mark.behaviour("cache_memory")
def test_cache_memory_changes_no_result(uneven, encoder, model, tmp_path, temporary):
    """Neither of training nor of prediction; and nothing is left behind."""
    lines, tables = [], []
    for memory in (1.0, 0.0):
        lines.clear()
        config = TrainConfig(**FROZEN, cache_memory=memory)
        output = tmp_path / f"model{memory}"
        options = {"encoder": encoder, "report": lines.append}
        tables.append(start(uneven, config, output, **options).predictions)
        found = predict(
            PredictConfig(device="cpu", cache_memory=memory),
            model,
            table=uneven.table,
            sequences=uneven.sequences,
            report=lines.append,
        )
        tables.append(found.predictions)
        told = [line for line in lines if "temporary file" in line]
        assert len(told) == (0 if memory else 2)
    for first, second in zip(tables[:2], tables[2:], strict=True):
        np.testing.assert_array_equal(first, second)
    assert not list(temporary.iterdir())


def test_an_error_leaves_no_file(uneven, encoder, tmp_path, temporary, monkeypatch):
    def fail(self):
        raise Killed

    monkeypatch.setattr(TrainSession, "validate", fail)
    config = TrainConfig(**FROZEN, cache_memory=0)
    with pytest.raises(Killed):
        start(uneven, config, tmp_path / "m", encoder=encoder)
    assert not list(temporary.iterdir())


def test_cache_memory_without_effect_is_refused():
    with pytest.raises(InputError, match="no effect with freeze_base false"):
        TrainConfig(metadata_column="value", cache_memory=1)


def test_prediction_encodes_each_asv_once(uneven, model, monkeypatch):
    encoded, batches = [], []
    nucleotides, plain = NucleotideEncoder.forward, Encoder.forward
    monkeypatch.setattr(
        NucleotideEncoder,
        "forward",
        lambda self, tokens, *a: (
            encoded.append(len(tokens)) or nucleotides(self, tokens, *a)
        ),
    )

    def forward(self, batch, asv_UD):
        assert sum(states() is not None for states in batches) <= 1
        out = plain(self, batch, asv_UD)
        batches.append(weakref.ref(out["states"]))
        return out

    monkeypatch.setattr(Encoder, "forward", forward)
    config = PredictConfig(device="cpu", batch_size=4)
    given = {"table": uneven.table, "sequences": uneven.sequences, "report": silent}
    predict(config, model, **given)
    rarefied = uneven.table.rarefy(100, 42, silent)
    assert len(batches) == 8
    assert sum(encoded) <= uneven.table.shape[1]
    assert sum(encoded) >= len(rarefied.observed_features()) - 5


def test_collect_restores_the_order(prepared):
    maker = maker_of(prepared, "random")
    rows = np.random.default_rng(1).permutation(len(prepared.depths))
    options = DeviceOptions(device="cpu", batch_size=3)

    def run(batch):
        return {"row": torch.from_numpy(batch.rows), "states": batch.index_SA}

    found = collect(run, maker, rows, ("row", "other"), options, CPU)
    assert list(found) == ["row"]
    np.testing.assert_array_equal(found["row"], rows)


def test_random_draws_do_not_depend_on_the_order(prepared):
    """Batches by size read what batches in the table's order read."""
    maker = maker_of(prepared, "random")
    batches = loader(maker, RowBatches(np.arange(20), 4, shuffle=False, epoch=2), CPU)
    expected = torch.cat([(b.abundance_SA * b.present_SA).sum(dim=1) for b in batches])
    found = collect(
        lambda b: {"sum": (b.abundance_SA * b.present_SA).sum(dim=1)},
        maker,
        np.arange(20),
        ("sum",),
        DeviceOptions(device="cpu", batch_size=7),
        CPU,
        draw=2,
    )
    torch.testing.assert_close(found["sum"], expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_follow_the_size_of_the_model(monkeypatch, threads):
    encoder = new_encoder()  # 15 positions of width 16 for 60 nucleotides
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("aam_core.inference.encode.CPU_NUMBERS", 24_000)
    for asked, expected in ((0, 100 * threads), (32, 32), (1, 1)):
        options = DeviceOptions(device="cpu", asv_chunk_size=asked)
        assert chunk_size(encoder, 60, options, CPU) == expected
        gpu = torch.device("cuda")
        assert chunk_size(encoder, 60, options, gpu) == (asked or 256)
        together = chunk_size(encoder, 60, options, CPU, training=True)
        assert together == (expected if asked else 0)
    monkeypatch.setattr("aam_core.inference.encode.CPU_NUMBERS", 1)
    assert chunk_size(encoder, 60, DeviceOptions(device="cpu"), CPU) == 8
