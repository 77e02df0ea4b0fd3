"""Registration of the front door: pipelines from a table to a report."""

from q2_sample_classifier import (
    ClassifierPredictions,
    Importance,
    Probabilities,
    RegressorPredictions,
)
from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin import Categorical, MetadataColumn, Numeric, Visualization

from aam_core.config import SamplesConfig
from q2_aam import _examples
from q2_aam._samples import classify_samples, regress_samples
from q2_aam._shared import (
    COLUMN,
    COLUMN_DESCRIPTION,
    DETAILS_DESCRIPTION,
    DRAWN,
    DRAWN_DESCRIPTION,
    EXPLAINED_DESCRIPTION,
    GROUPS_DESCRIPTION,
    KEPT_ENCODER_DESCRIPTION,
    MODEL_DESCRIPTION,
    PREDICTIONS_DESCRIPTION,
    SEQUENCES,
    SEQUENCES_DESCRIPTION,
    TABLE,
    TABLE_DESCRIPTION,
)
from q2_aam._signature import parameter_descriptions, parameter_types
from q2_aam._types import (
    AAMContributions,
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)
from q2_aam.plugin_setup import CHARTS, FOREST, SHAPLEY, TRANSFORMER, plugin


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
