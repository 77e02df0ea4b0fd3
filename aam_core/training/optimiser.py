"""Optimiser, learning-rate schedule and gradient accumulation of a run."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from aam_core.config import OptimiserOptions
from aam_core.errors import InputError
from aam_core.nn.fusion import is_covariate


class Stepper:
    """Optimiser, schedule, precision and gradient accumulation of one run."""

    def __init__(
        self,
        model: nn.Module,
        batches: DataLoader,
        config: OptimiserOptions,
        device: torch.device,
    ) -> None:
        self.config = config = config.filled()
        self.device = device
        self.taken = 0  #: steps of this process
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
        own = self.state_dict()
        for name, kinds in own.items():
            own_kinds = {k: v for k, v in kinds.items() if k != "state"}
            if not _alike(own_kinds, state[name]):
                raise ValueError(f"the {name} is not what it was")
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
        self.taken += 1
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.scheduler != "plateau":
            self.scheduler.step()

    def end_epoch(self, score: float) -> None:
        """Tell a plateau scheduler how good (low) the epoch was."""
        if self.config.scheduler == "plateau":
            self.scheduler.step(score)


def _alike(own: Any, given: Any) -> bool:
    """Whether nested settings are of the same kinds; other versions may have more."""
    if isinstance(own, dict):
        return isinstance(given, dict) and all(
            _alike(value, given[name]) for name, value in own.items() if name in given
        )
    if isinstance(own, list | tuple):
        return (
            isinstance(given, list | tuple)
            and len(own) == len(given)
            and all(map(_alike, own, given))
        )
    if own is None or given is None:
        return own is given or isinstance(own or given, bool)  # foreach, fused
    if isinstance(own, bool | str):
        return type(own) is type(given)
    if isinstance(own, int | float):
        return isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(given, type(own))


def make_optimizer(
    model: nn.Module, config: OptimiserOptions, fused: bool = False
) -> torch.optim.Optimizer:
    """The options' optimiser; weight decay reaches weight matrices only.

    With `categorical_lr`, the parameters of the covariates are groups of their own.
    Their learning rate follows the first group's at a constant ratio, whatever the
    schedule (a lowest rate, for example, would otherwise hold for both).
    """
    config = config.filled()
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
