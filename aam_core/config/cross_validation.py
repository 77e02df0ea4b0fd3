"""The options of a cross-validation.

Declared as `aam_core.config` describes; what other commands have too is borrowed.
"""

import dataclasses
import typing

from aam_core.config.device import DeviceOptions
from aam_core.config.input import DepthOptions, MetadataOptions, SplitOptions
from aam_core.config.optimisation import OptimiserOptions
from aam_core.config.option import Options, option
from aam_core.config.samples import borrowed


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossValidationOptions(Options):
    """Folds, their repeats, and what is fitted in each."""

    topic: typing.ClassVar[str] = "Cross-validation"

    folds: int = option(
        5,
        "Parts that the labelled samples (whole groups) are divided into; each is "
        "predicted by models that were fitted to the others.",
        low=2,
        high=1000,
        when="Set 10 where samples are few, so that models learn from nearly all of "
        "them; 3 to save time.",
    )
    repeats: int = option(
        3,
        "How often all samples are divided and predicted anew, by seeds that follow "
        "one another.",
        low=1,
        high=1000,
        when="Set 1 for a first look, 5 or 10 for a paper: the spread over repeats is "
        "what the division into folds makes of the scores.",
    )
    labels: tuple[int, ...] = option(
        (),
        "Numbers of training samples (as near as whole groups come) that models are "
        "fitted to besides, for a learning curve on the same folds.",
        low=10,
        when="Name a few, such as 25,50,100, to see whether more samples would help; "
        "each takes about as long as the folds with as many samples.",
    )
    rarefy_depth: int | None = borrowed(DepthOptions, "rarefy_depth")
    missing_scheme: str = borrowed(MetadataOptions, "missing_scheme")
    effort: str = borrowed(OptimiserOptions, "effort")
    seed: int = borrowed(SplitOptions, "seed")
    device: str = borrowed(DeviceOptions, "device")
    max_hours: float | None = borrowed(
        OptimiserOptions,
        "max_hours",
        help="Hours after which the run ends, with the folds that are done, marked as "
        "not completed.",
        when="Set it somewhat below the time limit of a batch job, so that the run "
        "ends with results.",
    )
