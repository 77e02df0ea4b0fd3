"""`cross-validate` and its report through `qiime2.plugins.aam.actions`."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError
from qiime2.plugins import aam

from aam_core.commands import cross_validation_cells as cells
from aam_core.config import effort
from aam_core.data.folds import balanced_folds
from aam_core.ensemble import trees
from aam_core.io.cross_validation import write_cross_validation
from aam_core.report import page as pages
from q2_aam._formats import AAMCrossValidationDirectoryFormat
from tests.cross_validations import table_of

from .test_front_door import exported

QUICK = {"effort": "quick", "device": "cpu", "folds": 2, "repeats": 1}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Without the JavaScript, which takes seconds to bundle, and in a few steps."""
    patch = pytest.MonkeyPatch()
    patch.setitem(effort.STEPS, "quick", 6)
    patch.setattr(trees, "TREES", 10)
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def numbers(hashed_table, sequences, metadata):
    column, sites = (metadata.get_column(n) for n in ("ph", "site"))
    return aam.methods.cross_validate(
        hashed_table, column, sequences=sequences, groups=sites, **QUICK
    ).cross_validation


def test_all_samples_by_folds_of_whole_groups(numbers, metadata):
    assert str(numbers.type) == "SampleData[AAMCrossValidation]"
    numbers.validate("max")
    table = numbers.view(pd.DataFrame)
    frame = metadata.to_dataframe().sort_index()
    folds = balanced_folds(frame["ph"], frame["site"].to_numpy(), 2, 42)
    for number, (_, held_out) in enumerate(folds, start=1):
        rows = table[table["fold"] == number]
        assert rows["id"].tolist() == frame.index[held_out].tolist()
        assert np.allclose(rows["true"], frame["ph"].iloc[held_out])
        assert rows["group"].tolist() == frame["site"].iloc[held_out].tolist()
    run = numbers.view(dict)
    assert (run["task"], run["column"], run["completed"]) == ("regression", "ph", True)


def test_a_table_of_it_has_a_row_a_prediction(numbers):
    table = numbers.view(qiime2.Metadata).to_dataframe()
    assert table.index[0].endswith("repeat 1")
    assert len(table) == 24
    own = numbers.view(pd.DataFrame)
    assert table["aam_predicted"].tolist() == own["aam_predicted"].tolist()
    assert set(table["completed"]) == {"true"}


def test_a_report_of_numbers(numbers, tmp_path):
    report = aam.visualizers.evaluate_cross_validation(numbers).visualization
    page, tables = exported(report, tmp_path)
    assert "Cross-validation of ph" in page
    assert {"samples", "comparison", "folds", "repeats"} == set(tables)
    assert len(tables["folds"]) == 4


def test_classes_that_are_stopped_are_marked(table, metadata, tmp_path, monkeypatch):
    real, calls = cells.predict, []

    def predict(*args, **given):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **given)

    monkeypatch.setattr(cells, "predict", predict)
    column = metadata.get_column("habitat")
    found = aam.methods.cross_validate(table, column, **QUICK).cross_validation
    run = found.view(dict)
    assert run["classes"] == ["soil", "water"]
    assert (run["completed"], run["done"], run["cells"]) == (False, 1, 2)
    rows = found.view(pd.DataFrame)
    assert set(rows["fold"]) == {1}
    chances = rows[[f"aam_probability_{c}" for c in run["classes"]]]
    assert np.allclose(chances.sum(axis=1), 1.0)
    assert set(found.view(qiime2.Metadata).to_dataframe()["completed"]) == {"false"}
    report = aam.visualizers.evaluate_cross_validation(found).visualization
    page, _ = exported(report, tmp_path)
    assert "Not completed: 1 of 2" in page


def test_labels_make_names_of_rows_unique():
    found = table_of("regression", labels=(20,))
    fmt = AAMCrossValidationDirectoryFormat()
    write_cross_validation(found, fmt.path)
    artifact = qiime2.Artifact.import_data(
        "SampleData[AAMCrossValidation]", str(fmt.path)
    )
    ids = artifact.view(qiime2.Metadata).ids
    assert {"s000 repeat 1", "s000 repeat 1 labels 20"} <= set(ids)
    assert len(ids) == len(found.predictions)


def test_files_of_something_else_are_refused(tmp_path):
    write_cross_validation(table_of("regression"), tmp_path)
    fmt = AAMCrossValidationDirectoryFormat(str(tmp_path), mode="r")
    fmt.validate("max")
    table = tmp_path / "predictions.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[-1]]))
    fmt.validate("min")
    with pytest.raises(ValidationError, match="there twice"):
        fmt.validate("max")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValidationError, match="It lacks 'schema'"):
        fmt.validate("min")


def test_groups_and_target_differ(table, metadata):
    column = metadata.get_column("habitat")
    with pytest.raises(ValueError, match="to be predicted"):
        aam.methods.cross_validate(table, column, groups=column)
