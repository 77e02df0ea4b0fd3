"""The training loop: steps, schedule, progress, early stopping, best model."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from aam_core.config import OptimiserOptions
from aam_core.data.batches import Batch, start
from aam_core.distributed.strategy import Strategy
from aam_core.errors import InputError
from aam_core.metrics import sign_of
from aam_core.nn.fusion import is_covariate
from aam_core.reporting import Report
from aam_core.runtime.device import autocast
from aam_core.runtime.process_memory import return_freed
from aam_core.training.resume import Progress, StateKeeper, StopRequest

#: Progress labels of the losses.
LABELS = {
    "unifrac_loss": "UL",
    "nuc_loss": "NL",
    "count_loss": "NCL",
    "target_loss": "RL",
    "nuc_accuracy": "NA%",
}
#: TensorBoard tags of what has no train_ or val_ in the history.
TAGS = {
    "gmu_gate_mean": "gmu/gate_mean",
    "cross_attn_weight_mean": "cross_attn/weight_mean",
}


@dataclass
class Objective:
    """What a run minimises.

    Attributes
    ----------
    model : torch.nn.Module
        What is trained.
    losses : callable
        Takes a batch on the device; returns the total loss and its parts, which
        are shown and recorded (unweighted; entries without a gradient may be
        added, such as an accuracy).
    validate : callable
        Returns the validation scores of one epoch by name, with `val_loss`.
    select : str
        The score that selects the best epoch.
    labels : dict
        Overrides of `LABELS`.
    """

    model: nn.Module
    losses: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
    validate: Callable[[], dict[str, float]]
    select: str = "val_loss"
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """What training ended with."""

    history: list[dict[str, float]]  #: one row per epoch
    best_epoch: int
    best_state: dict[str, Tensor]
    completed: bool = True  #: False if training was stopped before its end


def fit(
    objective: Objective,
    batches: DataLoader,
    config: OptimiserOptions,
    device: torch.device,
    *,
    report: Report,
    tensorboard: Path | None = None,
    keeper: StateKeeper | None = None,
    strategy: Strategy | None = None,
) -> Fit:
    """Train until the epochs are over or the validation score stops improving.

    Parameters
    ----------
    objective : Objective
        Model, losses and validation.
    batches : DataLoader
        Of `aam_core.data.batches.loader`; its sampler shuffles by epoch.
    config : OptimiserOptions
        Also a `DeviceOptions`.
    device : torch.device
        Where the model is.
    report : callable
        Takes sentences for the user.
    tensorboard : Path, optional
        Folder for TensorBoard's event files.
    keeper : StateKeeper, optional
        Writes the state of training after each epoch, and brings back that of an
        interrupted run.
    strategy : Strategy, optional
        How devices share the work; without it there is one.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the warm-up is longer than the run, or the loss is not finite.
    """
    keeper = keeper or StateKeeper()
    strategy = strategy or Strategy(device)
    stepper = Stepper(objective.model, batches, config, device)
    resumed = keeper.resumes
    progress = keeper.restore(objective.model, stepper)
    if resumed:
        report(f"The run resumes after epoch {progress.epoch} of {config.epochs}.")
    events = tensorboard if strategy.main else None
    writer = _writer(events, report, progress.epoch + 1)
    with strategy.stop(StopRequest(config.max_hours)) as stop:
        keeper.write(objective.model, stepper, progress)
        completed = _run_epochs(
            objective,
            batches,
            stepper,
            progress,
            stop,
            keeper,
            writer,
            report,
            strategy,
        )
    if writer is not None:
        writer.close()
    return_freed()
    shown = progress.history[progress.best_epoch - 1][objective.select]
    report(f"Best epoch: {progress.best_epoch} with {objective.select} {shown:.4f}.")
    if not completed:
        report(
            f"Training stopped after epoch {progress.epoch} of {config.epochs} because "
            f"{stop.reason}; the model is that of the best epoch so far and is marked "
            "as not completed."
        )
    return Fit(progress.history, progress.best_epoch, progress.best_state, completed)


def _run_epochs(
    objective: Objective,
    batches: DataLoader,
    stepper: "Stepper",
    progress: Progress,
    stop: StopRequest,
    keeper: StateKeeper,
    writer: Any,
    report: Report,
    strategy: Strategy,
) -> bool:
    """Train from where `progress` is; False if `stop` ended it early."""
    config = stepper.config
    sign = sign_of(objective.select)
    for epoch in range(progress.epoch + 1, config.epochs + 1):
        if progress.waited >= config.patience:
            report(
                f"Stopped after epoch {progress.epoch}: no better {objective.select} "
                f"for {config.patience} epochs (patience)."
            )
            return True
        if stop.reason and progress.epoch:
            return False
        batches.sampler.epoch = epoch
        row = {"epoch": epoch, "lr": stepper.lr}
        row |= _train_epoch(
            objective, batches, stepper, epoch, config.epochs, stop, strategy.main
        )
        cut = stop.reason is not None
        if cut and progress.epoch:
            return False
        scores = strategy.broadcast(strategy.inside(objective.validate))
        row |= {name: float(v) for name, v in scores.items()}
        score = sign * row[objective.select]
        stepper.end_epoch(score)
        progress.add(row, score, objective.model, strategy.weights)
        _log(writer, row)
        if cut:
            return False  # a part of the first epoch is better than no model
        keeper.write(objective.model, stepper, progress)
    return True


class Stepper:
    """Optimiser, schedule, precision and gradient accumulation of one run."""

    def __init__(
        self,
        model: nn.Module,
        batches: DataLoader,
        config: OptimiserOptions,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        fused = device.type in ("cuda", "cpu")
        self.optimizer = make_optimizer(model, config, fused)
        group = config.accumulation()
        self.steps = config.epochs * math.ceil(len(batches) / group)
        self.scheduler = make_scheduler(self.optimizer, config, self.steps)
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=config.mixed_precision == "fp16"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a run that resumes later needs of this one."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        parts["scaler"] = self.scaler
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the run was that `state_dict` described."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def backward(self, loss: Tensor, group: int) -> None:
        """Add the gradient of one of `group` batches."""
        self.scaler.scale(loss / group).backward()

    def step(self) -> None:
        """Clip the gradient, update the weights, move the schedule on."""
        if self.config.max_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.scheduler != "plateau":
            self.scheduler.step()

    def end_epoch(self, score: float) -> None:
        """Tell a plateau scheduler how good (low) the epoch was."""
        if self.config.scheduler == "plateau":
            self.scheduler.step(score)


def make_optimizer(
    model: nn.Module, config: OptimiserOptions, fused: bool = False
) -> torch.optim.Optimizer:
    """The options' optimiser; weight decay reaches weight matrices only.

    With `categorical_lr`, the parameters of the covariates are groups of their own.
    Their learning rate follows the first group's at a constant ratio, whatever the
    schedule (a lowest rate, for example, would otherwise hold for both).
    """
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = _decay_groups([p for _, p in trained], config)
    if getattr(config, "categorical_lr", None) is not None:
        ratio = config.categorical_lr / config.lr
        covariates = [p for n, p in trained if is_covariate(n)]
        groups = _decay_groups([p for n, p in trained if not is_covariate(n)], config)
        groups += [g | {"lr_ratio": ratio} for g in _decay_groups(covariates, config)]
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    else:
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
        optimizer = kind(groups, lr=config.lr, fused=fused)
    optimizer.register_step_pre_hook(_keep_ratios)
    return optimizer


def _decay_groups(
    parameters: list[nn.Parameter], config: OptimiserOptions
) -> list[dict[str, Any]]:
    return [
        {
            "params": [p for p in parameters if p.dim() >= 2],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def _keep_ratios(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Before each step: rates that are a multiple of the first group's."""
    first, *others = optimizer.param_groups
    for group in others:
        if "lr_ratio" in group:
            group["lr"] = first["lr"] * group["lr_ratio"]


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: OptimiserOptions, steps: int
) -> lr_scheduler.LRScheduler:
    """The options' learning-rate schedule over `steps` optimiser steps.

    All move on with each step, but `plateau`, which moves on with each epoch.
    """
    if config.scheduler == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer,
            patience=config.scheduler_patience,
            factor=config.scheduler_factor,
            min_lr=config.scheduler_min_lr,
        )
    if config.scheduler == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps + 1)
    lowest = config.scheduler_eta_min
    if config.scheduler == "cosine_restarts":
        first = config.scheduler_t0 or max(1, steps // 4)
        times = config.scheduler_t_mult
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, times, lowest)
    warmup = config.warmup_steps or 0
    if config.scheduler == "warmup_cosine" and config.warmup_steps is None:
        warmup = steps // 10
    if warmup and warmup >= steps:
        raise InputError(
            f"warmup_steps is {warmup:,}, but the whole run has only {steps:,} steps, "
            "so that the learning rate would never reach lr: choose fewer (the "
            "default is a tenth of the steps), or more epochs."
        )
    fall = lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup, lowest)
    if not warmup:
        return fall
    rise = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, fall], [warmup])


def _train_epoch(
    objective: Objective,
    batches: DataLoader,
    stepper: Stepper,
    epoch: int,
    epochs: int,
    stop: StopRequest,
    shown: bool = True,
) -> dict[str, float]:
    """One pass over the training samples, or a part if `stop` asks to end.

    Returns the mean of each loss. The progress is `shown` by one process only.
    """
    objective.model.train()
    labels = LABELS | objective.labels
    group = stepper.config.accumulation()
    sums: dict[str, Tensor] = {}
    bar = tqdm(
        start(batches),
        total=len(batches),
        desc=f"Epoch {epoch}/{epochs}",
        unit="batch",
        mininterval=0.5 if sys.stderr.isatty() else 20,
        dynamic_ncols=True,
        disable=not shown,
    )
    for number, batch in enumerate(bar, start=1):
        with autocast(stepper.config, stepper.device):
            total, parts = objective.losses(batch.to(stepper.device))
        left = len(batches) - (number - 1) // group * group
        stepper.backward(total, min(group, left))
        if number % group == 0 or number == len(batches):
            stepper.step()
        for name, value in {"total_loss": total, **parts}.items():
            sums[name] = sums.get(name, 0.0) + value.detach()
        cut = stop.reason is not None
        if cut or number == 1 or number % 10 == 0 or number == len(batches):
            means = {n: float(v) / number for n, v in sums.items()}
            _check_finite(means["total_loss"])
            bar.set_postfix_str(_postfix(means, stepper.lr, labels), refresh=False)
        if cut:
            break
    return {f"train_{name}": value for name, value in means.items()}


def _postfix(means: dict[str, float], lr: float, labels: dict[str, str]) -> str:
    parts = [f"TL {means['total_loss']:.4f}", f"LR {lr:.1e}"]
    for name, label in labels.items():
        if name in means:
            percent = label.endswith("%")
            value = f"{100 * means[name]:.1f}" if percent else f"{means[name]:.4f}"
            parts.append(f"{label} {value}")
    return ", ".join(parts)


def _check_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise InputError(
            "The loss is no longer a finite number. A lower lr, max_grad_norm 1, or "
            "mixed_precision none usually helps."
        )


def _writer(folder: Path | None, report: Report, epoch: int):
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        report("TensorBoard is not installed, so no event files are written.")
        return None
    return SummaryWriter(str(folder), purge_step=epoch)


def _log(writer, row: dict[str, float]) -> None:
    """Write a row of the history as TensorBoard scalars: train_x → train/x."""
    if writer is None:
        return
    for name, value in row.items():
        if name != "epoch":
            tag = TAGS.get(name, name.replace("_", "/", 1))
            writer.add_scalar(tag, value, row["epoch"])
