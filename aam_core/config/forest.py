"""The options of the random forest.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing

from aam_core.config.option import Options, option
from aam_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestOptions(Options):
    """The random forest."""

    topic: typing.ClassVar[str] = "Random forest"

    n_estimators: int = option(
        500,
        "Trees of the forest.",
        low=1,
        high=100_000,
        when="Raise it where the scores differ much between values of "
        "random_seed; lower it for a quick look.",
    )
    max_features: str = option(
        "auto",
        "Features tried at a split: sqrt, log2, a fraction (0.3), or a number (20); "
        "auto is sqrt for classes, and a third of the features for numbers.",
        when="Try a fraction such as 0.3 where few of many features carry the "
        "signal, so that splits find them more often.",
    )
    random_seed: int = option(
        42,
        "Seed of the forest.",
        low=0,
        high=2**32 - 1,
        when="Repeat the forest with a few seeds to see how far its scores "
        "depend on chance; the split stays that of seed.",
    )
    n_jobs: int = option(
        -1,
        "Processes; -1 takes all cores.",
        low=-1,
        high=1024,
        when="Set the number of cores that you were given on a shared machine or "
        "in a batch job; results do not depend on it.",
    )

    held_out: str = option(
        "folds",
        "With a model: whom the forest predicts. folds: the model's samples, each by a "
        "forest that was fitted without its fold; others: all other labelled samples "
        "of the table, by a forest of the model's samples.",
        choices=("folds", "others"),
        when="Choose others to compare on a test set that the model never saw.",
    )

    def _check(self) -> None:
        self.features_per_split()
        if self.n_jobs == 0:
            raise InputError("n_jobs is 0; allowed are -1 (all cores) and 1 or more.")

    def features_per_split(self) -> str | float | int:
        """`max_features` as scikit-learn takes it."""
        text = self.max_features
        if text == "auto":
            return 1 / 3 if getattr(self, "task", None) == "regression" else "sqrt"
        if text in ("sqrt", "log2"):
            return text
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if 0 < number < 1 or ("." in text and number == 1):
            return number
        if number >= 1 and number.is_integer():
            return int(number)
        raise InputError(
            f"max_features is {text!r}; allowed are auto, sqrt, log2, a fraction of "
            "the features such as 0.3, or a number of features such as 20."
        )
