"""What the processes of test_distributed.py do, and how they are started."""

import contextlib
import dataclasses
import os
import signal
import unittest.mock
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from aam_core.config import PretrainConfig, TrainConfig, resolve_architecture
from aam_core.data.inputs import Sources, prepare_inputs
from aam_core.data.labels import fit_labels
from aam_core.data.targets import read_target
from aam_core.distributed.processes import Processes
from aam_core.distributed.strategy import Strategy, gather_full
from aam_core.nn import fusion
from aam_core.nn.encoder import Encoder, NucleotideEncoder
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import silent
from aam_core.training.loop import fit
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.resume import StateKeeper
from aam_core.training.train_session import TrainSession, head_shape
from tests import generate
from tests.forked import METHOD
from tests.runs import ONE_NETWORK

CPU = torch.device("cpu")
SMALL = generate.SIZES | {
    "rarefy_depth": 100,
    "dropout": 0.0,
    "lr": 3e-3,
    "epochs": 2,
    "batch_size": 5,
    "asv_chunk_size": 9,  # 5 chunks of validation, which 2 or 3 processes share
    "device": "cpu",
}
TRAINING = np.arange(12)  # batches of 5, 5 and 2 samples
VALIDATION = np.arange(12, 17)


def config_of(task, strategy="none", **more):
    options = SMALL | {"strategy": strategy} | more
    if task == "pretrain":
        return PretrainConfig(count_prediction=True, **options)
    return TrainConfig(
        **ONE_NETWORK,
        metadata_column=("value",),
        categorical_columns=("site",),
        categorical_fusion="gmu",
        pooled_dropout=0.0,
        **options,
    )


def session_of(config):
    """The session of a run on a small study; always the same one."""
    fusion.UNKNOWN_RATE = 0.0  # a random choice, which processes make on their own
    made = generate.study(samples=17)
    sources = Sources(made.table, made.sequences, made.phylogeny)
    reading = dataclasses.replace(config, seed=0)
    inputs = prepare_inputs(reading, sources, max_bp=config.max_bp, report=silent)
    torch.manual_seed(0)
    model = Encoder(resolve_architecture(config))
    if isinstance(config, PretrainConfig):
        session = PretrainSession(config, model, inputs, TRAINING, VALIDATION, CPU)
        session.initialise(new_base=True)
        return session, model
    ids = inputs.study.table.sample_ids
    target = read_target(made.metadata, ("value",), "regression", ids, silent)
    labels = fit_labels(config, made.metadata, target, TRAINING, silent)
    model = SequencePredictor(model, head_shape(config, labels))
    session = TrainSession(config, model, inputs, labels, TRAINING, VALIDATION, CPU)
    session.initialise(new_base=True)
    return session, model


def step(session, model, rows):
    """The parts of the loss of these samples, and all gradients."""
    model.train()
    model.zero_grad()
    batch = session.batches().dataset[1, rows]
    total, parts = session.losses(batch)
    total.backward()
    named = dict(model.named_parameters())
    found = {n: p.grad for n, p in named.items() if p.grad is not None}
    divided = any(isinstance(g, DTensor) for g in found.values())
    gradients = {n: gather_full(g) for n, g in found.items()}
    parts = {n: float(v.detach()) for n, v in parts.items()}
    return {
        "total": float(total.detach()),
        "parts": parts,
        "gradients": gradients,
        "divided": divided,
    }


def run(session, model, strategy=None, folder=None, resume=None):
    """A whole run; its history and best weights."""
    keeper = StateKeeper(folder, resume, strategy=strategy)
    result = fit(
        session.objective(),
        session.batches(),
        session.config,
        CPU,
        report=silent,
        keeper=keeper,
        strategy=strategy,
    )
    return {
        "history": result.history,
        "state": result.best_state,
        "completed": result.completed,
    }


def shared_session(task, number, strategy="none", **more):
    """A session, its model, and the strategy; of this process alone if number is 0."""
    config = config_of(task, strategy, **more)
    session, model = session_of(config)
    shared = Processes(config, CPU) if number else Strategy(CPU)
    model.set_checkpointing(bool(config.gradient_checkpointing))
    shared.prepare(model, session.first_loss)
    return session.with_strategy(shared), model, shared


def steps(task, strategy, number):
    """Steps on a full batch, and on fewer samples than there are processes."""
    session, model, _ = shared_session(task, number, strategy)
    return [step(session, model, rows) for rows in (TRAINING[:5], TRAINING[:2])]


def recomputed_steps(strategy, number):
    """The first step in chunks that are computed again, and how often each is."""
    lean = {"gradient_checkpointing": True, "asv_chunk_size": 2}
    session, model, _ = shared_session("pretrain", number, strategy, **lean)
    passes, encode = [], NucleotideEncoder.forward

    def counted(self, tokens_UL, chunk, batch=None):
        passes.append(chunk.start)
        return encode(self, tokens_UL, chunk, batch)

    with unittest.mock.patch.object(NucleotideEncoder, "forward", counted):
        found = step(session, model, TRAINING[:5])
    return found, [passes.count(start) for start in sorted(set(passes))]


def fitted(task, options, number):
    """A run from start to end."""
    session, model, shared = shared_session(task, number, **options)
    return run(session, model, shared)


class Killed(Exception):
    pass


def interrupted(options, folder, number):
    """A run that is killed in its second validation; its state is in the folder."""
    session, model, shared = shared_session("pretrain", number, **options)
    validate, calls = session.validate, []

    def killed():
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return validate()

    session.validate = killed
    with contextlib.suppress(Killed):
        run(session, model, shared, Path(folder))
    return {"calls": len(calls)}


def resumed(options, folder, number):
    """The rest of that run."""
    session, model, shared = shared_session("pretrain", number, **options)
    torch.manual_seed(99)  # another process has drawn other numbers
    return run(session, model, shared, resume=Path(folder))


def stopped(number):
    """A run in which the last process alone gets SIGTERM, after its first epoch."""
    session, model, shared = shared_session("pretrain", number, "ddp", epochs=50)
    validate = session.validate

    def signalled():
        if shared.rank == number - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate()

    session.validate = signalled
    return run(session, model, shared)


def work(place, number, folder, jobs, nodes=1):
    """One of `number` processes: does jobs, and the first one keeps their results."""
    torch.set_num_threads(1)
    os.environ["LOCAL_WORLD_SIZE"] = str(number // nodes)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=place,
        world_size=number,
    )
    found = {}
    for name, job, *args in jobs:
        found[name] = job(*args, number)
    if place == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.barrier()
    dist.destroy_process_group()


def in_processes(number, folder, jobs, nodes=1):
    """What `jobs` return in that many processes."""
    args = (number, str(folder), jobs, nodes)
    torch.multiprocessing.start_processes(work, args, number, start_method=METHOD)
    return torch.load(Path(folder) / "found.pt", weights_only=True)
