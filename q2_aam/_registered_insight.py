"""Registration of the actions that embed, explain and draw."""

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
from qiime2.plugin import Metadata

from aam_core.config import (
    EmbedConfig,
    EvaluateConfig,
    ExplainConfig,
    PlotContributionsConfig,
)
from q2_aam import _examples
from q2_aam._embed import embed
from q2_aam._explain import explain
from q2_aam._reports import (
    evaluate,
    evaluate_cross_validation,
    plot_contributions,
    summarize,
)
from q2_aam._shared import (
    COLUMN,
    COVARIATES_DESCRIPTION,
    DRAWN,
    DRAWN_DESCRIPTION,
    EXPLAINED_DESCRIPTION,
    GROUPS_DESCRIPTION,
    SEQUENCES,
    SEQUENCES_DESCRIPTION,
    TABLE,
    TABLE_DESCRIPTION,
)
from q2_aam._signature import parameter_descriptions, parameter_types
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
from q2_aam.plugin_setup import CHARTS, SHAPLEY, TRANSFORMER, UNIFRAC, plugin

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
