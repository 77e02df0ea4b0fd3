"""The memory that training steps take, in bytes, in a process of their own."""

import numpy as np
import torch

from aam_core.config import PretrainConfig, resolve_architecture
from aam_core.data.inputs import Inputs
from aam_core.data.study import prepare_study
from aam_core.data.unifrac import BatchUniFrac
from aam_core.nn.encoder import Encoder
from aam_core.reporting import silent
from aam_core.runtime.process_memory import peak_resident
from aam_core.training.memory_estimate import expected_bytes, load_of
from aam_core.training.optimiser import make_optimizer
from aam_core.training.pretrain_session import PretrainSession
from tests import generate

CPU = torch.device("cpu")


def take_steps(config: PretrainConfig, steps: int) -> tuple[int, int]:
    made = generate.study(samples=config.batch_size, features=300)
    study = prepare_study(
        made.table, made.sequences, config, max_bp=60, seed=0, report=silent
    )
    phylogeny = made.phylogeny.shear(study.table.feature_ids)
    inputs = Inputs(study, BatchUniFrac(phylogeny, study.table, "unweighted"))
    rows = np.arange(study.table.shape[0])
    batch = PretrainSession(
        config, Encoder(resolve_architecture(config)), inputs, rows, rows, CPU
    )
    batch = batch.batches().dataset[0, rows]
    before = peak_resident()
    model = Encoder(resolve_architecture(config))
    model.set_checkpointing(bool(config.gradient_checkpointing))
    session = PretrainSession(config, model, inputs, rows, rows, CPU)
    optimizer = make_optimizer(model.train(), config)
    for _ in range(steps):
        session.losses(batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    load = load_of(study, rows, config.batch_size, config.token_limit)
    return peak_resident() - before, expected_bytes(model, load, config)


def measured(options: dict) -> tuple[int, int]:
    """By how much two steps raise the peak memory, and what `expected_bytes` says."""
    usual = {"max_bp": 60, "rarefy_depth": 0, "device": "cpu"}
    # the first steps of a process also load libraries
    take_steps(PretrainConfig(preset="tiny", batch_size=2, **usual), 1)
    return take_steps(PretrainConfig(**usual | options), 2)
