"""A study and a table of targets, as the yardstick reads them."""

import biom
import pytest
from biom.util import biom_open

from benchmarks.accuracy import cells, shared
from benchmarks.accuracy.targets import read_targets
from tests import generate

HEADER = "study table sequences tree metadata column task group query depth note"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of targets beside one study, as files."""
    folder = tmp_path_factory.mktemp("yardstick")
    made = generate.study(samples=40)
    (folder / "one").mkdir()
    table = biom.Table(
        made.table.counts.T.toarray().astype(float),
        made.table.feature_ids,
        made.table.sample_ids,
    )
    with biom_open(str(folder / "one" / "table.biom"), "w") as handle:
        table.to_hdf5(handle, "a test")
    known = list(made.sequences.items())[:-3]
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in known)
    (folder / "one" / "seqs.fasta").write_text(text)
    metadata = made.metadata.astype(str)
    metadata.loc["s00", "value"] = "not applicable"
    metadata.loc["s01", "value"] = "Missing"
    metadata.loc["s02", "kind"] = "odd"
    metadata.loc["s03", "subject"] = ""
    metadata.to_csv(folder / "one" / "metadata.tsv", sep="\t")
    rows = [
        "one table.biom seqs.fasta  metadata.tsv value regression subject  200 ",
        "one table.biom seqs.fasta  metadata.tsv kind classification  site!='x' 200 ",
    ]
    lines = [HEADER, *rows]
    targets = folder / "targets.tsv"
    targets.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def targets(folder):
    return read_targets(folder / "targets.tsv")


@pytest.fixture
def in_process(monkeypatch):
    """Cells are computed here, all of them anew."""

    def here(wanted, results, jobs):
        for cell in wanted:
            cells.keep(cell, results)
            yield cell, ""

    monkeypatch.setattr(shared, "compute_all", here)
