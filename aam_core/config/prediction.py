"""The options of prediction.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassOptions(Options):
    """Averages over random draws of ASVs."""

    topic: typing.ClassVar[str] = "Prediction"

    prediction_passes: int | None = option(
        None,
        "Random draws of ASVs over which the predictions of samples with more than "
        "token_limit ASVs are averaged, for models trained with asv_sampling random.",
        low=1,
        high=10_000,
        shown=lambda: "the model's val_prediction_passes, 1 if not chosen",
        when="Raise it for models with asv_sampling random where samples exceed "
        "token_limit and two draws give different predictions.",
    )
    output_variance: bool = option(
        False,
        "Add the standard deviation over the passes to the details: of each target, "
        "or of the probability of each class, in columns that end in _sd. Leave "
        "it out where sample-classifier is to plot the probabilities.",
        when="Turn it on to see which predictions depend on the ASVs that were "
        "drawn; it is no prediction interval.",
    )

    def _check(self) -> None:
        if self.output_variance and self.prediction_passes == 1:
            raise InputError(
                "output_variance needs at least two passes: choose more "
                "prediction_passes, or leave output_variance out."
            )
