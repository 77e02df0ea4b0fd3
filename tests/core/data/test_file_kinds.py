"""Files that are something else than they should be are named as what they are."""

import bz2
import gzip
import lzma
import zipfile

import h5py
import numpy as np
import pytest

from aam_core.data.biom_file import read_biom
from aam_core.data.distance_matrix import read_distance_matrix
from aam_core.data.metadata import read_metadata
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError

READERS = {
    "table": FeatureTable.read,
    "fasta": read_fasta,
    "newick": Phylogeny.read,
    "matrix": read_distance_matrix,
    "metadata": read_metadata,
}


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name, "text")


def hdf5(path):
    with h5py.File(path, "w") as made:
        made["data"] = np.arange(3)


WRITERS = {
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"x")), "gunzip --keep"),
    "bzip2": (lambda p: p.write_bytes(bz2.compress(b"x")), "bunzip2 --keep"),
    "xz": (lambda p: p.write_bytes(lzma.compress(b"x")), "unxz --keep"),
    "an HDF5 file": (hdf5, "Name the file of text"),
    "a QIIME 2 artifact": (
        lambda p: archive(p, "0a1b/VERSION", "0a1b/data/tree.nwk"),
        "qiime tools export --input-path",
    ),
    "a zip archive": (lambda p: archive(p, "xl/workbook.xml"), "spreadsheet"),
    "UTF-16": (lambda p: p.write_bytes("a\tb".encode("utf-16")), "Save it as UTF-8"),
    "a PDF": (lambda p: p.write_bytes(b"%PDF-1.7"), "Name the file of text"),
}
#: What readers understand besides text.
READ = {
    ("table", "gzip"),
    ("table", "an HDF5 file"),
    ("newick", "gzip"),
    ("newick", "bzip2"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("reader", READERS)
def test_what_it_is_and_what_to_do(reader, kind, tmp_path):
    write, remedy = WRITERS[kind]
    path = tmp_path / "file.tsv"
    write(path)
    with pytest.raises(InputError) as error:
        READERS[reader](path)
    assert str(path) in str(error.value)
    if (reader, kind) not in READ:
        assert kind in str(error.value)
        assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"id": 1}', "as JSON it cannot be read: it has no"),
        ("{", "as JSON it cannot be read: Expecting"),
    ],
)
def test_biom_says_why_itself(text, match, tmp_path):
    path = tmp_path / "t.biom"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        read_biom(path)


def test_an_hdf5_that_is_no_biom(tmp_path):
    hdf5(tmp_path / "t.biom")
    with pytest.raises(InputError, match=r"as HDF5 it cannot be read: .*sample/ids"):
        read_biom(tmp_path / "t.biom")
    (tmp_path / "cut.biom").write_bytes((tmp_path / "t.biom").read_bytes()[:600])
    with pytest.raises(InputError, match="as HDF5 it cannot be read"):
        read_biom(tmp_path / "cut.biom")


def test_ids_that_biom_cannot_read_are_named(tmp_path):
    with h5py.File(tmp_path / "t.biom", "w") as made:
        made["sample/ids"] = np.array(["Käse", "s2"], dtype=h5py.string_dtype())
        made["observation/ids"] = np.array(["a"], dtype=h5py.string_dtype())
    with pytest.raises(InputError, match=r"sample ids that are not ASCII.*'Käse'"):
        read_biom(tmp_path / "t.biom")
