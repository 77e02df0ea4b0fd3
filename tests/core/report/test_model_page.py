"""The page of a run says what its artifact does."""

import pytest

from aam_core.io.model_folder import read_config, read_history
from aam_core.report.model import model_page
from aam_core.report.page import Figure, Grid
from tests.runs import ONE_NETWORK, go


@pytest.fixture(scope="module")
def folds(made, tmp_path_factory):
    options = {"cross_fit": 2, "ensemble": ("network", "trees"), "epochs": 2}
    options |= {"task": "classification", "metadata_column": ("kind",)}
    return go("train", made, tmp_path_factory.mktemp("model") / "m", **options)


def page_of(path):
    return model_page(read_config(path), read_history(path), "A run")


def grids(page):
    """The cells of all small tables, by heading of section and table."""
    return {
        (section.title, item.title): item.rows
        for section in page.sections
        for item in section.items
        if isinstance(item, Grid)
    }


def test_members_samples_and_settings(folds, made):
    config, page = read_config(folds), page_of(folds)
    found = grids(page)
    members = found["Members", "What each reaches alone"]
    assert [row[0] for row in members] == [*config["ensemble"]["weights"], "together"]
    classes = found["What went in", "Samples of each class of kind"]
    counts = made.metadata["kind"].value_counts()
    for label, *each in classes:
        assert sum(map(int, each)) == counts[label]
    options = {
        row[0]: row[1] for row in found["Options that differ from the defaults", ""]
    }
    assert options["cross_fit"] == "2"
    assert options["embedding_dim"] == "16"
    assert "seed" not in options
    overview = dict(found["Overview", ""])
    assert overview["samples"] == "32, in 2 folds"
    assert overview["completed"] == "yes"
    assert overview["time"].endswith(" s")


def test_curves_have_every_epoch_of_every_fold(folds):
    figure = next(
        item
        for section in page_of(folds).sections
        if section.title == "Course of training"
        for item in section.items
        if isinstance(item, Figure)
    )
    spec = figure.chart.to_dict(validate=False)
    layers = [layer for panel in spec["concat"] for layer in panel["layer"]]
    titles = {layer["title"] for layer in layers if "title" in layer}
    assert {"loss", "lr", "accuracy", "balanced accuracy"} <= titles
    history = read_history(folds)
    values = [layer["data"]["values"] for layer in layers if "title" in layer]
    for rows in values:
        assert {(row["fold"], row["epoch"]) for row in rows} == set(
            zip(history["fold"], history["epoch"], strict=True)
        )


def test_quartiles_of_numbers_and_an_encoder(made, saved_model, tmp_path):
    found = grids(page_of(saved_model))
    rows = found["What went in", "Distribution of value"]
    assert [row[0] for row in rows][::4] == ["smallest", "largest"]
    path = go("pretrain", made, tmp_path / "e", epochs=2)
    page = page_of(path)
    assert page.lead.startswith("An encoder of 32 samples")
    assert [s.title for s in page.sections].count("Members") == 0
    assert any(page.figures())


def test_one_network_without_an_ensemble(made, tmp_path):
    path = go("train", made, tmp_path / "m", **ONE_NETWORK, metadata_column=("value",))
    overview = dict(grids(page_of(path))["Overview", ""])
    assert "for validation" in overview["samples"]
    assert overview["best epoch"] == "1"
