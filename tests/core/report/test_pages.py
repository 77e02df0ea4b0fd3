"""Pages of results: what they hold, and that nothing of the data can break them."""

import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import vl_convert

from aam_core.commands.evaluate import Predicted, evaluate
from aam_core.errors import InputError
from aam_core.report import page as pages
from aam_core.report.evaluation import evaluation_page, verdict
from aam_core.report.page import Table, javascript, rendered, write_page, write_tables
from aam_core.report.samples import samples_page
from aam_core.reporting import silent

NASTY = "</script><b>.x[0]:\"'&"


@pytest.fixture(scope="module", autouse=True)
def no_bundle():
    """Without the JavaScript, which takes seconds to bundle."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


def evaluation(task, samples=60, classes=3, groups=True):
    rng = np.random.default_rng(0)
    ids = pd.Index([f"s.{i}" for i in range(samples)], name="id")
    if task == "regression":
        true = pd.Series(rng.normal(20, 5, samples), ids, name=NASTY)
        ours = true + rng.normal(0, 1, samples)
        limits = {f"{NASTY}_lower_90": ours - 2, f"{NASTY}_upper_90": ours + 2}
        sets = [
            Predicted("a", ours, pd.DataFrame(limits, ids)),
            Predicted("b", true + rng.normal(0, 3, samples)),
        ]
    else:
        names = np.array([f"{NASTY}{i:02}" for i in range(classes)])
        true = pd.Series(rng.choice(names, samples), ids, name=NASTY)
        chances = [
            pd.DataFrame(rng.dirichlet(np.ones(classes), samples), ids, names)
            for _ in range(2)
        ]
        sets = [
            Predicted(name, frame.idxmax(axis=1), frame)
            for name, frame in zip("ab", chances, strict=True)
        ]
    metadata = pd.DataFrame({NASTY: NASTY, "plain": rng.normal(size=samples)}, ids)
    return evaluate(
        sets[0],
        true,
        other=sets[1],
        groups=pd.Series([f"{NASTY}{i % 20}" for i in range(samples)], ids)
        if groups
        else None,
        metadata=metadata,
        report=silent,
    )


def parts_of(html):
    """The page without its scripts' content, and the JSON in it."""
    data = {
        name: json.loads(re.search(rf'id="{name}">(.*?)</script>', html, re.S)[1])
        for name in ("data", "specs")
    }
    return re.sub(r"<script.*?</script>", "", html, flags=re.S), data


@pytest.mark.parametrize(
    ("task", "titles"),
    [
        ("regression", ["Predicted and true", "Residuals", "How large errors are"]),
        (
            "classification",
            [
                "Confusion matrix",
                "ROC curves",
                "Precision and recall",
                "Are probabilities right?",
                "Probability of the true class",
            ],
        ),
    ],
)
def test_a_page_has_its_charts_and_tables(task, titles):
    found = evaluation(task)
    page = evaluation_page(found, "A title")
    assert [f.title for f in page.figures()] == [*titles, "Error by group"]
    text, data = parts_of(rendered(page))
    assert len(data["specs"]) == len(titles) + 1
    assert text.count('class="chart"') == len(titles) + 1
    rows = data["data"]["samples"]
    assert len(rows["rows"]) == 60
    assert rows["labels"][-2:] == [NASTY, "plain"]
    assert rows["columns"][-2:] == ["metadata_0", "metadata_1"]
    for spec in data["specs"]:
        drawn = vl_convert.vegalite_to_vega(spec)
        assert drawn["marks"]
        for field in re.findall(r'"field": "([^"]+)"', json.dumps(spec)):
            assert not set(field) & set(".[]\\")  # Vega reads these as paths


def test_nothing_of_the_data_is_markup():
    text, _ = parts_of(rendered(evaluation_page(evaluation("classification"), NASTY)))
    assert "<b>" not in text
    assert text.count("<title>") == 1


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("samples", [2, 5, 700])
def test_pages_of_few_and_of_many_samples(task, samples):
    page = evaluation_page(evaluation(task, samples, groups=samples > 5), "x")
    _, data = parts_of(rendered(page))  # JSON has no NaN
    assert "NaN" not in json.dumps(data)


def test_many_classes_and_groups_are_cut_and_told():
    found = evaluation("classification", 700, classes=12)
    page = evaluation_page(found, "x")
    captions = " ".join(f.caption for f in page.figures())
    assert "The 8 commonest classes; 4 others not drawn." in captions


def test_tables_are_saved_under_their_real_names(tmp_path):
    page = evaluation_page(evaluation("regression"), "x")
    write_tables(page, tmp_path)
    found = pd.read_csv(tmp_path / "samples.tsv", sep="\t", index_col=0)
    assert NASTY in found
    assert len(found) == 60
    scores = pd.read_csv(tmp_path / "scores.tsv", sep="\t", index_col=0)
    assert {"a", "b", "difference", "ratio", "by chance"} <= set(scores["of"])


@pytest.mark.parametrize(
    ("noise", "words"),
    [(0.1, "a predicts better than b"), (9, "b predicts better than a")],
)
def test_the_verdict_follows_the_paired_difference(noise, words):
    rng = np.random.default_rng(0)
    ids = pd.Index([f"s{i}" for i in range(80)])
    true = pd.Series(rng.normal(0, 1, 80), ids, name="x")
    sets = [
        Predicted("a", true + noise * rng.normal(0, 1, 80)),
        Predicted("b", true + rng.normal(0, 1, 80)),
    ]
    found = evaluate(sets[0], true, other=sets[1], report=silent)
    assert verdict(found).startswith(words)
    same = Predicted("c", sets[0].predictions)
    even = evaluate(sets[0], true, other=same, report=silent)
    assert "less than the noise" in verdict(even)


@pytest.mark.parametrize(
    ("groups", "words"),
    [(5, "5 groups are too few to tell"), (6, "a predicts better than b")],
)
def test_fewer_than_six_groups_tell_no_difference_from_noise(groups, words):
    ids = pd.Index([f"s{i}" for i in range(60)])
    true = pd.Series(np.arange(60.0), ids, name="x")
    sets = [Predicted("a", true + 0.1), Predicted("b", true + 1)]
    group = pd.Series([f"g{i % groups}" for i in range(60)], ids)
    found = evaluate(sets[0], true, other=sets[1], groups=group, report=silent)
    assert verdict(found).startswith(words)
    assert f"Of {groups} groups {groups} are predicted with smaller" in verdict(found)


def test_features_are_named_by_their_taxon():
    importance = pd.Series({"ACGT" * 9: 0.1, "f2": 0.7}, name="importance")
    page = samples_page(
        evaluation("regression"),
        "x",
        importance=importance,
        labels={"f2": "g__Blautia"},
    )
    figure = next(f for f in page.figures() if "important" in f.title)
    labels = [row["label"] for row in figure.chart.to_dict()["data"]["values"]]
    assert labels == ["1. g__Blautia", f"2. {'ACGT' * 5}…"]
    assert page.tables[-1].frame.index.tolist() == ["f2", "ACGT" * 9]


def test_missing_values_are_null():
    frame = pd.DataFrame(
        {"x": [1.0, np.nan], "y": [np.inf, 2], "z": ["a", None]}, ["r", "s"]
    )
    found = pages._columns(Table("t", frame))
    assert found["rows"] == [["r", 1.0, None, "a"], ["s", None, 2.0, None]]


def test_javascript_that_cannot_be_made_is_told(monkeypatch):
    def ends(*args, **given):
        return subprocess.CompletedProcess(args, -6, "", "memory allocation failed")

    monkeypatch.setattr(subprocess, "run", ends)
    javascript.cache_clear()
    with pytest.raises(InputError, match=r"status -6: memory.*ulimit -v"):
        javascript()


def test_the_script_of_a_page_is_the_bundle_of_vega(tmp_path, monkeypatch):
    javascript.cache_clear()
    monkeypatch.setattr(pages, "javascript", javascript)
    write_page(evaluation_page(evaluation("regression"), "x"), tmp_path / "x.html")
    html = (tmp_path / "x.html").read_text()
    assert "vegaEmbed" in html
    assert not re.search(r'(src|href)="(?!#)', parts_of(html)[0])  # from elsewhere
    assert html.count("</script>") == 4


@pytest.mark.parametrize(
    ("training", "folds", "words"),
    [
        (["x"], False, "not fitted to any of them"),
        ([f"s.{i}" for i in range(60)], True, "out of fold, as train"),
        ([f"s.{i}" for i in range(9)], False, "fitted to 9 of them"),
    ],
)
def test_the_page_says_whether_the_model_knew_the_samples(training, folds, words):
    split = {"training": training, "validation": []}
    split |= {"folds": [training]} if folds else {}
    config = {"kind": "model", "task": "regression", "completed": True}
    config |= {"split": split, "options": {}, "software": {"q2-aam": "0"}}
    config |= {"target": {"columns": ["x"]}, "scores": {}}
    history = pd.DataFrame({"epoch": [1], "val_loss": [0.5]})
    page = samples_page(evaluation("regression"), "x", model=(config, history))
    assert words in page.lead
