"""Simulated studies as the files that `aam pretrain` reads.

Shapes: N samples, V ASVs of a study, F ASVs of all studies.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import biom
import numpy as np
import pandas as pd
from biom.util import biom_open
from scipy import sparse

from tools.general_encoder.communities import Asv
from tools.general_encoder.reference import Reference


@dataclass(frozen=True, eq=False)
class Simulated:
    """A study: (N, V) reads of the ASVs that were seen."""

    name: str
    region: str
    asvs: Sequence[Asv]
    counts_NV: np.ndarray

    @classmethod
    def of(
        cls, name: str, region: str, asvs: Sequence[Asv], counts_NV: np.ndarray
    ) -> "Simulated":
        """Without the ASVs that no sample has."""
        seen = np.flatnonzero(counts_NV.any(axis=0))
        return cls(name, region, [asvs[i] for i in seen], counts_NV[:, seen])

    @property
    def sample_ids(self) -> list[str]:
        """Names of the samples, of which no other study has one."""
        return [f"{self.name}.{row:03d}" for row in range(len(self.counts_NV))]


def write(studies: Sequence[Simulated], reference: Reference, out: Path) -> None:
    """Write `table.biom`, `asvs.fasta`, `tree.nwk` and `metadata.tsv` of all studies.

    A sequence that several studies show is one ASV, at the tip of the first of them.

    Parameters
    ----------
    studies : sequence of Simulated
        Of this reference.
    reference : Reference
        With the tree.
    out : Path
        Folder, made if it is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    asvs: dict[str, Asv] = {}
    for study in studies:
        for asv in study.asvs:
            asvs.setdefault(asv.sequence, asv)
    ids = {sequence: f"asv{place:06d}" for place, sequence in enumerate(asvs)}
    samples = [name for study in studies for name in study.sample_ids]
    table = biom.Table(_joined(studies, ids).T.tocsr(), list(ids.values()), samples)
    with biom_open(str(out / "table.biom"), "w") as file:
        table.to_hdf5(file, "tools.general_encoder")
    fasta = "".join(f">{name}\n{sequence}\n" for sequence, name in ids.items())
    (out / "asvs.fasta").write_text(fasta)
    of_tip: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for sequence, asv in asvs.items():
        tip = reference.phylogeny.tip_names[asv.tip]
        of_tip[tip].append((ids[sequence], asv.length))
    (out / "tree.nwk").write_text(reference.with_asvs(of_tip))
    rows = [(name, s.name, s.region) for s in studies for name in s.sample_ids]
    metadata = pd.DataFrame(rows, columns=["sample-id", "study", "region"])
    metadata.to_csv(out / "metadata.tsv", sep="\t", index=False)


def _joined(studies: Sequence[Simulated], ids: dict[str, str]) -> sparse.csr_matrix:
    """Reads of all F ASVs in the samples of all studies."""
    place = {sequence: i for i, sequence in enumerate(ids)}
    blocks = []
    for study in studies:
        columns = np.array([place[asv.sequence] for asv in study.asvs])
        part = sparse.coo_matrix(study.counts_NV)
        where = part.row, columns[part.col]
        size = len(study.counts_NV), len(place)
        blocks.append(sparse.csr_matrix((part.data, where), size))
    return sparse.vstack(blocks).tocsr()
