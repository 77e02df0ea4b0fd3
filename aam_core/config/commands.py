"""The options of each command: one class, which inherits its topics."""

import dataclasses
from collections.abc import Mapping

from aam_core.config.covariates import CategoricalOptions, UnknownOptions
from aam_core.config.cross_validation import CrossValidationOptions
from aam_core.config.device import CacheOptions, DeviceOptions, MemoryOptions
from aam_core.config.ensemble import EnsembleOptions
from aam_core.config.explanation import (
    ContributionPageOptions,
    ExplanationOptions,
)
from aam_core.config.forest import ForestOptions
from aam_core.config.input import (
    DepthOptions,
    FeatureOptions,
    InputOptions,
    MetadataOptions,
    SplitOptions,
    ValidationOptions,
)
from aam_core.config.model import ModelOptions
from aam_core.config.optimisation import OptimiserOptions
from aam_core.config.option import Options
from aam_core.config.parallel import ParallelOptions
from aam_core.config.prediction import PassOptions
from aam_core.config.pretraining import BaseOptions, LossOptions
from aam_core.config.samples import ReportOptions, SamplesOptions
from aam_core.config.target import ColumnOptions, OutputOptions
from aam_core.errors import InputError


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
    MetadataOptions,
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
    MetadataOptions,
    BaseOptions,
    CategoricalOptions,
    OutputOptions,
    EnsembleOptions,
):
    """Options of `train`."""

    def _check(self) -> None:
        uneven = self.over_penalty != self.under_penalty
        if (
            self.ensemble
            and "network" not in self.ensemble
            and (uneven or self.loss_type == "quantile")
        ):
            raise InputError(
                f"loss_type {self.loss_type} needs the network, since other members "
                "predict means: add network to ensemble, or choose another loss_type."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(
    CacheOptions, DeviceOptions, PassOptions, UnknownOptions, FeatureOptions
):
    """Options of `predict`; how samples are read is the model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbedConfig(CacheOptions, DeviceOptions, UnknownOptions, FeatureOptions):
    """Options of `embed`; how samples are read is the encoder's or model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig(
    CacheOptions, DeviceOptions, ExplanationOptions, UnknownOptions, FeatureOptions
):
    """Options of `explain`; how samples are read is the model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlotContributionsConfig(ContributionPageOptions):
    """Options of `plot-contributions`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestConfig(
    ForestOptions, SplitOptions, DepthOptions, MetadataOptions, ColumnOptions
):
    """Options of `rf-baseline`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplesConfig(SamplesOptions):
    """Options of `classify` and `regress`; all others are at their defaults."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ReportOptions):
    """Options of `evaluate`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossValidateConfig(CrossValidationOptions):
    """Options of `cross-validate`; all others of `train` are at their defaults."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateCrossValidationConfig(Options):
    """Options of `evaluate-cross-validation`: there are none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SummarizeConfig(Options):
    """Options of `summarize`: there are none."""


#: Options of a command that trains a model.
RunConfig = PretrainConfig | TrainConfig

COMMANDS: Mapping[str, type[Options]] = {
    "classify": SamplesConfig,
    "regress": SamplesConfig,
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "rf-baseline": ForestConfig,
    "embed": EmbedConfig,
    "explain": ExplainConfig,
    "plot-contributions": PlotContributionsConfig,
    "evaluate": EvaluateConfig,
    "summarize": SummarizeConfig,
    "cross-validate": CrossValidateConfig,
    "evaluate-cross-validation": EvaluateCrossValidationConfig,
}
