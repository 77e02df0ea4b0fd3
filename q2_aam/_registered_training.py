"""Registration of the actions that fit and predict."""

from q2_sample_classifier import (
    ClassifierPredictions,
    Importance,
    Probabilities,
    RegressorPredictions,
)
from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import Metadata, TypeMap

from aam_core.config import (
    CrossValidateConfig,
    ForestConfig,
    PredictConfig,
    PretrainConfig,
    TrainConfig,
)
from q2_aam import _examples
from q2_aam._baseline import rf_baseline
from q2_aam._cross_validate import cross_validate
from q2_aam._predict import predict
from q2_aam._pretrain import pretrain
from q2_aam._shared import (
    CLASSIFICATION,
    COLUMN,
    COLUMN_DESCRIPTION,
    COVARIATES_DESCRIPTION,
    DETAILS_DESCRIPTION,
    DISTANCES,
    DISTANCES_DESCRIPTION,
    ENCODER_DESCRIPTION,
    GROUPS_DESCRIPTION,
    IMPORTANCE_DESCRIPTION,
    KEPT_ENCODER_DESCRIPTION,
    METADATA_DESCRIPTION,
    MODEL_DESCRIPTION,
    PREDICTIONS_DESCRIPTION,
    REGRESSION,
    RESUME_DESCRIPTION,
    SEQUENCES,
    SEQUENCES_DESCRIPTION,
    TABLE,
    TABLE_DESCRIPTION,
)
from q2_aam._signature import parameter_descriptions, parameter_types
from q2_aam._train import train
from q2_aam._types import (
    AAMCrossValidation,
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)
from q2_aam.plugin_setup import FOREST, TRANSFORMER, UNIFRAC, plugin

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
    parameter_descriptions={"metadata": COVARIATES_DESCRIPTION}
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
    examples={"Predict a class": _examples.predict_example},
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

plugin.methods.register_function(
    function=cross_validate,
    inputs=TABLE | SEQUENCES | {"encoder": AAMEncoder},
    parameters={"metadata": COLUMN, "groups": COLUMN}
    | parameter_types(CrossValidateConfig),
    outputs=[("cross_validation", SampleData[AAMCrossValidation])],
    input_descriptions=TABLE_DESCRIPTION
    | SEQUENCES_DESCRIPTION
    | {"encoder": KEPT_ENCODER_DESCRIPTION},
    parameter_descriptions={
        "metadata": COLUMN_DESCRIPTION + " Numbers make a regression, all others a "
        "classification.",
        "groups": GROUPS_DESCRIPTION,
    }
    | parameter_descriptions(CrossValidateConfig),
    output_descriptions={
        "cross_validation": "Predictions of each sample in each repeat, by models and "
        "forests that saw neither it nor its group; evaluate-cross-validation draws "
        "it."
    },
    name="Compare with a random forest by repeated folds",
    description=(
        "Divide the samples into folds, repeatedly; of each fold, fit a model with its "
        "defaults and a random forest to the same other samples, and predict the fold "
        "by both. Nothing is fitted or chosen by what is held out. With labels, models "
        "of fewer samples show whether more would help. A run that max_hours or "
        "SIGTERM ends returns the folds that are done."
    ),
    citations=TRANSFORMER + FOREST,
    examples={"Two folds of a number": _examples.cross_validate_example},
)
