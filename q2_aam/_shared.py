"""What several actions share: types of inputs, and what they are."""

from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence, Taxonomy
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Categorical, Choices, MetadataColumn, Numeric, Str

TABLE = {"table": FeatureTable[Frequency]}
SEQUENCES = {"sequences": FeatureData[Sequence]}
DISTANCES = {"phylogeny": Phylogeny[Rooted], "distance_matrix": DistanceMatrix}

DRAWN = {"phylogeny": Phylogeny[Rooted], "taxonomy": FeatureData[Taxonomy]}

TABLE_DESCRIPTION = {
    "table": "Counts of ASVs by sample. Rarefaction is part of the action."
}
SEQUENCES_DESCRIPTION = {
    "sequences": "Sequences of the features. Without, the feature ids must be the "
    "sequences."
}
DISTANCES_DESCRIPTION = {
    "phylogeny": "Rooted tree that has all features as tips; UniFrac is computed from "
    "it during training. Instead of a distance matrix.",
    "distance_matrix": "Distances between the samples, for the encoder to reproduce. "
    "Instead of a phylogeny.",
}
DRAWN_DESCRIPTION = {
    "phylogeny": "Rooted tree of the features, along which the report shows what they "
    "contribute. It changes no prediction.",
    "taxonomy": "Taxon of each feature, to name features in the report.",
}
ENCODER_DESCRIPTION = (
    "Pre-trained encoder to start from. Without, training starts anew."
)
RESUME_DESCRIPTION = {
    "resume_from": "What this action returned when it was stopped before its end "
    "(max_hours, SIGTERM). The run resumes as if it had never been stopped; repeat all "
    "other inputs and parameters as they were."
}
COVARIATES_DESCRIPTION = (
    "Sample metadata; needed where the model was trained with categorical_columns or "
    "normalize_by."
)
METADATA_DESCRIPTION = "Sample metadata with the columns that other parameters name."
MODEL_DESCRIPTION = "Trained model: settings, weights and the course of training."
PREDICTIONS_DESCRIPTION = "Predictions of the {} samples (of the first target column)."
DETAILS_DESCRIPTION = "Regression: {}. Classification: the probability of each class."
IMPORTANCE_DESCRIPTION = "Importance of each feature for the forest."
EXPLAINED_DESCRIPTION = {
    "importance": "Mean absolute contribution of each ASV over the explained samples "
    "(and classes; of several targets, to the first).",
    "contributions": "By how much each ASV raises or lowers the prediction of each "
    "explained sample, with its baseline: plot-contributions draws it.",
}

KEPT_ENCODER_DESCRIPTION = (
    "Pre-trained encoder to start from, kept as it is. Without, the general one of the "
    "package."
)
COLUMN_DESCRIPTION = "What to predict: a column of the sample metadata."

REGRESSION, CLASSIFICATION = (
    Str % Choices("regression"),
    Str % Choices("classification"),
)

COLUMN = MetadataColumn[Categorical | Numeric]
GROUPS_DESCRIPTION = (
    "Group of each sample, such as its subject or site. Groups are never divided, and "
    "intervals are over groups."
)
