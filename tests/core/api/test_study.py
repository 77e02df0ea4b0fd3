"""A study as Python users see it, and what is imported for it."""

import subprocess
import sys

import biom
import numpy as np
import pandas as pd
import pytest
import skbio

import aam_core as aam
from aam_core.data.spelled_numbers import plain_numbers
from aam_core.errors import InputError

# --- what is imported ---


def test_torch_is_imported_when_it_is_needed(files):
    code = f"""
import sys, skbio  # some versions of scikit-bio import torch
others = set(sys.modules)
import aam_core as aam
assert {{m for m in set(sys.modules) - others if "aam" in m}} == {{"aam_core"}}
assert {{"Study", "Encoder", "Regressor", "Classifier", "load"}} <= set(dir(aam))
folder = {str(files)!r}
study = aam.Study.read(
    f"{{folder}}/table.biom", sequences=f"{{folder}}/seqs.fasta",
    metadata=f"{{folder}}/metadata.tsv", tree=f"{{folder}}/tree.nwk",
)
study.take(study.sample_ids[:5])
for made in (aam.Encoder(preset="tiny"), aam.Regressor("value"), aam.Classifier("x")):
    repr(made), made._repr_html_(), made.get_params()
print("torch" in set(sys.modules) - others, "torch" in others)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "False"


# --- a study ---


def test_a_study_from_files(files, smaller):
    study = aam.Study.read(
        files / "table.biom",
        sequences=files / "seqs.fasta",
        metadata=files / "metadata.tsv",
        tree=files / "tree.nwk",
    )
    assert (study.table.counts != smaller.table.counts).nnz == 0
    assert study.sample_ids == list(smaller.table.sample_ids)
    assert study.feature_ids == list(smaller.table.feature_ids)
    assert study.sequences == smaller.sequences
    assert set(study.phylogeny.tip_names) == set(study.feature_ids)
    read = plain_numbers(study.metadata)
    pd.testing.assert_series_equal(read["value"], smaller.metadata["value"])
    assert len(study) == 24
    assert repr(study) == (
        "Study(24 samples, 40 features, sequences, metadata of 4 columns, tree)"
    )


def test_a_study_from_what_is_in_memory(smaller, files):
    table = smaller.table
    frame = pd.DataFrame.sparse.from_spmatrix(
        table.counts, table.sample_ids, table.feature_ids
    )
    matrix = biom.Table(table.counts.T, table.feature_ids, table.sample_ids)
    for given in (frame, matrix, table):
        study = aam.Study(given, sequences=pd.Series(smaller.sequences))
        assert (study.table.counts != table.counts).nnz == 0
        assert study.sequences == smaller.sequences
        assert study.metadata is study.phylogeny is study.distances is None
    for tree in (files / "tree.nwk", str(files / "tree.nwk"), smaller.tree):
        found = aam.Study(table, tree=tree).phylogeny
        assert set(found.tip_names) == set(table.feature_ids)
    square = 1 - np.eye(24)
    for given in (
        skbio.DistanceMatrix(square, table.sample_ids),
        (table.sample_ids, square),
        (table.sample_ids, square.tolist()),
    ):
        ids, matrix = aam.Study(table, distances=given).distances
        assert ids == list(table.sample_ids)
        np.testing.assert_array_equal(matrix, square)


def test_distances_from_a_file(tmp_path, smaller):
    square = pd.DataFrame(1 - np.eye(24), *[smaller.table.sample_ids] * 2)
    square.to_csv(tmp_path / "d.tsv", sep="\t")
    (tmp_path / "t.tsv").write_text("#OTU ID\ts00\ts01\nACGTACGTACGTACGTACGT\t1\t2\n")
    study = aam.Study.read(tmp_path / "t.tsv", distances=tmp_path / "d.tsv")
    assert repr(study) == "Study(2 samples, 1 feature, distances)"


def test_ids_become_text():
    counts = pd.DataFrame({"ACGTACGTACGTACGTACGT": [1, 2, 3]}, index=[7, 8, 9])
    metadata = pd.DataFrame({"ph": [1.0, 2.0, 3.0]}, index=[9, 8, 100])
    study = aam.Study(counts, metadata=metadata)
    assert study.sample_ids == ["7", "8", "9"]
    assert list(study.metadata.index) == ["9", "8"]
    assert list(metadata.index) == [9, 8, 100]
    assert study.take([9]).metadata["ph"].to_dict() == {"9": 1.0}


def test_some_samples_of_a_study(whole, made):
    chosen = made.metadata.index[made.metadata["kind"] == "high"][::-1]
    part = whole.take(chosen)
    assert part.sample_ids == list(chosen)
    assert set(part.metadata["kind"]) == {"high"}
    assert part.feature_ids == whole.feature_ids
    rows = [whole.sample_ids.index(i) for i in chosen]
    assert (part.table.counts != made.table.counts[rows]).nnz == 0
    assert len(whole) == 32
    assert whole.take("s03").sample_ids == ["s03"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["s01", "t1", "t2"], "2 of 3 ids are not among the samples: 't1', 't2'"),
        (["s01", "s02", "s01"], "named more than once: 's01'"),
        ([], "No sample is named"),
    ],
)
def test_samples_that_a_study_has_not(whole, ids, message):
    with pytest.raises(InputError, match=message):
        whole.take(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "table.biom"}, r"table is a str, .*Study\.read"),
        ({"sequences": "seqs.fasta"}, "sequences is a str"),
        ({"metadata": {"a": 1}}, "metadata is a dict"),
        ({"tree": 5}, "tree is a int"),
        ({"distances": [1, 2]}, "distances is a list"),
        ({"metadata": pd.DataFrame({"a": [1]}, ["x"])}, "use the same ids .*'x'"),
        ({"metadata": pd.DataFrame({"a": [1, 2]}, ["s01"] * 2)}, "once.*'s01'"),
    ],
)
def test_what_is_no_study(smaller, change, message):
    given = {"table": smaller.table} | change
    with pytest.raises(InputError, match=message):
        aam.Study(given.pop("table"), **given)
