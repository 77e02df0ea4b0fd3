"""What is predicted of which study, as a table of targets lists it.

Shapes: N samples, F features.
"""

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.data.sequences import match_sequences, read_fasta
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError, some
from aam_core.reporting import silent

COLUMNS = (
    *("study", "table", "sequences", "tree", "metadata", "column", "task", "group"),
    *("query", "depth"),
)
#: Words for a value that there is not (INSDC, and what files have besides).
MISSING = (
    *(
        "not applicable",
        "not provided",
        "not collected",
        "missing",
        "restricted access",
    ),
    *("nan", "na", ""),
)
#: Classes of fewer samples are left out.
FEWEST = 10


@dataclass(frozen=True)
class Target:
    """A row of the table of targets; its files lie in the folder of the study."""

    study: str
    table: Path
    sequences: Path | None  #: FASTA; None where the ids of features are sequences
    tree: Path | None
    metadata: Path
    column: str
    task: str  #: regression or classification
    group: str | None  #: column whose values are never divided between folds
    query: str | None  #: which samples take part, in the words of pandas
    depth: int  #: fewest reads; with rarefied reads, so many of each sample
    unit: str = ""  #: of numbers, as figures name it; the table need not have it

    @property
    def name(self) -> str:
        """Study and column."""
        return f"{self.study}-{self.column}"


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a target that take part, sorted by id."""

    table: FeatureTable
    sequences: Mapping[str, str] | None
    labels: pd.Series  #: (N,) numbers, or texts
    groups: np.ndarray | None  #: (N,) texts
    notes: tuple[str, ...] = ()  #: what was left out
    tree: Path | None = None

    @property
    def depths(self) -> np.ndarray:
        """(N,) reads."""
        return self.table.depths

    def take(self, rows: np.ndarray) -> "Samples":
        """The samples of these rows."""
        groups = None if self.groups is None else self.groups[rows]
        table, labels = self.table.take_samples(rows), self.labels.iloc[rows]
        return replace(self, table=table, labels=labels, groups=groups)


def read_targets(path: Path) -> list[Target]:
    """The targets of a TSV, whose studies are folders beside it.

    Raises
    ------
    InputError
        If a column or a file is not there.
    """
    rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if lacking := [name for name in COLUMNS if name not in rows]:
        raise InputError(f"{path} lacks the columns {some(lacking)}.")
    targets = []
    for row in rows.to_dict("records"):
        folder = path.parent / row["study"]
        files = {n: row[n] and folder / row[n] for n in ("sequences", "tree")}
        found = Target(
            study=row["study"],
            table=folder / row["table"],
            metadata=folder / row["metadata"],
            column=row["column"],
            task=row["task"],
            group=row["group"] or None,
            query=row["query"] or None,
            depth=int(row["depth"]),
            unit=row.get("unit", ""),
            **{name: value or None for name, value in files.items()},
        )
        given = (found.table, found.metadata, found.sequences, found.tree)
        if lost := [str(p) for p in given if p is not None and not p.is_file()]:
            raise InputError(f"{path}: {some(lost)} are not there.")
        targets.append(found)
    return targets


def read_samples(target: Target, rarefied: bool, seed: int = 0) -> Samples:
    """The samples that take part, the same whoever predicts them.

    Those with a label, `depth` reads, and a class of `FEWEST` samples; features with a
    sequence. With `rarefied` reads, `depth` of each are drawn.
    """
    table, labels = _read_table(target.table), _read_labels(target)
    sequences = None if target.sequences is None else read_fasta(target.sequences)
    notes = []
    if sequences is not None:
        found = match_sequences(table.feature_ids, sequences)
        known = np.array([s is not None for s in found])
        lost = table.take_features(~known).depths.sum() / table.depths.sum()
        notes.append(f"{(~known).sum():,} features without sequence ({lost:.2%})")
        table = table.take_features(known)
    deep = set(table.sample_ids[table.depths >= target.depth])
    few = [i for i in labels.index if i in set(table.sample_ids) - deep]
    notes.append(f"{len(few):,} samples of fewer than {target.depth:,} reads")
    labels = labels[[i in deep for i in labels.index]].sort_index()
    if target.task == "classification":
        sizes = labels["label"].value_counts()
        rare = sizes[sizes < FEWEST]
        notes.append(
            f"classes of fewer than {FEWEST} samples: {rare.to_dict() or 'none'}"
        )
        labels = labels[~labels["label"].isin(rare.index)]
    rows = pd.Index(table.sample_ids).get_indexer(labels.index)
    table = table.take_samples(rows)
    if rarefied:
        table = table.rarefy(target.depth, seed, silent)
    table = table.take_features(table.observed_features())
    groups = labels["group"].to_numpy(str) if target.group else None
    return Samples(table, sequences, labels["label"], groups, tuple(notes), target.tree)


def _read_table(path: Path) -> FeatureTable:
    """A feature table, also from a QIIME 2 artifact."""
    if path.suffix != ".qza":
        return FeatureTable.read(path)
    with zipfile.ZipFile(path) as artifact, tempfile.TemporaryDirectory() as folder:
        inside = [n for n in artifact.namelist() if n.endswith("feature-table.biom")]
        return FeatureTable.read(artifact.extract(inside[0], folder))


def values_of(target: Target, column: str, samples: Samples) -> pd.Series:
    """(N,) texts that a column of the metadata has for these samples.

    Raises
    ------
    InputError
        If there is no such column.
    """
    table = _read_metadata(target)
    if column not in table:
        raise InputError(f"{target.metadata} has no column {column}.")
    return table.loc[samples.labels.index, column]


def _read_metadata(target: Target) -> pd.DataFrame:
    table = pd.read_csv(
        target.metadata, sep="\t", dtype=str, keep_default_na=False, low_memory=False
    )
    table = table.set_index(table.columns[0])
    return table[~table.index.str.startswith("#q2:") & ~table.index.duplicated()]


def _read_labels(target: Target) -> pd.DataFrame:
    """`label` and, where there are groups, `group` of the samples that have both."""
    table = _read_metadata(target)
    if target.query:
        table = table.query(target.query)
    found = pd.DataFrame({"label": table[target.column]})
    if target.group:
        found["group"] = table[target.group]
    lacking = found.apply(lambda column: column.str.strip().str.lower().isin(MISSING))
    found = found[~lacking.any(axis=1)]
    if target.task == "regression":
        found["label"] = pd.to_numeric(found["label"], errors="coerce")
        found = found[found["label"].notna()]
    return found
