"""The options of explanations, and of their page.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.ensemble import MEMBERS
from aam_core.config.input import SplitOptions
from aam_core.config.option import Options, option
from aam_core.config.samples import borrowed
from aam_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplanationOptions(Options):
    """Which predictions are explained, and how finely."""

    topic: typing.ClassVar[str] = "Explanation"

    samples: tuple[str, ...] = option(
        (),
        "Ids of the samples to explain; the others serve as their background. Without, "
        "max_samples samples, drawn at random.",
        when="Name the few samples whose prediction is in question.",
    )
    max_samples: int = option(
        100,
        "Most samples that are explained.",
        low=1,
        when="Lower it where time is short, raise it where importance is to be that of "
        "a whole large study; time grows with it.",
    )
    classes: tuple[str, ...] = option(
        (),
        "Classes whose log-odds are explained.",
        shown=lambda: "all classes",
        when="Name the classes that matter where there are many: tables get smaller, "
        "not the time shorter.",
    )
    draws: int = option(
        10,
        "Other samples that each sample is compared with, by two walks each.",
        low=2,
        high=10_000,
        when="Raise it where standard errors are as large as the contributions; time "
        "grows with it.",
    )
    network_steps: int = option(
        16,
        "At how many places of a walk the network is read; in between, its change is "
        "shared equally by the ASVs that are switched. 0 reads it at each ASV.",
        low=0,
        high=10_000,
        when="Raise it where the network has most of the weight and time is not short; "
        "set 0 for a small study.",
    )
    members: tuple[str, ...] = option(
        (),
        "Members of the ensemble that are explained, with their weights scaled to sum "
        "to 1.",
        choices=MEMBERS,
        shown=lambda: "all members of the model",
        when="Leave the network out (kernel,trees) where its weight is small and the "
        "study large: it takes most of the time.",
    )
    seed: int = borrowed(SplitOptions, "seed")

    def _check(self) -> None:
        default = type(self).max_samples
        if self.samples and self.max_samples != default:
            raise InputError(
                f"max_samples is {self.max_samples}, but samples names "
                f"{len(self.samples)}: leave one of the two out."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContributionPageOptions(Options):
    """What a page of contributions shows."""

    topic: typing.ClassVar[str] = "Report"

    top: int = option(
        20,
        "ASVs that the overview shows; of a single sample half as many.",
        low=2,
        high=60,
        when="Raise it where many ASVs matter alike.",
    )
