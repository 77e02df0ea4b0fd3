import numpy as np
import pandas as pd
import pytest
import qiime2

from aam_core.data.metadata import read_metadata
from aam_core.data.spelled_numbers import plain_numbers
from aam_core.errors import InputError

EDGE_CASES = [
    "# a comment before the header\twith\tcells",
    "",
    "\t\t\t",
    "SAMPLE-ID\t age \tsite\tcode\tzip\tnothing\tno_text\tcollected\tnan\tinf\tn 1\t",
    "#q2:types\t\tcategorical\t\tCategorical\t\tcategorical\tNumeric",
    "#q2:missing\t\t\t\t\t\t\tINSDC:missing",
    "s1\t1\tgut\t1e3\t0123\t\t\tnot collected\tnan\tinf\t.5",
    '  s2 \t-2.5 \t"skin, ""left"""\t+1.E-2\t0007\t\t\tmissing\t1\t1\t1',
    "# a comment\t1\t2",
    "s3\t\t\t7.\t\t\t\t3.5\t2\t2\t-0",
    "",
    "s4\t1_0\tÄther",
    "007\t4\t5\t6\t7\t\t\t8\t9\t10\t11\t\t",
]
HEADERS = ["id", "ID", "Id", "sampleid", "SampleID", "sample-id", "Sample-ID"]
HEADERS += ["featureid", "Feature-ID", "#SampleID", "#OTUID", "sample_name"]
HEADERS += ["sample id", "Feature ID", "#Sample ID", "#OTU ID"]
NUMBERS = ["1", "-1", "+1", "1.", ".1", "1.5e-3", "1E5"]  # and what only looks so:
NUMBERS += [".", "e5", "1e", "0x1", "nan", "inf", "1,5", "1_0"]


@pytest.fixture
def write(tmp_path):
    def write(lines, name="metadata.tsv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return path

    return write


def assert_as_qiime2(path):
    ours = read_metadata(path)
    theirs = qiime2.Metadata.load(str(path)).to_dataframe()
    assert ours.index.name == theirs.index.name
    assert ours.index.tolist() == theirs.index.tolist()
    assert ours.columns.tolist() == theirs.columns.tolist()
    for name in theirs:
        assert ours[name].dtype.kind == theirs[name].dtype.kind, name
        missing = theirs[name].isna().tolist()
        assert ours[name].isna().tolist() == missing, name
        assert ours[name].dropna().tolist() == theirs[name].dropna().tolist(), name
    return ours


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_edge_cases_equal_qiime2(write, encoding):
    df = assert_as_qiime2(write(EDGE_CASES, encoding=encoding))
    assert df.index.tolist() == ["s1", "s2", "s3", "s4", "007"]
    types = {name: df[name].dtype.kind for name in df}
    assert types == {
        "age": "O",  # 1_0 is no number
        "site": "O",
        "code": "f",
        "zip": "O",
        "nothing": "f",
        "no_text": "O",
        "collected": "f",
        "nan": "O",
        "inf": "O",
        "n 1": "f",
    }
    np.testing.assert_array_equal(df["code"], [1000, 0.01, 7, np.nan, 6])
    assert df.loc["s2", "site"] == 'skin, "left"'
    assert df["zip"].iloc[:2].tolist() == ["0123", "0007"]


@pytest.mark.parametrize("header", HEADERS)
def test_id_headers_equal_qiime2(write, header):
    assert_as_qiime2(write([f"{header}\tx", "a\t1", "b\t2"]))


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_equal_qiime2(write, value):
    assert_as_qiime2(write(["id\tx", "a\t1", f"b\t{value}"]))


def test_a_number_beyond_all_floats_is_text(write):
    df = read_metadata(write(["id\tx", "a\t1", "b\t1e400"]))
    assert df["x"].tolist() == ["1", "1e400"]


@pytest.mark.parametrize(
    ("name", "separator"),
    [("plain.tsv", "\t"), ("plain.txt", "\t"), ("plain.CSV", ",")],
)
def test_plain_tables(write, name, separator):
    lines = ["library,age,site", "a,1,gut", "b,,", "c,2.5,skin"]
    df = read_metadata(write([s.replace(",", separator) for s in lines], name))
    expected = pd.DataFrame(
        {"age": [1, np.nan, 2.5], "site": ["gut", np.nan, "skin"]}, list("abc")
    )
    assert df.index.name == "library"
    assert df["age"].dtype.kind == "f"
    assert df["site"].dtype == object
    pd.testing.assert_frame_equal(
        plain_numbers(df),
        expected,
        check_names=False,
        check_dtype=False,
        check_index_type=False,
    )


def test_no_columns(write):
    df = read_metadata(write(["id", "a", "b"]))
    assert df.shape == (2, 0)
    assert df.index.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no header"),
        (["# only", "# comments"], "no header"),
        (["id\tx"], "no samples"),
        (["id\tx", "a\t1", "b\t2", "a\t3"], "Ids occur more than once .*'a'"),
        (["id\tx\ty\tx", "a\t1"], "column names occur more than once: 'x'"),
        (["id\tx\t\ty", "a\t1"], "line 1: a column has no name"),
        (["id\tx", "a\t1\t2"], "line 2: the row has 3 cells, but the header 2"),
        (["id\tx", "\t1"], "line 2: the id is missing"),
        (["id\tx", "sampleid\t1"], "'sampleid' names the id column"),
        (["#q2:types\tnumeric", "id\tx", "a\t1"], "directly below the header"),
        (["id\tx", "a\t1", "#q2:types\tnumeric"], "directly below the header"),
        (["id\tx", "#q2:units\tm", "a\t1"], "'#q2:units' is unknown"),
        (
            ["id\tx", "#q2:types\tdate", "a\t1"],
            "'x' is 'date'; allowed are categorical",
        ),
        (["id\tx", "#q2:missing\tnone", "a\t1"], "'x' is 'none'; allowed are blank"),
        (
            ["id\tx", "#q2:missing\tno-missing", "a\t"],
            "no value in samples 'a'",
        ),
        (
            ["id\tx", "#q2:types\tnumeric", "a\tlow"],
            r"numeric .*'low' \(samples 'a'",
        ),
        (["id,x", "a,1"], "Separate columns by tabs"),
        (["id\tx", 'a\t"open'], "not a table of text"),
        (["#Sampleid\tx", "a\t1"], "Name the first column sample-id"),
    ],
)
def test_broken_files(write, lines, message):
    with pytest.raises(InputError, match=message):
        read_metadata(write(lines))


def test_utf_16(write):
    path = write(["id\tx", "a\t1"], encoding="utf-16")
    with pytest.raises(InputError, match="UTF-16"):
        read_metadata(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        read_metadata(tmp_path / "nothing.tsv")


def test_results_have_no_comments_below_their_header(write):
    path = write(["# a comment", "id\tx", "a\t1", "#b\t2"])
    assert read_metadata(path).index.tolist() == ["a"]
    assert read_metadata(path, comments=False).index.tolist() == ["a", "#b"]
