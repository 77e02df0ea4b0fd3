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
    CATEGORICAL,
    FUSION_OF,
    CategoricalOptions,
    UnknownOptions,
    category_weights,
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
    LOSS,
    LOSS_OF,
    METRICS,
    REGRESSOR_DROPOUT,
    TARGET_LOSSES,
    TASK_OF,
    ColumnOptions,
    OutputOptions,
    TargetOptions,
)
from aam_core.config_training import (
    MEMORY_FRACTION,
    SCHEDULER,
    SCHEDULER_OF,
    DeviceOptions,
    MemoryOptions,
    OptimiserOptions,
)
from aam_core.errors import InputError
from aam_core.options import Options, option

__all__ = [
    "ARCHITECTURE",
    "CATEGORICAL",
    "COMMANDS",
    "DEFAULT_PRESET",
    "FUSION_OF",
    "LOSS",
    "LOSS_OF",
    "MEMORY_FRACTION",
    "METRICS",
    "PRESETS",
    "REGRESSOR_DROPOUT",
    "SCHEDULER",
    "SCHEDULER_OF",
    "TARGET_LOSSES",
    "TASK_OF",
    "Architecture",
    "BaseOptions",
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
    "SplitOptions",
    "TargetOptions",
    "TrainConfig",
    "UnknownOptions",
    "ValidationOptions",
    "category_weights",
    "resolve_architecture",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthOptions(Options):
    """How many reads of a sample count."""

    topic: typing.ClassVar[str] = "Input"

    rarefy_depth: int = option(
        5000,
        "Reads drawn at random from each sample; samples with fewer are left out. "
        "0 keeps all reads.",
        low=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """What happens to features that the model cannot read."""

    topic: typing.ClassVar[str] = "Input"

    missing_features: str = option(
        "error",
        "What to do with features that have no sequence, or no tip in the phylogeny: "
        "stop, or leave them out and report how many reads that costs.",
        choices=("error", "drop"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions(FeatureOptions, DepthOptions):
    """How the feature table becomes samples of ASVs."""

    topic: typing.ClassVar[str] = "Input"

    token_limit: int = option(
        1024, "Most ASVs of a sample that the model reads.", low=1
    )
    asv_sampling: str = option(
        "abundance",
        "Which ASVs are read where a sample has more than token_limit: the first of "
        "the table, the most abundant, or random ones (drawn anew each epoch).",
        choices=("first", "abundance", "random"),
    )
    missing_samples: str = option(
        "error",
        "What to do with samples that the distance matrix lacks: stop, or leave them "
        "out and report.",
        choices=("error", "ignore"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """Which samples are for training, and which for validation."""

    topic: typing.ClassVar[str] = "Training and validation samples"

    test_size: float = option(
        0.2,
        "Share of the samples kept for validation.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    group_column: str | None = option(
        None,
        "Metadata column whose groups (subjects, sites) are never divided between "
        "training and validation.",
    )
    seed: int = option(42, "Seed of all random choices.", low=0, high=2**32 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """What is learned without labels, and the weight of each part."""

    topic: typing.ClassVar[str] = "Self-supervision"

    unifrac_metric: str = option(
        "unweighted",
        "Distance computed from the phylogeny (with a distance matrix: its own).",
        choices=("unweighted", "weighted", "faith_pd"),
    )
    penalty: float = option(1.0, "Weight of the UniFrac loss.", low=0)
    nuc_penalty: float = option(
        1.0,
        "Weight of the masked-nucleotide loss (off while the base is frozen).",
        low=0,
    )
    count_penalty: float = option(
        1.0, "Weight of the abundance loss of count_prediction.", low=0
    )
    count_prediction: bool = option(
        False,
        "Also learn the abundance of ASVs whose abundance is hidden from the model.",
    )
    nuc_mask_ratio: float = option(
        0.15,
        "Share of the nucleotides hidden and predicted; 0 turns it off.",
        low=0,
        high=1,
        open_high=True,
    )
    nuc_mask_strategy: str = option(
        "random",
        "Hide single nucleotides, or spans of neighbours.",
        choices=("random", "span"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseOptions(Options):
    """What becomes of a pre-trained encoder."""

    topic: typing.ClassVar[str] = "Pre-trained encoder"

    freeze_base: bool = option(
        False,
        "Keep the encoder as it is and train only what is new; each ASV is then "
        "encoded once per run.",
    )
    target_layers: int = option(
        1,
        "Transformer layers between the encoder and the prediction.",
        low=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationOptions(InputOptions):
    """How validation samples are predicted."""

    topic: typing.ClassVar[str] = "Input"

    val_prediction_passes: int = option(
        1,
        "Random draws of ASVs over which the predictions of validation samples with "
        "more than token_limit ASVs are averaged (asv_sampling random).",
        low=1,
    )

    def _check(self) -> None:
        if self.val_prediction_passes > 1 and self.asv_sampling != "random":
            raise InputError(
                "val_prediction_passes has no effect with asv_sampling "
                f"{self.asv_sampling!r}, where each pass reads the same ASVs: leave "
                "val_prediction_passes out, or choose asv_sampling random."
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
    )
    output_variance: bool = option(
        False,
        "Add the standard deviation over the passes to the details: of each target, "
        "or of the probability of each class, in columns that end in _sd. Leave "
        "it out where sample-classifier is to plot the probabilities.",
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

    n_estimators: int = option(500, "Trees of the forest.", low=1)
    max_features: str = option(
        "sqrt",
        "Features tried at a split: sqrt, log2, a share (0.3), or a number (20).",
    )
    random_seed: int = option(42, "Seed of the forest.", low=0, high=2**32 - 1)
    n_jobs: int = option(-1, "Processes; -1 takes all cores.", low=-1)

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
class PredictConfig(DeviceOptions, PassOptions, UnknownOptions, FeatureOptions):
    """Options of `predict`; how samples are read is the model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestConfig(ForestOptions, SplitOptions, DepthOptions, ColumnOptions):
    """Options of `rf-baseline`."""


COMMANDS: Mapping[str, type[Options]] = {
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "rf-baseline": ForestConfig,
}
