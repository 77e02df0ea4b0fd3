import json

import numpy as np
import pandas as pd
import pytest

import aam_core
from aam_core.data.categories import (
    CategoricalColumnConfig,
    CategoricalEncoder,
    category_labels,
    label_texts,
    tell_categories,
)
from aam_core.data.metadata import read_metadata
from aam_core.errors import InputError
from aam_core.reporting import silent


@pytest.fixture
def metadata():
    return pd.DataFrame(
        {
            "site": ["gut", "skin", np.nan, "gut", "oral"],
            "course": [2.0, 10.0, 1.0, np.nan, 2.0],
            "treated": [True, False, True, True, False],
        },
        index=list("abcde"),
    )


def encoder(metadata, columns=("site", "course"), **options):
    return CategoricalEncoder.fit(metadata, columns, **{"embed_dim": 4} | options)


def test_categories_count_from_one_in_sorted_order(metadata):
    fitted = encoder(metadata)
    found = fitted.transform(metadata, list("edcba"), "error", lambda sentence: None)
    # site: gut 1, oral 2, skin 3; course as text: '1' 1, '10' 2, '2' 3
    assert found.tolist() == [[2, 3], [1, 0], [0, 1], [3, 2], [1, 3]]
    assert found.dtype == np.int64
    assert fitted.get_cardinalities() == {"site": 4, "course": 4}
    assert fitted.schema.columns[0] == CategoricalColumnConfig("site", 4, 4, False)


def test_defaults_are_those_of_the_options(metadata):
    fitted = CategoricalEncoder.fit(metadata, ["site"])
    assert fitted.schema.columns[0] == CategoricalColumnConfig("site", 4, 16, False)
    assert fitted.transform(metadata).tolist() == [[1], [3], [0], [1], [2]]
    with pytest.raises(InputError, match="'nose'"):
        fitted.transform(metadata.assign(site="nose"))


def test_labels_are_those_of_the_file():
    assert label_texts(pd.Series([1.0, 2.5, np.nan])).tolist()[:2] == ["1", "2.5"]
    assert label_texts(pd.Series([True, False])).tolist() == ["True", "False"]
    assert label_texts(pd.Series(["1.0", "x"])).tolist() == ["1.0", "x"]
    assert label_texts(pd.Series([3, pd.NA], dtype="Int64")).tolist()[0] == "3"
    assert label_texts(pd.Series([3, None, True], dtype=object)).isna().sum() == 1
    assert label_texts(pd.Series([np.inf])).tolist() == ["inf"]


def test_unknown_category_is_an_error_that_says_all(metadata):
    fitted = encoder(metadata, ["site"])
    metadata.loc[["b", "d"], "site"] = ["nose", "ear"]
    with pytest.raises(InputError) as error:
        fitted.transform(metadata, list("abcd"), "error", lambda sentence: None)
    for part in ("'site'", "'ear', 'nose'", "'b', 'd'", "'gut', 'oral', 'skin'"):
        assert part in str(error.value)
    assert "unknown_categories to 'ignore'" in str(error.value)


def test_unknown_category_can_be_ignored(metadata):
    fitted, said = encoder(metadata, ["site"]), []
    metadata.loc["b", "site"] = "nose"
    found = fitted.transform(metadata, ["a", "b"], "ignore", said.append)
    assert found.tolist() == [[1], [0]]
    assert len(said) == 1
    assert "'nose'" in said[0]
    assert "'b'" in said[0]


def test_missing_values_and_samples_are_index_zero_and_reported(metadata):
    said = []
    found = encoder(metadata, ["site"]).transform(
        metadata, ["c", "nobody", "a"], "error", said.append
    )
    assert found.tolist() == [[0], [0], [1]]
    assert len(said) == 1
    assert "2 of 3 samples" in said[0]
    assert "'c', 'nobody'" in said[0]


def test_missing_value_of_a_required_column_is_an_error(metadata):
    fitted = encoder(metadata, ["site"], required=True)
    assert fitted.schema.columns[0].required
    with pytest.raises(InputError, match=r"'site': 'c'.*required"):
        fitted.transform(metadata, list("abc"), "ignore", lambda sentence: None)


def test_missing_column_names_the_similar_ones(metadata):
    fitted = encoder(metadata)
    with pytest.raises(InputError, match="no column 'site'; they have 'sites', 'x'"):
        fitted.transform(
            pd.DataFrame({"x": [1], "sites": [2]}), [0], "error", lambda sentence: None
        )
    with pytest.raises(InputError, match="no column 'sit'; they have 'site'"):
        encoder(metadata, ["sit"])
    with pytest.raises(InputError, match="'site' is named twice"):
        encoder(metadata, ["site", "site"])


def test_column_without_values_is_refused(metadata):
    with pytest.raises(InputError, match="'site' has no value"):
        encoder(metadata.loc[["c"]], ["site"])


def test_encoder_survives_json(metadata):
    fitted = encoder(metadata, ["site", "course", "treated"], required=True)
    again = CategoricalEncoder.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted


def test_public_names():
    assert aam_core.CategoricalEncoder is CategoricalEncoder
    assert aam_core.CategoricalColumnConfig is CategoricalColumnConfig
    column = CategoricalColumnConfig("site", 4, 16, False)
    assert aam_core.CategoricalSchema((column,)).columns[0].embed_dim == 16
    with pytest.raises(AttributeError, match="nonsense"):
        _ = aam_core.nonsense


def test_joined_labels(metadata):
    said = []
    labels = category_labels(metadata, ["site", "course"], list("abce"), said.append)
    assert labels == ["gut|2", "skin|10", "", "oral|2"]
    assert len(said) == 2
    assert "'course' is numeric: its numbers are taken as 3 categories" in said[0]
    assert "1 of 4 samples" in said[1]


@pytest.mark.parametrize("value", [2.0**53, -(2.0**60), 1e300, 0.1 + 0.2, 1 / 3])
def test_numbers_that_were_rounded_are_no_categories(value):
    with pytest.raises(InputError, match=r"'plate' is numeric .*Declare the column"):
        label_texts(pd.Series([1.0, value], name="plate"))


@pytest.mark.parametrize("value", [2.0**53 - 1, 1e15, 0.1, 123456.789012345, -1e-300])
def test_numbers_that_no_other_is_rounded_to_are_categories(value):
    (found,) = label_texts(pd.Series([value]))
    assert float(found) == value


def test_whole_numbers_of_any_size_are_categories_where_they_are_no_floats():
    assert label_texts(pd.Series([2**60, 2**60 + 1])).nunique() == 2


def test_numbers_of_a_file_are_the_categories_they_are_spelled_as(tmp_path):
    path = tmp_path / "metadata.tsv"
    path.write_text("id\tplate\na\t01\nb\t1\nc\t1E0\nd\t90071992547409931\ne\t\n")
    known = read_metadata(path)
    labels = category_labels(known, ["plate"], list("edcba"), silent)
    assert labels == ["", "90071992547409931", "1E0", "1", "01"]
    fitted = CategoricalEncoder.fit(known, ["plate"])
    assert fitted.categories["plate"] == ("01", "1", "1E0", "90071992547409931")


def test_what_may_be_meant_otherwise_is_told(metadata):
    said = []
    words = ["Not Applicable", "missing: control sample", "gut", "missing", "missing"]
    metadata["where"] = words
    columns = ["site", "course", "treated", "where"]
    tell_categories(metadata, columns, list("abcdex"), said.append)
    assert len(said) == 2
    assert said[0].startswith("Column 'course' is numeric")
    assert "(`#q2:types`)" in said[0]
    assert "holds 'missing' (2 samples), 'Not Applicable' (1 sample)" in said[1]
    assert "set missing_scheme to INSDC:missing" in said[1]
    assert "`#q2:missing`" in said[1]
