"""Reference sequences and their tree, from the archive that holds both.

The archive is the source distribution of the Python package qiime-default-reference:
representative sequences of the 97 % OTUs of Greengenes 13_8, and their tree.
"""

import gzip
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.errors import InputError, some

SEQUENCES, TREE = "97_otus.fasta.gz", "97_otus.tree.gz"
#: A tip: names of inner nodes come after a bracket that closes.
_TIP = re.compile(r"(?<=[(,])[^(),:;']+(?=:)")
#: An inner node without a length; the one below Greengenes' root has none.
_NO_LENGTH = re.compile(r"\)('[^']*'|[^(),:;']*)(?=[,)])")


@dataclass(frozen=True, eq=False)
class Reference:
    """Full-length sequences in the order of the tips of their tree."""

    newick: str
    phylogeny: Phylogeny
    sequences: Sequence[str]

    @classmethod
    def read(cls, archive: Path, folder: Path) -> "Reference":
        """Read the archive; `folder` takes what is unpacked.

        Raises
        ------
        InputError
            If it lacks the sequences or the tree, or these do not belong together.
        """
        folder.mkdir(parents=True, exist_ok=True)
        texts = []
        with tarfile.open(archive) as files:
            for name in (SEQUENCES, TREE):
                inside = [n for n in files.getnames() if n.endswith(f"/{name}")]
                if not inside:
                    raise InputError(f"{archive} holds no {name}.")
                texts.append(gzip.decompress(files.extractfile(inside[0]).read()))
        fasta, tree = folder / "reference.fasta", folder / "reference.nwk"
        fasta.write_bytes(texts[0])
        tree.write_text(_NO_LENGTH.sub(r")\1:0", texts[1].decode()))
        return cls.of(read_fasta(fasta), tree)

    @classmethod
    def of(cls, sequences: Mapping[str, str], tree: Path) -> "Reference":
        """From sequences by id, and a Newick file."""
        phylogeny = Phylogeny.read(tree)
        if lost := sorted(set(phylogeny.tip_names) - set(sequences)):
            raise InputError(f"{len(lost):,} tips have no sequence: {some(lost)}.")
        in_order = [sequences[name].upper() for name in phylogeny.tip_names]
        return cls(tree.read_text(), phylogeny, in_order)

    def clades(self, least: int, most: int) -> np.ndarray:
        """(K, 2) first tip, and the one after the last, of clades of such sizes."""
        low, high = self.phylogeny.low, self.phylogeny.high
        fits = (high - low >= least) & (high - low <= most)
        return np.stack([low[fits], high[fits]], axis=1)

    def with_asvs(self, asvs: Mapping[str, Sequence[tuple[str, float]]]) -> str:
        """The tree with ASVs, each (id, branch length), in the place of their tips.

        Parameters
        ----------
        asvs : mapping
            The ASVs of each tip that has some; other tips stay as they are.

        Returns
        -------
        str
            Newick.
        """

        def below(tip: re.Match) -> str:
            found = asvs.get(tip[0])
            if not found:
                return tip[0]
            return f"({','.join(f'{name}:{length:.6g}' for name, length in found)})"

        return _TIP.sub(below, self.newick)
