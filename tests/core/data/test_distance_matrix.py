import os
import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform
from skbio import DistanceMatrix

from aam_core.data import distance_matrix
from aam_core.data.distance_matrix import (
    MatrixDistances,
    missing_from,
    read_distance_matrix,
)
from aam_core.errors import InputError

IDS = ["s1", "s_2", "003", "x.4", "s5", "s6"]


@pytest.fixture
def matrix() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(6, 3))
    return squareform(pdist(points)) * 10


def write_npy(path, ids, matrix):
    np.save(path / "dm.npy", matrix)
    (path / "dm.ids.txt").write_text("\n".join(ids) + "\n")
    return path / "dm.npy"


def write_ssu(path, ids, matrix):
    with h5py.File(path / "dm.h5", "w") as file:
        file["order"] = np.array([i.encode() for i in ids], dtype=h5py.string_dtype())
        file["matrix"] = matrix
    return path / "dm.h5"


def write_tsv(path, ids, matrix):
    DistanceMatrix(matrix, ids).write(str(path / "dm.tsv"))
    return path / "dm.tsv"


def write_csv(path, ids, matrix):
    pd.DataFrame(matrix, ids, ids).to_csv(path / "dm.csv")
    return path / "dm.csv"


def write_quoted_csv(path, ids, matrix):
    """Write as write.csv and write.table of R do: quotes, no field above the ids."""
    lines = [",".join(f'"{i}"' for i in ids)]
    for name, row in zip(ids, matrix.tolist(), strict=True):
        lines.append(",".join([f'"{name}"', *map(repr, row)]))
    (path / "r.csv").write_text("\n".join(lines))
    return path / "r.csv"


WRITERS = [write_npy, write_ssu, write_tsv, write_csv, write_quoted_csv]
each_format = pytest.mark.parametrize("write", WRITERS)


@each_format
@pytest.mark.parametrize("pickled", [False, True])
def test_every_format_gives_the_distances(tmp_path, matrix, write, pickled):
    ids, read = read_distance_matrix(write(tmp_path, IDS, matrix))
    assert list(ids) == IDS
    samples = ["s5", "003", "s1", "x.4"]
    found = MatrixDistances(ids, read, samples)
    assert found.pairwise
    if pickled:
        found = pickle.loads(pickle.dumps(found))
    rows = np.array([3, 0, 2])  # x.4, s5, s1
    expected = DistanceMatrix(matrix, IDS).filter(["x.4", "s5", "s1"]).data
    values = found(rows)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert found.largest(rows) == pytest.approx(expected.max(), rel=1e-9)


@each_format
@pytest.mark.parametrize(
    "names",
    [["001", "02", "3.0", "1e3", "5", "6"], ["001", "2", "nan", "1e3", "NA", "0x5"]],
)
def test_ids_that_look_like_numbers_are_kept(tmp_path, matrix, write, names):
    ids, _ = read_distance_matrix(write(tmp_path, names, matrix))
    assert list(ids) == names


@pytest.mark.parametrize("write", [write_npy, write_ssu])
def test_files_are_read_in_part_and_stay_out_of_pickles(tmp_path, write):
    n = 1000
    large = np.ones((n, n)) - np.eye(n)
    ids = [str(i) for i in range(n)]
    large[-1] = np.nan  # not among the samples, so that it does not matter
    _, read = read_distance_matrix(write(tmp_path, ids, large))
    found = MatrixDistances(ids, read, ids[:50])
    assert len(pickle.dumps(read)) < 1000
    np.testing.assert_array_equal(found(np.arange(4)), 1 - np.eye(4))


@pytest.mark.parametrize("write", [write_npy, write_ssu])
def test_another_process_opens_the_file_itself(tmp_path, matrix, write, monkeypatch):
    _, read = read_distance_matrix(write(tmp_path, IDS, matrix))
    before = read._array()
    assert read._array() is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert read._array() is not before
    np.testing.assert_array_equal(read[2], matrix[2])


def test_ids_of_npy_can_be_given(tmp_path, matrix):
    np.save(tmp_path / "dm.npy", matrix.astype(np.float32))
    ids, read = read_distance_matrix(tmp_path / "dm.npy", ids=IDS)
    found = MatrixDistances(ids, read, IDS)(np.arange(6))
    np.testing.assert_array_equal(found, matrix.astype(np.float32))


def test_npy_needs_ids(tmp_path, matrix):
    np.save(tmp_path / "dm.npy", matrix)
    with pytest.raises(InputError, match=r"write them to dm\.ids\.txt"):
        read_distance_matrix(tmp_path / "dm.npy")


@each_format
def test_ids_must_be_unique(tmp_path, matrix, write):
    if write is write_tsv:
        path = tmp_path / "dm.tsv"
        pd.DataFrame(matrix, [*IDS[:5], "s1"], [*IDS[:5], "s1"]).to_csv(path, sep="\t")
    else:
        path = write(tmp_path, [*IDS[:5], "s1"], matrix)
    with pytest.raises(InputError, match=rf"{path.name}: .*unique, but 's1' occur"):
        read_distance_matrix(path)


@pytest.mark.parametrize("write", [write_npy, write_ssu])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 5)), r"square, not of shape \(6, 5\)"),
        (np.zeros(15), r"square, not of shape \(15,\)"),
        (np.zeros((7, 7)), "6 sample ids .* 7 rows"),
        (np.zeros((6, 6), dtype=complex), "numbers, not complex"),
    ],
)
def test_arrays_that_are_no_square_matrix(tmp_path, write, array, message):
    path = write(tmp_path, IDS, array)
    with pytest.raises(InputError, match=path.name + ".*" + message):
        read_distance_matrix(path)


def test_hdf5_of_another_kind(tmp_path):
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["order"] = [1.0]
        file["sample"] = [1.0]
    with pytest.raises(InputError, match="it holds 'order', 'sample'"):
        read_distance_matrix(tmp_path / "table.h5")


@pytest.mark.parametrize("name", ["dm.npy", "dm.h5", "dm.hdf5", "dm.csv", "dm.tsv"])
@pytest.mark.parametrize("content", [b"", b"\x80\x81nothing of the kind", b"a\n"])
def test_unreadable_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "dm.ids.txt").write_text("a")
    with pytest.raises(InputError, match=f"{name} could not be read"):
        read_distance_matrix(tmp_path / name)


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "dm.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="could not be read"):
        read_distance_matrix(tmp_path / "dm.npy", ids=["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",a,b\na,0,1\nc,1,0\n", "Rows: 'a', 'c'; columns: 'a', 'b'"),
        (",b,a\na,0,1\nb,1,0\n", "in the same order"),
        (",a,b\na,0\nb,1\n", r"square, not of shape \(2, 1\)"),
        (",a,b\na,0,NA\nb,NA,0\n", "'NA'"),
        ("\ta\tb\na\t0\t1\nb\t1\t0\n", "ids of rows and columns"),
    ],
)
def test_unsuitable_text(tmp_path, text, message):
    (tmp_path / "dm.csv").write_text(text)
    with pytest.raises(InputError, match=r"dm\.csv.*" + message):
        read_distance_matrix(tmp_path / "dm.csv")


def test_other_files(tmp_path, matrix):
    (tmp_path / "dm.qza").touch()
    with pytest.raises(InputError, match=r"dm\.qza: .*\.npy, \.h5"):
        read_distance_matrix(tmp_path / "dm.qza")
    with pytest.raises(InputError, match=r"no file .*dm\.npy"):
        read_distance_matrix(tmp_path / "dm.npy")
    with pytest.raises(InputError, match=r"only given for \.npy"):
        read_distance_matrix(write_csv(tmp_path, IDS, matrix), ids=IDS)


def test_samples_that_the_matrix_lacks(matrix):
    samples = ["s1", *(f"new{i}" for i in range(7))]
    with pytest.raises(
        InputError, match=r"7 of 8 samples .*'new4' and 2 more"
    ) as error:
        MatrixDistances(IDS, matrix, samples)
    assert "missing_samples ignore" in str(error.value)
    assert missing_from(IDS, samples) == samples[1:]
    assert missing_from(np.array(IDS, dtype=object), IDS) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({(1, 2): np.nan, (2, 1): np.nan}, "'s_2' and '003' is not finite"),
        ({(1, 2): np.inf, (2, 1): np.inf}, "not finite"),
        ({(4, 5): -1.0, (5, 4): -1.0}, "'s5' and 's6' is negative"),
        ({(3, 3): 0.5}, "'x.4' and 'x.4' is not zero"),
        ({(0, 3): 99.0}, "'s1' and 'x.4' is not symmetric"),
    ],
)
def test_values_that_are_no_distances(matrix, changes, message, monkeypatch):
    for place, value in changes.items():
        matrix[place] = value
    with pytest.raises(InputError, match=message):
        MatrixDistances(IDS, matrix, IDS)
    monkeypatch.setattr(distance_matrix, "CHECKED_AT_ONCE", 0)
    found = MatrixDistances(IDS, matrix, IDS)
    with pytest.raises(InputError, match=message):
        found(np.arange(6))


def test_rounding_is_no_asymmetry(matrix):
    matrix[0, 3] *= 1 + 1e-7  # float32
    MatrixDistances(IDS, matrix, IDS)


def test_ids_that_do_not_fit(matrix):
    with pytest.raises(InputError, match=r"5 sample ids .* 6 rows"):
        MatrixDistances(IDS[:5], matrix, ["s1"])


def test_largest_by_blocks(matrix, monkeypatch):
    monkeypatch.setattr(distance_matrix, "BLOCK", 2)
    matrix[4, 5] = matrix[5, 4] = 100  # in the last block
    found = MatrixDistances(IDS, matrix, IDS)
    rows = np.array([0, 1, 3, 4, 5])
    assert found.largest(rows) == 100
    assert found.largest(rows[:4]) == matrix[np.ix_(rows[:4], rows[:4])].max()
    assert found.largest(rows[:1]) == 0


TEXT = "\ta\tb\tNA\na\t0\t1\t2\nb\t1\t0\t3\nNA\t2\t3\t0\n"


def test_text_with_an_id_that_looks_missing(tmp_path):
    (tmp_path / "dm.tsv").write_text(TEXT)
    ids, matrix = read_distance_matrix(tmp_path / "dm.tsv")
    assert ids.tolist() == ["a", "b", "NA"]
    assert matrix.tolist() == [[0, 1, 2], [1, 0, 3], [2, 3, 0]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1\t0\t3", "1\tx\t3", "between 'b' and 'b' is 'x', which is no number"),
        ("1\t0\t3", "1\t0\t", "between 'b' and 'NA' is '', which is no number"),
        ("1\t0\t3", "1\t0\tnan", "between 'b' and 'NA' is 'nan'"),
        ("\n".join(["1\t0\t3", ""]), "1\t0\n", "the row of 'b' has 2 distances, but"),
        ("NA\t2\t3\t0", "NA\t2\t3\t0\t9", "the row of 'NA' has 4 distances"),
        ("NA\t2\t3\t0", "NA\t2", "the row of 'NA' has 1 distances"),
    ],
)
def test_cells_of_text_that_are_no_distances(tmp_path, old, new, message):
    (tmp_path / "dm.tsv").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_distance_matrix(tmp_path / "dm.tsv")


def test_hdf5_without_a_matrix(tmp_path):
    with h5py.File(tmp_path / "dm.h5", "w") as file:
        file["order"], file["matrix"] = ["a"], h5py.Empty("f8")
    with pytest.raises(InputError, match="its matrix is empty"):
        read_distance_matrix(tmp_path / "dm.h5")
