"""Real studies: their files, and the folds that are held out in turn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold

from aam_core.data.metadata import read_metadata
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable


@dataclass(frozen=True)
class Data:
    """A study and what is predicted of it."""

    table: FeatureTable  #: samples with a value of `column` only
    sequences: Mapping[str, str] | None
    phylogeny: Phylogeny
    metadata: pd.DataFrame  #: in the order of the table
    column: str
    group: str | None

    @property
    def task(self) -> str:
        """Regression of numbers, classification of anything else."""
        numeric = pd.api.types.is_numeric_dtype(self.metadata[self.column])
        return "regression" if numeric else "classification"

    def take(self, rows: np.ndarray) -> "Data":
        """The samples of these rows."""
        table, metadata = self.table.take_samples(rows), self.metadata.iloc[rows]
        more = (self.sequences, self.phylogeny)
        return Data(table, *more, metadata, self.column, self.group)


def folds(
    metadata: pd.DataFrame, group: str | None, number: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of training and of held-out samples; groups are never divided."""
    if group:
        return GroupKFold(number).split(metadata, groups=metadata[group])
    return KFold(number, shuffle=True, random_state=0).split(metadata)


def read(
    table: Path,
    sequences: Path | None,
    tree: Path,
    metadata: Path,
    column: str,
    group: str | None,
) -> Data:
    """A study from its files, samples in the order of their ids."""
    counts, labels = FeatureTable.read(table), read_metadata(metadata)
    labels = labels.loc[labels.index.isin(counts.sample_ids)]
    labels = labels[labels[column].notna()].sort_index()
    rows = pd.Index(counts.sample_ids).get_indexer(labels.index)
    known = read_fasta(sequences) if sequences else None
    chosen = counts.take_samples(rows)
    return Data(chosen, known, Phylogeny.read(tree), labels, column, group)
