"""Training: a predictor of sample metadata."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core import checkpoint
from aam_core.attention import set_attention
from aam_core.config import TrainConfig
from aam_core.device import choose_device, compile_layers, tell_precision
from aam_core.errors import InputError
from aam_core.fusion import check_heads
from aam_core.inputs import (
    Log,
    Matrix,
    Report,
    check_empty,
    logger,
    prepare_inputs,
    split_rows,
)
from aam_core.labels import fit_labels, without_new_classes
from aam_core.launch import on_all_devices, start_strategy
from aam_core.loading import load_encoder
from aam_core.loop import fit
from aam_core.memory import MemoryProfile, fit_to_memory
from aam_core.mixture import mix_linear
from aam_core.model import Encoder
from aam_core.phylogeny import Phylogeny
from aam_core.predictor import SequencePredictor
from aam_core.pretrain import describe, describe_run, resolve_from
from aam_core.resume import StateKeeper, identity_of
from aam_core.splits import read_groups
from aam_core.table import FeatureTable
from aam_core.targets import read_target
from aam_core.train_session import TrainSession, head_shape, set_first_guess


@on_all_devices
def train(
    config: TrainConfig,
    output: Path,
    *,
    table: FeatureTable,
    metadata: pd.DataFrame,
    sequences: Mapping[str, str] | None = None,
    phylogeny: Phylogeny | None = None,
    distances: Matrix | None = None,
    encoder: Path | None = None,
    report: Report = logger.info,
    tensorboard: Path | None = None,
    state: Path | None = None,
    resume_from: Path | None = None,
) -> pd.DataFrame:
    """Learn to predict sample metadata, with or without a pre-trained encoder.

    Parameters
    ----------
    config : TrainConfig
        All options.
    output : Path
        Directory for the model; it must be empty or not exist.
    table : FeatureTable
        Counts.
    metadata : pandas.DataFrame
        Sample metadata, indexed by sample id.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    phylogeny, distances : optional
        As for `pretrain`; with one of them the distances between samples are
        learned beside the target.
    encoder : Path, optional
        What `pretrain` wrote.
    report : callable
        Takes sentences for the user.
    tensorboard : Path, optional
        Folder for event files.
    state : Path, optional
        Folder for the state of training, written after each epoch and removed when
        the model is complete. It may be `output`: a stopped run then leaves its state
        beside its model.
    resume_from : Path, optional
        Folder with the state of an interrupted run, which then goes on as if it had
        never been interrupted. It may be `state`.

    Returns
    -------
    pandas.DataFrame
        Predictions of the validation samples, one column per target.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    """
    strategy = start_strategy(config, choose_device(config))
    device = strategy.device
    log = Log(strategy.told(report))
    if strategy.main:
        check_empty(output, resume_from)
    profile = MemoryProfile(device, config.memory_profile)
    if config.freeze_base and encoder is None:
        raise InputError(
            "freeze_base needs a pre-trained encoder: pass one, or leave freeze_base "
            "out."
        )
    arch = resolve_from(config, encoder)
    check_heads(config, arch.embedding_dim)
    columns = config.metadata_column
    target = read_target(metadata, columns, config.task, table.sample_ids, log)
    labelled = np.flatnonzero(np.isin(table.sample_ids, target.index))
    inputs = prepare_inputs(
        config,
        table=table.take_samples(labelled),
        sequences=sequences,
        phylogeny=phylogeny,
        distances=distances,
        metric=config.unifrac_metric,
        max_bp=arch.max_bp,
        seed=config.seed,
        report=log,
    )
    ids = inputs.study.table.sample_ids
    target = read_target(metadata, columns, config.task, ids, log)
    classes = target.iloc[:, 0].tolist() if config.task == "classification" else None
    training, validation = split_rows(
        inputs.study, config, metadata=metadata, labels=classes, report=log
    )
    if classes:
        validation = without_new_classes(target, training, validation, log)
    labels = fit_labels(config, metadata, target, training, log)
    identity = identity_of(
        "train",
        config,
        inputs,
        training,
        validation,
        encoder=None if encoder is None else encoder / checkpoint.WEIGHTS,
        target=target.to_numpy(),
        categories=labels.categories_NK,
    )
    keeper = StateKeeper(state, resume_from, identity, strategy)
    torch.manual_seed(config.seed)
    base = Encoder(arch) if encoder is None else load_encoder(encoder, arch)
    model = SequencePredictor(base, head_shape(config, labels), config.freeze_base)
    set_first_guess(model, labels, training)
    model.to(device)
    tell_precision(config, device, log)
    set_attention(model, config, device, log)
    session = TrainSession(
        config, model, inputs, labels, training, validation, device, log
    )
    keeper.decided = fit_to_memory(
        session, model, device, log, strategy=strategy, before=keeper.decided
    )
    config = session.config
    describe(model, inputs, training, validation, device, log, config)
    session.calibrate(new_base=encoder is None)
    compile_layers(model, config, device, log)
    strategy.prepare(session, model)
    result = fit(
        profile.watch(session.objective()),
        session.batches(),
        config,
        device,
        report=log,
        tensorboard=tensorboard,
        keeper=keeper,
        strategy=strategy,
    )
    strategy.load(model, result.best_state)
    more = {}
    if config.linear_part and not result.completed:
        log("linear_part is left out, since training was stopped.")
    elif config.linear_part:
        groups_N = read_groups(metadata, config.group_column, ids)
        more = strategy.inside(partial(mix_linear, session, groups_N, log))
    raw = strategy.inside(session.raw_predictions)
    labels = session.with_intervals(raw)
    log(f"Validation: {_sentence(session.metrics(raw))}.")
    description = describe_run(config, base, inputs, training, validation, result)
    if more:
        found = session.scores_of(torch.from_numpy(raw).to(device))
        description["scores"] = description["scores"] | found
    description |= profile.tell(log)
    description |= {
        "kind": "model",
        "task": config.task,
        "head": dataclasses.asdict(model.shape),
        "target": labels.decoder.to_dict(),
        "categories": labels.categories and labels.categories.to_dict(),
        "report": log.lines,
    }
    if strategy.main:
        state = result.best_state | more
        checkpoint.save(output, description, state, result.history)
    keeper.end(result.completed, output)
    groups = session.groups(validation)
    return labels.decoder.predictions(raw, ids[validation], groups)


def _sentence(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
