"""`explain` and `plot-contributions` through `qiime2.plugins.aam.actions`."""

import pandas as pd
import pytest
import qiime2
from qiime2.plugin import ValidationError
from qiime2.plugins import aam

from aam_core.report import page as pages
from q2_aam._formats import AAMContributionsFormat

from .conftest import import_

FEW = {"max_samples": 3, "draws": 2, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def no_bundle():
    """Without the JavaScript, which takes seconds to bundle."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def explained(table, regression):
    return aam.actions.explain(table, regression.model, **FEW)


def test_artifacts_of_numbers(explained, reads):
    assert str(explained.importance.type) == "FeatureData[Importance]"
    assert str(explained.contributions.type) == "SampleData[AAMContributions]"
    explained.contributions.validate("max")
    importance = explained.importance.view(pd.DataFrame)
    assert list(importance) == ["importance"]
    assert sorted(importance.index) == sorted(reads)
    rows = explained.contributions.view(pd.DataFrame)
    assert rows["sample"].nunique() == 3
    assert set(rows["target"]) == {"ph", "depth"}
    metadata = explained.contributions.view(qiime2.Metadata)
    assert metadata.id_count == len(rows)
    assert list(metadata.columns) == list(rows)


def test_hashed_features_and_classes(classification, hashed_table, sequences):
    found = aam.actions.explain(
        hashed_table, classification.model, sequences=sequences, **FEW
    )
    rows = found.contributions.view(pd.DataFrame)
    assert set(rows["target"]) == {"soil", "water"}
    assert set(rows["feature"]) <= set(hashed_table.view(pd.DataFrame).columns)


@pytest.mark.behaviour("top", command="plot-contributions")
def test_the_page_and_its_tables(explained, taxonomy, tree, tmp_path):
    for top in (2, 5):
        shown = aam.actions.plot_contributions(
            explained.contributions, taxonomy=taxonomy, phylogeny=tree, top=top
        )
        folder = tmp_path / str(top)
        shown.visualization.export_data(str(folder))
        points = pd.read_csv(folder / "points.tsv", sep="\t")
        by = points.groupby("target")["feature"].nunique()
        assert by.tolist() == [top, top]
        assert points["taxon"].str.startswith("g__Genus").all()
        branches = pd.read_csv(folder / "branches.tsv", sep="\t")
        drawn = branches.dropna(subset="feature").groupby("target")["feature"]
        assert (drawn.nunique() >= top).all()
    assert "Sample by sample" in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="scale"), "pass the contributions"),
        (lambda rows: rows.assign(baseline="x"), "'x' as baseline in row 1"),
        (lambda rows: rows.assign(scale="metres"), "scale 'metres'; allowed are"),
        (lambda rows: rows.iloc[:0], "no rows"),
        (lambda rows: rows.iloc[::2], "do not sum up to the prediction of"),
    ],
)
def test_what_is_no_table_of_contributions_is_refused(
    explained, change, message, tmp_path
):
    rows = change(explained.contributions.view(pd.DataFrame))
    path = tmp_path / "contributions.tsv"
    rows.to_csv(path, sep="\t", index=False)
    with pytest.raises(ValidationError, match=message):
        AAMContributionsFormat(str(path), mode="r").validate("max")


def test_ids_that_look_like_something_else_stay_text():
    frame = pd.DataFrame(
        {
            "sample": ["007", "NA"],
            "feature": ["1e5", "None"],
            "target": ["nan", "nan"],
            "contribution": [0.5, -0.25],
            "standard_error": [0.1, 0.1],
            "abundance": [0.0, 1.0],
            "baseline": [1.0, 1.0],
            "prediction": [1.5, 0.75],
            "scale": ["units", "units"],
        }
    )
    found = import_("SampleData[AAMContributions]", frame).view(pd.DataFrame)
    pd.testing.assert_frame_equal(found, frame)
