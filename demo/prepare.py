"""Fetch the demo's data and bring them into the form that QIIME 2 imports.

The samples are bacterial communities of Chardonnay must from vineyards in California;
q2-sample-classifier carries them among its test data. Their features are OTUs of
Greengenes 13_8, whose sequences, taxonomy and tree the package qiime-default-reference
carries.
"""

import gzip
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import qiime2
import skbio

CACHE = Path(".cache")
REFERENCE = CACHE / "qiime-default-reference-0.1.3.tar.gz"
SHA256 = "8dea65590d044500130c59927ebb150b3a01f3cc274bd47d389b64b45c58c992"

PRIMER_515F = "GTGCCAGCMGCCGCGGTAA"
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "M": "AC"}
#: At the primer's site the reference differs by up to 6; elsewhere by 7 and more.
MOST_MISMATCHES = 6
LENGTH = 150


def main(output: Path) -> None:
    """Write the demo's input files to `output`."""
    output.mkdir(parents=True, exist_ok=True)
    data = resources.files("q2_sample_classifier") / "tests" / "data"
    table_qza = output / "chardonnay-table.qza"
    table_qza.write_bytes((data / "chardonnay.table.qza").read_bytes())
    table = qiime2.Artifact.load(table_qza).view(biom.Table)
    labelled = pd.read_csv(data / "chardonnay.map.txt", sep="\t", index_col=0)
    print(f"{table.shape[1]} samples, {len(labelled)} of them with a known region.")

    fetch_reference()
    known = {i: s for i, s in read_fasta() if table.exists(i, "observation")}
    regions = {i: cut_v4(sequence) for i, sequence in known.items()}
    regions = {i: region for i, region in regions.items() if region}
    fraction = table.filter(regions, "observation", inplace=False).sum() / table.sum()
    print(
        f"{table.shape[0]} features, {len(known)} of them in Greengenes 13_8; "
        f"{len(regions)} have the V4 region after the 515F primer: "
        f"{fraction:.0%} of the reads."
    )
    write_features(output, regions)
    write_tree(output, regions)
    write_metadata(output, labelled, table.ids())


def fetch_reference() -> None:
    """Download the reference once (35 MB) and check it."""
    if REFERENCE.exists() and sha256(REFERENCE) == SHA256:
        return
    print("Downloading qiime-default-reference 0.1.3 (35 MB) …", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    try:
        subprocess.run(
            [*pip, "--dest", CACHE, "qiime-default-reference==0.1.3"], check=True
        )
    except subprocess.CalledProcessError:
        sys.exit("The reference could not be downloaded: is the network there?")
    if sha256(REFERENCE) != SHA256:
        sys.exit(f"{REFERENCE} is not the file it should be: remove it and try again.")


def sha256(path: Path) -> str:
    """Checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_lines(path: str) -> Iterator[str]:
    """Lines of a file of the reference."""
    name = f"qiime-default-reference-0.1.3/qiime_default_reference/gg_13_8_otus/{path}"
    with (
        tarfile.open(REFERENCE) as archive,
        archive.extractfile(name) as packed,
        gzip.open(packed, "rt") as lines,
    ):
        yield from lines


def read_fasta() -> Iterator[tuple[str, str]]:
    """Ids and 16S rRNA gene sequences of the reference."""
    lines = read_lines("rep_set/97_otus.fasta.gz")
    for header, sequence in zip(lines, lines, strict=True):
        yield header[1:].split()[0], sequence.strip()


def cut_v4(sequence: str) -> str | None:
    """Return the 150 nucleotides behind the best match of the primer, if it has one."""
    nucleotides = np.array(list(sequence))
    starts = len(sequence) - len(PRIMER_515F) - LENGTH + 1
    if starts < 1:
        return None
    mismatches = np.zeros(starts, int)
    for offset, letter in enumerate(PRIMER_515F):
        window = nucleotides[offset : offset + starts]
        mismatches += ~np.isin(window, list(IUPAC[letter]))
    start = int(mismatches.argmin())
    if mismatches[start] > MOST_MISMATCHES:
        return None
    start += len(PRIMER_515F)
    return sequence[start : start + LENGTH]


def write_features(output: Path, regions: dict[str, str]) -> None:
    """Write the sequences, and the features' taxonomy as their metadata."""
    fasta = "".join(f">{i}\n{region}\n" for i, region in regions.items())
    (output / "sequences.fasta").write_text(fasta)
    pairs = (
        line.rstrip("\n").split("\t")
        for line in read_lines("taxonomy/97_otu_taxonomy.txt.gz")
    )
    rows = [f"{i}\t{taxon}\n" for i, taxon in pairs if i in regions]
    (output / "features.tsv").write_text("feature-id\ttaxon\n" + "".join(rows))


def write_tree(output: Path, regions: dict[str, str]) -> None:
    """Write the tree of the reference, restricted to the features."""
    print("Cutting the Greengenes tree to these features …", flush=True)
    tree = skbio.TreeNode.read(list(read_lines("trees/97_otus.tree.gz")))
    tree = tree.shear(list(regions))
    tree.write(str(output / "tree.nwk"))


def write_metadata(output: Path, labelled: pd.DataFrame, ids: Iterable[str]) -> None:
    """Write the metadata of the labelled samples, and the ids of the others."""
    labelled = labelled.rename_axis("sample-id").sort_index()
    labelled.to_csv(output / "labelled.tsv", sep="\t")
    others = sorted(set(ids) - set(labelled.index))
    pd.Index(others, name="sample-id").to_frame(index=False).to_csv(
        output / "unlabelled.tsv", sep="\t", index=False
    )
    print(f"{len(labelled)} labelled samples to learn from, {len(others)} others.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
