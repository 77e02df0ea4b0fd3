"""One program for every run that trains a model: prepare, build, train, finish."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aam_core.config import Architecture, ModelOptions, RunConfig, resolve_architecture
from aam_core.data.inputs import Inputs
from aam_core.data.labels import Labels
from aam_core.distributed.launch import start_strategy
from aam_core.distributed.strategy import Strategy
from aam_core.io import model_folder
from aam_core.io.load import architecture, load_encoder, read_kind
from aam_core.nn.attention import set_attention
from aam_core.nn.compilation import compile_layers
from aam_core.nn.encoder import Encoder
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Log, Report
from aam_core.runtime.device import choose_device, tell_precision
from aam_core.training.identity import identity_of
from aam_core.training.loop import Fit, fit
from aam_core.training.memory import MemoryProfile, fit_to_memory
from aam_core.training.memory_estimate import summary
from aam_core.training.resume import StateKeeper
from aam_core.training.session import Session


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run reads and writes; see `pretrain`."""

    output: Path
    encoder: Path | None = None
    tensorboard: Path | None = None
    state: Path | None = None
    resume_from: Path | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a run learns from, aligned and divided."""

    arch: Architecture
    inputs: Inputs
    training: np.ndarray  #: rows of the study
    validation: np.ndarray
    labels: Labels | None = None
    #: Whatever else the run reads, by the name that a message should give it.
    read: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def samples(self) -> tuple[Inputs, np.ndarray, np.ndarray]:
        """As a session takes them."""
        return self.inputs, self.training, self.validation


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a run leaves when its weights are learned."""

    description: dict[str, Any]  #: what `config.json` says besides
    weights: dict[str, Tensor]
    found: Any = None  #: what the command returns


class Program(Protocol):
    """What runs differ in: pre-training and training."""

    config: RunConfig
    command: str
    kind: str  #: of what is written: encoder or model
    task: str | None

    def prepare(self, encoder: Path | None, report: Report) -> Prepared:
        """Align what is read, and divide the samples; the input is checked here."""

    def model(self, base: Encoder, prepared: Prepared) -> Encoder | SequencePredictor:
        """What is trained, on this encoder."""

    def session(
        self,
        model: Encoder | SequencePredictor,
        prepared: Prepared,
        device: torch.device,
        report: Report,
    ) -> Session:
        """The run of a model."""

    def finish(self, session: Session, result: Fit, report: Log) -> Finished:
        """What is to do with the weights that were learned."""


def run_training(program: Program, files: RunFiles, report: Report) -> Any:
    """Take a run from its inputs to the folder of its model.

    Parameters
    ----------
    program : Program
        What is trained, on what.
    files : RunFiles
        Where the run reads and writes.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    object
        What the program found besides.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    """
    config = program.config
    strategy = start_strategy(config, choose_device(config))
    log = Log(strategy.told(report))
    if strategy.main:
        model_folder.check_empty(files.output, files.resume_from)
    profile = MemoryProfile(strategy.device, config.memory_profile)
    prepared = program.prepare(files.encoder, log)
    keeper = _keeper(program, prepared, files, strategy)
    session = _build(program, prepared, files, strategy, keeper, log)
    result = fit(
        profile.watch(session.objective()),
        session.batches(),
        session.config,
        session.device,
        report=log,
        tensorboard=files.tensorboard,
        keeper=keeper,
        strategy=strategy,
    )
    finished = program.finish(session, result, log)
    description = _describe_run(session, result) | profile.tell(log)
    description |= {"kind": program.kind, "task": program.task}
    description |= finished.description | {"report": log.lines}
    if strategy.main:
        model_folder.save(files.output, description, finished.weights, result.history)
    keeper.end(result.completed, files.output)
    return finished.found


def resolve_from(options: ModelOptions, encoder: Path | None) -> Architecture:
    """The architecture that the options and an earlier encoder lead to."""
    if encoder is None:
        return resolve_architecture(options)
    return resolve_architecture(options, architecture(read_kind(encoder, "encoder")))


def _keeper(
    program: Program, prepared: Prepared, files: RunFiles, strategy: Strategy
) -> StateKeeper:
    """The keeper of this run's state, and of that which it resumes from."""
    weights = None if files.encoder is None else files.encoder / model_folder.WEIGHTS
    identity = identity_of(
        program.command,
        program.config,
        *prepared.samples,
        encoder=weights,
        **prepared.read,
    )
    return StateKeeper(files.state, files.resume_from, identity, strategy)


def _build(
    program: Program,
    prepared: Prepared,
    files: RunFiles,
    strategy: Strategy,
    keeper: StateKeeper,
    log: Log,
) -> Session:
    """A session whose model is ready for its first step."""
    config, device, new_base = program.config, strategy.device, files.encoder is None
    torch.manual_seed(config.seed)
    arch = prepared.arch
    base = Encoder(arch) if new_base else load_encoder(files.encoder, arch)
    model = program.model(base, prepared).to(device)
    tell_precision(config, device, log)
    set_attention(model, config, device, log)
    session = program.session(model, prepared, device, log)
    plan = fit_to_memory(session, log, strategy=strategy, before=keeper.decided)
    keeper.decided = dataclasses.asdict(plan)
    model.set_checkpointing(plan.gradient_checkpointing)
    if plan.batch_size != config.batch_size:
        config = dataclasses.replace(config, batch_size=plan.batch_size)
        session = session.with_config(config)
    _describe(session, log)
    session.initialise(new_base)
    compile_layers(model, config, device, log)
    strategy.prepare(model, session.first_loss)
    return session.with_strategy(strategy)


def _describe(session: Session, report: Report) -> None:
    """Tell the size of the model and of the data before training starts."""
    model, study = session.model, session.inputs.study
    asvs = study.table.shape[1]
    number = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    report(
        f"{len(session.training):,} training and {len(session.validation):,} "
        f"validation samples with {asvs:,} distinct ASVs; a model of {number:,} "
        f"parameters ({trained:,} trained) on {session.device.type}."
    )
    report(summary(model, study, session.training, session.config))


def _describe_run(session: Session, result: Fit) -> dict[str, Any]:
    """What `config.json` says of every run."""
    config, ids = session.config, session.inputs.study.table.sample_ids
    return {
        "architecture": dataclasses.asdict(session.model.base.arch),
        "options": config.to_dict(),
        "seed": config.seed,
        "distance": {"scale": session.scale},
        "split": {
            "training": ids[session.training].tolist(),
            "validation": ids[session.validation].tolist(),
        },
        "best_epoch": result.best_epoch,
        "scores": result.history[result.best_epoch - 1],
        "completed": result.completed,
    }
