"""Registration of semantic types and formats."""

from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData

from q2_aam._formats import (
    AAMConfigFormat,
    AAMContributionsDirectoryFormat,
    AAMContributionsFormat,
    AAMCrossValidationDirectoryFormat,
    AAMCrossValidationFormat,
    AAMCrossValidationRunFormat,
    AAMEmbeddingDirectoryFormat,
    AAMEmbeddingFormat,
    AAMEncoderDirectoryFormat,
    AAMHistoryFormat,
    AAMModelDirectoryFormat,
    AAMTrainingStateFormat,
    RegressionDetailsDirectoryFormat,
    RegressionDetailsFormat,
    SafetensorsFormat,
)
from q2_aam._types import (
    AAMContributions,
    AAMCrossValidation,
    AAMEmbedding,
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)
from q2_aam.plugin_setup import plugin

plugin.register_formats(
    AAMConfigFormat,
    AAMHistoryFormat,
    SafetensorsFormat,
    AAMTrainingStateFormat,
    AAMEncoderDirectoryFormat,
    AAMModelDirectoryFormat,
    RegressionDetailsFormat,
    RegressionDetailsDirectoryFormat,
    AAMEmbeddingFormat,
    AAMEmbeddingDirectoryFormat,
    AAMContributionsFormat,
    AAMContributionsDirectoryFormat,
    AAMCrossValidationFormat,
    AAMCrossValidationRunFormat,
    AAMCrossValidationDirectoryFormat,
)
plugin.register_semantic_types(
    AAMEncoder,
    AAMModel,
    Regression,
    Classification,
    RegressionDetails,
    AAMEmbedding,
    AAMContributions,
    AAMCrossValidation,
)
plugin.register_artifact_class(
    AAMEncoder,
    AAMEncoderDirectoryFormat,
    description="An encoder of samples, pre-trained without labels.",
)
plugin.register_artifact_class(
    AAMModel[Regression],
    AAMModelDirectoryFormat,
    description="A model that predicts numeric sample metadata.",
)
plugin.register_artifact_class(
    AAMModel[Classification],
    AAMModelDirectoryFormat,
    description="A model that predicts a class of each sample.",
)
plugin.register_artifact_class(
    SampleData[RegressionDetails],
    RegressionDetailsDirectoryFormat,
    description="All targets of a regression, with quantiles and intervals.",
)
plugin.register_artifact_class(
    SampleData[AAMContributions],
    AAMContributionsDirectoryFormat,
    description="What each ASV contributes to the prediction of each sample.",
)
plugin.register_artifact_class(
    SampleData[AAMCrossValidation],
    AAMCrossValidationDirectoryFormat,
    description="Predictions of samples out of fold, by repeated folds, of a model "
    "and a random forest.",
)

for kind, what in ((SampleData, "sample"), (FeatureData, "ASV")):
    plugin.register_artifact_class(
        kind[AAMEmbedding],
        AAMEmbeddingDirectoryFormat,
        description=f"Coordinates of each {what}, as an encoder sees it.",
    )
