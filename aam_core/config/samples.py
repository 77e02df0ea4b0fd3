"""The few options of the front door, and those of reports.

Declared as `aam_core.config` describes; what other commands have too is borrowed.
"""

import dataclasses
import typing

from aam_core.config.device import DeviceOptions
from aam_core.config.input import DepthOptions, MetadataOptions, SplitOptions
from aam_core.config.optimisation import OptimiserOptions
from aam_core.config.option import Options, option
from aam_core.errors import InputError


def borrowed(group: type[Options], name: str, **changed: str) -> typing.Any:
    """The declaration of an option of another group, with another `help` or `when`."""
    field = next(f for f in dataclasses.fields(group) if f.name == name)
    metadata = dict(field.metadata) | changed
    return dataclasses.field(default=field.default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplesOptions(Options):
    """What is left to choose where everything else is at its default."""

    topic: typing.ClassVar[str] = "Samples"

    test_size: float = option(
        0.0,
        "Fraction of the samples (whole groups) that is held out from everything and "
        "scores the model. 0 predicts every sample out of fold, and fits the model to "
        "all of them.",
        low=0,
        high=1,
        open_high=True,
        when="Set 0.2 where a reviewer asks for a test set; out-of-fold predictions "
        "score more samples and are as honest.",
    )
    rarefy_depth: int | None = borrowed(DepthOptions, "rarefy_depth")
    effort: str = borrowed(OptimiserOptions, "effort")
    seed: int = borrowed(SplitOptions, "seed")
    device: str = borrowed(DeviceOptions, "device")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """What the sets of predictions are called."""

    topic: typing.ClassVar[str] = "Report"

    name: str = option(
        "q2-aam",
        "What the report calls the predictions.",
        when="Name the model where two are compared.",
    )
    other_name: str = option(
        "random forest",
        "What the report calls the other predictions.",
        when="Name whoever made them, if it is not the random forest.",
    )

    missing_scheme: str = borrowed(MetadataOptions, "missing_scheme")

    def _check(self) -> None:
        if not self.name or not self.other_name or self.name == self.other_name:
            raise InputError(
                f"The predictions are called {self.name!r} and {self.other_name!r}: "
                "give each a name of its own (name, other_name)."
            )
