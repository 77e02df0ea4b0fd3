import gzip

import biom
import numpy as np
import pytest

from aam_core.data.table import FeatureTable
from aam_core.data.text_table import read_text_table
from aam_core.errors import InputError

TEXT = "#OTU ID\ts1\ts2\ts3\na\t1\t2\t3\nb\t4\t0\t6\n"
COUNTS = [[1, 2, 3], [4, 0, 6]]


@pytest.fixture
def read(tmp_path):
    def read(text, name="table.tsv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_text_table(path)

    return read


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda text: "# Constructed from biom file\n" + text,
        lambda text: "\ufeff# Constructed from biom file\t\t\n" + text,
        lambda text: "\ufeff" + text,
        lambda text: "\n\t\t\n" + text.replace("\nb", "\n\nb") + "\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n", "\t\n"),
        lambda text: text.replace("#OTU ID", ""),
        lambda text: text.replace("#OTU ID", "Feature"),
        lambda text: text.replace("2\t3", "2.0\t 3e0 "),
    ],
)
def test_the_same_table_in_other_words(read, change):
    found = read(change(TEXT))
    assert found.sample_ids == ["s1", "s2", "s3"]
    assert found.feature_ids == ["a", "b"]
    assert found.counts.toarray().tolist() == COUNTS


@pytest.mark.parametrize("name", ["t.tsv", "t.TSV", "t.tab", "t", "t.biom", "t.tsv.gz"])
def test_the_name_of_the_file_does_not_matter(tmp_path, name):
    pack = gzip.compress if name.endswith("gz") else bytes
    (tmp_path / name).write_bytes(pack(TEXT.encode()))
    assert FeatureTable.read(tmp_path / name).counts.toarray().T.tolist() == COUNTS
    (tmp_path / name).write_bytes(pack(TEXT.replace("6", "NA").encode()))
    with pytest.raises(InputError, match="line 3: sample 's3' of feature 'b' is 'NA'"):
        FeatureTable.read(tmp_path / name)


def test_rows_that_start_with_a_hash_are_features(read):
    assert read(TEXT.replace("\nb", "\n#b")).feature_ids == ["a", "#b"]


def test_odd_ids_are_kept(read):
    ids = ["NA", "nan", "1e5", '5" end', "Ä ö", "True"]
    rows = ["\t".join(["#OTU ID", *ids]), *(f"{i}" + "\t1" * len(ids) for i in ids)]
    found = read("\n".join(rows))
    assert found.sample_ids == found.feature_ids == ids


@pytest.mark.parametrize(
    ("name", "cells", "left"),
    [
        ("taxonomy", ["k__B; p__F", "k__A"], True),
        ("Consensus Lineage", ["k__B", ""], True),
        ("taxonomy", ["", ""], True),
        ("taxonomy", ["7", "8"], False),
        ("syntaxin_KO", ["7", "8"], False),
    ],
)
def test_a_taxonomy_is_text_in_a_last_column_of_that_name(read, name, cells, left):
    rows = zip(["#OTU ID\ts1", "a\t1", "b\t2"], [name, *cells], strict=True)
    found = read("\n".join(map("\t".join, rows)))
    assert found.sample_ids == (["s1"] if left else ["s1", name])
    expected = [[1], [2]] if left else [[1, 7], [2, 8]]
    assert found.counts.toarray().tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("\t2", "\tNA"), "line 2: sample 's2' of feature 'a' is 'NA'"),
        (TEXT.replace("6", ""), "line 3: sample 's3' of feature 'b' is empty"),
        (TEXT.replace("6", "1_0"), "sample 's3' of feature 'b' is '1_0'"),
        (TEXT.replace("6", "inf"), "sample 's3' of feature 'b' is 'inf'"),
        (TEXT.replace("6", "1e400"), "sample 's3' of feature 'b' is '1e400'"),
        (TEXT.replace("6", "1,5"), "sample 's3' of feature 'b' is '1,5'"),
        (TEXT.replace("\t6", ""), "line 3: the row of 'b' has 3 cells, .* header 4"),
        (TEXT.replace("6", "6\t7"), "line 3: the row of 'b' has 5 cells"),
        (TEXT.replace("#OTU ID\t", ""), r"4 cells, but the header 3\. If .*\(as R"),
        (TEXT.replace("b\t", "\t"), "line 3: the feature id is missing"),
        (TEXT.replace("b\t", "a\t"), "line 3: feature 'a' occurs .* in line 2"),
        (TEXT.replace("s3", "s1"), "line 1: sample ids occur more than once: 's1'"),
        (TEXT.replace("s2", ""), "line 1: column 3 has no name"),
        (
            TEXT.replace("s1", "taxonomy").replace("1\t2", "k__\t2"),
            "in the last c",
        ),
        (TEXT.replace("s3", "taxonomy").replace("6", "k__"), "'taxonomy', is 'k__' h"),
        ('""\t"s1"\t"s2"\n"a"\t1\t2\n', "names of the header are in quotes"),
        (TEXT.replace("\t", ","), "line 2 has no tabs, but commas"),
        (TEXT.replace("\t", ";"), "line 2 has no tabs, but semicolons"),
        (">a\nACGT\n", "looks like sequences"),
        ("word\n", "line 1 is 'word', where the header is expected"),
        ("", "is empty"),
        ("# only\n#comments\n", "is empty"),
        (TEXT.splitlines()[0], "no row below its header"),
        (TEXT.encode("utf-16"), "neither BIOM nor text in UTF-8"),
        (TEXT.encode("utf-16-le"), "line 1 is not text"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "cannot be unpacked"),
    ],
)
def test_what_is_refused_says_where(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)


def test_what_biom_writes_is_read(tmp_path):
    counts = np.random.default_rng(0).poisson(1.0, (50, 20)).astype(float)
    features, samples = [f"f{i}" for i in range(50)], [f"s{i}" for i in range(20)]
    table = biom.Table(counts, features, samples)
    taxa = {name: {"taxonomy": f"k__{name}"} for name in features}
    table.add_metadata(taxa, "observation")
    path = tmp_path / "table.tsv"
    path.write_text(table.to_tsv(header_key="taxonomy", header_value="taxonomy"))
    found = FeatureTable.read(path)
    np.testing.assert_array_equal(found.counts.toarray(), counts.T)
