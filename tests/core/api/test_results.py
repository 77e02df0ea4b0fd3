"""Comparisons and reasons of estimators, beside what the commands make of the same."""

import numpy as np
import pandas as pd
import pytest

import aam_core as aam
from aam_core.commands.cross_validate import cross_validate
from aam_core.commands.embed import embed
from aam_core.commands.explain import explain
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.config import (
    CrossValidateConfig,
    EmbedConfig,
    ExplainConfig,
    ForestConfig,
    effort,
)
from aam_core.errors import InputError
from aam_core.report import page as pages
from tests.reports import silent
from tests.runs import SMALL, shared

FOLDS = {"folds": 2, "repeats": 1, "effort": "quick", "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Without the JavaScript, which takes seconds to bundle, and in a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def study(made):
    parts = {"sequences": made.sequences, "metadata": made.metadata}
    return aam.Study(made.table, **parts, tree=made.tree)


@pytest.fixture(scope="module")
def model(study):
    options = SMALL | {"cross_fit": 2, "group_column": "subject"}
    return aam.Regressor("value", **options).fit(study, report=silent)


def written(result, path, **options):
    """The page of a result; a second time it is refused."""
    result.save_report(path, **options)
    with pytest.raises(InputError, match="exists already"):
        result.save_report(path, **options)
    return path.read_text()


def test_a_forest_on_the_same_folds(made, study, model, tmp_path):
    found = model.compare(study, report=silent)
    folds = model.config_["split"]["folds"]
    options = {"metadata_column": ("value",), "rarefy_depth": 300}
    forest = rf_baseline(
        ForestConfig(**options, seed=model.config_["seed"]),
        table=made.table,
        metadata=made.metadata,
        folds=folds,
        report=silent,
    ).predictions["value"]
    rows = found.predictions
    assert np.array_equal(rows["predicted_2"], forest[rows.index])
    own = model.val_predictions_["value"]
    assert np.array_equal(rows["predicted_1"], own[rows.index])
    error = (own - made.metadata["value"]).abs().mean()
    scores = found.scores.set_index("of", append=True)["value"]
    assert scores["mae", "q2-aam"] == pytest.approx(error)
    assert "group" in rows
    assert "random forest" in found.verdict
    assert found.verdict in repr(found)
    assert "<table" in found._repr_html_()
    assert "Predicted and true" in written(found, tmp_path / "r.html")


def test_a_loaded_model_has_no_predictions_to_compare(study, model, tmp_path):
    model.save(tmp_path / "m")
    with pytest.raises(InputError, match="was loaded"):
        aam.load(tmp_path / "m").compare(study)
    with pytest.raises(InputError, match="compare needs the sample metadata"):
        model.compare(aam.Study(study.table, sequences=study.sequences))


def test_reasons_are_those_of_the_command(made, study, model, tmp_path):
    options = {"samples": ("s03", "s07"), "draws": 2, "members": ("kernel", "trees")}
    found = model.explain(study, report=silent, **options)
    config = ExplainConfig(device="cpu", **options)
    own = explain(config, model._held.path, **shared(made), report=silent)
    pd.testing.assert_frame_equal(found.contributions, own.contributions)
    assert found.importance.equals(own.importance["importance"])
    assert repr(found) == f"Explanation(2 samples, {made.table.shape[1]} features)"
    taxa = {made.table.feature_ids[0]: "g__Blautia"}
    page = written(found, tmp_path / "e.html", taxonomy=taxa, top=40)
    assert "Along the phylogeny" in page  # the study has a tree
    assert "g__Blautia" in page
    assert "importance" in found._repr_html_()


def test_an_embedding_is_that_of_the_command(made, study, model):
    found = model.embed(study, report=silent)
    given = shared(made) | {"report": silent, "model": model._held.path}
    own = embed(EmbedConfig(device="cpu"), **given).samples
    pd.testing.assert_frame_equal(found, own)


def test_folds_are_those_of_the_command_and_resume(made, study, tmp_path, monkeypatch):
    folder = tmp_path / "cells"
    call = {"group_column": "subject", "report": silent}
    found = aam.cross_validate(study, "value", folder=folder, **call, **FOLDS)
    assert {"aam_mean", "forest_mean", "difference"} <= set(found.scores)
    assert "folds" in found.verdict
    assert "Folds" in written(found, tmp_path / "f.html")
    fitted = "aam_core.commands.cross_validate.compute"
    monkeypatch.setattr(fitted, lambda *_: pytest.fail("fitted again"))
    given = shared(made) | {"metadata": made.metadata, "cells": folder} | call
    config = CrossValidateConfig(**FOLDS)
    own = cross_validate(config, task="regression", column="value", **given)
    pd.testing.assert_frame_equal(own.predictions, found.predictions)
