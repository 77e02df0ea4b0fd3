"""Registration of the plugin. Nothing here imports torch."""

import importlib

from q2_sample_classifier import (
    ClassifierPredictions,
    Importance,
    Probabilities,
    RegressorPredictions,
)
from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData, Sequence
from q2_types.feature_table import FeatureTable, Frequency
from q2_types.sample_data import SampleData
from q2_types.tree import Phylogeny, Rooted
from qiime2.plugin import Choices, Citations, Metadata, Plugin, Str, TypeMap

from aam_core.config import ForestConfig, PredictConfig, PretrainConfig, TrainConfig
from q2_aam import __version__, _examples
from q2_aam._baseline import rf_baseline
from q2_aam._formats import (
    AAMConfigFormat,
    AAMEncoderDirectoryFormat,
    AAMHistoryFormat,
    AAMModelDirectoryFormat,
    AAMTrainingStateFormat,
    RegressionDetailsDirectoryFormat,
    RegressionDetailsFormat,
    SafetensorsFormat,
)
from q2_aam._predict import predict
from q2_aam._pretrain import pretrain
from q2_aam._signature import parameter_descriptions, parameter_types
from q2_aam._train import train
from q2_aam._types import (
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)

citations = Citations.load("citations.bib", package="q2_aam")
TRANSFORMER = [citations["vaswani2017attention"], citations["paszke2019pytorch"]]
UNIFRAC = [citations["lozupone2005unifrac"]]
FOREST = [citations["breiman2001forests"], citations["pedregosa2011scikit"]]

plugin = Plugin(
    name="aam",
    version=__version__,
    website="https://qiime2.org",
    package="q2_aam",
    short_description="Deep learning on amplicon sequence variants.",
    description=(
        "A transformer reads the nucleotides of each amplicon sequence variant (ASV), "
        "the ASVs of each sample, and the sample. It is pre-trained without labels on "
        "masked nucleotides and UniFrac, and then learns to predict sample metadata: "
        "numbers or classes."
    ),
    citations=[citations["bolyen2019qiime2"]],
)

# Semantic types and formats

plugin.register_formats(
    AAMConfigFormat,
    AAMHistoryFormat,
    SafetensorsFormat,
    AAMTrainingStateFormat,
    AAMEncoderDirectoryFormat,
    AAMModelDirectoryFormat,
    RegressionDetailsFormat,
    RegressionDetailsDirectoryFormat,
)
plugin.register_semantic_types(
    AAMEncoder, AAMModel, Regression, Classification, RegressionDetails
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

# What several actions share

TABLE = {"table": FeatureTable[Frequency]}
SEQUENCES = {"sequences": FeatureData[Sequence]}
DISTANCES = {"phylogeny": Phylogeny[Rooted], "distance_matrix": DistanceMatrix}

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
ENCODER_DESCRIPTION = (
    "Pre-trained encoder to start from. Without, training starts anew."
)
RESUME_DESCRIPTION = {
    "resume_from": "What this action returned when it was stopped before its end "
    "(max_hours, SIGTERM). The run resumes as if it had never been stopped; repeat all "
    "other inputs and parameters as they were."
}
METADATA_DESCRIPTION = "Sample metadata with the columns that other parameters name."
MODEL_DESCRIPTION = "Trained model: settings, weights and the course of training."
PREDICTIONS_DESCRIPTION = "Predictions of the {} samples (of the first target column)."
DETAILS_DESCRIPTION = "Regression: {}. Classification: the probability of each class."
IMPORTANCE_DESCRIPTION = "Importance of each feature for the forest."

REGRESSION, CLASSIFICATION = (
    Str % Choices("regression"),
    Str % Choices("classification"),
)

# Actions

plugin.methods.register_function(
    function=pretrain,
    inputs=TABLE
    | SEQUENCES
    | DISTANCES
    | {"pretrained_encoder": AAMEncoder, "resume_from": AAMEncoder},
    parameters={"metadata": Metadata} | parameter_types(PretrainConfig),
    outputs=[("encoder", AAMEncoder)],
    input_descriptions=TABLE_DESCRIPTION
    | SEQUENCES_DESCRIPTION
    | DISTANCES_DESCRIPTION
    | {"pretrained_encoder": ENCODER_DESCRIPTION}
    | RESUME_DESCRIPTION,
    parameter_descriptions={"metadata": METADATA_DESCRIPTION}
    | parameter_descriptions(PretrainConfig),
    output_descriptions={
        "encoder": "Pre-trained encoder: settings, weights and the course of training."
    },
    name="Pre-train an encoder without labels",
    description=(
        "Learn an encoder of samples from a feature table alone: it predicts masked "
        "nucleotides of the ASVs, and the distance between samples (or their "
        "phylogenetic diversity). Give either a phylogeny or a distance matrix. All "
        "samples can take part, also those that have no metadata."
    ),
    citations=TRANSFORMER + UNIFRAC,
    examples={"Pre-train a small encoder with UniFrac": _examples.pretrain_example},
)

T_task, T_model, T_predictions, T_probabilities = TypeMap(
    {
        REGRESSION: (
            AAMModel[Regression],
            SampleData[RegressorPredictions],
            SampleData[RegressionDetails],
        ),
        CLASSIFICATION: (
            AAMModel[Classification],
            SampleData[ClassifierPredictions],
            SampleData[Probabilities],
        ),
    }
)
plugin.methods.register_function(
    function=train,
    inputs=TABLE
    | SEQUENCES
    | DISTANCES
    | {"encoder": AAMEncoder, "resume_from": AAMModel[Regression | Classification]},
    parameters={"metadata": Metadata} | parameter_types(TrainConfig) | {"task": T_task},
    outputs=[
        ("model", T_model),
        ("predictions", T_predictions),
        ("details", T_probabilities),
    ],
    input_descriptions=TABLE_DESCRIPTION
    | SEQUENCES_DESCRIPTION
    | DISTANCES_DESCRIPTION
    | {
        "encoder": "Pre-trained encoder to start from. Without, it is the general one "
        "of the package, frozen, unless general_encoder says otherwise."
    }
    | RESUME_DESCRIPTION,
    parameter_descriptions={"metadata": METADATA_DESCRIPTION}
    | parameter_descriptions(TrainConfig),
    output_descriptions={
        "model": MODEL_DESCRIPTION,
        "predictions": PREDICTIONS_DESCRIPTION.format("out-of-fold (or validation)"),
        "details": DETAILS_DESCRIPTION.format("all targets, quantiles and intervals"),
    },
    name="Train a model of sample metadata",
    description=(
        "Learn to predict one or more numeric columns, or one categorical column, of "
        "the sample metadata. An ensemble of a network, a kernel and trees is fitted "
        "in folds, and every labelled sample is predicted by members that were fitted "
        "without its fold: these predictions weigh the members, score them, and are "
        "returned. With a phylogeny or a distance matrix, the network learns the "
        "distance between samples as well."
    ),
    citations=TRANSFORMER + UNIFRAC,
    examples={"Train a small model of a numeric column": _examples.train_example},
)

T_variant, T_predicted, T_details = TypeMap(
    {
        Regression: (RegressorPredictions, RegressionDetails),
        Classification: (ClassifierPredictions, Probabilities),
    }
)
plugin.methods.register_function(
    function=predict,
    inputs=TABLE | SEQUENCES | {"model": AAMModel[T_variant]},
    parameters={"metadata": Metadata} | parameter_types(PredictConfig),
    outputs=[
        ("predictions", SampleData[T_predicted]),
        ("details", SampleData[T_details]),
    ],
    input_descriptions=TABLE_DESCRIPTION
    | SEQUENCES_DESCRIPTION
    | {"model": "Model that train wrote."},
    parameter_descriptions={
        "metadata": "Sample metadata; needed where the model was trained with "
        "categorical_columns or normalize_by."
    }
    | parameter_descriptions(PredictConfig),
    output_descriptions={
        "predictions": PREDICTIONS_DESCRIPTION.format("table's"),
        "details": DETAILS_DESCRIPTION.format("all targets, quantiles and intervals"),
    },
    name="Predict sample metadata",
    description=(
        "Predict the metadata of samples with a trained model. Rarefaction and all "
        "settings of the model are those of its training; ASVs that the model never "
        "saw are read like all others."
    ),
    citations=TRANSFORMER,
    examples={"Train a small classifier and predict": _examples.predict_example},
)

# Without a model, task alone decides (first and last row). A classification with task
# at its default is the middle row.
F_variant, F_task, F_predicted, F_details = TypeMap(
    {
        (Regression | Classification, CLASSIFICATION): (
            ClassifierPredictions,
            Probabilities,
        ),
        (Classification, REGRESSION): (ClassifierPredictions, Probabilities),
        (Regression | Classification, REGRESSION): (
            RegressorPredictions,
            RegressionDetails,
        ),
    }
)
plugin.methods.register_function(
    function=rf_baseline,
    inputs=TABLE | {"model": AAMModel[F_variant]},
    parameters={"metadata": Metadata}
    | parameter_types(ForestConfig)
    | {"task": F_task},
    outputs=[
        ("predictions", SampleData[F_predicted]),
        ("details", SampleData[F_details]),
        ("importance", FeatureData[Importance]),
    ],
    input_descriptions=TABLE_DESCRIPTION
    | {
        "model": "Model to compare with. The forest repeats the folds (or the split) "
        "of the model on the same samples, and takes its metadata_column, task, "
        "rarefy_depth and seed where these are left at their default."
    },
    parameter_descriptions={"metadata": METADATA_DESCRIPTION}
    | parameter_descriptions(ForestConfig),
    output_descriptions={
        "predictions": PREDICTIONS_DESCRIPTION.format("held-out"),
        "details": DETAILS_DESCRIPTION.format("all targets"),
        "importance": IMPORTANCE_DESCRIPTION,
    },
    name="Train a random forest to compare with",
    description=(
        "Train a random forest on relative abundances and predict held-out samples: "
        "the baseline that a model has to beat. With a model, the forest repeats the "
        "model's folds on exactly its samples."
    ),
    citations=FOREST,
    examples={"Random forest on a numeric column": _examples.rf_baseline_example},
)

importlib.import_module("q2_aam._transformers")
importlib.import_module("q2_aam._validators")
