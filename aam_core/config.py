"""Every option of q2-aam, declared once.

The `aam` command line, the signatures of the QIIME 2 actions and the option tables of
the documentation are generated from the dataclasses below and in the modules
`config_*` beside this one, which are imported through it. An option is a field with a
default, a one-line help, and its allowed values; nothing else in the project states a
default.

A command's options are one class (`PretrainConfig`, `TrainConfig`, …) that
inherits the topics it needs, so that a function which needs only the model's
options takes a `ModelOptions`, whichever command it serves.
"""

import dataclasses
import typing
from collections.abc import Mapping

from aam_core.config_covariates import (
    CategoricalOptions,
    UnknownOptions,
    category_weights,
)
from aam_core.config_input import (
    DepthOptions,
    FeatureOptions,
    InputOptions,
    SplitOptions,
    ValidationOptions,
)
from aam_core.config_model import (
    ARCHITECTURE,
    DEFAULT_PRESET,
    PRESETS,
    Architecture,
    ModelOptions,
    resolve_architecture,
)
from aam_core.config_parallel import ParallelOptions
from aam_core.config_target import (
    METRICS,
    TARGET_LOSSES,
    ColumnOptions,
    OutputOptions,
    TargetOptions,
)
from aam_core.config_training import (
    MEMORY_FRACTION,
    CacheOptions,
    DeviceOptions,
    MemoryOptions,
    OptimiserOptions,
)
from aam_core.errors import InputError
from aam_core.options import Options, option, option_specs

__all__ = [
    "ARCHITECTURE",
    "COMMANDS",
    "DEFAULT_PRESET",
    "MEMORY_FRACTION",
    "METRICS",
    "PRESETS",
    "TARGET_LOSSES",
    "Architecture",
    "BaseOptions",
    "CacheOptions",
    "CategoricalOptions",
    "ColumnOptions",
    "DepthOptions",
    "DeviceOptions",
    "FeatureOptions",
    "ForestConfig",
    "ForestOptions",
    "InputOptions",
    "LossOptions",
    "MemoryOptions",
    "ModelOptions",
    "OptimiserOptions",
    "OutputOptions",
    "ParallelOptions",
    "PassOptions",
    "PredictConfig",
    "PretrainConfig",
    "RunConfig",
    "SplitOptions",
    "TargetOptions",
    "TrainConfig",
    "UnknownOptions",
    "ValidationOptions",
    "category_weights",
    "resolve_architecture",
]


#: Options of what only an encoder that is trained learns.
TRAINED_BASE = {"freeze_base": (False,)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """What is learned without labels, and the weight of each part."""

    topic: typing.ClassVar[str] = "Self-supervision"

    unifrac_metric: str = option(
        "unweighted",
        "Distance computed from the phylogeny (with a distance matrix: its own).",
        choices=("unweighted", "weighted", "faith_pd"),
        when="Choose weighted where dominant taxa tell the samples apart, "
        "faith_pd where richness is what matters; a distance matrix needs "
        "no choice.",
    )
    penalty: float = option(
        1.0,
        "Weight of the UniFrac loss.",
        low=0,
        when="Set 0 in pretrain to learn from nucleotides alone; lower it in "
        "train where train_unifrac_loss outweighs the target loss.",
        only_with=TRAINED_BASE,
    )
    nuc_penalty: float = option(
        1.0,
        "Weight of the masked-nucleotide loss (off while the base is frozen).",
        low=0,
        when="Set 0 where memory or time is short: masked nucleotides are then "
        "not computed; raise it where val_nuc_accuracy stays low in "
        "pretrain.",
        only_with=TRAINED_BASE,
    )
    count_penalty: float = option(
        1.0,
        "Weight of the abundance loss of count_prediction.",
        low=0,
        when="With count_prediction, lower it where train_count_loss outweighs "
        "the losses that you care about.",
        only_with={"count_prediction": (True,)},
    )
    count_prediction: bool = option(
        False,
        "Also learn the abundance of ASVs whose abundance is hidden from the model.",
        when="Turn it on in pretrain where the abundances of ASVs, not just "
        "their presence, bear on the later target.",
        only_with=TRAINED_BASE,
    )
    nuc_mask_ratio: float = option(
        0.15,
        "Share of the nucleotides hidden and predicted; 0 turns it off.",
        low=0,
        high=1,
        open_high=True,
        when="Raise it where val_nuc_accuracy is near 1 after few epochs, so "
        "that the task stays hard; 0 saves its time.",
        only_with=TRAINED_BASE,
    )
    nuc_mask_strategy: str = option(
        "random",
        "Hide single nucleotides, or spans of neighbours.",
        choices=("random", "span"),
        when="Choose span where single hidden nucleotides are guessed too easily "
        "from their neighbours (val_nuc_accuracy near 1).",
        only_with=TRAINED_BASE,
    )

    def _check(self) -> None:
        names = ("nuc_penalty", "nuc_mask_ratio", "nuc_mask_strategy")
        off = next((name for name in names if not getattr(self, name)), None)
        for spec in option_specs(LossOptions):
            value = getattr(self, spec.name)
            if off and spec.name in names and value and value != spec.default:
                raise InputError(
                    f"{spec.name} has no effect with {off} 0, where no nucleotides are "
                    f"hidden: leave {spec.name} out, or raise {off}."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseOptions(Options):
    """What becomes of a pre-trained encoder."""

    topic: typing.ClassVar[str] = "Pre-trained encoder"

    freeze_base: bool = option(
        False,
        "Keep the encoder as it is and train only what is new; each ASV is then "
        "encoded once per run.",
        when="Turn it on for small studies and first trials with a pre-trained "
        "encoder: epochs are fast and fewer weights can overfit.",
    )
    target_layers: int = option(
        1,
        "Transformer layers between the encoder and the prediction.",
        low=1,
        when="Raise it with freeze_base, where these layers are all that can "
        "adapt to the target, and samples are many.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassOptions(Options):
    """Averages over random draws of ASVs."""

    topic: typing.ClassVar[str] = "Prediction"

    prediction_passes: int | None = option(
        None,
        "Random draws of ASVs over which the predictions of samples with more than "
        "token_limit ASVs are averaged, for models trained with asv_sampling random.",
        low=1,
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestOptions(Options):
    """The random forest."""

    topic: typing.ClassVar[str] = "Random forest"

    n_estimators: int = option(
        500,
        "Trees of the forest.",
        low=1,
        when="Raise it where the scores differ much between values of "
        "random_seed; lower it for a quick look.",
    )
    max_features: str = option(
        "sqrt",
        "Features tried at a split: sqrt, log2, a share (0.3), or a number (20).",
        when="Try a share such as 0.3 where few of many features carry the "
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
        when="Set the number of cores that you were given on a shared machine or "
        "in a batch job; results do not depend on it.",
    )

    def _check(self) -> None:
        self.features_per_split()
        if self.n_jobs == 0:
            raise InputError("n_jobs is 0; allowed are -1 (all cores) and 1 or more.")

    def features_per_split(self) -> str | float | int:
        """`max_features` as scikit-learn takes it."""
        text = self.max_features
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
            f"max_features is {text!r}; allowed are sqrt, log2, a share of the "
            "features such as 0.3, or a number of features such as 20."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(
    ParallelOptions,
    MemoryOptions,
    DeviceOptions,
    OptimiserOptions,
    LossOptions,
    SplitOptions,
    ModelOptions,
    InputOptions,
):
    """Options of `pretrain`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(
    ParallelOptions,
    MemoryOptions,
    CacheOptions,
    DeviceOptions,
    OptimiserOptions,
    LossOptions,
    SplitOptions,
    ModelOptions,
    ValidationOptions,
    BaseOptions,
    CategoricalOptions,
    OutputOptions,
):
    """Options of `train`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(
    CacheOptions, DeviceOptions, PassOptions, UnknownOptions, FeatureOptions
):
    """Options of `predict`; how samples are read is the model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestConfig(ForestOptions, SplitOptions, DepthOptions, ColumnOptions):
    """Options of `rf-baseline`."""


#: Options of a command that trains a model.
RunConfig = PretrainConfig | TrainConfig

COMMANDS: Mapping[str, type[Options]] = {
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "rf-baseline": ForestConfig,
}
