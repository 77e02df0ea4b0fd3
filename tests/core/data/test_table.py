import json

import biom
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from aam_core.data.table import FeatureTable
from aam_core.errors import InputError
from aam_core.reporting import silent


def frame(rng=None, samples=12, features=30):
    rng = rng or np.random.default_rng(1)
    counts = rng.poisson(rng.gamma(0.4, 20, size=(samples, features)))
    counts[:, 0] += 50
    return pd.DataFrame(
        counts,
        index=[f"s{i}" for i in range(samples)],
        columns=[f"f{i}" for i in range(features)],
    )


def to_biom(df):
    return biom.Table(df.to_numpy().T.astype(float), list(df.columns), list(df.index))


def assert_same(table, df):
    assert isinstance(table.counts, sparse.csr_matrix)
    assert table.counts.dtype == np.int64
    assert table.counts.has_sorted_indices
    assert (table.counts.data != 0).all()
    assert table.sample_ids.dtype == table.feature_ids.dtype == object
    assert table.sample_ids.tolist() == list(df.index)
    assert table.feature_ids.tolist() == list(df.columns)
    np.testing.assert_array_equal(table.counts.toarray(), df.to_numpy())
    np.testing.assert_array_equal(table.depths, df.sum(axis=1))
    assert table.depths.dtype == np.int64
    assert table.shape == df.shape


def dense(table):
    return pd.DataFrame(
        table.counts.toarray(), index=table.sample_ids, columns=table.feature_ids
    )


def test_from_biom_in_either_layout():
    df = frame()
    table = to_biom(df)
    for layout in (sparse.csr_matrix, sparse.csc_matrix):
        table._data = layout(table._data)
        assert_same(FeatureTable.from_biom(table), df)


def test_from_biom_never_makes_it_dense():
    n = 200_000  # dense: 320 GB
    matrix = sparse.identity(n, format="csr")
    ids = np.arange(n).astype(str)
    table = FeatureTable.from_biom(biom.Table(matrix, ids, ids))
    assert table.counts.nnz == n


def test_from_dataframe():
    assert_same(FeatureTable.from_dataframe(frame()), frame())
    assert_same(FeatureTable.from_dataframe(frame().astype(float)), frame())


def test_input_is_left_as_it_was():
    df = frame()
    table = to_biom(df)
    FeatureTable.from_biom(table).rarefy(20, 0, pytest.fail)
    np.testing.assert_array_equal(table.matrix_data.toarray(), df.to_numpy().T)


def test_read(tmp_path):
    df = frame()
    table = to_biom(df)
    with h5py.File(tmp_path / "hdf5.biom", "w") as file:
        table.to_hdf5(file, "test")
    (tmp_path / "json.biom").write_text(table.to_json("test"))
    (tmp_path / "classic.tsv").write_text(table.to_tsv())
    for name in ("hdf5.biom", "json.biom", "classic.tsv"):
        assert_same(FeatureTable.read(tmp_path / name), df)


def test_read_tsv_with_taxonomy(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text(
        "#OTU ID\ts1\ts2\ttaxonomy\nf1\t1.0\t0\tk__B; p__\nf2\t2\t3\tk__B\n"
    )
    expected = pd.DataFrame([[1, 2], [0, 3]], index=["s1", "s2"], columns=["f1", "f2"])
    assert_same(FeatureTable.read(path), expected)


@pytest.mark.parametrize("value", ["", "many"])
def test_no_sample_is_taken_for_taxonomy(tmp_path, value):
    path = tmp_path / "table.tsv"
    path.write_text(f"#OTU ID\ts1\ts2\nf1\t1\t{value}\nf2\t2\t3\n")
    with pytest.raises(InputError, match="line 2: sample 's2' of feature 'f1' is"):
        FeatureTable.read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.biom", ""),
        ("a.fasta", ">a\nACGT\n"),
        ("a.csv", "id,s1\nf1,2\n"),
        ("a.json", json.dumps({"rows": []})),
    ],
)
def test_files_of_another_kind(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name} is not a feature table"):
        FeatureTable.read(tmp_path / name)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        FeatureTable.read(tmp_path)


@pytest.mark.parametrize("value", [-1, 0.5, np.inf, np.nan, 1e300])
def test_what_is_no_count(value):
    df = frame().astype(float)
    df.loc["s3", "f7"] = value
    for make in (
        FeatureTable.from_dataframe,
        lambda df: FeatureTable.from_biom(to_biom(df)),
    ):
        with pytest.raises(InputError, match=r"'s3' has .* reads of feature 'f7'") as e:
            make(df)
        assert f"has {value:g} reads" in str(e.value)


def test_text_is_no_count():
    df = frame().astype(object)
    df.loc["s3", "f7"] = "many"
    with pytest.raises(InputError, match=r"not a number.*many"):
        FeatureTable.from_dataframe(df)


def test_empty_and_repeated():
    df = frame()
    with pytest.raises(InputError, match="no samples"):
        FeatureTable.from_dataframe(df.iloc[:0])
    with pytest.raises(InputError, match="no features"):
        FeatureTable.from_dataframe(df.iloc[:, :0])
    with pytest.raises(InputError, match="no samples"):
        FeatureTable.from_biom(biom.Table(np.empty((0, 0)), [], []))
    with pytest.raises(InputError, match="Sample ids occur more than once: 's1'"):
        FeatureTable.from_dataframe(df.rename(index={"s0": "s1"}))
    with pytest.raises(InputError, match="Feature ids occur more than once: 'f1'"):
        FeatureTable.from_dataframe(df.rename(columns={"f0": "f1"}))


def test_take():
    df = frame()
    table = FeatureTable.from_dataframe(df)
    rows, columns = np.array([5, 0, 3]), np.array([9, 2, 4, 0])
    assert_same(table.take_samples(rows), df.iloc[rows])
    assert_same(table.take_features(columns), df.iloc[:, columns])
    mask = np.arange(12) % 2 == 0
    assert_same(table.take_samples(mask), df[mask])


def test_rarefy_draws_without_replacement():
    df = frame()
    table = FeatureTable.from_dataframe(df)
    depth = int(df.sum(axis=1).min())
    rarefied = table.rarefy(depth, 3, pytest.fail)
    drawn = dense(rarefied)
    assert (rarefied.depths == depth).all()
    assert list(drawn.index) == list(df.index)
    kept = [c for c in df.columns if c in drawn.columns]
    assert list(drawn.columns) == kept  # in the order of the table
    assert (drawn <= df[kept]).all(axis=None)
    assert (drawn.sum() > 0).all()
    assert rarefied.counts.has_sorted_indices
    assert (rarefied.counts.data > 0).all()
    shallowest = df.sum(axis=1).idxmin()  # all of its reads are drawn
    pd.testing.assert_series_equal(
        drawn.loc[shallowest], df.loc[shallowest, kept], check_dtype=False
    )


def test_rarefy_follows_the_hypergeometric_distribution():
    counts = {"a": 5, "b": 30, "c": 1, "d": 64}
    df = pd.DataFrame([counts] * 4000, index=[f"s{i}" for i in range(4000)])
    drawn = dense(FeatureTable.from_dataframe(df).rarefy(20, 0, pytest.fail))
    for name, count in counts.items():
        exact = stats.hypergeom(100, count, 20)
        error = exact.std() / np.sqrt(4000)
        assert abs(drawn[name].mean() - exact.mean()) < 5 * error
        assert drawn[name].var() == pytest.approx(exact.var(), rel=0.15)
    # A feature of a multivariate draw: the counts are negatively correlated.
    expected = -np.sqrt(30 * 64 / (70 * 36))
    assert np.corrcoef(drawn["b"], drawn["d"])[0, 1] == pytest.approx(
        expected, abs=0.05
    )


def test_samples_of_a_billion_reads_are_rarefied_too():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    counts = (shares * 4e9).astype(np.int64)
    ids = [f"s{i}" for i in range(300)]
    table = FeatureTable.from_dataframe(
        pd.DataFrame([counts] * 300, ids, list("abcd"), dtype=np.int64)
    )
    drawn = table.rarefy(200, 3, silent).counts.toarray()
    assert (drawn.sum(axis=1) == 200).all()
    expected = 300 * 200 * shares
    assert stats.chisquare(drawn.sum(axis=0), expected).pvalue > 1e-3
    spread = 200 * shares * (1 - shares)
    assert np.allclose(drawn.var(axis=0, ddof=1), spread, rtol=0.35)
    again = table.take_samples(np.array([7])).rarefy(200, 3, silent).counts.toarray()
    assert np.array_equal(again[0], drawn[7])
    with pytest.raises(InputError, match=r"10,000,000 reads at most.*'s0'"):
        table.rarefy(20_000_000, 3, silent)


def test_without_replacement_even_of_a_billion():
    """A feature of one read is never drawn twice."""
    rows = pd.DataFrame([[10**9, *[1] * 50]], ["s"], [f"f{i}" for i in range(51)])
    drawn = FeatureTable.from_dataframe(rows).rarefy(10_000_000, 0, silent)
    assert drawn.counts.sum() == 10_000_000
    assert drawn.counts.data[1:].max(initial=1) == 1


def test_more_reads_than_can_be_counted_are_refused():
    rows = pd.DataFrame([[2.0**62, 2.0**62], [1, 1]], ["huge", "s"], ["a", "b"])
    with pytest.raises(InputError, match="more reads than can be counted: 'huge'"):
        FeatureTable.from_dataframe(rows)


def test_rarefy_is_independent_of_order_and_other_samples():
    df = frame()
    rng = np.random.default_rng(5)
    expected = dense(FeatureTable.from_dataframe(df).rarefy(30, 7, pytest.fail))
    mixed = df.iloc[rng.permutation(12)[:8], rng.permutation(30)]
    drawn = dense(FeatureTable.from_dataframe(mixed).rarefy(30, 7, pytest.fail))
    expected = expected.loc[drawn.index]
    expected = expected.loc[:, expected.sum() > 0]
    pd.testing.assert_frame_equal(drawn[expected.columns], expected)
    assert drawn.shape == expected.shape
    other = dense(FeatureTable.from_dataframe(df).rarefy(30, 8, pytest.fail))
    assert not other.equals(
        dense(FeatureTable.from_dataframe(df).rarefy(30, 7, pytest.fail))
    )


def test_same_counts_but_other_id_is_another_draw():
    df = pd.DataFrame([[50] * 20] * 2, index=["a", "b"], columns=map(str, range(20)))
    drawn = dense(FeatureTable.from_dataframe(df).rarefy(200, 0, pytest.fail))
    assert (drawn.loc["a"] != drawn.loc["b"]).any()


def test_rarefy_zero_keeps_all():
    table = FeatureTable.from_dataframe(frame())
    assert table.rarefy(0, 1, pytest.fail) is table


def test_rarefy_reports_what_is_left_out():
    df = pd.DataFrame({"f1": [9, 10, 1], "f2": [0, 0, 8], "f3": [3, 0, 0]})
    df.index = ["deep", "enough", "shallow"]
    lines = []
    table = FeatureTable.from_dataframe(df).rarefy(10, 0, lines.append)
    assert len(lines) == 1
    assert "1 of 3 samples have fewer than 10 reads" in lines[0]
    assert "'shallow'" in lines[0]
    assert table.sample_ids.tolist() == ["deep", "enough"]
    assert "f2" not in table.feature_ids


def test_rarefy_deeper_than_any_sample():
    df = pd.DataFrame({"f1": [1_200, 30]}, index=["a", "b"])
    with pytest.raises(InputError, match=r"rarefy_depth = 5,000.*largest has 1,200"):
        FeatureTable.from_dataframe(df).rarefy(5000, 0, pytest.fail)
