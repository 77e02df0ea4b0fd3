import pickle

import numpy as np
import pandas as pd
import pytest

from aam_core.data.spelled_numbers import SpelledNumbers, plain_numbers, spelling

TEXTS = ["01", "1.10", "", "1E1"]


@pytest.fixture
def plates():
    return pd.Series(
        SpelledNumbers([t or np.nan for t in TEXTS]), list("abcd"), name="plate"
    )


def spelled(values):
    return spelling(values).fillna("").tolist()


def test_the_spelling_survives_what_tables_go_through(plates):
    frame = pd.DataFrame({"plate": plates, "site": list("wxyz")})
    assert spelled(frame.reindex(["d", "q", "a"])["plate"]) == ["1E1", "", "01"]
    assert spelled(frame.loc[["b", "a"], ["plate"]]["plate"]) == ["1.10", "01"]
    assert spelled(frame.drop(index=["a", "c"])["plate"]) == ["1.10", "1E1"]
    assert spelled(frame[frame.notna().all(axis=1)]["plate"]) == ["01", "1.10", "1E1"]
    assert spelled(pd.concat([plates, frame["site"]], axis=1)["plate"]) == TEXTS
    assert spelled(pd.concat([plates, plates])) == TEXTS * 2
    assert spelled(plates.sort_values(ascending=False)[:2]) == ["1E1", "1.10"]
    assert spelled(pickle.loads(pickle.dumps(frame))["plate"]) == TEXTS
    assert spelling(frame["site"]) is None


def test_to_all_that_calculates_they_are_numbers(plates):
    numbers = plates.astype(float)
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [1, 1.1, np.nan, 10])
    assert pd.api.types.is_numeric_dtype(plates)
    assert plates.isna().tolist() == [False, False, True, False]
    for name in ("mean", "max", "std", "nunique", "median"):
        assert getattr(plates, name)() == getattr(numbers, name)(), name
    assert (plates > 1.05).tolist() == (numbers > 1.05).tolist()
    np.testing.assert_array_equal((plates * 2).astype(float), numbers * 2)
    assert plates.describe()["75%"] == numbers.describe()["75%"]
    assert pd.to_numeric(plates).astype(float).equals(numbers)
    assert plates.to_frame().to_csv() == numbers.to_frame().to_csv()


def test_a_changed_number_is_spelled_as_python_does(plates):
    plates["a"] = 2.5
    assert [*map(str, spelled(plates))] == ["2.5", "1.10", "", "1E1"]
    assert plates.tolist()[0] == 2.5


def test_plain_numbers(plates):
    frame = plain_numbers(pd.DataFrame({"plate": plates, "site": list("wxyz")}))
    assert frame.dtypes.tolist() == [np.float64, np.dtype(object)]


def test_pandas_counts_and_numbers_them(plates):
    twice = pd.concat([plates, plates])
    codes, found = pd.factorize(twice)
    assert codes.tolist() == [0, 1, -1, 2] * 2
    assert found.tolist() == [1.0, 1.1, 10.0]
    counts = twice.value_counts()
    assert counts.to_dict() == {1.0: 2, 1.1: 2, 10.0: 2}
    assert twice.value_counts(dropna=False).sum() == 8
    assert twice.nunique() == 3
    assert plates.memory_usage() > plates.array.texts.nbytes
