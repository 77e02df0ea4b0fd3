"""How far to trust q2-aam: fewer labels, other places, coverage, calibration."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.calibration import calibration_curve

from aam_core.data.subsets import drawn
from aam_core.data.target_decoder import Predictions
from aam_core.errors import InputError
from benchmarks.accuracy import (
    across,
    calibration,
    cells,
    curves,
    figures,
    opponents,
    ours,
    trust,
)
from benchmarks.accuracy.cells import Cell, parts_of
from benchmarks.accuracy.targets import read_samples, values_of

# --- fewer labels, and values that are left out ---


def test_whole_groups_are_drawn_whose_labels_are_like_all():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(3, 9, 30)).astype(str)
    means = rng.normal(size=30)[groups.astype(int)]
    labels = pd.Series(means + 0.3 * rng.normal(size=len(groups)))
    parts = [drawn(labels, groups, 50, seed) for seed in range(5)]
    assert len({tuple(rows) for rows in parts}) > 1
    for rows in parts:
        assert set(groups[rows]).isdisjoint(np.delete(groups, rows))
        assert abs(len(rows) - 50) <= 4
        quarters = pd.qcut(labels, 4, labels=False).iloc[rows].value_counts()
        assert quarters.min() >= 0.6 * quarters.max()


def test_three_groups_are_the_fewest():
    labels, groups = pd.Series(np.arange(60.0)), np.repeat(list("abcdef"), 10)
    assert len(set(groups[drawn(labels, groups, 10, 0)])) == 3


def test_samples_without_groups_are_drawn_by_class():
    labels = pd.Series(list("a" * 80 + "b" * 20))
    rows = drawn(labels, None, 25, 1)
    assert labels.iloc[rows].value_counts().to_dict() == {"a": 20, "b": 5}


def test_fewer_labels_leave_what_is_held_out_as_it_is(targets):
    samples = read_samples(targets[1], False)
    all_of_them = Cell(targets[1], "all", "mean", 0, 1, 3)
    few = Cell(targets[1], "all", "mean", 0, 1, 3, 12)
    (training, held_out), (some, same) = (
        parts_of(cell, samples) for cell in (all_of_them, few)
    )
    assert list(same.labels.index) == list(held_out.labels.index)
    assert len(some.labels) == 12
    assert set(some.labels.index) < set(training.labels.index)
    assert few.path(cells.Path()) != all_of_them.path(cells.Path())


def test_a_value_is_left_out_of_training(targets):
    samples = read_samples(targets[0], False)
    kinds = values_of(targets[0], "kind", samples)
    cell = Cell(targets[0], "all", "mean", 0, 0, 1, left_out=("kind", "low"))
    training, held_out = parts_of(cell, samples)
    assert set(kinds[held_out.labels.index]) == {"low"}
    assert "low" not in set(kinds[training.labels.index])
    assert len(training.labels) + len(held_out.labels) == len(samples.labels)
    with pytest.raises(InputError, match="no column nothing"):
        values_of(targets[0], "nothing", samples)


def test_another_column_divides_the_training_samples(targets, monkeypatch):
    given = {}

    def q2_aam(training, held_out, seed, options):
        given.update(groups=training.groups, labels=training.labels, options=options)
        return pd.DataFrame({"prediction": 1.0}, held_out.labels.index), []

    monkeypatch.setattr(ours, "q2_aam", q2_aam)
    cell = Cell(targets[0], "all", "q2-aam: group=kind lr=0.1", 0, 1, 3)
    cells.compute(cell)
    kinds = values_of(targets[0], "kind", read_samples(targets[0], False))
    assert given["options"] == {"lr": 0.1}
    assert given["groups"].tolist() == kinds[given["labels"].index].tolist()


# --- what cells keep ---


def test_cells_of_numbers_keep_intervals(targets, monkeypatch):
    samples = read_samples(targets[0], False)
    training, held_out = samples.take(np.arange(25)), samples.take(np.arange(25, 30))
    known = held_out.labels.index[1:]
    details = {"label_predicted": 1.0, "label_lower_90": 0.5, "label_upper_90": 2.5}
    found = Predictions(
        pd.DataFrame({"label": 1.0}, known), pd.DataFrame(details, known)
    )
    monkeypatch.setattr(ours, "train", lambda *given, **more: None)
    monkeypatch.setattr(ours, "predict", lambda *given, **more: found)
    frame, _ = ours.q2_aam(training, held_out, 0, {})
    assert list(frame) == ["prediction", "lower_90", "upper_90"]
    assert frame.iloc[1].tolist() == [1.0, 0.5, 2.5]
    assert frame["prediction"].iloc[0] == training.labels.mean()
    assert frame["upper_90"].isna().tolist() == [True, *[False] * 4]


# --- coverage ---


def test_intervals_by_hand():
    labels = pd.Series([0.0, 4.0, 2.0], list("abc"))  # mean absolute error 4 / 3
    found = pd.DataFrame(
        {"prediction": 1.0, "lower_90": [-1, 1, np.nan], "upper_90": [3, 3, np.nan]},
        list("abc"),
    )
    long = calibration.intervals(found, labels)
    assert list(long.index) == ["a", "b"]
    assert long["inside"].tolist() == [1, 0]
    assert long["level"].tolist() == [90, 90]
    np.testing.assert_allclose(long["width"], [3, 1.5])
    np.testing.assert_allclose(long["score"], [3, 1.5 + 20 * 0.75])
    assert not len(calibration.intervals(found[["prediction"]], labels))


def test_coverage_counts_groups_alike():
    long = pd.DataFrame(
        {
            "inside": [1.0] * 9 + [0.0],
            "width": np.arange(10.0),
            "score": 1.0,
            "level": 90,
            "unit": ["large"] * 9 + ["small"],
            "target": "t",
        }
    )
    found = calibration.coverage(long)
    assert found["coverage"] == "0.500 [0.000, 1.000]"
    assert found["of samples"] == 0.9
    assert (found["narrow"], found["wide"]) == (1.0, 0.75)


def test_the_interval_of_a_mean_is_over_groups():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=25)
    units = pd.Series(np.repeat(np.arange(25), 40))
    values = pd.Series(effects[units])
    mean, low, high = calibration.mean_of_groups(values, units)
    assert mean == pytest.approx(effects.mean())
    error = effects.std() / np.sqrt(25)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


# --- calibration ---


def probable(sharper, number=4000):
    """Two classes whose probabilities are right, but for a factor on their logits."""
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(number)]
    logits = rng.normal(size=number) * 1.5
    labels = pd.Series(rng.random(number) < 1 / (1 + np.exp(-logits)), ids)
    said = 1 / (1 + np.exp(-logits * sharper))
    found = pd.DataFrame({"x": said, "y": 1 - said}, ids)
    long = calibration.confidences(found, labels.map({True: "x", False: "y"}))
    return long.assign(target="t", unit=[f"t/{i % 100}" for i in range(number)])


def test_bins_are_those_of_scikit_learn():
    long = probable(1.0)
    rows = calibration.reliability(long)
    accuracy, mean = calibration_curve(long["right"], long["confidence"], n_bins=10)
    np.testing.assert_allclose([r["accuracy"] for r in rows], accuracy)
    np.testing.assert_allclose([r["probability"] for r in rows], mean)
    assert sum(r["predictions"] for r in rows) == 4000
    weights = np.array([r["predictions"] for r in rows]) / 4000
    found = calibration.gap(long)
    assert found["ECE"] == pytest.approx(weights @ np.abs(accuracy - mean))


def test_probabilities_that_are_right_and_those_that_are_too_sure():
    good, sure = (calibration.gap(probable(factor)) for factor in (1.0, 3.0))
    assert good["ECE"] < 2 * good["ECE by chance"]
    assert sure["ECE"] > 5 * sure["ECE by chance"]
    assert _limits(good["gap"])[0] < 0 < _limits(good["gap"])[1]
    assert _limits(sure["gap"])[0] > 0.05
    held = [row["holds"] for row in calibration.reliability(probable(1.0))]
    assert held.count("yes") >= len(held) - 1
    assert (
        "yes" not in [r["holds"] for r in calibration.reliability(probable(3.0))][1:4]
    )


def _limits(text):
    return [float(part) for part in text.partition(" ")[2].strip("[]").split(", ")]


# --- the commands ---


def known(training, held_out, seed):
    """The truth, off by a tenth or wrong in places, with intervals."""
    if opponents.is_regression(training):
        found = opponents.as_frame(held_out, held_out.labels + 0.1)
        low, high = found["prediction"] - 0.2, found["prediction"] + 0.2
        return found.assign(lower_90=low, upper_90=high)
    classes = sorted(training.labels.unique())
    chances = np.where(held_out.labels.to_numpy()[:, None] == classes, 0.8, 0.2)
    return opponents.as_frame(held_out, chances, classes)


@pytest.fixture
def words(folder, tmp_path, monkeypatch, in_process):
    """Words that all commands take."""
    monkeypatch.setitem(cells.OPPONENTS, "forest", opponents.mean)
    monkeypatch.setitem(cells.OPPONENTS, "known", known)
    who = [w for name in ("known", "forest", "mean") for w in ("--contender", name)]
    return [str(folder / "targets.tsv"), *who, "--results", str(tmp_path)]


def invoked(command, words, tmp_path, name):
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((tmp_path / f"{name}.json").read_text())


def test_trust(words, tmp_path):
    words = [*words, "--seed", "0", "--seed", "1", "--folds", "3"]
    rows = invoked(trust, words, tmp_path, "coverage")["rows"]
    (row,) = rows  # others have no intervals
    assert (row["contender"], row["target"], row["samples"]) == (
        *("known", "one-value", 37),
    )
    assert row["coverage"] == "1.000 [1.000, 1.000]"
    calibrated = json.loads((tmp_path / "calibration.json").read_text())["rows"]
    by_who = {row["contender"]: row for row in calibrated}
    assert set(by_who) == {"known", "forest", "mean"}
    assert by_who["known"]["accuracy"] == 1
    assert by_who["known"]["gap"] == "-0.200 [-0.200, -0.200]"
    bins = json.loads((tmp_path / "reliability.json").read_text())["rows"]
    (mine,) = [row for row in bins if row["contender"] == "known"]
    assert (mine["bin"], mine["holds"]) == ("0.8–0.9", "")


def test_without_jobs_nothing_is_computed(words, tmp_path):
    words = [*words, "--only", "one-kind", "--seed", "0", "--folds", "2", "--jobs", "0"]
    assert invoked(curves, words, tmp_path, "curves")["rows"] == []
    assert not (tmp_path / "one-kind").exists()


def test_curves(words, tmp_path):
    words = [*words, "--seed", "0", "--folds", "2", "--labels", "9", "--labels", "99"]
    found = invoked(curves, words, tmp_path, "curves")
    rows = [row for row in found["rows"] if row["target"] == "one-kind"]
    assert [row["labels"] for row in rows] == [9] * 3 + ["all"] * 3
    assert rows[0]["log loss"] == rows[3]["log loss"]  # the truth knows no better
    assert rows[1]["log loss"] != rows[4]["log loss"]
    few, every = (
        next(p for p in found["details"] if p["target"] == "one-kind" and wanted(p))
        for wanted in (lambda p: p["labels"] == 9, lambda p: p["labels"] > 9)
    )
    assert every["labels"] == pytest.approx(rows[0]["samples"] / 2)
    assert (few["score"], few["samples"]) == ("log loss", rows[0]["samples"])
    assert few["error"] == pytest.approx(-np.log(0.8))


def test_across(words, tmp_path, monkeypatch):
    monkeypatch.setattr(across, "FEWEST", 10)
    words = [*words, "--only", "one-value", "--by", "kind", "--seed", "0"]
    rows = invoked(across, words, tmp_path, "across-kind")["rows"]
    known_rows = [row for row in rows if row["contender"] == "known"]
    assert {row["kind"] for row in known_rows} == {"high", "low"}
    assert sum(row["samples"] for row in known_rows) in (36, 37)
    assert {row["MAE"] for row in known_rows} == {"0.100 ± nan"}


def test_options_of_contenders_are_told_where_they_tell_them_apart():
    who = ["q2-aam: lr=0.1", "forest", "q2-aam: lr=0.1", "q2-aam: lr=0.2"]
    rows = [{"contender": name} for name in who]
    assert [row["contender"] for row in figures.named(rows)] == who
    short = [row["contender"] for row in figures.named(rows[:3])]
    assert short == ["q2-aam", "forest", "q2-aam"]


def test_figures_say_what_was_measured(words, tmp_path, monkeypatch):
    monkeypatch.setattr(across, "FEWEST", 10)
    words = [*words, "--seed", "0", "--folds", "2", "--figures", str(tmp_path)]
    invoked(trust, words, tmp_path, "coverage")
    invoked(curves, [*words, "--labels", "9"], tmp_path, "curves")
    del words[words.index("--folds") : words.index("--folds") + 2]
    invoked(across, [*words, "--by", "kind"], tmp_path, "across-kind")
    words[words.index("--figures") + 1] = str(tmp_path / "classes")
    invoked(trust, [*words, "--only", "one-kind"], tmp_path, "coverage")
    assert [p.name for p in (tmp_path / "classes").iterdir()] == ["calibration.svg"]
    for name, text in (
        ("coverage", "one-value ("),
        ("calibration", "known ("),
        ("learning-curves", "labelled samples"),
        ("across-kind", "kind left out"),
    ):
        assert text in (tmp_path / f"{name}.svg").read_text()
