"""Scores of a table of repeated folds: those of scikit-learn, and paired by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from aam_core.commands.cross_validation_scores import compare, summary
from aam_core.errors import InputError
from aam_core.io.cross_validation import (
    CrossValidated,
    check_predictions,
    read_cross_validation,
    write_cross_validation,
)
from aam_core.report.cross_validation import words_of
from tests.cross_validations import table_of


def rows_of(found, repeat, fold=None, labels="all"):
    table = found.predictions
    table = table[(table["repeat"] == repeat) & (table["labels"] == labels)]
    return table if fold is None else table[table["fold"] == fold]


def scores_of(table, repeat, who, fold=None, labels="all"):
    found = table[(table["repeat"] == repeat) & (table["labels"] == labels)]
    found = found[found["set"] == who]
    return (found if fold is None else found[found["fold"] == fold]).iloc[0]


SETS = {"aam": "q2-aam", "forest": "random forest"}


@pytest.mark.parametrize("who", SETS)
def test_scores_of_numbers_are_those_of_scikit_learn(who):
    found = table_of("regression", labels=(20,))
    compared = compare(found)
    for repeat in (1, 2, 3):
        for labels in ("all", "20"):
            for fold in (1, 2, 3, None):
                rows = rows_of(found, repeat, fold, labels)
                table = compared.repeats if fold is None else compared.folds
                own = scores_of(table, repeat, SETS[who], fold, labels)
                given = rows["true"], rows[f"{who}_predicted"]
                assert own["mae"] == pytest.approx(metrics.mean_absolute_error(*given))
                assert own["r2"] == pytest.approx(metrics.r2_score(*given))
                squares = metrics.mean_squared_error(*given)
                assert own["rmse"] == pytest.approx(np.sqrt(squares))
                assert own["samples"] == len(rows)


@pytest.mark.parametrize("who", SETS)
def test_scores_of_classes_are_those_of_scikit_learn(who):
    found = table_of("classification")
    compared = compare(found)
    names = [f"{who}_probability_{c}" for c in found.run["classes"]]
    for repeat in (1, 2, 3):
        rows = rows_of(found, repeat)
        own = scores_of(compared.repeats, repeat, SETS[who])
        given = rows["true"], rows[f"{who}_predicted"]
        assert own["accuracy"] == pytest.approx(metrics.accuracy_score(*given))
        balanced = metrics.balanced_accuracy_score(*given)
        assert own["balanced_accuracy"] == pytest.approx(balanced)
        chances = rows[names].to_numpy()
        area = metrics.roc_auc_score(rows["true"], chances, multi_class="ovr")
        assert own["roc_auc"] == pytest.approx(area)
        chances = chances.clip(1e-3)
        chances /= chances.sum(axis=1, keepdims=True)
        assert own["log_loss"] == pytest.approx(metrics.log_loss(rows["true"], chances))


def test_the_difference_is_that_of_errors_averaged_over_repeats():
    found = table_of("regression", groups=12)
    table = found.predictions
    rng = np.random.default_rng(2)
    off = dict(zip(table["group"].unique(), rng.exponential(4, 12), strict=True))
    table["aam_predicted"] += table["group"].map(off)  # groups differ from each other
    compared = compare(found)
    errors = {
        who: (table[f"{who}_predicted"] - table["true"]).abs().groupby(table["id"])
        for who in SETS
    }
    means = pd.DataFrame({who: part.mean() for who, part in errors.items()})
    differ = means["aam"] - means["forest"]
    estimate = compared.paired["mae"]["difference"]
    assert estimate.value == pytest.approx(differ.mean())
    ratio = compared.paired["mae"]["ratio"]
    assert ratio.value == pytest.approx(means["aam"].mean() / means["forest"].mean())
    # whole groups are drawn: by hand, in draws of our own
    group = table.drop_duplicates("id").set_index("id")["group"][differ.index]
    parts = [part.to_numpy() for _, part in differ.groupby(group)]
    rng = np.random.default_rng(1)
    drawn = [
        np.concatenate([parts[i] for i in rng.integers(0, 12, 12)]).mean()
        for _ in range(4000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    alone = rng.choice(differ.to_numpy(), (4000, len(differ))).mean(axis=1)
    assert np.ptp(np.quantile(alone, [0.025, 0.975])) < 0.7 * (high - low)
    assert estimate.low == pytest.approx(low, abs=0.15 * (high - low))
    assert estimate.high == pytest.approx(high, abs=0.15 * (high - low))
    better = differ.groupby(group).mean()
    assert compared.evaluation.better == (
        (better < 0).sum(),
        (better > 0).sum(),
        12,
    )


def test_coverage_is_that_of_all_single_predictions():
    found = table_of("regression", noise=(1.5, 2.0))
    table = found.predictions
    inside = (table["aam_predicted"] - table["true"]).abs() <= 2
    assert 0.5 < inside.mean() < 0.95
    own = compare(found).coverage
    assert own.value == pytest.approx(inside.mean())
    assert own.low < own.value < own.high
    assert compare(table_of("classification")).coverage is None


def test_wins_are_counted_by_folds_and_repeats():
    found = table_of("regression")
    table = found.predictions
    table["aam_predicted"] = table["true"] + 1.0
    table["forest_predicted"] = table["true"] + 2.0
    worse = (table["repeat"] == 2) & (table["fold"] < 3)
    table.loc[worse, "aam_predicted"] = table["true"] + 9.0
    compared = compare(found)
    assert compared.wins == {"folds": (7, 9), "repeats": (2, 3)}
    words = words_of(compared)
    assert "lower error in 7 of 9 folds and in 2 of 3 repeats" in words
    row = summary(compared).loc["mae"]
    errors = [1.0, (9 * worse.sum() + 1 * (60 - worse.sum())) / 60, 1.0]
    assert row["aam_mean"] == pytest.approx(np.mean(errors))
    assert row["aam_sd"] == pytest.approx(np.std(errors, ddof=1))
    assert row["forest_mean"] == pytest.approx(2.0)
    assert row["better_in_folds"] == 7
    assert summary(compared).loc["r2", "better_in_repeats"] == 2


def test_the_verdict_is_that_of_the_errors_of_single_models():
    found = table_of("regression", noise=(0.5, 3.0))
    assert words_of(compare(found)).startswith("q2-aam predicts better than random")
    found = table_of("classification", noise=(3.0, 0.5))
    assert words_of(compare(found)).startswith("random forest predicts better")


def test_the_curve_is_of_mean_errors_over_repeats():
    found = table_of("regression", labels=(20, 10))
    curve = compare(found).curve
    assert curve["labels"].tolist() == ["10", "10", "20", "20", "all", "all"]
    for who, name in SETS.items():
        for labels in ("10", "all"):
            each = []
            for repeat in (1, 2, 3):
                rows = rows_of(found, repeat, labels=labels)
                each.append((rows[f"{who}_predicted"] - rows["true"]).abs().mean())
            own = curve[(curve["labels"] == labels) & (curve["set"] == name)].iloc[0]
            assert own["error"] == pytest.approx(np.mean(each))
            assert own["sd"] == pytest.approx(np.std(each, ddof=1))
    assert compare(table_of("regression")).curve is None


def test_a_repeat_that_was_stopped_does_not_count_as_one():
    found = table_of("regression")
    table = found.predictions
    stopped = table[(table["repeat"] < 3) | (table["fold"] == 1)]
    part = compare(CrossValidated(found.run, stopped))
    assert set(part.repeats["repeat"]) == {1, 2}
    assert len(part.folds) == 2 * 7
    two = compare(CrossValidated(found.run, table[table["repeat"] < 3]))
    assert part.paired == two.paired
    first = table[(table["repeat"] == 1) & (table["fold"] == 1)]
    alone = compare(CrossValidated(found.run, first))
    assert alone.repeats.empty
    assert len(alone.evaluation.samples) == len(first)
    assert np.isfinite(summary(alone).loc["mae", "aam_mean"])


def test_samples_that_one_method_lacks_do_not_count():
    found = table_of("regression")
    table = found.predictions
    table.loc[table["id"] == "s000", "forest_predicted"] = np.nan
    compared = compare(found)
    assert "s000" not in compared.evaluation.samples.index
    assert compared.repeats["samples"].tolist() == [59] * 6


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_files_hold_all_of_it(task, tmp_path):
    found = table_of(task, labels=(20,))
    found.predictions["group"] = [f"{i % 7:02}" for i in found.predictions.index]
    write_cross_validation(found, tmp_path)
    again = read_cross_validation(tmp_path)
    assert again.run == found.run
    pd.testing.assert_frame_equal(again.predictions, found.predictions)
    for level in ("min", "max"):
        check_predictions(tmp_path / "predictions.tsv", level)


HEAD = "id\trepeat\tfold\tlabels\ttraining\ttrue\taam_predicted\tforest_predicted\n"
ROW = "a\t1\t1\tall\t9\t1\t2\t3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The first columns are"),
        (HEAD.replace("fold", "part") + ROW, "The first columns are"),
        (HEAD.replace("forest_predicted", "x") + ROW, "no predictions of 'forest'"),
        (HEAD, "no rows"),
        (HEAD + "a\t1\n", "Line 2 has 2 fields, not 8"),
        (HEAD + ROW.replace("\t9\t", "\tmany\t"), "training is 'many', not a count"),
        (HEAD + ROW.replace("all", "most"), "labels is 'most'"),
        (HEAD + ROW + ROW, "Line 3: sample 'a' is there twice"),
    ],
)
def test_tables_of_something_else_are_refused(tmp_path, text, message):
    (tmp_path / "x.tsv").write_text(text)
    for level in ("min", "max"):
        with pytest.raises(InputError, match=message):
            check_predictions(tmp_path / "x.tsv", level)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not what cross-validate writes"),
        ("{}", "It lacks 'schema', 'version'"),
    ],
)
def test_runs_of_something_else_are_refused(tmp_path, text, message):
    write_cross_validation(table_of("regression"), tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_cross_validation(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"no run\.json: name a folder"):
        read_cross_validation(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe" + HEAD.encode(), "is not the table that cross-validate writes"),
        ((HEAD + '"' + "x" * 200_000).encode(), "is not the table"),
        ((HEAD[:-1] + "\tid\n" + ROW).encode(), "Two columns have the same name"),
        ((HEAD + ROW.replace("\t9\t", "\t0\t")).encode(), "training is '0'"),
        ((HEAD + ROW.replace("\t9\t", f"\t{'9' * 5000}\t")).encode(), "not a count"),
        ((HEAD + ROW.replace("\t9\t", "\t٣\t")).encode(), "not a count"),
        ((HEAD + ROW.replace("\t3\n", "\tx\n")).encode(), "'forest_predicted'"),
        ((HEAD + ROW.replace("\t1\t2\t", "\thigh\t2\t")).encode(), "in 'true'"),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_damaged_tables_are_refused(tmp_path, content, message):
    write_cross_validation(table_of("regression", 12, 1, 2), tmp_path)
    (tmp_path / "predictions.tsv").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_cross_validation(tmp_path)
    assert message in str(error.value)


def test_classes_of_the_table_are_those_of_the_run(tmp_path):
    found = table_of("classification", 12, 1, 2)
    found.run["classes"] = ["a", "b"]
    write_cross_validation(found, tmp_path)
    with pytest.raises(InputError, match="has the classes 'c', which"):
        read_cross_validation(tmp_path)
    found.run["classes"] = ["a", "b", "c", "d"]
    write_cross_validation(found, tmp_path)
    with pytest.raises(InputError, match="lacks the columns 'aam_probability_d'"):
        read_cross_validation(tmp_path)
