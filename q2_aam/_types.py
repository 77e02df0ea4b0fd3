"""Semantic types: encoder, model, and what these say of samples and features."""

from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import SemanticType

AAMEncoder = SemanticType("AAMEncoder")
AAMModel = SemanticType("AAMModel", field_names="task")
Regression = SemanticType("Regression", variant_of=AAMModel.field["task"])
Classification = SemanticType("Classification", variant_of=AAMModel.field["task"])
RegressionDetails = SemanticType(
    "RegressionDetails", variant_of=SampleData.field["type"]
)
AAMEmbedding = SemanticType(
    "AAMEmbedding",
    variant_of=[SampleData.field["type"], FeatureData.field["type"]],
)
AAMContributions = SemanticType("AAMContributions", variant_of=SampleData.field["type"])
AAMCrossValidation = SemanticType(
    "AAMCrossValidation", variant_of=SampleData.field["type"]
)
