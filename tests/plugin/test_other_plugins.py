"""Visualizers of q2-sample-classifier take the results."""

import gc
import warnings

import matplotlib
import pandas as pd
import pytest
import q2_sample_classifier
import qiime2
from qiime2.plugins import aam, sample_classifier

matplotlib.use("Agg")
#: The 2022.11 release sets an option that pandas has dropped since.
outdated = q2_sample_classifier.__version__ < "2023" and pd.__version__ >= "2"
visualizer = pytest.mark.skipif(outdated, reason="needs an older pandas")


def visualize(action, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the visualizers and what they leave open
        (visualization,) = action(*args, **kwargs)
        gc.collect()
    return visualization


@visualizer
def test_scatterplot(table, regression, metadata, tmp_path):
    predictions = aam.actions.predict(table, regression.model).predictions
    visualization = visualize(
        sample_classifier.visualizers.scatterplot,
        predictions,
        metadata.get_column("ph"),
    )
    visualization.export_data(str(tmp_path / "scatterplot"))
    assert (tmp_path / "scatterplot" / "predictive_accuracy.tsv").exists()


@visualizer
@pytest.mark.parametrize("forest", [False, True])
def test_confusion_matrix(table, classification, metadata, forest):
    if forest:
        predictions, probabilities, _ = aam.actions.rf_baseline(
            table, metadata, model=classification.model, n_estimators=20
        )
    else:
        predictions, probabilities = aam.actions.predict(table, classification.model)
    visualize(
        sample_classifier.visualizers.confusion_matrix,
        predictions,
        metadata.get_column("habitat"),
        probabilities,
        missing_samples="ignore",
    )


def test_merged_with_the_metadata_of_the_samples(table, regression, metadata):
    predictions = aam.actions.predict(table, regression.model).predictions
    merged = metadata.merge(predictions.view(qiime2.Metadata))
    assert {"ph", "prediction"} <= set(merged.columns)
