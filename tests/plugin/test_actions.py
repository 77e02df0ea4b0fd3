"""The actions through `qiime2.plugins.aam.actions`, on small generated data."""

import zipfile

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio
from qiime2.plugins import aam

from aam_core.commands.rf_baseline import as_trained
from aam_core.commands.train import train as engine_train
from aam_core.config import TrainConfig
from aam_core.data.table import FeatureTable
from aam_core.reporting import silent

from .conftest import ONE_NETWORK, SAMPLES, TINY, import_, rooted_tree

FOREST = {"rarefy_depth": 50, "n_estimators": 20, "n_jobs": 1}


def held_out_of(model):
    """The samples that were predicted by members that had not seen them."""
    split = model.view(dict)["split"]
    return [i for fold in split.get("folds", []) for i in fold] or split["validation"]


def test_pretrain_from_a_phylogeny(encoder):
    assert str(encoder.type) == "AAMEncoder"
    config = encoder.view(dict)
    assert config["options"]["unifrac_metric"] == "unweighted"
    assert len(encoder.view(qiime2.Metadata).ids) == 2


def test_pretrain_from_a_distance_matrix(table, matrix):
    encoder = aam.actions.pretrain(table, distance_matrix=matrix, **TINY).encoder
    encoder.validate("max")


def test_pretrain_divides_no_groups(table, tree, metadata):
    encoder = aam.actions.pretrain(
        table, phylogeny=tree, metadata=metadata, group_column="site", **TINY
    ).encoder
    sites = metadata.get_column("site").to_series()
    split = encoder.view(dict)["split"]
    assert split["validation"]
    assert not set(sites[split["training"]]) & set(sites[split["validation"]])


def test_regression_of_two_targets(regression):
    model, predictions = regression.model, regression.predictions
    assert str(model.type) == "AAMModel[Regression]"
    assert str(predictions.type) == "SampleData[RegressorPredictions]"
    series = predictions.view(pd.Series)
    assert sorted(series.index) == sorted(held_out_of(model))
    assert series.dtype == float
    config = model.view(dict)
    assert config["target"]["columns"] == ["ph", "depth"]
    assert config["options"]["seed"] == 42


def test_prediction_of_a_regression(regression, table):
    predictions, details = aam.actions.predict(table, regression.model)
    assert str(predictions.type) == "SampleData[RegressorPredictions]"
    assert str(details.type) == "SampleData[RegressionDetails]"
    series, frame = predictions.view(pd.Series), details.view(pd.DataFrame)
    assert len(series) == SAMPLES
    assert {"ph_predicted", "depth_predicted"} <= set(frame.columns)
    pd.testing.assert_series_equal(frame["ph_predicted"], series, check_names=False)
    assert len(details.view(qiime2.Metadata).ids) == SAMPLES


def test_prediction_of_a_classification(classification, table):
    assert str(classification.model.type) == "AAMModel[Classification]"
    assert str(classification.predictions.type) == "SampleData[ClassifierPredictions]"
    predictions, details = aam.actions.predict(table, classification.model)
    assert str(predictions.type) == "SampleData[ClassifierPredictions]"
    assert str(details.type) == "SampleData[Probabilities]"
    shares = details.view(pd.DataFrame)
    assert list(shares.columns) == ["soil", "water"]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    series = predictions.view(pd.Series)
    assert (shares.idxmax(axis=1) == series).all()
    held_out = classification.predictions.view(pd.Series)
    assert (series[held_out.index] == held_out).all()


def test_quantiles_reach_the_details(table, metadata):
    model = aam.actions.train(
        table,
        metadata,
        metadata_column=["ph"],
        loss_type="quantile",
        quantiles=[0.25, 0.5],
        **ONE_NETWORK,
        **TINY,
    ).model
    details = aam.actions.predict(table, model).details.view(pd.DataFrame)
    assert (details["ph_quantile_0.25"] <= details["ph_quantile_0.5"]).all()


def test_hashed_ids_with_sequences_are_the_same_features(
    hashed_table, sequences, table, metadata
):
    # the draw depends on the ids
    unrarefied = TINY | {"rarefy_depth": 0, "cross_fit": 0}
    model = aam.actions.train(
        hashed_table, metadata, ["ph"], sequences=sequences, **unrarefied
    ).model
    by_hash = aam.actions.predict(hashed_table, model, sequences=sequences)
    by_sequence = aam.actions.predict(table, model)
    pd.testing.assert_series_equal(
        by_hash.predictions.view(pd.Series), by_sequence.predictions.view(pd.Series)
    )


def test_covariates_are_needed_at_prediction(table, metadata):
    model = aam.actions.train(
        table,
        metadata,
        metadata_column=["ph"],
        categorical_columns=["habitat"],
        **ONE_NETWORK,
        **TINY,
    ).model
    with pytest.raises(ValueError, match="pass the sample metadata"):
        aam.actions.predict(table, model)
    predicted = aam.actions.predict(table, model, metadata=metadata).predictions
    assert len(predicted.view(pd.Series)) == SAMPLES
    frame = metadata.to_dataframe().replace({"habitat": {"soil": "moon"}})
    with pytest.raises(ValueError, match="moon"):
        aam.actions.predict(table, model, metadata=qiime2.Metadata(frame))


def test_forest_without_a_model(table, metadata):
    predictions, details, importance = aam.actions.rf_baseline(
        table, metadata, metadata_column=["ph", "depth"], **FOREST
    )
    assert str(predictions.type) == "SampleData[RegressorPredictions]"
    assert str(details.type) == "SampleData[RegressionDetails]"
    assert list(details.view(pd.DataFrame).columns) == [
        "ph_predicted",
        "depth_predicted",
    ]
    shares = importance.view(pd.DataFrame)["importance"]
    assert shares.sum() == pytest.approx(1)


def test_forest_on_the_split_of_a_model(table, metadata, regression):
    result = aam.actions.rf_baseline(
        table, metadata, model=regression.model, test_size=0.5, n_estimators=20
    )
    details = result.details.view(pd.DataFrame)
    assert sorted(details.index) == sorted(held_out_of(regression.model))
    assert list(details.columns) == ["ph_predicted", "depth_predicted"]


def test_forest_takes_the_task_of_the_model(table, metadata, classification):
    result = aam.actions.rf_baseline(
        table, metadata, model=classification.model, n_estimators=20, max_features="0.5"
    )
    assert str(result.predictions.type) == "SampleData[ClassifierPredictions]"
    assert str(result.details.type) == "SampleData[Probabilities]"
    labels = result.predictions.view(pd.Series)
    assert sorted(labels.index) == sorted(held_out_of(classification.model))
    assert set(labels) <= {"soil", "water"}


def test_forest_of_classes_without_a_model(table, metadata):
    result = aam.actions.rf_baseline(
        table, metadata, metadata_column=["habitat"], task="classification", **FOREST
    )
    assert str(result.details.type) == "SampleData[Probabilities]"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metadata_column": ["depth"]}, "was trained with"),
        ({"task": "classification"}, "was trained with 'regression'"),
    ],
)
def test_forest_predicts_what_the_model_does(
    table, metadata, regression, options, message
):
    with pytest.raises(ValueError, match=message):
        aam.actions.rf_baseline(table, metadata, model=regression.model, **options)


def test_chosen_options_of_the_forest_stay():
    trained = TrainConfig(metadata_column=("ph",), rarefy_depth=9, seed=3).to_dict()
    options = as_trained({"rarefy_depth": 7, "n_estimators": 3}, trained)
    assert options == {
        "metadata_column": ("ph",),
        "task": "regression",
        "rarefy_depth": 7,
        "seed": 3,
        "missing_scheme": "blank",
        "n_estimators": 3,
    }


def test_what_the_engine_wrote_can_be_imported(table, metadata, tmp_path):
    options = TINY | {"epochs": 1}
    held_out = engine_train(
        TrainConfig(metadata_column=("ph",), **ONE_NETWORK, **options),
        tmp_path / "model",
        table=FeatureTable.from_biom(table.view(biom.Table)),
        metadata=metadata.to_dataframe(),
        report=silent,
    ).predictions
    model = import_("AAMModel[Regression]", str(tmp_path / "model"))
    model.export_data(str(tmp_path / "exported"))
    for name in ("config.json", "model.safetensors", "history.tsv"):
        written = (tmp_path / "model" / name).read_bytes()
        assert (tmp_path / "exported" / name).read_bytes() == written
    predictions = aam.actions.predict(table, model).predictions.view(pd.Series)
    np.testing.assert_allclose(predictions[held_out.index], held_out["ph"], rtol=1e-4)


def test_provenance_leads_back_to_the_inputs(
    table, tree, encoder, regression, tmp_path
):
    predictions = aam.actions.predict(table, regression.model).predictions
    path = predictions.save(str(tmp_path / "predictions"))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    ancestors = {n.split("/")[3] for n in names if "/provenance/artifacts/" in n}
    for artifact in (table, tree, encoder, regression.model):
        assert str(artifact.uuid) in ancestors


class TestInputErrors:
    """Each is one clear sentence before training starts."""

    def fails(self, message, action, *args, **kwargs):
        with pytest.raises(ValueError, match=message) as caught:
            action(*args, **TINY | kwargs)
        assert "\n" not in str(caught.value)

    def test_both_or_neither(self, table, tree, matrix):
        pretrain = aam.actions.pretrain
        self.fails("needs a phylogeny", pretrain, table)
        self.fails(
            "both were given", pretrain, table, phylogeny=tree, distance_matrix=matrix
        )

    def test_hashes_without_sequences(self, hashed_table, metadata):
        self.fails(
            "sequences",
            aam.actions.train,
            hashed_table,
            metadata,
            metadata_column=["ph"],
        )

    def test_tree_without_some_tips(self, table, reads):
        tree = rooted_tree(reads[:-1])
        self.fails(reads[-1], aam.actions.pretrain, table, phylogeny=tree)

    def test_matrix_without_some_samples(self, table, matrix):
        view = matrix.view(skbio.DistanceMatrix)
        small = import_("DistanceMatrix", view.filter(view.ids[1:]))
        self.fails("S00", aam.actions.pretrain, table, distance_matrix=small)

    @pytest.mark.parametrize(
        ("column", "message"),
        [("altitude", "altitude"), ("habitat", "habitat"), ("same", "same")],
    )
    def test_targets(self, table, metadata, column, message):
        frame = metadata.to_dataframe().assign(same=1.0)
        self.fails(
            message,
            aam.actions.train,
            table,
            qiime2.Metadata(frame),
            metadata_column=[column],
        )

    def test_tables(self, table, reads, tree):
        one = import_(
            "FeatureTable[Frequency]",
            biom.Table(np.full((len(reads), 1), 60.0), reads, ["S"]),
        )
        self.fails("sample", aam.actions.pretrain, one, phylogeny=tree)
        for value, message in ((-1.0, "negative|-1"), (0.5, "0.5|whole|fraction")):
            counts = np.full((len(reads), 3), 60.0)
            counts[2, 1] = value
            bad = import_(
                "FeatureTable[Frequency]", biom.Table(counts, reads, list("abc"))
            )
            self.fails(message, aam.actions.pretrain, bad, phylogeny=tree)
