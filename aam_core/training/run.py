"""One program for every run that trains a model: prepare, build, train, finish."""

import contextlib
import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from aam_core.config import Architecture, ModelOptions, RunConfig, resolve_architecture
from aam_core.config.effort import default_preset, with_effort
from aam_core.data.inputs import Inputs, Sources
from aam_core.data.study import longest_sequence
from aam_core.distributed.launch import start_strategy
from aam_core.distributed.strategy import Stop, Strategy
from aam_core.errors import InputError, NotFinite, RunError
from aam_core.io import model_folder
from aam_core.io.load import architecture, load_encoder, read_kind
from aam_core.nn.attention import set_attention
from aam_core.nn.compilation import compile_layers
from aam_core.nn.encoder import Encoder
from aam_core.reporting import Log, Report, closing_lines, silent
from aam_core.runtime.device import choose_device, tell_precision
from aam_core.runtime.draws import own_draws
from aam_core.runtime.process_memory import available, peak_resident
from aam_core.training.identity import identity_of
from aam_core.training.loop import Fit, fit
from aam_core.training.memory import MemoryProfile, fit_to_memory
from aam_core.training.memory_estimate import check_weights, summary
from aam_core.training.program import (
    Begun,
    Part,
    Prepared,
    Program,
    RunFiles,
    Trained,
)
from aam_core.training.resume import StateKeeper
from aam_core.training.session import Session
from aam_core.training.stop import Interrupted, StopRequest


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
        If the input or an option is wrong; before the first step of training.
    RunError
        If the run cannot go on after that, and there is no model yet.
    """
    config, started = program.config, time.monotonic()
    strategy = start_strategy(config, choose_device(config))
    log = Log(strategy.told(report))
    if strategy.main:
        model_folder.check_empty(files.output, files.resume_from, files.state)
    with own_draws(log):
        return _run(program, files, strategy, log, started)


def _run(
    program: Program, files: RunFiles, strategy: Strategy, log: Log, started: float
) -> Any:
    """A run that no other one of this process disturbs."""
    config = program.config
    profile = MemoryProfile(strategy.device, config.memory_profile)
    request = StopRequest(config.max_hours)
    with strategy.stop(request) as stop:
        prepared = program.prepare(files.encoder, strategy.device, log)
        keeper = _keeper(program, prepared, files, strategy, log)
        with _no_refusal_after_a_step(keeper):
            begun = program.begin(prepared, strategy, request, log)
            trained, stopped = _train_parts(
                program, prepared, files, strategy, keeper, profile, begun, stop, log
            )
            stopped = stopped or begun.stopped
            found = None
            if strategy.main:
                finished = program.finish(prepared, begun, trained, log)
                description = _describe_run(program, prepared, keeper)
                description |= profile.tell(log) | {"run": _cost(strategy, started)}
                description |= {"completed": stopped is None, "stopped": stopped}
                description |= finished.description
                for line in closing_lines(description):
                    log(line)
                description["report"] = log.lines
                history = _history(trained) or [{"epoch": 0} | description["scores"]]
                save_or_rescue(files.output, description, finished.weights, history)
                found = finished.found
            keeper.end(stopped is None and not files.keep_state, files.output)
    return found


@contextlib.contextmanager
def _no_refusal_after_a_step(keeper: StateKeeper) -> Iterator[None]:
    """Let what ends a run that has learned be no refusal of its input."""
    try:
        yield
    except InputError as error:
        if not keeper.stepped:
            raise
        raise RunError(str(error)) from error


def save_or_rescue(output: Path, *content: Any) -> None:
    """Write a model; where that fails, somewhere else.

    Raises
    ------
    RunError
        If it had to be written somewhere else; it says where.
    """
    try:
        model_folder.save(output, *content)
        return
    except OSError as error:
        failed = error
    said = f"The model could not be written to {output} ({failed})"
    for place in (None, Path.cwd()):  # first where temporary files are
        try:
            folder = Path(tempfile.mkdtemp(prefix="aam-model-", dir=place))
        except OSError:
            continue
        try:
            model_folder.save(folder, *content)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        raise RunError(
            f"{said}; it is in {folder}: copy it to where there is room."
        ) from failed
    raise RunError(
        f"{said}, nor elsewhere. Make room; a run whose training state was written "
        "resumes from it (resume_from)."
    ) from failed


def _describe_run(
    program: Program, prepared: Prepared, keeper: StateKeeper
) -> dict[str, Any]:
    """What `config.json` says of every run."""
    return {
        "architecture": dataclasses.asdict(prepared.arch),
        "options": _as_run(prepared.config, keeper).to_dict(),
        "seed": program.config.seed,
        "split": prepared.split,
        "samples": prepared.inputs.study.taken,
        "kind": program.kind,
        "task": program.task,
    }


def _cost(strategy: Strategy, started: float) -> dict[str, Any]:
    """What a run took: it is told in summaries, and nothing depends on it."""
    device = strategy.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    found = {"seconds": round(time.monotonic() - started, 1), "device": name}
    with contextlib.suppress(InputError):  # systems that do not tell
        found["peak_memory_bytes"] = peak_resident()
    return found


def _train_parts(
    program: Program,
    prepared: Prepared,
    files: RunFiles,
    strategy: Strategy,
    keeper: StateKeeper,
    profile: MemoryProfile,
    begun: Begun,
    stop: Stop,
    log: Log,
) -> tuple[list[Trained], str | None]:
    """The models of the parts, as many as there is time for, and why not all."""
    trained = [Trained(**state) for state in keeper.finished]
    total, session = len(prepared.parts) if prepared.trains else 0, None
    for number in range(len(trained), total):
        part, told = prepared.parts[number], log
        if total > 1:
            told = partial(_of_fold, log, number + 1, total)
        enough = bool(trained) or begun.suffices
        try:
            with stop.interruptible() if enough else contextlib.nullcontext():
                session = _build(
                    program, prepared, number, files, strategy, keeper, session, told
                )
            result = fit(
                profile.watch(session.objective()),
                session.batches(),
                session.config,
                session.device,
                report=told,
                tensorboard=_events(files.tensorboard, number, total),
                keeper=keeper,
                strategy=strategy,
                stop=stop,
                models_after=total - number - 1,
            )
        except (Interrupted, NotFinite) as error:
            if not enough:
                raise _nothing_to_keep(error) from None
            reason = str(error) or stop.reason
            _tell_stopped(log, number, total, reason)
            return trained, reason
        strategy.load(session.model, result.best_state)
        held_out = session.predict(part.held_out)
        trained.append(Trained(**_shown(session, result), held_out=held_out))
        if not result.completed:
            return trained, result.stopped
        keeper.finished.append(vars(trained[-1]))
    return trained, None


def _nothing_to_keep(error: Interrupted | NotFinite) -> BaseException:
    """What a run ends with that has nothing to keep."""
    if isinstance(error, Interrupted):
        return error
    return NotFinite(f"Training cannot go on, and has no good epoch yet: {error}.")


def _tell_stopped(log: Log, number: int, total: int, reason: str) -> None:
    """Say what the model consists of that comes out."""
    when = f"after fold {number} of {total}" if number else "before its first network"
    log(
        f"Training stopped {when} because {reason}; the model has what was fitted "
        "before, and is marked as not completed."
    )


def _shown(session: Session, result: Fit) -> dict[str, Any]:
    return {
        "weights": session.kept(result.best_state),
        "scale": session.scale,
        "history": result.history,
        "best_epoch": result.best_epoch,
        "completed": result.completed,
    }


def _of_fold(report: Report, number: int, total: int, line: str) -> None:
    report(f"Fold {number} of {total}: {line}")


def _events(folder: Path | None, number: int, total: int) -> Path | None:
    """Where the event files of a part go."""
    return folder if folder is None or total < 2 else folder / f"fold-{number + 1}"


def _history(trained: Sequence[Trained]) -> list[dict[str, float]]:
    """One row per epoch, of folds one after the other."""
    if len(trained) == 1:
        return trained[0].history
    return [
        {"epoch": row["epoch"], "fold": number} | row
        for number, part in enumerate(trained, start=1)
        for row in part.history
    ]


def with_preset(
    config: RunConfig, encoder: Path | None, device: torch.device
) -> RunConfig:
    """The options with the preset of the device, unless an encoder brings its own.

    It is one of the options of the run from then on, so that a run which resumes on
    another device is told, instead of building another model.
    """
    if encoder is not None or config.preset is not None:
        return config
    return replace(config, preset=default_preset(device.type))


def with_effort_of(
    config: RunConfig,
    arch: Architecture,
    inputs: Inputs,
    parts: Sequence[Part],
    device: torch.device,
) -> RunConfig:
    """The options with epochs, learning rate and patience by effort."""
    richness = inputs.study.table.richness.clip(max=config.token_limit)
    return with_effort(
        config,
        device=device.type,
        width=arch.embedding_dim,
        asvs=int(richness[parts[0].training].sum()),
        batches=math.ceil(len(parts[0].training) / config.batch_size),
        models=len(parts),
        frozen=getattr(config, "freeze_base", False),
    )


def _as_run(config: RunConfig, keeper: StateKeeper) -> RunConfig:
    """The options with the batch size that fits into memory."""
    size = keeper.decided.get("batch_size", config.batch_size)
    return config if size == config.batch_size else replace(config, batch_size=size)


def outcome(trained: Trained) -> dict[str, Any]:
    """What `config.json` says of one model that was trained."""
    return {
        "distance": {"scale": trained.scale},
        "best_epoch": trained.best_epoch,
        "scores": trained.scores,
    }


def resolve_from(
    options: ModelOptions,
    encoder: Path | None,
    sources: Sources,
) -> Architecture:
    """The architecture that options, an earlier encoder and the sequences lead to."""
    earlier = None
    if encoder is not None:
        earlier = architecture(read_kind(encoder, "encoder"))
    longest = longest_sequence(sources.table, sources.sequences)
    arch = resolve_architecture(options, earlier, longest)
    check_weights(arch, available())
    return arch


def _keeper(
    program: Program,
    prepared: Prepared,
    files: RunFiles,
    strategy: Strategy,
    report: Report,
) -> StateKeeper:
    """The keeper of this run's state, and of that which it resumes from."""
    weights = None if files.encoder is None else files.encoder / model_folder.WEIGHTS
    identity = identity_of(
        program.command,
        prepared.config,
        prepared.inputs,
        prepared.split,
        encoder=weights,
        **prepared.read,
    )
    keeper = StateKeeper(files.state, files.resume_from, identity, strategy, report)
    if not keeper.resumes:
        keeper.begin()
    return keeper


def _build(
    program: Program,
    prepared: Prepared,
    number: int,
    files: RunFiles,
    strategy: Strategy,
    keeper: StateKeeper,
    earlier: Session | None,
    log: Report,
) -> Session:
    """A session whose model is ready for its first step."""
    config, device, new_base = prepared.config, strategy.device, files.encoder is None
    part, told = prepared.parts[number], log if number == 0 else silent
    torch.manual_seed(config.seed + number)
    arch = prepared.arch
    base = Encoder(arch) if new_base else load_encoder(files.encoder, arch)
    model = program.model(base, part).to(device)
    tell_precision(config, device, told)
    set_attention(model, config, device, told)
    session = program.session(model, prepared, part, device, told)
    if earlier is not None:
        session.share(earlier)
    plan = fit_to_memory(session, told, strategy=strategy, before=keeper.decided)
    keeper.decided = dataclasses.asdict(plan)
    model.set_checkpointing(plan.gradient_checkpointing)
    session = session.with_config(_as_run(config, keeper))
    _describe(session, log, told)
    session.initialise(new_base)
    compile_layers(model, config, device, told)
    strategy.prepare(model, session.first_loss)
    return session.with_strategy(strategy)


def _describe(session: Session, log: Report, told: Report) -> None:
    """Tell the size of the model and of the data before training starts."""
    model, study = session.model, session.inputs.study
    asvs = study.table.shape[1]
    number = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    log(
        f"{len(session.training):,} training and {len(session.validation):,} "
        f"validation samples with {asvs:,} distinct ASVs; a model of {number:,} "
        f"parameters ({trained:,} trained) on {session.device.type}."
    )
    told(summary(model, study, session.training, session.config))
