"""Page of a cross-validation."""

import json
import re

import pytest
import vl_convert

from aam_core.io.cross_validation import CrossValidated
from aam_core.report import page as pages
from aam_core.report.cross_validation import cross_validation_page
from aam_core.report.page import rendered, write_tables
from tests.cross_validations import table_of


@pytest.fixture(scope="module", autouse=True)
def no_bundle():
    """Without the JavaScript, which takes seconds to bundle."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("labels", [(), (20, 30)])
def test_a_page_has_folds_curve_and_predictions(task, labels):
    page = cross_validation_page(table_of(task, labels=labels, groups=12))
    titles = [section.title for section in page.sections]
    assert titles[:2] == ["q2-aam and the random forest", "Folds"]
    assert ("Learning curve" in titles) == bool(labels)
    assert titles[-2:] == ["Predictions", "Groups"]
    assert "12 groups" in page.lead
    for figure in page.figures():
        spec = figure.chart.to_dict()
        assert vl_convert.vegalite_to_vega(spec)["marks"]
        for field in re.findall(r'"field": "([^"]+)"', json.dumps(spec)):
            assert not set(field) & set(".[]\\")  # Vega reads these as paths
    assert "<b>" not in re.sub(r"<script.*?</script>", "", rendered(page), flags=re.S)
    assert any("12 groups prove little" in n for n in page.sections[0].notes)


def test_intervals_are_checked():
    grid = cross_validation_page(table_of("regression")).sections[0].items[0]
    assert grid.rows[-1][0] == "inside of the 90 % interval"
    assert {len(row) for row in grid.rows} == {len(grid.columns)}


def test_each_fold_is_a_pair_of_points():
    found = table_of("regression", labels=(20,))
    page = cross_validation_page(found)
    chart = next(f for f in page.figures() if f.title == "Scores by fold").chart
    spec = chart.to_dict()
    rows = spec["hconcat"][0].get("data", spec.get("data"))
    rows = rows.get("values") or spec["datasets"][rows["name"]]
    assert len(rows) == 2 * 9
    assert {(r["repeat"], r["fold"]) for r in rows} == {
        (r, f) for r in (1, 2, 3) for f in (1, 2, 3)
    }


def test_what_a_reader_has_to_know_is_told(tmp_path):
    found = table_of("regression", samples=12)
    run = found.run | {"completed": False, "done": 7, "notes": ["told before"]}
    table = found.predictions
    table = table[(table["repeat"] < 3) | (table["fold"] == 1)]
    page = cross_validation_page(CrossValidated(run, table))
    notes = " ".join(page.sections[0].notes)
    assert "Not completed: 7 of 9 fits" in notes
    assert "12 samples prove little" in notes
    assert "Samples count as independent" in notes
    assert "told before" in notes
    write_tables(page, tmp_path)
    names = {"samples", "comparison", "folds", "repeats"}
    assert {p.stem for p in tmp_path.iterdir()} == names


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_pages_of_a_single_fold_and_of_many(task):
    found = table_of(task)
    table = found.predictions
    first = table[(table["repeat"] == 1) & (table["fold"] == 1)]
    rendered(cross_validation_page(CrossValidated(found.run, first)))
    many = table_of(task, samples=66, repeats=10, folds=11)
    page = cross_validation_page(many)
    captions = " ".join(f.caption for f in page.figures())
    assert "The first 100 of 110." in captions
