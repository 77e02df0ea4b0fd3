import numpy as np
import pandas as pd
import pytest
import qiime2

from aam_core.data.metadata import read_metadata
from aam_core.data.missing import (
    INSDC_WORDS,
    READ_AS_MISSING,
    is_missing_word,
    missing_words,
    tell_misread,
    with_missing,
)
from aam_core.data.targets import read_target, task_of_column
from aam_core.errors import InputError
from aam_core.reporting import silent


@pytest.mark.parametrize(
    "word",
    [*INSDC_WORDS, "Missing: Not collected", "missing:control sample", "NOT PROVIDED"],
)
def test_words_that_mean_missing(word):
    assert is_missing_word(word)


@pytest.mark.parametrize("word", ["gut", "missing tooth", "not", "NA", "", np.nan, 1])
def test_words_that_do_not(word):
    assert not is_missing_word(word)


def test_the_words_are_those_of_qiime2(tmp_path):
    path = tmp_path / "metadata.tsv"
    rows = [f"s{i}\t{word}\n" for i, word in enumerate(["gut", "NA", *INSDC_WORDS])]
    path.write_text("id\tsite\n#q2:missing\tINSDC:missing\n" + "".join(rows))
    theirs = qiime2.Metadata.load(str(path)).to_dataframe()["site"]
    assert theirs.isna().sum() == len(INSDC_WORDS)
    assert read_metadata(path)["site"].isna().tolist() == theirs.isna().tolist()


@pytest.fixture
def known():
    return pd.DataFrame(
        {
            "age": ["1", "not applicable", "3.5", "Missing: Not collected"],
            "site": ["gut", "not applicable", "skin", "missing"],
            "depth": [1.0, 2.0, 3.0, 4.0],
        },
        index=list("abcd"),
    )


def test_missing_only_where_asked(known):
    assert with_missing(known, "blank") is known
    assert with_missing(None, "INSDC:missing") is None
    marked = with_missing(known, "INSDC:missing")
    assert marked.isna().sum().to_dict() == {"age": 2, "site": 2, "depth": 0}
    assert not known.isna().any().any()
    assert missing_words(known["site"]) == {"not applicable": 1, "missing": 1}


def test_a_column_of_numbers_and_such_words_is_a_regression_if_they_are_missing(known):
    with pytest.raises(InputError, match=r"holds numbers, and .* missing_scheme"):
        task_of_column(known, "age")
    assert task_of_column(known, "age", "INSDC:missing") == "regression"
    assert task_of_column(known, "site", "INSDC:missing") == "classification"
    words = known.assign(age="not applicable")  # and no number
    assert task_of_column(words, "age") == "classification"
    marked = with_missing(known, "INSDC:missing")
    target = read_target(marked, ["age"], "regression", list("abcd"), silent)
    assert target["age"].to_dict() == {"a": 1.0, "c": 3.5}


@pytest.mark.parametrize(
    ("words", "numbers", "codes", "refused"),
    [
        (1, 10, 10, True),
        (2, 10, 10, True),
        (3, 10, 10, False),  # of many words none is a slip
        (1, 10, 5, False),  # codes of classes, and one without a number
        (0, 10, 10, False),
    ],
)
def test_few_words_among_many_numbers_are_refused(words, numbers, codes, refused):
    """A column of codes, such as 1, 2 and control, is one of classes."""
    cells = [f"word{i}" for i in range(words)]
    cells += [f"{i % codes}.5" for i in range(numbers)]
    known = pd.DataFrame({"age": pd.Series(cells, dtype=object)})
    if not refused:
        assert task_of_column(known, "age") == "classification"
        return
    with pytest.raises(InputError, match=r"holds numbers, and 'word0' \(1 sample\)"):
        task_of_column(known, "age")


def test_classes_are_told_with_their_samples_and_what_may_be_no_class(known):
    said = []
    read_target(known, ["site"], "classification", list("abcd"), said.append)
    assert len(said) == 2
    assert "'missing' (1 sample)" in said[0]
    assert "missing_scheme" in said[0]
    assert said[1] == (
        "4 classes of 'site': 'gut' (1 sample), 'missing' (1 sample), "
        "'not applicable' (1 sample), 'skin' (1 sample)."
    )


def test_what_pandas_takes_for_missing_is_told_once(tmp_path):
    path, said = tmp_path / "ids.tsv", []
    path.write_text("id\n" + "".join(f"{i}\n" for i in sorted(READ_AS_MISSING)))
    kept = pd.read_csv(path, sep="\t")["id"].dropna()
    assert set(kept) <= {"None"}  # which pandas takes for missing from 2.0 on
    tell_misread("Sample ids", ["gut", "NA", "null", "1e5", "True"], said.append)
    assert len(said) == 1
    assert said[0].startswith("Sample ids 'NA', 'null': pandas")
    assert "rename it" in said[0]


def test_ids_and_classes_that_look_missing_are_told(known):
    said = []
    known = known.rename(index={"a": "nan"}).replace({"site": {"gut": "None"}})
    read_target(known, ["site"], "classification", ["nan", "b", "c"], said.append)
    told = [line for line in said if "pandas" in line]
    assert [line.partition(":")[0] for line in told] == [
        "Sample ids 'nan'",
        "Classes of 'site' 'None'",
    ]
