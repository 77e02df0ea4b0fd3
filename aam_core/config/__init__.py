"""Every option of q2-aam, declared once.

The `aam` command line, the signatures of the QIIME 2 actions and the option tables of
the documentation are generated from the dataclasses in this package, which are imported
from here. An option is a field with a default, a one-line help, and its allowed values;
nothing else in the project states a default.

A command's options are one class (`PretrainConfig`, `TrainConfig`, …) that
inherits the topics it needs, so that a function which needs only the model's
options takes a `ModelOptions`, whichever command it serves.
"""

from aam_core.config.commands import (
    COMMANDS,
    CrossValidateConfig,
    EmbedConfig,
    EvaluateConfig,
    EvaluateCrossValidationConfig,
    ExplainConfig,
    ForestConfig,
    PlotContributionsConfig,
    PredictConfig,
    PretrainConfig,
    RunConfig,
    SamplesConfig,
    SummarizeConfig,
    TrainConfig,
)
from aam_core.config.covariates import (
    CategoricalOptions,
    UnknownOptions,
    category_weights,
)
from aam_core.config.cross_validation import CrossValidationOptions
from aam_core.config.device import (
    MEMORY_FRACTION,
    CacheOptions,
    DeviceOptions,
    MemoryOptions,
)
from aam_core.config.ensemble import MEMBERS, EnsembleOptions
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
from aam_core.config.model import (
    ARCHITECTURE,
    DEFAULT_PRESET,
    PRESETS,
    Architecture,
    ModelOptions,
    resolve_architecture,
)
from aam_core.config.optimisation import OptimiserOptions
from aam_core.config.parallel import ParallelOptions
from aam_core.config.prediction import PassOptions
from aam_core.config.pretraining import BaseOptions, LossOptions
from aam_core.config.samples import ReportOptions, SamplesOptions
from aam_core.config.target import (
    METRICS,
    TARGET_LOSSES,
    ColumnOptions,
    OutputOptions,
    TargetOptions,
)

__all__ = [
    "ARCHITECTURE",
    "COMMANDS",
    "DEFAULT_PRESET",
    "MEMBERS",
    "MEMORY_FRACTION",
    "METRICS",
    "PRESETS",
    "TARGET_LOSSES",
    "Architecture",
    "BaseOptions",
    "CacheOptions",
    "CategoricalOptions",
    "ColumnOptions",
    "ContributionPageOptions",
    "CrossValidateConfig",
    "CrossValidationOptions",
    "DepthOptions",
    "DeviceOptions",
    "EmbedConfig",
    "EnsembleOptions",
    "EvaluateConfig",
    "EvaluateCrossValidationConfig",
    "ExplainConfig",
    "ExplanationOptions",
    "FeatureOptions",
    "ForestConfig",
    "ForestOptions",
    "InputOptions",
    "LossOptions",
    "MemoryOptions",
    "MetadataOptions",
    "ModelOptions",
    "OptimiserOptions",
    "OutputOptions",
    "ParallelOptions",
    "PassOptions",
    "PlotContributionsConfig",
    "PredictConfig",
    "PretrainConfig",
    "ReportOptions",
    "RunConfig",
    "SamplesConfig",
    "SamplesOptions",
    "SplitOptions",
    "SummarizeConfig",
    "TargetOptions",
    "TrainConfig",
    "UnknownOptions",
    "ValidationOptions",
    "category_weights",
    "resolve_architecture",
]
