"""The options of optimisation.

Declared as `aam_core.config` describes.
"""

import dataclasses
import math
import typing
from typing import TypeVar

from aam_core.config.option import Options, option
from aam_core.errors import InputError

C = TypeVar("C", bound="OptimiserOptions")

#: What stands for options that a run leaves open, where nothing is known of its data.
FALLBACKS = {"epochs": 100, "lr": 1e-4, "patience": 10}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserOptions(Options):
    """Optimiser, learning rate and when to stop."""

    topic: typing.ClassVar[str] = "Optimisation"

    effort: str = option(
        "standard",
        "How much time a run may take: sets epochs, patience, lr and folds where they "
        "are not given. quick trains no network without a frozen encoder, such as the "
        "general one; thorough takes up to ten times as long as standard.",
        choices=("quick", "standard", "thorough"),
        when="Choose quick for a first look (a minute for some hundred samples), "
        "thorough where an encoder is trained, on a GPU or over night: with the "
        "general one it gained nothing on three studies (one seed).",
    )
    epochs: int | None = option(
        None,
        "Most passes over the training samples.",
        low=1,
        high=10_000_000,
        shown=lambda: "2 to 100, by effort, samples and device",
        when="Raise it where the best epoch is near the last one; patience ends "
        "a run that no longer improves.",
    )
    lr: float | None = option(
        None,
        "Peak learning rate.",
        low=0,
        open_low=True,
        shown=lambda: (
            "0.001 with a width of 64 or a frozen base, less for wider models"
        ),
        when="Lower it where the loss jumps or is no longer finite; raise it where the "
        "training loss hardly falls.",
    )
    optimizer: str = option(
        "adamw",
        "Optimiser.",
        choices=("adamw", "adam", "sgd"),
        when="Choose sgd only with a higher lr and time to tune it; adam for "
        "weight decay inside of the gradient, as older work has it.",
    )
    weight_decay: float = option(
        0.01,
        "Weight decay of weight matrices.",
        low=0,
        when="Raise it where the validation loss rises while the training loss "
        "falls; 0 to compare with work without it.",
    )
    scheduler: str = option(
        "warmup_cosine",
        "Course of the learning rate.",
        choices=("warmup_cosine", "cosine", "cosine_restarts", "plateau", "onecycle"),
        when="Choose plateau where you cannot tell how many epochs are needed; "
        "cosine_restarts or onecycle where one fall gets stuck.",
    )
    warmup_steps: int | None = option(
        None,
        "Optimiser steps of linear warm-up (warmup_cosine).",
        low=0,
        shown=lambda: "a tenth of all steps",
        when="Raise it where the loss jumps in the first epochs; set 0 to start "
        "at the full rate.",
        only_with={"scheduler": ("warmup_cosine",)},
    )
    scheduler_t0: int | None = option(
        None,
        "Optimiser steps before the first restart (cosine_restarts).",
        low=1,
        shown=lambda: "a quarter of all steps",
        when="Set it where the first restart should come sooner or later than "
        "after a quarter of the run; steps of an epoch are samples by "
        "batch_size.",
        only_with={"scheduler": ("cosine_restarts",)},
    )
    scheduler_t_mult: int = option(
        2,
        "What the steps between restarts are multiplied by at each (cosine_restarts).",
        low=1,
        when="Set 1 for restarts at equal intervals.",
        only_with={"scheduler": ("cosine_restarts",)},
    )
    scheduler_eta_min: float = option(
        0.0,
        "Lowest learning rate (warmup_cosine, cosine, cosine_restarts).",
        low=0,
        when="Raise it above 0 where the last epochs should still learn, as in "
        "runs that patience rarely ends.",
        only_with={
            "scheduler": (
                "warmup_cosine",
                "cosine",
                "cosine_restarts",
            )
        },
    )
    scheduler_patience: int = option(
        5,
        "Epochs without a better validation score before the learning rate falls "
        "(plateau).",
        low=0,
        when="Keep it below patience, or training ends before the rate has "
        "fallen; raise it where scores are noisy.",
        only_with={"scheduler": ("plateau",)},
    )
    scheduler_factor: float = option(
        0.3,
        "What the learning rate is then multiplied by (plateau).",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        when="Raise it towards 1 where each fall of the rate ends all progress.",
        only_with={"scheduler": ("plateau",)},
    )
    scheduler_min_lr: float = option(
        0.0,
        "Lowest learning rate (plateau).",
        low=0,
        when="Raise it above 0 where the rate falls so far that epochs pass "
        "without effect.",
        only_with={"scheduler": ("plateau",)},
    )
    patience: int | None = option(
        None,
        "Epochs without a better validation score before training ends.",
        low=1,
        shown=lambda: "a fifth of epochs, 10 at least",
        when="Raise it where few validation samples make the score jump; lower "
        "it to save time in first trials.",
    )
    max_hours: float | None = option(
        None,
        "Hours after which training ends early, with the best model so far, marked as "
        "not completed.",
        low=0,
        open_low=True,
        shown=lambda: "no limit",
        when="Set it somewhat below the time limit of a batch job, so that the "
        "run ends with a model.",
    )
    max_grad_norm: float | None = option(
        1.0,
        "Clip the gradient to this norm; 0 turns it off.",
        low=0,
        when="Lower it where the loss jumps; 0 only to compare with work that "
        "does not clip.",
    )
    gradient_accumulation_steps: int = option(
        1,
        "Batches whose gradients are averaged for one step.",
        low=1,
        when="Raise it where memory allows only a small batch_size and the loss "
        "is noisy; distances are still learned within each batch.",
    )
    target_effective_batch_size: int | None = option(
        None,
        "Samples that each step shall see: sets gradient_accumulation_steps to what "
        "that takes, rounded up.",
        low=1,
        shown=lambda: "batch_size times gradient_accumulation_steps",
        when="Use it instead of gradient_accumulation_steps where batch_size "
        "differs between machines but runs should be alike.",
    )

    def _check(self) -> None:
        target = self.target_effective_batch_size
        if target is None:
            return
        if self.gradient_accumulation_steps > 1:
            raise InputError(
                f"target_effective_batch_size is {target} and "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}: one "
                "follows from the other, so leave one of them out."
            )
        batch_size = getattr(self, "batch_size", 1)
        if target < batch_size:
            raise InputError(
                f"target_effective_batch_size is {target}, which is below batch_size "
                f"{batch_size}: leave it out, or lower batch_size."
            )

    def filled(self: C) -> C:
        """The options with numbers for what was left open, whatever the samples."""
        open_ = {n: v for n, v in FALLBACKS.items() if getattr(self, n) is None}
        return dataclasses.replace(self, **open_) if open_ else self

    def accumulation(self) -> int:
        """Batches of one step (of a config that has `DeviceOptions` too)."""
        if self.target_effective_batch_size is None:
            return self.gradient_accumulation_steps
        return math.ceil(self.target_effective_batch_size / self.batch_size)
