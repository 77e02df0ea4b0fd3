"""The options of the ensemble.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError

MEMBERS = ("network", "kernel", "trees")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleOptions(Options):
    """Which members predict together, and how their weights are found."""

    topic: typing.ClassVar[str] = "Ensemble"

    ensemble: tuple[str, ...] = option(
        (),
        "Members whose predictions are mixed, by weights from samples that they were "
        "not fitted to: the network; a kernel (regressions on which ASVs there are, "
        "and on their like by sequence); trees (a forest on ASVs and on clades of like "
        "sequences). One name is that member alone.",
        choices=MEMBERS,
        shown=lambda: f"{','.join(MEMBERS)}, by effort",
        when="Choose kernel,trees where the network may take no time (seconds instead "
        "of minutes); network where its prediction alone is asked for, for example to "
        "compare networks.",
    )
    cross_fit: int | None = option(
        None,
        "Folds: each sample is predicted by members that were fitted without its fold, "
        "and weights and scores come from these predictions. A network is trained for "
        "each fold, with test_size of the others to choose its best epoch, and new "
        "samples are predicted by the mean of the networks; kernel and trees are "
        "fitted to all samples in the end. 0 keeps test_size of the samples for "
        "validation instead, and trains one network.",
        low=0,
        high=1000,
        shown=lambda: "5; 3 with effort quick",
        when="Set 0 where one network takes long already, or samples are so many that "
        "a part of them is enough for validation.",
    )

    def _check(self) -> None:
        if twice := {n for n in self.ensemble if self.ensemble.count(n) > 1}:
            raise InputError(f"ensemble names {', '.join(sorted(twice))} twice.")
        if self.cross_fit == 1:
            raise InputError(
                "cross_fit is 1, but there are two folds or more: choose 2 or more, or "
                "0 for one split into training and validation samples."
            )
