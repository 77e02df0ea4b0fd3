"""Usage examples on small generated data; `--help` shows them, a test runs them."""

#: A model that trains in seconds. It shows the call, not what q2-aam can do.
SMALL = {
    "rarefy_depth": 100,
    "preset": "tiny",
    "embedding_dim": 8,
    "attention_layers": 1,
    "epochs": 2,
}
SAMPLES, FEATURES, LENGTH = 20, 12, 30


def _sequences() -> list[str]:
    import numpy as np

    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("ACGT"), LENGTH)) for _ in range(FEATURES)]


def table_factory():
    """A feature table whose feature ids are the sequences."""
    import biom
    import numpy as np
    import qiime2

    rng = np.random.default_rng(1)
    counts = rng.poisson(rng.gamma(1, 40, (FEATURES, SAMPLES))) + 10
    table = biom.Table(counts, _sequences(), [f"S{i}" for i in range(SAMPLES)])
    return qiime2.Artifact.import_data("FeatureTable[Frequency]", table)


def phylogeny_factory():
    """A rooted tree with one tip per feature."""
    import qiime2
    import skbio

    tips = [f"{name}:1" for name in _sequences()]
    while len(tips) > 1:
        tips = [*tips[2:], f"({tips[0]},{tips[1]}):1"]
    tree = skbio.TreeNode.read([f"{tips[0]};"])
    return qiime2.Artifact.import_data("Phylogeny[Rooted]", tree)


def metadata_factory():
    """A number and a class for each sample."""
    import pandas as pd
    import qiime2

    index = pd.Index([f"S{i}" for i in range(SAMPLES)], name="id")
    columns = {
        "ph": [5 + i % 7 / 2 for i in range(SAMPLES)],
        "habitat": [("soil", "water")[i % 2] for i in range(SAMPLES)],
    }
    return qiime2.Metadata(pd.DataFrame(columns, index))


def model_factory():
    """A small model of the class; `tools/example_model.py` trained it."""
    from pathlib import Path

    import qiime2

    folder = Path(__file__).parent / "example_model"
    return qiime2.Artifact.import_data("AAMModel[Classification]", str(folder))


def pretrain_example(use):
    """Learn an encoder."""
    table = use.init_artifact("table", table_factory)
    phylogeny = use.init_artifact("phylogeny", phylogeny_factory)
    (encoder,) = use.action(
        use.UsageAction("aam", "pretrain"),
        use.UsageInputs(table=table, phylogeny=phylogeny, **SMALL),
        use.UsageOutputNames(encoder="encoder"),
    )
    encoder.assert_output_type("AAMEncoder")


def train_example(use):
    """Learn to predict a number."""
    table = use.init_artifact("table", table_factory)
    metadata = use.init_metadata("metadata", metadata_factory)
    model, predictions, details = use.action(
        use.UsageAction("aam", "train"),
        use.UsageInputs(
            table=table,
            metadata=metadata,
            metadata_column=["ph"],
            cross_fit=2,
            **SMALL,
        ),
        use.UsageOutputNames(
            model="model", predictions="out_of_fold", details="out_of_fold_details"
        ),
    )
    model.assert_output_type("AAMModel[Regression]")
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    details.assert_output_type("SampleData[RegressionDetails]")


def predict_example(use):
    """Predict a class with a model."""
    table = use.init_artifact("table", table_factory)
    model = use.init_artifact("model", model_factory)
    predictions, probabilities = use.action(
        use.UsageAction("aam", "predict"),
        use.UsageInputs(table=table, model=model),
        use.UsageOutputNames(predictions="predictions", details="probabilities"),
    )
    predictions.assert_output_type("SampleData[ClassifierPredictions]")
    probabilities.assert_output_type("SampleData[Probabilities]")


def rf_baseline_example(use):
    """Predict a number with a random forest."""
    table = use.init_artifact("table", table_factory)
    metadata = use.init_metadata("metadata", metadata_factory)
    predictions, _, importance = use.action(
        use.UsageAction("aam", "rf_baseline"),
        use.UsageInputs(
            table=table,
            metadata=metadata,
            metadata_column=["ph"],
            rarefy_depth=100,
            n_estimators=20,
        ),
        use.UsageOutputNames(
            predictions="predictions", details="details", importance="importance"
        ),
    )
    predictions.assert_output_type("SampleData[RegressorPredictions]")
    importance.assert_output_type("FeatureData[Importance]")


def predictions_factory():
    """Predictions of a number for each sample."""
    import pandas as pd
    import qiime2

    index = pd.Index([f"S{i}" for i in range(SAMPLES)], name="id")
    numbers = [5.2 + i % 7 / 2.2 for i in range(SAMPLES)]
    series = pd.Series(numbers, index, name="prediction")
    return qiime2.Artifact.import_data("SampleData[RegressorPredictions]", series)


def encoder_factory():
    """The general encoder of the package."""
    import qiime2

    from aam_core.io.run_layout import GENERAL

    return qiime2.Artifact.import_data("AAMEncoder", str(GENERAL))


def embed_example(use):
    """Embed samples with the general encoder."""
    table = use.init_artifact("table", table_factory)
    samples, asvs, distances, pcoa = use.action(
        use.UsageAction("aam", "embed"),
        use.UsageInputs(table=table),
        use.UsageOutputNames(
            embedding="embedding",
            asv_embedding="asv_embedding",
            distance_matrix="predicted_unifrac",
            pcoa="pcoa",
        ),
    )
    samples.assert_output_type("SampleData[AAMEmbedding]")
    asvs.assert_output_type("FeatureData[AAMEmbedding]")
    distances.assert_output_type("DistanceMatrix")
    pcoa.assert_output_type("PCoAResults")


def explain_example(use):
    """Explain what a model of a class predicts."""
    table = use.init_artifact("table", table_factory)
    model = use.init_artifact("model", model_factory)
    importance, contributions = use.action(
        use.UsageAction("aam", "explain"),
        use.UsageInputs(table=table, model=model, max_samples=3, draws=2),
        use.UsageOutputNames(importance="importance", contributions="contributions"),
    )
    importance.assert_output_type("FeatureData[Importance]")
    contributions.assert_output_type("SampleData[AAMContributions]")


def contributions_factory():
    """Contributions of three ASVs to a number."""
    import pandas as pd
    import qiime2

    from aam_core.data.contributions import COLUMNS

    rows = [
        (f"S{i}", feature, "ph", (i - 2) * weight, 0.05, 0.1 * i + weight / 10, 6.0)
        for i in range(5)
        for feature, weight in (("asv1", 0.5), ("asv2", 0.25), ("asv3", -0.125))
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS[:7])
    total = frame.groupby("sample")["contribution"].transform("sum")
    frame = frame.assign(prediction=6.0 + total, scale="units")
    return qiime2.Artifact.import_data("SampleData[AAMContributions]", frame)


def plot_contributions_example(use):
    """Look at contributions to a number."""
    contributions = use.init_artifact("contributions", contributions_factory)
    use.action(
        use.UsageAction("aam", "plot_contributions"),
        use.UsageInputs(contributions=contributions),
        use.UsageOutputNames(visualization="contributions_plot"),
    )


def evaluate_example(use):
    """Look at predictions of a number."""
    predictions = use.init_artifact("predictions", predictions_factory)
    metadata = use.init_metadata("metadata", metadata_factory)
    truth = use.get_metadata_column("ph", "ph", metadata)
    (page,) = use.action(
        use.UsageAction("aam", "evaluate"),
        use.UsageInputs(predictions=predictions, truth=truth),
        use.UsageOutputNames(visualization="evaluation"),
    )
    page.assert_output_type("Visualization")


def cross_validation_factory():
    """Two folds of a number, as `cross-validate` returns them."""
    import tempfile
    from pathlib import Path

    import pandas as pd
    import qiime2

    from aam_core.io.cross_validation import CrossValidated, write_cross_validation

    samples = range(SAMPLES)
    head = {"id": [f"S{i}" for i in samples], "repeat": 1}
    head |= {"fold": [1 + i % 2 for i in samples], "labels": "all", "training": 10}
    true = [5 + i % 7 / 2 for i in samples]
    found = {"true": true, "aam_predicted": [t + 0.1 for t in true]}
    found["forest_predicted"] = [t + 0.3 * (-1) ** (i // 2) for i, t in enumerate(true)]
    run = {"schema": 1, "version": "0.1.0", "task": "regression", "column": "ph"}
    run |= {"classes": [], "folds": 2, "repeats": 1, "cells": 2, "done": 2}
    run |= {"completed": True, "notes": [], "options": {}}
    with tempfile.TemporaryDirectory() as folder:
        table = pd.DataFrame(head | found)
        write_cross_validation(CrossValidated(run, table), Path(folder))
        return qiime2.Artifact.import_data("SampleData[AAMCrossValidation]", folder)


def cross_validate_example(use):
    """Compare a model and a forest of a number."""
    table = use.init_artifact("table", table_factory)
    metadata = use.init_metadata("metadata", metadata_factory)
    (found,) = use.action(
        use.UsageAction("aam", "cross_validate"),
        use.UsageInputs(
            table=table,
            metadata=use.get_metadata_column("ph", "ph", metadata),
            folds=2,
            repeats=1,
            effort="quick",
        ),
        use.UsageOutputNames(cross_validation="cross_validation"),
    )
    found.assert_output_type("SampleData[AAMCrossValidation]")


def evaluate_cross_validation_example(use):
    """Look at a cross-validation of a number."""
    found = use.init_artifact("cross_validation", cross_validation_factory)
    (page,) = use.action(
        use.UsageAction("aam", "evaluate_cross_validation"),
        use.UsageInputs(cross_validation=found),
        use.UsageOutputNames(visualization="report"),
    )
    page.assert_output_type("Visualization")


def summarize_example(use):
    """Look at how the general encoder was trained."""
    encoder = use.init_artifact("encoder", encoder_factory)
    (page,) = use.action(
        use.UsageAction("aam", "summarize"),
        use.UsageInputs(model=encoder),
        use.UsageOutputNames(visualization="summary"),
    )
    page.assert_output_type("Visualization")


def _front_door(use, action, column, kind):
    table = use.init_artifact("table", table_factory)
    metadata = use.init_metadata("metadata", metadata_factory)
    outputs = use.action(
        use.UsageAction("aam", action),
        use.UsageInputs(
            table=table,
            metadata=use.get_metadata_column(column, column, metadata),
            effort="quick",
        ),
        use.UsageOutputNames(
            model="model",
            predictions="predictions",
            details="details",
            forest_predictions="forest_predictions",
            forest_details="forest_details",
            importance="importance",
            contributions="contributions",
            report="report",
        ),
    )
    outputs.model.assert_output_type(f"AAMModel[{kind}]")
    outputs.report.assert_output_type("Visualization")


def classify_samples_example(use):
    """Predict a class from nothing but a table and a column."""
    _front_door(use, "classify_samples", "habitat", "Classification")


def regress_samples_example(use):
    """Predict a number from nothing but a table and a column."""
    _front_door(use, "regress_samples", "ph", "Regression")
