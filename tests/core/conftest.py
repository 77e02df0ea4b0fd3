"""Studies and models that several tests read, and none changes."""

import biom
import pytest
from biom.util import biom_open

from tests import generate
from tests.runs import go


@pytest.fixture(scope="session")
def made():
    return generate.study(samples=32)


@pytest.fixture(scope="session")
def smaller():
    """Of 24 samples."""
    return generate.study()


@pytest.fixture(scope="session")
def files(smaller, tmp_path_factory):
    """The smaller study as files."""
    folder = tmp_path_factory.mktemp("files")
    table = biom.Table(
        smaller.table.counts.T.tocsr().astype(float),
        smaller.table.feature_ids,
        smaller.table.sample_ids,
    )
    with biom_open(str(folder / "table.biom"), "w") as handle:
        table.to_hdf5(handle, "test")
    fasta = "".join(f">{name}\n{text}\n" for name, text in smaller.sequences.items())
    (folder / "seqs.fasta").write_text(fasta)
    smaller.tree.write(str(folder / "tree.nwk"))
    smaller.metadata.to_csv(folder / "metadata.tsv", sep="\t")
    return folder


@pytest.fixture(scope="session")
def study():
    """As a model reads it."""
    return generate.prepared(samples=10)


@pytest.fixture(scope="session")
def saved_model(made, tmp_path_factory):
    """A model of an epoch of training."""
    return go("train", made, tmp_path_factory.mktemp("model") / "m")
