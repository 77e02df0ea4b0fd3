"""Predictions beside the truth, with scores by scikit-learn as the reference."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from aam_core.commands.evaluate import (
    CHANCE,
    Predicted,
    as_numbers_or_classes,
    evaluate,
)
from aam_core.data.target_decoder import Predictions
from aam_core.errors import InputError
from aam_core.reporting import silent

IDS = pd.Index([f"s{i}" for i in range(60)], name="id")
GROUPS = pd.Series([f"g{i % 12}" for i in range(60)], IDS, name="host")


@pytest.fixture
def numbers():
    """Truth, and two sets of predictions, the second with larger errors."""
    rng = np.random.default_rng(0)
    true = pd.Series(rng.normal(20, 5, 60), IDS, name="month")
    ours = true + rng.normal(0, 1, 60)
    details = pd.DataFrame(
        {"month_predicted": ours, "month_lower_90": ours - 1.6}
        | {"month_upper_90": ours + 1.6, "reads": 100, "far_fraction": 0.5},
        IDS,
    )
    return true, Predicted("a", ours, details), Predicted("b", true + 3)


@pytest.fixture
def labels():
    """The same of classes, with probabilities."""
    rng = np.random.default_rng(0)
    classes = np.array(["gut", "palm", "tongue"])
    true = pd.Series(rng.choice(classes, 60), IDS, name="site")

    def predicted(name, strength):
        logits = rng.normal(0, 1, (60, 3)) + strength * (
            true.to_numpy()[:, None] == classes
        )
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found = pd.Series(classes[chances.argmax(axis=1)], IDS)
        return Predicted(name, found, pd.DataFrame(chances, IDS, classes))

    return true, predicted("a", 3), predicted("b", 1)


def run(true, ours, other=None, **given):
    return evaluate(ours, true, other=other, **{"report": silent} | given)


def test_scores_of_numbers(numbers):
    true, ours, theirs = numbers
    found = run(true, ours, theirs, groups=GROUPS)
    for one in (ours, theirs):
        scores = found.scores[one.name]
        expected = metrics.mean_absolute_error(true, one.predictions)
        assert scores["mae"].value == pytest.approx(expected)
        assert scores["mae"].low <= scores["mae"].value <= scores["mae"].high
        assert scores["r2"].value == pytest.approx(
            metrics.r2_score(true, one.predictions)
        )
    assert found.scores[CHANCE]["mae"].value == pytest.approx(
        (true - true.median()).abs().mean()
    )
    assert found.paired["mae"]["difference"].high < 0
    errors = (ours.predictions - true).abs().groupby(GROUPS).mean()
    assert found.better == ((errors < 3).sum(), (errors > 3).sum(), 12)
    inside = (ours.predictions - true).abs() <= 1.6
    assert found.coverage["a"].value == pytest.approx(inside.mean())
    assert list(found.coverage) == ["a"]


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_samples_without_an_interval_are_not_outside_of_it(numbers, groups):
    true, ours, _ = numbers
    details = ours.details.copy()
    without = details.index[::3]
    limits = details.columns.str.contains("lower|upper")
    details.loc[without, limits] = np.nan
    found = run(true, dataclasses.replace(ours, details=details), groups=groups)
    hits = ((ours.predictions - true).abs() <= 1.6).drop(without)
    assert found.coverage["a"].value == pytest.approx(hits.mean())
    details.loc[:, limits] = np.nan
    none = run(true, dataclasses.replace(ours, details=details), groups=groups)
    assert not none.coverage


def test_groups_have_their_own_errors(numbers):
    true, ours, _ = numbers
    table = run(true, ours, groups=GROUPS).groups.set_index("group")
    own = (ours.predictions - true)[GROUPS == "g3"]
    assert table.loc["g3", "samples"] == 5
    assert table.loc["g3", "error"] == pytest.approx(own.abs().mean())
    assert table.loc["g3", "bias"] == pytest.approx(own.mean())


def test_intervals_are_over_groups(numbers):
    """Where errors are alike within groups, samples say no more than groups do."""
    true, *_ = numbers
    size = GROUPS.str[1:].astype(float)
    alike = Predicted("a", true + size)
    within, between = (run(true, alike, groups=g) for g in (None, GROUPS))
    narrow, wide = (f.scores["a"]["mae"] for f in (within, between))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_scores_and_tables_of_classes(labels):
    true, ours, theirs = labels
    found = run(true, ours, theirs)
    for one in (ours, theirs):
        scores = found.scores[one.name]
        assert scores["balanced_accuracy"].value == pytest.approx(
            metrics.balanced_accuracy_score(true, one.predictions)
        )
        assert scores["log_loss"].value == pytest.approx(
            metrics.log_loss(true, one.details), abs=0.01
        )  # ours are clipped
        areas = [
            metrics.roc_auc_score(true == c, one.details[c]) for c in found.classes
        ]
        assert scores["roc_auc"].value == pytest.approx(np.mean(areas))
        own = found.confusion[found.confusion["set"] == one.name]
        counts = own.pivot(index="true", columns="predicted", values="samples")
        expected = metrics.confusion_matrix(true, one.predictions)
        assert (counts.to_numpy() == expected).all()
        curve = found.curves[found.curves["set"] == one.name]
        curve = curve[(curve["kind"] == "ROC") & (curve["class"] == "gut")]
        area = metrics.auc(curve["x"], curve["y"])
        assert area == pytest.approx(areas[0]) == pytest.approx(curve["score"].iloc[0])
    bins = found.reliability[found.reliability["set"] == "a"]
    right = bins["accuracy"] * bins["samples"]
    assert bins["samples"].sum() == 60
    assert right.sum() == pytest.approx((true == ours.predictions).sum())


def test_long_curves_are_thinned_and_keep_their_area():
    rng = np.random.default_rng(1)
    ids = pd.Index(map(str, range(3000)))
    true = pd.Series(rng.choice(["a", "b"], 3000), ids, name="x")
    chance = (rng.normal(0, 1, 3000) + (true == "a")).rank(pct=True)
    details = pd.DataFrame({"a": chance, "b": 1 - chance}, ids)
    ours = Predicted("a", true, details)
    curve = run(true, ours).curves.query("kind == 'ROC' and `class` == 'a'")
    assert len(curve) <= 200
    area = metrics.roc_auc_score(true == "a", chance)
    assert metrics.auc(curve["x"], curve["y"]) == pytest.approx(area, abs=0.01)


def test_classes_that_look_like_numbers_are_labels():
    """As QIIME 2 reads them: predictions as text, the truth as numbers."""
    true = pd.Series([1.0, 2.0, 2.0, 1.0], IDS[:4], name="cluster")
    ours = Predicted("a", pd.Series(["1", "2", "1", "1"], IDS[:4]))
    found = run(true, ours)
    assert found.task == "classification"
    assert found.scores["a"]["accuracy"].value == 0.75


def test_what_is_left_out_is_told(numbers):
    true, ours, theirs = numbers
    lines = []
    fewer = Predicted("b", theirs.predictions.drop("s3"))
    found = run(true.where(true.index != "s5"), ours, fewer, report=lines.append)
    assert len(found.samples) == 58
    assert "not predicted by b" in lines[0]
    assert "'s3'" in lines[0]
    assert "no known 'month'" in lines[1]
    assert "'s5'" in lines[1]
    assert found.notes == tuple(lines)


def test_few_groups_prove_little(numbers):
    true, ours, _ = numbers
    assert "12 groups prove little" in " ".join(run(true, ours, groups=GROUPS).notes)
    assert not run(true, ours).notes


def test_wrong_input_is_refused(numbers, labels):
    true, ours, theirs = numbers
    with pytest.raises(InputError, match="not a number for 's0'"):
        run(true.astype(object).where(true.index != "s0", "old"), ours)
    with pytest.raises(InputError, match="of a classification"):
        run(true, ours, labels[1].__class__("b", labels[1].predictions))
    with pytest.raises(InputError, match="0 samples have a prediction"):
        run(true.rename(index=lambda i: f"x{i}"), ours)
    with pytest.raises(InputError, match="name of its own"):
        run(true, ours, Predicted("a", theirs.predictions))
    twice = Predicted("a", pd.concat([ours.predictions, ours.predictions[:1]]))
    with pytest.raises(InputError, match="more than once"):
        run(true, twice)
    with pytest.raises(InputError, match="lack 1 of 60"):
        run(true, Predicted("a", ours.predictions, ours.details.drop("s7")))
    with pytest.raises(InputError, match="no group in 'host': 's1'"):
        run(true, ours, groups=GROUPS.where(GROUPS.index != "s1"))


def test_classes_may_be_called_as_details_are(labels):
    true, ours, _ = labels
    names = {"gut": "reads", "palm": "few_reads", "tongue": "mud"}
    renamed = Predicted(
        "a", ours.predictions.map(names), ours.details.rename(columns=names)
    )
    found = run(true.map(names), renamed)
    plain = run(true, ours)
    assert found.classes == ("few_reads", "mud", "reads")
    same = found.scores["a"]["log_loss"].value
    assert same == pytest.approx(plain.scores["a"]["log_loss"].value)
    reliability = pd.DataFrame({"reads": 9, "far_fraction": 0.0}, IDS)
    whole = Predictions(renamed.predictions.to_frame(), renamed.details, reliability)
    table = whole.with_reliability()
    assert list(table) == [*renamed.details, "far_fraction"]
    assert table["reads"].equals(renamed.details["reads"])


@pytest.mark.parametrize(
    ("texts", "truth", "details", "kind"),
    [
        (["1", "2"], [1.0, 2.0], None, "f"),
        (["1", "2"], ["1", "2"], None, "O"),
        (["1.5", "2.5"], ["1", "2"], None, "f"),  # numbers that were read as text
        (["1", "01"], [1.0, 2.0], ["01", "1", "2"], "O"),
        (["1", "2"], ["1", "2"], ["x_lower_90", "x_upper_90"], "f"),
        (["NA", "2"], ["1", "2"], None, "O"),
    ],
)
def test_what_looks_like_a_number_may_be_a_class(texts, truth, details, kind):
    texts, truth = pd.Series(texts, list("ab")), pd.Series(truth, list("ab"), name="x")
    if details is not None:
        details = pd.DataFrame(0.5, texts.index, details)
    found = as_numbers_or_classes(texts, truth, details)
    assert found.dtype.kind == kind
    if kind == "O":
        assert found.tolist() == texts.tolist()


def test_words_among_predicted_numbers_are_refused():
    texts, truth = pd.Series(["1", "high"]), pd.Series([1.0, 2.0], name="x")
    with pytest.raises(InputError, match=r"are no numbers: 'high' \(samples 1"):
        as_numbers_or_classes(texts, truth, None)
    classes = pd.DataFrame(0.5, texts.index, ["1", "high"])
    assert as_numbers_or_classes(texts, truth, classes) is texts


def test_what_may_be_either_is_refused():
    texts, truth = pd.Series(["1", "3"]), pd.Series(["1", "2"], name="x")
    with pytest.raises(InputError, match="may be numbers or classes: '1' are values"):
        as_numbers_or_classes(texts, truth, None)
