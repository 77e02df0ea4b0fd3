"""Registration of the plugin. Nothing here imports torch."""

import importlib

from q2_sample_classifier import (
    ClassifierPredictions,
    Importance,
    Probabilities,
    RegressorPredictions,
)
from q2_types.distance_matrix import DistanceMatrix
from q2_types.feature_data import FeatureData
from q2_types.ordination import PCoAResults
from q2_types.sample_data import SampleData
from qiime2.plugin import (
    Categorical,
    Citations,
    Metadata,
    MetadataColumn,
    Numeric,
    Plugin,
    TypeMap,
    Visualization,
)

from aam_core.config import (
    CrossValidateConfig,
    EmbedConfig,
    EvaluateConfig,
    ExplainConfig,
    ForestConfig,
    PlotContributionsConfig,
    PredictConfig,
    PretrainConfig,
    SamplesConfig,
    TrainConfig,
)
from aam_core.runtime.forks import one_thread_in_forks
from q2_aam import __version__, _examples
from q2_aam._baseline import rf_baseline
from q2_aam._cross_validate import cross_validate
from q2_aam._embed import embed
from q2_aam._explain import explain
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
from q2_aam._predict import predict
from q2_aam._pretrain import pretrain
from q2_aam._reports import (
    evaluate,
    evaluate_cross_validation,
    plot_contributions,
    summarize,
)
from q2_aam._samples import classify_samples, regress_samples
from q2_aam._shared import (
    CLASSIFICATION,
    COLUMN,
    COLUMN_DESCRIPTION,
    COVARIATES_DESCRIPTION,
    DETAILS_DESCRIPTION,
    DISTANCES,
    DISTANCES_DESCRIPTION,
    DRAWN,
    DRAWN_DESCRIPTION,
    ENCODER_DESCRIPTION,
    EXPLAINED_DESCRIPTION,
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
    AAMContributions,
    AAMCrossValidation,
    AAMEmbedding,
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)

citations = Citations.load("citations.bib", package="q2_aam")
TRANSFORMER = [citations["vaswani2017attention"], citations["paszke2019pytorch"]]
UNIFRAC = [citations["lozupone2005unifrac"]]
CHARTS = [citations["vanderplas2018altair"]]
SHAPLEY = [citations["strumbelj2014explaining"], citations["mitchell2022sampling"]]
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
    citations=[citations["q2aam"], citations["bolyen2019qiime2"]],
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
    function=embed,
    inputs=TABLE
    | SEQUENCES
    | {"encoder": AAMEncoder, "model": AAMModel[Regression | Classification]},
    parameters={"metadata": Metadata} | parameter_types(EmbedConfig),
    outputs=[
        ("embedding", SampleData[AAMEmbedding]),
        ("asv_embedding", FeatureData[AAMEmbedding]),
        ("distance_matrix", DistanceMatrix),
        ("pcoa", PCoAResults),
    ],
    input_descriptions=TABLE_DESCRIPTION
    | SEQUENCES_DESCRIPTION
    | {
        "encoder": "Pre-trained encoder. Without, the general one of the package.",
        "model": "Trained model, in place of an encoder: samples are embedded as its "
        "networks see them before they predict.",
    },
    parameter_descriptions={"metadata": COVARIATES_DESCRIPTION}
    | parameter_descriptions(EmbedConfig),
    output_descriptions={
        "embedding": "Coordinates of each sample.",
        "asv_embedding": "Coordinates of each ASV, which depend on its sequence alone.",
        "distance_matrix": "Distances between samples. Of an encoder as it predicts "
        "them: UniFrac without a phylogeny, if it has learned UniFrac. Of a model "
        "Euclidean ones between the coordinates.",
        "pcoa": "Principal coordinates of these distances, for emperor.",
    },
    name="Embed samples and ASVs",
    description=(
        "What an encoder (or the networks of a model) makes of samples and ASVs, as "
        "coordinates; the distances between samples that it predicts without a "
        "phylogeny; and their ordination. ASVs may be others than those of training."
    ),
    citations=TRANSFORMER + UNIFRAC,
    examples={"Embed with the general encoder": _examples.embed_example},
)

plugin.methods.register_function(
    function=explain,
    inputs=TABLE | SEQUENCES | {"model": AAMModel[Regression | Classification]},
    parameters={"metadata": Metadata} | parameter_types(ExplainConfig),
    outputs=[
        ("importance", FeatureData[Importance]),
        ("contributions", SampleData[AAMContributions]),
    ],
    input_descriptions={
        "table": "Counts of ASVs by sample: the samples to explain, and others that "
        "they are compared with."
    }
    | SEQUENCES_DESCRIPTION
    | {"model": "Model that train, classify-samples or regress-samples wrote."},
    parameter_descriptions={"metadata": COVARIATES_DESCRIPTION}
    | parameter_descriptions(ExplainConfig),
    output_descriptions=EXPLAINED_DESCRIPTION,
    name="Explain predictions by ASVs",
    description=(
        "What each ASV contributes to the predictions of the whole ensemble: Shapley "
        "values with other samples of the table as background, in units of the "
        "target, or in log-odds of each class. Contributions and baseline sum up to "
        "the prediction. They say why the model predicts so, not what is a cause."
    ),
    citations=SHAPLEY,
    examples={"Explain a small model of a number": _examples.explain_example},
)


plugin.visualizers.register_function(
    function=evaluate,
    inputs={
        "predictions": SampleData[RegressorPredictions | ClassifierPredictions],
        "details": SampleData[RegressionDetails | Probabilities],
        "other_predictions": SampleData[RegressorPredictions | ClassifierPredictions],
        "other_details": SampleData[RegressionDetails | Probabilities],
        "importance": FeatureData[Importance],
        "contributions": SampleData[AAMContributions],
        "model": AAMModel[Regression | Classification],
    }
    | DRAWN,
    parameters={
        "truth": COLUMN,
        "groups": COLUMN,
        "metadata": Metadata,
    }
    | parameter_types(EvaluateConfig),
    input_descriptions={
        "predictions": "Predictions of samples that the model was not fitted to.",
        "details": "Intervals, or probabilities, of the same samples.",
        "other_predictions": "Predictions of the same samples to compare with, such as "
        "a forest's.",
        "other_details": "Probabilities of those.",
        "importance": "Importance of features for the forest, to be shown too.",
        "contributions": "What explain returned, to be shown too.",
        "model": "The model that predicted; the report then shows how it was trained.",
    }
    | DRAWN_DESCRIPTION,
    parameter_descriptions={
        "truth": "What was predicted, as it was observed.",
        "groups": GROUPS_DESCRIPTION,
        "metadata": "Shown where a sample is hovered over.",
    }
    | parameter_descriptions(EvaluateConfig),
    name="Look at predictions beside the truth",
    description=(
        "Scores with bootstrap intervals, charts, and, of two sets of predictions of "
        "the same samples, their paired difference: a page that needs no network."
    ),
    citations=CHARTS,
    examples={"Evaluate predictions of a number": _examples.evaluate_example},
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

plugin.visualizers.register_function(
    function=evaluate_cross_validation,
    inputs={"cross_validation": SampleData[AAMCrossValidation]},
    parameters={},
    input_descriptions={"cross_validation": "What cross-validate returned."},
    parameter_descriptions={},
    name="Look at a cross-validation",
    description=(
        "Scores of each fold by both methods, mean and spread over repeats, the paired "
        "difference with its bootstrap interval over groups, the learning curve where "
        "it was measured, and the mean predictions of all samples: a page that needs "
        "no network."
    ),
    citations=CHARTS,
    examples={
        "Look at two folds of a number": _examples.evaluate_cross_validation_example
    },
)

plugin.visualizers.register_function(
    function=plot_contributions,
    inputs={"contributions": SampleData[AAMContributions]} | DRAWN,
    parameters=parameter_types(PlotContributionsConfig),
    input_descriptions={"contributions": "What explain returned."} | DRAWN_DESCRIPTION,
    parameter_descriptions=parameter_descriptions(PlotContributionsConfig),
    name="Look at what ASVs contribute to predictions",
    description=(
        "The ASVs that matter most overall, with direction, along the phylogeny if "
        "there is one, and how the prediction of each sample comes about from its "
        "baseline: a page that needs no network."
    ),
    citations=CHARTS + SHAPLEY,
    examples={"Plot a few contributions": _examples.plot_contributions_example},
)

plugin.visualizers.register_function(
    function=summarize,
    inputs={"model": AAMEncoder | AAMModel[Regression | Classification]},
    parameters={},
    input_descriptions={"model": "Encoder or model."},
    parameter_descriptions={},
    name="Look at how an encoder or a model was trained",
    description=(
        "What went in and what was left out, the course of all losses and metrics, "
        "the members and their weights, options, time and memory."
    ),
    citations=CHARTS,
    examples={"Summarize an encoder": _examples.summarize_example},
)


def _register_front_door(function, column, kinds, name: str, example) -> None:
    """Register the pipeline that fits, compares and reports."""
    model, predictions, details = kinds
    plugin.pipelines.register_function(
        function=function,
        inputs=TABLE | SEQUENCES | DRAWN | {"encoder": AAMEncoder},
        parameters={"metadata": MetadataColumn[column], "groups": COLUMN}
        | parameter_types(SamplesConfig),
        outputs=[
            ("model", AAMModel[model]),
            ("predictions", SampleData[predictions]),
            ("details", SampleData[details]),
            ("forest_predictions", SampleData[predictions]),
            ("forest_details", SampleData[details]),
            ("importance", FeatureData[Importance]),
            ("contributions", SampleData[AAMContributions]),
            ("report", Visualization),
        ],
        input_descriptions=TABLE_DESCRIPTION
        | SEQUENCES_DESCRIPTION
        | DRAWN_DESCRIPTION
        | {"encoder": KEPT_ENCODER_DESCRIPTION},
        parameter_descriptions={
            "metadata": COLUMN_DESCRIPTION,
            "groups": GROUPS_DESCRIPTION,
        }
        | parameter_descriptions(SamplesConfig),
        output_descriptions={
            "model": MODEL_DESCRIPTION,
            "predictions": PREDICTIONS_DESCRIPTION.format("out-of-fold (or held-out)"),
            "details": DETAILS_DESCRIPTION.format("intervals"),
            "forest_predictions": "What a random forest predicts of the same samples.",
            "forest_details": "The same in numbers, or its probabilities.",
            **EXPLAINED_DESCRIPTION,
            "report": "Scores, charts and comparison: open it first.",
        },
        name=name,
        description=(
            "From a table to a picture: an ensemble and a random forest learn to "
            "predict a column, both predict samples that they were not fitted to, and "
            "a report compares them and says why the ensemble predicts so. train, "
            "predict, rf-baseline, explain and evaluate do the same step by step, with "
            "all options. effort is how much time a run may take: quick is for a first "
            "look, thorough takes up to ten times as long as standard. A GPU is taken "
            "where there is one, unless device says otherwise."
        ),
        citations=TRANSFORMER + FOREST + SHAPLEY + CHARTS,
        examples={name: example},
    )


_register_front_door(
    classify_samples,
    Categorical,
    (Classification, ClassifierPredictions, Probabilities),
    "Predict classes, compare with a forest, and report",
    _examples.classify_samples_example,
)
_register_front_door(
    regress_samples,
    Numeric,
    (Regression, RegressorPredictions, RegressionDetails),
    "Predict numbers, compare with a forest, and report",
    _examples.regress_samples_example,
)

one_thread_in_forks()
importlib.import_module("q2_aam._transformers")
importlib.import_module("q2_aam._validators")
