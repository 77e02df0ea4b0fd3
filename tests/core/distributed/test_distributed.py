"""Several processes on a CPU compute what one does."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import PretrainConfig, TrainConfig
from aam_core.data.batches import chunks_of
from aam_core.distributed import launch as launching
from aam_core.distributed.batch_split import (
    asv_shard,
    in_order,
    sample_shard,
    shard_rows,
)
from aam_core.distributed.launch import launch, processes_of, start_strategy
from aam_core.distributed.processes import Processes, Root
from aam_core.distributed.strategy import DataParallel, Strategy
from aam_core.errors import InputError, RunError
from aam_core.io import model_folder
from aam_core.nn import fusion
from aam_core.reporting import silent
from tests import generate
from tests.commands import inputs, started
from tests.core.distributed import spread
from tests.core.distributed.doomed import doomed
from tests.core.distributed.spread import (
    CPU,
    config_of,
    fitted,
    in_processes,
    interrupted,
    recomputed_steps,
    resumed,
    session_of,
    step,
    steps,
    stopped,
)

BOTH = ("ddp", "fsdp")
#: Runs that are interrupted: the state as one file, or in parts.
WHOLE = {"strategy": "ddp", "epochs": 3}
PARTS = {"strategy": "fsdp", "epochs": 3, "fsdp_sharded_checkpoint": True}
AGAIN = {"strategy": "fsdp", "epochs": 3}
ROUNDED = {
    "mixed_precision": "bf16",
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": True,
}
#: Of keys on attention, of all positions on distances. Their gradient is rounding,
#: which Adam makes large.
WITHOUT_EFFECT = ("kv.bias", "distance_head.bias", "pool.norm.bias")
NOISY = {"strategy": "ddp", "epochs": 3, "dropout": 0.2}


@pytest.fixture(scope="module", autouse=True)
def rate_of_unknown_is_restored():
    """What `session_of` sets in this process ends with these tests."""
    rate = fusion.UNKNOWN_RATE
    yield
    fusion.UNKNOWN_RATE = rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def two(tmp_path_factory, folder):
    """What two processes find."""
    jobs = [(f"{t} {s}", steps, t, s) for t in ("pretrain", "train") for s in BOTH]
    jobs += [(f"lean {s}", recomputed_steps, s) for s in BOTH]
    jobs += [
        ("fit train", fitted, "train", {"strategy": "ddp"}),
        ("fit pretrain", fitted, "pretrain", {"strategy": "fsdp"}),
        ("rounded", fitted, "pretrain", {"strategy": "fsdp", **ROUNDED}),
        ("killed whole", interrupted, WHOLE, str(folder / "whole")),
        ("killed parts", interrupted, PARTS, str(folder / "parts")),
        ("killed noisy", interrupted, NOISY, str(folder / "noisy")),
        ("resumed noisy", resumed, NOISY, str(folder / "noisy")),
        ("straight noisy", fitted, "pretrain", NOISY),
        ("resumed parts", resumed, AGAIN, str(folder / "parts")),
        ("stopped", stopped),
    ]
    return in_processes(2, tmp_path_factory.mktemp("two"), jobs)


@pytest.fixture(scope="module")
def three(tmp_path_factory, folder, two):
    """What three processes find; they resume where two were interrupted."""
    jobs = [(f"pretrain {s}", steps, "pretrain", s) for s in BOTH]
    jobs += [
        ("fit train", fitted, "train", {"strategy": "fsdp"}),
        ("resumed whole", resumed, AGAIN, str(folder / "whole")),
        (
            "resumed parts",
            resumed,
            {"strategy": "ddp", "epochs": 3},
            str(folder / "parts"),
        ),
    ]
    return in_processes(3, tmp_path_factory.mktemp("three"), jobs)


@pytest.fixture(scope="module")
def straight():
    """The run of one process that is not interrupted."""
    return fitted("pretrain", {"epochs": 3}, 0)


def same_steps(found, task):
    same(steps(task, "none", 0), found)


def same(wanted, found):
    for one, several in zip(wanted, found, strict=True):
        assert several["parts"] == pytest.approx(one["parts"], abs=1e-6)
        assert several["total"] == pytest.approx(one["total"], abs=1e-6)
        assert set(several["gradients"]) == set(one["gradients"])
        norm = torch.cat([g.flatten() for g in one["gradients"].values()]).norm()
        assert norm > 0.1
        for name, gradient in one["gradients"].items():
            difference = several["gradients"][name] - gradient
            assert difference.abs().max() <= 1e-6 * norm, name


def same_run(one, several):
    assert several["completed"]
    for a, b in zip(one["history"], several["history"], strict=True):
        assert b == pytest.approx(a, abs=1e-5, rel=1e-5)
    for name, tensor in one["state"].items():
        if not name.endswith(WITHOUT_EFFECT):
            found = several["state"][name]
            torch.testing.assert_close(found, tensor, atol=1e-4, rtol=0, msg=name)


@pytest.mark.behaviour("strategy")
@pytest.mark.parametrize("strategy", BOTH)
@pytest.mark.parametrize("task", ["pretrain", "train"])
def test_two_processes_have_the_gradient_of_one(two, task, strategy):
    found = two[f"{task} {strategy}"]
    same_steps(found, task)
    assert [s["divided"] for s in found] == [strategy == "fsdp"] * 2


@pytest.mark.parametrize("strategy", BOTH)
def test_chunks_that_two_processes_compute_again(two, strategy):
    found, passes = two[f"lean {strategy}"]
    session, model = session_of(config_of("pretrain", asv_chunk_size=2))
    same([step(session, model, spread.TRAINING[:5])], [found])
    assert passes == [2] * len(passes)
    assert len(passes) > 4


@pytest.mark.parametrize("strategy", BOTH)
def test_three_processes_share_two_samples(three, strategy):
    same_steps(three[f"pretrain {strategy}"], "pretrain")


@pytest.mark.parametrize("task", ["pretrain", "train"])
def test_a_run_of_two_processes_is_that_of_one(two, task):
    same_run(fitted(task, {}, 0), two[f"fit {task}"])


def test_validation_of_three_processes_is_that_of_one(three):
    """Of 5 samples in 5 chunks of ASVs, with covariates: each counts once."""
    same_run(fitted("train", {}, 0), three["fit train"])


def test_nodes_that_hold_copies_of_a_divided_model(tmp_path):
    jobs = [("steps", steps, "pretrain", "fsdp")]
    found = in_processes(4, tmp_path, jobs, nodes=2)["steps"]
    assert found[0]["divided"]
    same_steps(found, "pretrain")


def test_precision_accumulation_and_checkpointing_are_those_of_one(two):
    one = fitted("pretrain", ROUNDED, 0)
    for a, b in zip(one["history"], two["rounded"]["history"], strict=True):
        assert b["train_total_loss"] == pytest.approx(a["train_total_loss"], abs=0.02)
        assert b["val_loss"] == pytest.approx(a["val_loss"], abs=0.02)
        assert b["lr"] == a["lr"]


@pytest.mark.behaviour("fsdp_sharded_checkpoint")
def test_a_run_goes_on_in_another_number_of_processes(two, three, straight, folder):
    assert two["killed whole"]["calls"] == two["killed parts"]["calls"] == 2
    assert [p.name for p in sorted((folder / "parts").iterdir())] == [
        "shards-1",
        "state.pt",
    ]
    same_run(straight, two["resumed parts"])
    same_run(straight, three["resumed parts"])
    same_run(straight, three["resumed whole"])
    for state in ("whole", "parts"):
        same_run(straight, resumed({"epochs": 3}, folder / state, 0))


def test_a_run_of_one_process_goes_on_in_two_nodes(straight, tmp_path):
    interrupted({"epochs": 3}, tmp_path / "last", 0)
    jobs = [("resumed", resumed, AGAIN, str(tmp_path / "last"))]
    same_run(straight, in_processes(2, tmp_path, jobs, nodes=2)["resumed"])


def test_resumed_processes_draw_the_same_dropout(two):
    straight, again = two["straight noisy"], two["resumed noisy"]
    assert straight["history"] == again["history"]
    for name, tensor in straight["state"].items():
        assert torch.equal(tensor, again["state"][name]), name


def test_one_process_that_is_asked_to_stop_stops_all(two):
    assert not two["stopped"]["completed"]
    assert len(two["stopped"]["history"]) == 1


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("task", ["pretrain", "train"])
def test_data_parallel_has_the_gradient_of_one_device(task, checkpointing):
    config = config_of(task)
    session, model = session_of(config)
    model.set_checkpointing(checkpointing)
    shared = DataParallel([CPU] * 3)
    shared.prepare(model, session.first_loss)
    session = session.with_strategy(shared)
    rows = (spread.TRAINING[:5], spread.TRAINING[:2])
    same_steps([step(session, model, r) for r in rows], task)


@pytest.mark.parametrize("total", [1, 2, 5, 12])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_shares_are_equal_and_whole(total, parts):
    shares = [shard_rows(total, part, parts) for part in range(parts)]
    assert len({len(s) for s in shares}) == 1
    values = torch.tensor(np.array(shares))
    assert in_order(values, total).tolist() == list(range(total))
    lengths = np.ones(len(shares[0]), dtype=int)
    assert len(chunks_of(lengths, 2)) == -(-len(shares[0]) // 2)


def test_shares_of_a_batch_hold_its_samples_and_hidden_nucleotides():
    session, _ = session_of(config_of("pretrain"))
    batch = session.batches().dataset[1, spread.TRAINING[:5]]
    hidden = set()
    for part in range(3):
        own = asv_shard(batch, part, 3)
        ends = [(c.first_masked, c.last_masked) for c in own.chunks]
        assert ends[0][0] == 0
        assert ends[-1][1] == len(own.masked_row_M)
        for row, column in zip(own.masked_row_M, own.masked_column_M, strict=True):
            hidden.add((3 * int(row) + part, int(column)))
        samples = sample_shard(batch, part, 3)
        for row, index, present in zip(
            samples.rows, samples.index_SA, samples.present_SA, strict=True
        ):
            place = batch.rows.tolist().index(row)
            assert torch.equal(index, batch.index_SA[place])
            assert torch.equal(present, batch.present_SA[place])
    pairs = zip(
        batch.masked_row_M.tolist(), batch.masked_column_M.tolist(), strict=True
    )
    assert hidden == set(pairs)


#: Seconds within which a run ends when one of its processes does, start included.
WAIT = 120


def config(**options):
    return PretrainConfig(**{"device": "cpu"} | options)


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        ("killed", RuntimeError, "Process 1 .* was killed .SIGKILL"),
        ("refused", InputError, "^this cannot be$"),
        (
            "broken",
            RuntimeError,
            "(?s)Process 1 .*Traceback.*of a mistake",
        ),
    ],
)
def test_a_launched_process_that_fails_ends_all(end, error, words):
    heard, start = [], time.monotonic()
    with pytest.raises(error, match=words):
        launch(doomed, 2, config(), end, report=heard.append, victim=1)
    assert time.monotonic() - start < WAIT  # not when the others end
    assert sorted(line.split()[0] for line in heard) == ["0", "1"]
    assert gone(line.split()[1] for line in heard)


def test_a_process_may_be_killed_while_it_reports():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"Process 1 .* was killed .SIGKILL"):
        launch(doomed, 2, config(), "speaking", report=silent, victim=1)
    assert time.monotonic() - start < WAIT


def test_a_run_can_be_ended_before_its_processes_are_there(monkeypatch):
    start = launching._launch

    def asked(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        start(*args)

    monkeypatch.setattr(launching, "_launch", asked)
    begin, heard = time.monotonic(), []
    with pytest.raises(RunError, match="asked to end"):
        launch(doomed, 2, config(), "", report=heard.append, victim=None)
    assert time.monotonic() - begin < WAIT


KILLED = """
import sys
from aam_core.config import PretrainConfig
from aam_core.distributed.launch import launch
from tests.core.distributed.doomed import doomed

def tell(line):
    print(line, flush=True)

config = PretrainConfig(device="cpu")
launch(doomed, 2, config, "deaf", report=tell, victim=None)
"""


def runs(pid):
    """Whether a process is there; what is left of one that ended does not count."""
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids):
    """Whether these processes end within seconds."""
    left, end = list(pids), time.monotonic() + 10
    while left and time.monotonic() < end:
        left = [pid for pid in left if runs(pid)]
        time.sleep(0.1)
    return not left


def test_a_run_that_is_killed_leaves_no_processes():
    command = [sys.executable, "-c", KILLED]
    with started(command, stdout=subprocess.PIPE, text=True) as run:
        pids = [run.stdout.readline().split()[1] for _ in range(2)]
        assert all(map(runs, pids))
        run.kill()
        run.wait()
        assert gone(pids)


@pytest.mark.behaviour("devices")
def test_training_launches_its_processes(tmp_path, monkeypatch):
    numbers = []

    def counted(run, number, *args, **inputs):
        numbers.append(number)
        return launch(run, number, *args, **inputs)

    monkeypatch.setattr("aam_core.distributed.launch.launch", counted)
    made = generate.study(samples=12)
    small = {k: v for k, v in spread.SMALL.items() if k != "epochs"}
    histories, predictions, lines = [], [], []
    for name, more in (("one", {}), ("two", {"strategy": "auto", "devices": 2})):
        found = train(
            TrainConfig(
                metadata_column=("value",),
                epochs=1,
                cross_fit=2,
                pooled_dropout=0.0,
                **small,
                **more,
            ),
            tmp_path / name,
            table=made.table,
            sequences=made.sequences,
            metadata=made.metadata,
            report=lines.append,
            state=tmp_path / "last",
        ).predictions
        model_folder.check_layout(tmp_path / name, "max")
        histories.append(model_folder.read_history(tmp_path / name))
        predictions.append(found)
    assert numbers == [2]  # the first run starts none
    pd.testing.assert_frame_equal(*histories, atol=1e-5)
    pd.testing.assert_frame_equal(*predictions, atol=1e-4)
    half = len(lines) // 2
    assert lines[:half] == lines[half:]  # each sentence once
    assert not (tmp_path / "last").exists()


def test_torchrun_trains(files, tmp_path):
    given = inputs(files, "table", "sequences", "tree", "metadata")
    small = "--rarefy-depth 300 --embedding-dim 16 --attention-heads 2 --max-bp 60"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"),
        *("-m", "aam_core", "train", *given, "--metadata-column", "value"),
        *("--output-dir", tmp_path / "run", "--device", "cpu", "--epochs", "1"),
        *("--fsdp", "--fsdp-sharded-checkpoint", *small.split()),
        *("--attention-layers", "1", "--cross-fit", "2"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Epoch 1/1:   0%") == 2  # one bar for each fold
    best = tmp_path / "run" / "checkpoints" / "best_model"
    model_folder.check_layout(best, "max")
    assert model_folder.read_config(best)["completed"]
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written - {"tensorboard"} == {
        "aam.log",
        "checkpoints",
        "folds.tsv",
        "history.tsv",
        "train_samples.txt",
        "val_details.tsv",
        "val_predictions.tsv",
        "val_samples.txt",
    }
    assert len(list((tmp_path / "run").glob("tensorboard/*/*"))) <= 2
    log = (tmp_path / "run" / "aam.log").read_text()
    assert log.count("Best epoch") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"devices": 2}, "strategy is none"),
        ({"strategy": "ddp", "fsdp_cpu_offload": True}, "no effect with strategy ddp"),
        ({"strategy": "ddp", "auto_batch_size": True}, "auto_batch_size"),
        ({"strategy": "fsdp", "mixed_precision": "fp16"}, "bf16"),
    ],
)
def test_options_without_effect_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        config(**options)


def test_a_frozen_encoder_is_trained_on_one_device():
    with pytest.raises(InputError, match="freeze_base"):
        TrainConfig(metadata_column=("x",), freeze_base=True, strategy="ddp")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "data-parallel"}, "needs several GPUs"),
        ({"strategy": "fsdp", "fsdp_cpu_offload": True}, "no effect on cpu"),
    ],
)
def test_a_strategy_that_the_machine_lacks_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        start_strategy(config(**options), CPU)


@pytest.mark.behaviour("fsdp_cpu_offload")
def test_divided_weights_may_stay_with_the_cpu(monkeypatch):
    policies = []
    monkeypatch.setattr(
        "aam_core.distributed.processes.fully_shard",
        lambda module, offload_policy, **_: policies.append(type(offload_policy)),
    )
    monkeypatch.setattr(Processes, "_mesh", lambda self: None)
    model = session_of(config_of("pretrain"))[1]
    for offload in (False, True):
        shared = object.__new__(Processes)  # without a group of processes
        shared.device = CPU
        shared.config = config(strategy="fsdp", fsdp_cpu_offload=offload)
        policies.clear()
        shared._divide(Root(model))
        assert set(policies) == {CPUOffloadPolicy if offload else OffloadPolicy}


def test_processes_of_a_strategy():
    assert processes_of(config()) == 0
    assert processes_of(config(strategy="auto")) == 0  # no GPU
    assert processes_of(config(strategy="auto", devices=3)) == 3
    with pytest.raises(InputError, match="devices"):
        processes_of(config(strategy="ddp"))


def test_under_torchrun_devices_and_strategy_are_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun started 2 processes"):
        start_strategy(config(), CPU)
    with pytest.raises(InputError, match="leave devices out"):
        pretrain(config(strategy="ddp", devices=2), tmp_path, table=None)


def test_parts_of_a_state_need_a_folder_for_it():
    strategy = Strategy(CPU)
    strategy.sharded = True
    with pytest.raises(InputError, match="fsdp_sharded_checkpoint"):
        spread.StateKeeper(strategy=strategy)
