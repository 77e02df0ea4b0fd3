"""Pipelines and visualizers through `qiime2.plugins.aam.actions`."""

import re
import sys
from types import SimpleNamespace

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio
from qiime2.plugins import aam

from aam_core.config import effort
from aam_core.report import page as pages


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Without the JavaScript, which takes seconds to bundle, and in a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


def exported(visualization, folder):
    """The page and the tables of a visualization."""
    visualization.export_data(str(folder))
    tables = {
        path.stem: pd.read_csv(path, sep="\t", index_col=0, dtype={0: str})
        for path in folder.glob("*.tsv")
    }
    return (folder / "index.html").read_text(), tables


@pytest.fixture(scope="module")
def classified(table, metadata, tree, taxonomy):
    column, sites = (metadata.get_column(n) for n in ("habitat", "site"))
    shown = {"phylogeny": tree, "taxonomy": taxonomy}
    return aam.pipelines.classify_samples(
        table, column, groups=sites, effort="quick", device="cpu", **shown
    )


def test_classes_of_all_samples_from_one_command(classified, metadata, tmp_path):
    assert str(classified.model.type) == "AAMModel[Classification]"
    found = {
        name: getattr(classified, name).view(pd.Series)
        for name in ("predictions", "forest_predictions")
    }
    for series in found.values():
        assert sorted(series.index) == sorted(metadata.ids)
    assert list(classified.details.view(pd.DataFrame)) == ["soil", "water"]
    page, tables = exported(classified.report, tmp_path)
    assert "Prediction of habitat" in page
    samples = tables["samples"]
    predicted = found["predictions"][samples.index]
    assert (samples["predicted_1"] == predicted).all()
    assert (samples["predicted_2"] == found["forest_predictions"][samples.index]).all()
    sites = metadata.get_column("site").to_series()
    assert (samples["group"] == sites[samples.index]).all()
    assert {"features", "history", "confusion", "groups", "branches"} <= set(tables)
    assert "g__Genus" in page
    rows = classified.contributions.view(pd.DataFrame)
    assert rows["sample"].nunique() == 20  # of effort quick
    mine = rows["contribution"].abs().groupby(rows["feature"]).sum() / 20 / 2
    importance = classified.importance.view(pd.DataFrame)["importance"]
    assert np.allclose(importance[mine.index], mine, rtol=1e-6)
    split = classified.model.view(dict)["split"]
    folds = [set(sites[fold]) for fold in split["folds"]]
    assert not folds[0] & folds[1]


def test_steps_are_in_the_provenance(classified, tmp_path):
    path = classified.report.save(str(tmp_path / "report.qzv"))
    loaded = qiime2.sdk.Result.load(path)
    actions = {
        match
        for file in loaded._archiver.provenance_dir.rglob("action.yaml")
        for match in re.findall(r"^    action: (\w+)", file.read_text(), re.M)
    }
    steps = {"classify_samples", "train", "rf_baseline", "explain", "evaluate"}
    assert steps <= actions


def test_numbers_of_samples_that_are_held_out(hashed_table, sequences, metadata):
    column, sites = (metadata.get_column(n) for n in ("ph", "site"))
    options = {"test_size": 0.3, "effort": "quick", "device": "cpu"}
    found = aam.pipelines.regress_samples(
        hashed_table, column, sequences=sequences, groups=sites, **options
    )
    out = found.predictions.view(pd.Series).index
    assert len(out) == 8  # two of six sites of four
    assert sorted(found.forest_predictions.view(pd.Series).index) == sorted(out)
    training = found.model.view(dict)["split"]["training"]
    assert sorted([*training, *out]) == sorted(metadata.ids)
    sites = sites.to_series()
    assert not set(sites[training]) & set(sites[out])
    details = found.details.view(pd.DataFrame)
    assert {"ph_predicted", "reads", "far_fraction"} <= set(details)
    explained = found.contributions.view(pd.DataFrame)["sample"]
    assert sorted(explained.unique()) == sorted(out)


def test_groups_and_target_differ(table, metadata):
    column = metadata.get_column("habitat")
    with pytest.raises(ValueError, match="to be predicted"):
        aam.pipelines.classify_samples(table, column, groups=column)


def test_two_sets_of_predictions_and_all_that_is_shown_beside_them(
    regression, table, metadata, tmp_path
):
    forest = aam.actions.rf_baseline(
        table, metadata, model=regression.model, n_estimators=10, n_jobs=1
    )
    truth = metadata.get_column("ph")
    report = aam.visualizers.evaluate(
        regression.predictions,
        truth,
        details=regression.details,
        other_predictions=forest.predictions,
        other_details=forest.details,
        importance=forest.importance,
        model=regression.model,
        metadata=metadata,
        name="first",
        other_name="second",
    ).visualization
    page, tables = exported(report, tmp_path)
    assert "predicted by first and second" in page
    own = regression.predictions.view(pd.Series)
    samples = tables["samples"]
    errors = own[samples.index] - truth.to_series()[samples.index]
    assert np.allclose(samples["error_1"], errors, rtol=1e-4)
    assert {"habitat", "site", "lower_1", "upper_1"} <= set(samples)
    scores = tables["scores"].query("of == 'first'")["value"]
    assert scores["mae"] == pytest.approx(errors.abs().mean())


def test_features_have_the_names_of_a_taxonomy(
    regression, table, metadata, taxonomy, tmp_path
):
    importance = aam.actions.rf_baseline(
        table, metadata, model=regression.model, n_estimators=10, n_jobs=1
    ).importance
    report = aam.visualizers.evaluate(
        regression.predictions,
        metadata.get_column("ph"),
        importance=importance,
        taxonomy=taxonomy,
    ).visualization
    assert "1. g__Genus" in exported(report, tmp_path)[0]


def test_details_of_nobody_are_refused(regression, metadata):
    with pytest.raises(ValueError, match="needs other_predictions"):
        aam.visualizers.evaluate(
            regression.predictions,
            metadata.get_column("ph"),
            other_details=regression.details,
        )


def test_summaries_of_an_encoder_and_of_a_model(
    encoder, regression, classification, tmp_path
):
    for number, (artifact, words) in enumerate(
        [
            (encoder, "An encoder of 24 samples"),
            (regression.model, "Distribution of depth"),
            (classification.model, "Samples of each class of habitat"),
        ]
    ):
        report = aam.visualizers.summarize(artifact).visualization
        page, tables = exported(report, tmp_path / str(number))
        assert words in page
        assert len(tables["history"]) == len(artifact.view(qiime2.Metadata).ids)


def test_a_forest_of_others_needs_a_model(table, metadata):
    with pytest.raises(ValueError, match="needs a model"):
        aam.actions.rf_baseline(
            table, metadata, metadata_column=["ph"], held_out="others"
        )


def test_few_options_are_all_that_the_front_door_shows():
    signature = aam.pipelines.classify_samples.signature
    assert len(signature.inputs) + len(signature.parameters) <= 12
    assert "epochs" not in signature.parameters


def test_embeddings_distances_and_ordination(hashed_table, sequences, encoder, table):
    options = {"sequences": sequences, "encoder": encoder, "device": "cpu"}
    found = aam.actions.embed(hashed_table, **options)
    assert str(found.embedding.type) == "SampleData[AAMEmbedding]"
    assert str(found.asv_embedding.type) == "FeatureData[AAMEmbedding]"
    samples = found.embedding.view(pd.DataFrame)
    assert samples.shape == (24, 8)
    assert list(found.embedding.view(qiime2.Metadata).ids) == list(samples.index)
    matrix = found.distance_matrix.view(skbio.DistanceMatrix)
    ordered = found.pcoa.view(skbio.OrdinationResults)
    assert list(matrix.ids) == list(ordered.samples.index) == list(samples.index)
    again = aam.actions.embed(table, encoder=encoder, device="cpu").embedding
    again = again.view(pd.DataFrame).loc[samples.index]
    assert np.allclose(again, samples, atol=1e-4)
    found.embedding.validate("max")


def test_a_model_embeds_too(classification, table, metadata):
    options = {"model": classification.model, "device": "cpu"}
    found = aam.actions.embed(table, metadata=metadata, **options)
    samples = found.embedding.view(pd.DataFrame).to_numpy()
    matrix = found.distance_matrix.view(skbio.DistanceMatrix).data
    apart = np.linalg.norm(samples[:, None] - samples[None], axis=-1)
    assert np.allclose(matrix, apart, atol=1e-4)


def test_what_predict_left_out_is_said_again_at_the_end(
    classification, hashed_table, sequences, monkeypatch
):
    """q2cli shows what an action prints with --verbose only."""
    said = []
    at_exit = SimpleNamespace(register=lambda call, text, **options: said.append(text))
    monkeypatch.setattr("q2_aam._inputs.atexit", at_exit)
    monkeypatch.setitem(sys.modules, "q2cli", sys)
    options = {"sequences": sequences, "missing_features": "drop", "device": "cpu"}
    aam.actions.predict(hashed_table, classification.model, **options)
    assert said == []
    known = hashed_table.view(biom.Table)
    counts = np.r_[known.matrix_data.toarray(), np.ones((1, 24))]
    more = biom.Table(counts, [*known.ids("observation"), "strange"], known.ids())
    more = qiime2.Artifact.import_data("FeatureTable[Frequency]", more)
    aam.actions.predict(more, classification.model, **options)
    assert "1 of 11 features" in said[0]
    assert "'strange'" in said[0]
