import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from aam_core.commands import rf_baseline as command
from aam_core.commands.rf_baseline import rf_baseline
from aam_core.config import ForestConfig
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError
from aam_core.reporting import silent

SAMPLES, FEATURES = 40, 12


@pytest.fixture(scope="module")
def counts():
    """Samples whose age is written into the share of their first feature."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        rng.poisson(4, (SAMPLES, FEATURES)) * rng.integers(0, 2, (SAMPLES, FEATURES)),
        index=[f"s{i:02d}" for i in range(SAMPLES)],
        columns=[f"f{i:02d}" for i in range(FEATURES)],
    )
    frame["f00"] = np.arange(SAMPLES) * 2 + 1
    return frame


@pytest.fixture(scope="module")
def metadata(counts):
    age = np.arange(SAMPLES) / 4
    return pd.DataFrame(
        {
            "age": age,
            "mass": 50 - age,
            "stage": np.where(age < 5, "young", "old"),
            "subject": [f"p{i // 4}" for i in range(SAMPLES)],
        },
        index=counts.index,
    )


def config(**options):
    defaults = {"metadata_column": ("age",), "rarefy_depth": 0, "n_estimators": 20}
    return ForestConfig(**defaults | {"n_jobs": 1} | options)


def run(counts, metadata, training=None, validation=None, report=silent, **options):
    return rf_baseline(
        config(**options),
        table=FeatureTable.from_dataframe(counts),
        metadata=metadata,
        training=training,
        validation=validation,
        report=report,
    )


@pytest.mark.parametrize("training", [None, [f"s{i:02d}" for i in range(20)]])
def test_samples_without_reads_take_no_part(counts, metadata, training):
    """As for train, in a new split as well as beside given training samples."""
    empty = counts.copy()
    empty.loc[["s25", "s33"]] = 0
    said = []
    found = run(empty, metadata, training, report=said.append)
    assert not {"s25", "s33"} & {*found.training, *found.validation}
    assert len(found.training) + len(found.validation) == SAMPLES - 2
    assert any("2 of 40 samples have no reads and are left out" in s for s in said)


@pytest.mark.behaviour("n_estimators", "max_features", "random_seed")
def test_regression_is_scikit_learns_on_relative_abundances(counts, metadata):
    result = run(counts, metadata, max_features="0.5", random_seed=3)
    shares = counts.div(counts.sum(axis=1), axis=0).astype(np.float32)
    forest = RandomForestRegressor(20, max_features=0.5, random_state=3)
    forest.fit(shares.loc[result.training], metadata.loc[result.training, "age"])
    expected = forest.predict(shares.loc[result.validation])
    np.testing.assert_allclose(result.predictions["age"], expected, atol=1e-9)
    assert result.predictions.index.tolist() == result.validation
    assert sorted(result.training + result.validation) == counts.index.tolist()
    assert len(result.validation) == 8
    assert result.probabilities is None
    assert result.metrics["r2"] == pytest.approx(
        forest.score(
            shares.loc[result.validation], metadata.loc[result.validation, "age"]
        )
    )
    assert result.importance.index[0] == "f00"
    np.testing.assert_allclose(
        result.importance[counts.columns], forest.feature_importances_, atol=1e-9
    )


@pytest.mark.parametrize("max_features", ["sqrt", "log2", "0.3", "1.0", "3", "500"])
def test_text_labels_and_every_kind_of_max_features(counts, metadata, max_features):
    chosen = {"metadata_column": ("stage",), "task": "classification"}
    result = run(counts, metadata, max_features=max_features, **chosen)
    assert set(result.predictions["stage"]) == {"young", "old"}
    assert result.metrics["accuracy"] > 0.8
    assert result.probabilities.columns.tolist() == ["old", "young"]
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1)
    assert result.probabilities.index.equals(result.predictions.index)
    likeliest = result.probabilities.idxmax(axis=1)
    assert likeliest.tolist() == result.predictions["stage"].tolist()


@pytest.mark.behaviour("task", command="rf-baseline")
def test_classification_is_scikit_learns(counts, metadata):
    training, validation = counts.index[::2].tolist(), counts.index[1::2].tolist()
    chosen = {"metadata_column": ("stage",), "task": "classification"}
    result = run(counts, metadata, training, max_features="0.3", **chosen)
    shares = counts.div(counts.sum(axis=1), axis=0).astype(np.float32)
    forest = RandomForestClassifier(20, max_features=0.3, random_state=42)
    forest.fit(shares.loc[training], metadata.loc[training, "stage"])
    expected = forest.predict_proba(shares.loc[validation])
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-9)


@pytest.mark.behaviour("metadata_column", command="rf-baseline")
def test_several_targets(counts, metadata):
    result = run(counts, metadata, metadata_column=("age", "mass"))
    assert result.predictions.columns.tolist() == ["age", "mass"]
    assert result.metrics["r2 [mass]"] > 0.5
    np.testing.assert_allclose(result.predictions.sum(axis=1), 50)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"metadata_column": ("stage",), "task": "classification"}],
    ids=["regression", "classification"],
)
def test_validation_samples_teach_nothing(counts, metadata, chosen):
    rng = np.random.default_rng(1)
    training, validation = counts.index[::2].tolist(), counts.index[1::2].tolist()
    first = run(counts, metadata, training, validation, **chosen)

    relabelled = metadata.copy()
    relabelled.loc[validation] = metadata.loc[rng.permutation(validation)].to_numpy()
    relabelled["age"] = relabelled["age"].astype(float)
    second = run(counts, relabelled, training, validation, **chosen)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    assert first.metrics != second.metrics

    others = counts.copy()
    others.loc[validation[1:]] += 100
    others["only in validation"] = 0
    others.loc[validation[1:], "only in validation"] = 9
    third = run(others, metadata, training, validation, **chosen)
    pd.testing.assert_frame_equal(first.predictions[:1], third.predictions[:1])
    pd.testing.assert_series_equal(first.importance, third.importance)


@pytest.mark.parametrize(
    "chosen",
    [
        {"rarefy_depth": 15},
        {"metadata_column": ("stage",), "task": "classification"},
        {"group_column": "subject"},
    ],
    ids=["rarefied", "classification", "grouped"],
)
def test_order_of_table_and_metadata_does_not_matter(counts, metadata, chosen):
    first = run(counts, metadata, **chosen)
    shuffled = counts.sample(frac=1, random_state=1).sample(
        frac=1, axis=1, random_state=2
    )
    second = run(shuffled, metadata.sample(frac=1, random_state=3), **chosen)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)
    pd.testing.assert_series_equal(first.importance, second.importance)
    assert first.training == second.training


def test_groups_stay_together(counts, metadata):
    result = run(counts, metadata, group_column="subject")
    sides = (
        set(metadata.loc[s, "subject"]) for s in (result.training, result.validation)
    )
    assert not set.intersection(*sides)
    assert len(result.validation) == 8


def test_a_models_split_is_kept(counts, metadata):
    training = ["s30", "s02", "s11", "s21"]
    result = run(counts, metadata.drop("s05"), training)
    assert result.training == sorted(training)
    assert result.validation == [
        i for i in counts.index if i not in training and i != "s05"
    ]
    result = run(counts, metadata, training, ["s09", "s01"])
    assert result.predictions.index.tolist() == ["s01", "s09"]
    result = run(counts, metadata.drop("s05"), None, ["s09", "s01"])
    assert result.predictions.index.tolist() == ["s01", "s09"]
    assert result.training == [
        i for i in counts.index if i not in ("s01", "s05", "s09")
    ]


def test_a_split_that_does_not_fit_is_refused(counts, metadata):
    training = counts.index[:20].tolist()
    with pytest.raises(InputError, match=r"1 of 21 training samples.*'elsewhere'"):
        run(counts, metadata, [*training, "elsewhere"])
    with pytest.raises(InputError, match=r"1 of 20 training samples.*'s03'"):
        run(counts, metadata.drop("s03"), training)
    with pytest.raises(InputError, match=r"1 of 1 validation samples.*'x'"):
        run(counts, metadata, training, ["x"])
    shallow = counts.copy()
    shallow.loc["s07"] = 1
    with pytest.raises(InputError, match=r"1 of 20 training samples.*'s07'"):
        run(shallow, metadata, training, rarefy_depth=FEATURES + 1)
    with pytest.raises(InputError, match=r"1 samples are both.*'s00'"):
        run(counts, metadata, training, ["s00", "s30"])
    with pytest.raises(InputError, match=r"1 training samples.*more than once: 's00'"):
        run(counts, metadata, [*training, "s00"], ["s30"])
    with pytest.raises(InputError, match="40 training and 0 validation"):
        run(counts, metadata, counts.index.tolist())


@pytest.mark.behaviour("rarefy_depth", command="rf-baseline")
def test_what_is_left_out_is_reported(counts, metadata):
    said = []
    shallow = counts.copy()
    shallow.loc["s07"] = 1
    partial = metadata.drop("s02")
    partial.loc["s05", "age"] = np.nan
    result = run(shallow, partial, report=said.append, rarefy_depth=FEATURES + 1)
    for sample in ("s07", "s02", "s05"):
        assert sample not in result.training + result.validation
        assert sum(f"'{sample}'" in sentence for sentence in said) == 1


@pytest.mark.behaviour("n_jobs")
@pytest.mark.parametrize("jobs", [1, 3])
def test_processes_grow_the_trees(counts, metadata, monkeypatch, jobs):
    """joblib is asked for as many; the result is the same to the last bit.

    A single one predicts, since threads would sum over trees in any order.
    """
    alone = run(counts, metadata)
    asked = []
    plain = joblib.Parallel.__init__

    def init(self, n_jobs=None, **options):
        asked.append(n_jobs)
        plain(self, n_jobs=n_jobs, **options)

    monkeypatch.setattr(joblib.Parallel, "__init__", init)
    monkeypatch.setattr(command, "choose_depth", lambda given, *rest: given)
    found = run(counts, metadata, n_jobs=jobs)
    assert len(asked) > 1
    assert set(asked[:-1]) == {jobs}
    assert asked[-1] == 1
    exactly = {"check_exact": True}
    pd.testing.assert_frame_equal(found.predictions, alone.predictions, **exactly)
