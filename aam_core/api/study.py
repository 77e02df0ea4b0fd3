"""A study as users have it: a table, and what belongs to its samples and features."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import biom
import numpy as np
import pandas as pd

from aam_core.data.distance_matrix import read_distance_matrix
from aam_core.data.metadata import read_metadata
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError, some

if TYPE_CHECKING:
    import skbio


class Study:
    """Samples, the sequences of their ASVs, and what is known of both.

    Parameters
    ----------
    table : biom.Table, pandas.DataFrame or FeatureTable
        Reads of each feature in each sample; a data frame has samples in rows.
    sequences : mapping, optional
        The sequence of each feature id. Without it the ids are the sequences.
    metadata : pandas.DataFrame, optional
        Sample metadata, indexed by sample id. Samples that the table lacks are left
        out.
    tree : path or skbio.TreeNode, optional
        Rooted phylogeny whose tips are named after the features (Newick, if a file);
        from it UniFrac is computed.
    distances : skbio.DistanceMatrix or tuple, optional
        Distances between the samples, or (ids, square matrix), where there is no tree.

    Attributes
    ----------
    table : FeatureTable
    sequences : dict or None
    metadata : pandas.DataFrame or None
    phylogeny : Phylogeny or None
    distances : tuple or None
        Sample ids and the matrix.

    Raises
    ------
    InputError
        If something is not what it should be. Whether sequences, tree and distances
        fit the table is checked when something is fitted or predicted.

    Examples
    --------
    >>> import pandas as pd
    >>> import aam_core as aam
    >>> counts = pd.DataFrame(
    ...     {"asv1": [30, 0, 12], "asv2": [5, 21, 9]}, index=["s1", "s2", "s3"]
    ... )
    >>> study = aam.Study(
    ...     counts,
    ...     sequences={"asv1": "TACGGAGGATGC", "asv2": "TACGTAGGGTGC"},
    ...     metadata=pd.DataFrame({"ph": [5.1, 6.3, 5.8]}, index=counts.index),
    ... )
    >>> study
    Study(3 samples, 2 features, sequences, metadata of 1 column)
    >>> study.take(["s3", "s1"]).sample_ids
    ['s3', 's1']
    """

    def __init__(
        self,
        table: "biom.Table | pd.DataFrame | FeatureTable",
        *,
        sequences: Mapping[str, str] | None = None,
        metadata: pd.DataFrame | None = None,
        tree: "str | Path | skbio.TreeNode | Phylogeny | None" = None,
        distances: "skbio.DistanceMatrix | tuple[Sequence[str], Any] | None" = None,
    ) -> None:
        self.table = _table(table)
        self.sequences = _sequences(sequences)
        self.metadata = _metadata(metadata, self.table.sample_ids)
        self.phylogeny = _phylogeny(tree)
        self.distances = _distances(distances)

    @classmethod
    def read(
        cls,
        table: str | Path,
        *,
        sequences: str | Path | None = None,
        metadata: str | Path | None = None,
        tree: str | Path | None = None,
        distances: str | Path | None = None,
    ) -> "Study":
        """Read a study from the files that the command `aam` takes.

        Parameters
        ----------
        table : path
            BIOM, or TSV with features in rows.
        sequences : path, optional
            FASTA. Without it the feature ids are the sequences.
        metadata : path, optional
            Sample metadata as QIIME 2 reads them (TSV, or CSV by its name). Columns of
            numbers keep their spelling, for the case that they are categories:
            `aam_core.data.spelled_numbers.plain_numbers` makes them float64.
        tree : path, optional
            Rooted phylogeny of the features (Newick).
        distances : path, optional
            Distances between the samples (.npy, .h5, .csv, .tsv), where there is no
            tree.

        Returns
        -------
        Study

        Raises
        ------
        InputError
            If a file is not there or not what it should be.
        """
        return cls(
            FeatureTable.read(table),
            sequences=None if sequences is None else read_fasta(sequences),
            metadata=None if metadata is None else read_metadata(metadata),
            tree=tree,
            distances=None if distances is None else read_distance_matrix(distances),
        )

    @property
    def sample_ids(self) -> list[str]:
        """Ids of the samples, in the order of the table."""
        return self.table.sample_ids.tolist()

    @property
    def feature_ids(self) -> list[str]:
        """Ids of the features, in the order of the table."""
        return self.table.feature_ids.tolist()

    def take(self, ids: Iterable[str]) -> "Study":
        """Some of the samples.

        Parameters
        ----------
        ids : iterable of str
            Sample ids, each once.

        Returns
        -------
        Study
            These samples, in the order of `ids`, with everything that belongs to them.

        Raises
        ------
        InputError
            If an id is not among the samples, is named twice, or there is none.
        """
        wanted = [ids] if isinstance(ids, str) else [str(i) for i in ids]
        index = pd.Index(self.table.sample_ids)
        rows = index.get_indexer(wanted)
        if unknown := [i for i, row in zip(wanted, rows, strict=True) if row < 0]:
            raise InputError(
                f"{len(unknown):,} of {len(wanted):,} ids are not among the samples: "
                f"{some(unknown)}. The study has {some(index)}."
            )
        if len(set(wanted)) < max(len(wanted), 1):
            twice = sorted({i for i in wanted if wanted.count(i) > 1})
            raise InputError(
                f"Ids are named more than once: {some(twice)}. Name each sample once."
                if twice
                else "No sample is named: a study has at least one."
            )
        taken = copy(self)
        taken.table = self.table.take_samples(rows)
        if self.metadata is not None:
            taken.metadata = self.metadata[self.metadata.index.isin(wanted)]
        return taken

    def inputs(self) -> dict[str, Any]:
        """Table and sequences, as every command of the engine takes them."""
        return {"table": self.table, "sequences": self.sequences}

    def __len__(self) -> int:
        """How many samples there are."""
        return self.table.shape[0]

    def __repr__(self) -> str:
        """What the study consists of, in a line."""
        samples, features = self.table.shape
        parts = [_count(samples, "sample"), _count(features, "feature")]
        if self.sequences is not None:
            parts.append("sequences")
        if self.metadata is not None:
            parts.append(f"metadata of {_count(self.metadata.shape[1], 'column')}")
        if self.phylogeny is not None:
            parts.append("tree")
        if self.distances is not None:
            parts.append("distances")
        return f"Study({', '.join(parts)})"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _refuse(name: str, value: Any, allowed: str) -> InputError:
    return InputError(f"{name} is a {type(value).__name__}, but must be {allowed}.")


def _table(table: Any) -> FeatureTable:
    if isinstance(table, FeatureTable):
        return table
    if isinstance(table, biom.Table):
        return FeatureTable.from_biom(table)
    if isinstance(table, pd.DataFrame):
        return FeatureTable.from_dataframe(table)
    allowed = "a biom.Table or a DataFrame of samples × features; for files there is "
    raise _refuse("table", table, allowed + "Study.read")


def _sequences(sequences: Any) -> dict[str, str] | None:
    if sequences is None:
        return None
    if not isinstance(sequences, Mapping | pd.Series):
        allowed = "a dict of the sequence of each feature id"
        raise _refuse("sequences", sequences, allowed + "; for files: Study.read")
    return {str(name): str(text) for name, text in sequences.items()}


def _metadata(metadata: Any, sample_ids: np.ndarray) -> pd.DataFrame | None:
    """The metadata of the table's samples, by ids that are text as the table's."""
    if metadata is None:
        return None
    if not isinstance(metadata, pd.DataFrame):
        raise _refuse("metadata", metadata, "a DataFrame indexed by sample id")
    found = metadata.set_axis(metadata.index.map(str), axis=0)
    if not found.index.is_unique:
        twice = found.index[found.index.duplicated()].unique()
        raise InputError(f"Ids occur more than once in the metadata: {some(twice)}.")
    kept = found[found.index.isin(sample_ids)]
    if not len(kept):
        raise InputError(
            "No sample of the table is in the metadata: check that both use the same "
            f"ids (table: {some(sample_ids)}; metadata: {some(found.index)})."
        )
    return kept


def _phylogeny(tree: Any) -> Phylogeny | None:
    if tree is None or isinstance(tree, Phylogeny):
        return tree
    if isinstance(tree, str | PathLike):
        return Phylogeny.read(tree)
    if hasattr(tree, "children"):
        return Phylogeny.from_skbio(tree)
    raise _refuse("tree", tree, "a Newick file or a skbio.TreeNode")


def _distances(distances: Any) -> tuple[list[str], Any] | None:
    if distances is None:
        return None
    if hasattr(distances, "ids"):  # of scikit-bio, which is slow to import
        distances = distances.ids, distances.data
    if not (isinstance(distances, tuple) and len(distances) == 2):
        raise _refuse(
            "distances", distances, "a skbio.DistanceMatrix, or a tuple (ids, matrix)"
        )
    ids, matrix = distances
    matrix = matrix if hasattr(matrix, "shape") else np.asarray(matrix, np.float64)
    return [str(i) for i in ids], matrix
