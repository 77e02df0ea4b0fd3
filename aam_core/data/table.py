"""The feature table: reads of each feature in each sample.

Shapes: N samples, F features.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import biom
import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.data.biom_file import read_biom
from aam_core.data.file_kinds import GZIP, HDF5, check_kind
from aam_core.data.hdf5 import check_hdf5
from aam_core.data.text_table import is_text_table, read_text_table
from aam_core.errors import InputError, some
from aam_core.reporting import Report

#: Reads of a sample from which on numpy's hypergeometric distribution is at its limit,
#: and how many are drawn from as many.
MANY, MOST_OF_MANY = 1_000_000_000, 10_000_000


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Counts of features in samples; make one with `from_…` or `read`.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix
        (N, F) int64 reads, with sorted indices and without explicit zeros.
    sample_ids, feature_ids : ndarray of object
        (N,) and (F,) unique ids (str).

    Examples
    --------
    >>> import pandas as pd
    >>> from aam_core.data.table import FeatureTable
    >>> table = FeatureTable.from_dataframe(
    ...     pd.DataFrame({"asv1": [3, 0], "asv2": [1, 2]}, index=["s1", "s2"])
    ... )
    >>> table.shape
    (2, 2)
    >>> table.depths
    array([4, 2])
    """

    counts: sparse.csr_matrix
    sample_ids: np.ndarray
    feature_ids: np.ndarray

    @classmethod
    def from_biom(cls, table: biom.Table) -> "FeatureTable":
        """Take over a `biom.Table` (features × samples).

        Raises
        ------
        InputError
            If it has no samples or features, an id occurs twice, or a count is
            negative, fractional or not finite.
        """
        ids = table.ids(axis="sample"), table.ids(axis="observation")
        return cls._checked(table.matrix_data.T, *ids)

    @classmethod
    def from_dataframe(cls, counts: pd.DataFrame) -> "FeatureTable":
        """Take over a data frame of samples × features.

        Raises
        ------
        InputError
            As `from_biom`, and if a value is not a number.
        """
        try:
            values = counts.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The feature table holds a value that is not a number: {error}. Pass "
                "counts of reads, samples in rows and features in columns."
            ) from None
        return cls._checked(values, counts.index, counts.columns)

    @classmethod
    def read(cls, path: str | Path) -> "FeatureTable":
        """Read a BIOM file (HDF5 or JSON), or a TSV with features in rows.

        Parameters
        ----------
        path : path
            The first column of a TSV holds the feature ids (`#OTU ID`), the others
            are samples, as `biom convert --to-tsv` writes it; see `read_text_table`.

        Raises
        ------
        InputError
            If it is no such file, and as `from_biom`.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path} is not a file; name a feature table.")
        check_kind(path, "a feature table (BIOM, or text)", GZIP, HDF5)
        if is_text_table(path):
            text = read_text_table(path)
            return cls._checked(text.counts.T, text.sample_ids, text.feature_ids)
        check_hdf5(path)
        table = read_biom(path)
        try:
            return cls.from_biom(table)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def _checked(cls, values, sample_ids, feature_ids) -> "FeatureTable":
        samples, features = _ids("Sample", sample_ids), _ids("Feature", feature_ids)
        counts = sparse.csr_matrix(values)
        data = counts.data
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(~((data >= 0) & (data % 1 == 0) & (data < 2**63)))
        if len(wrong):
            row = np.searchsorted(counts.indptr, wrong[0], side="right") - 1
            raise InputError(
                f"Sample {samples[row]!r} has {data[wrong[0]]:g} reads of feature "
                f"{features[counts.indices[wrong[0]]]!r}; counts must be whole numbers "
                "from 0 on. Pass the table of reads, not of relative or transformed "
                "abundances."
            )
        sums = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        if (huge := sums >= 2**62).any():
            raise InputError(
                f"Samples have more reads than can be counted: {some(samples[huge])}. "
                "Pass the table of reads, or divide its counts."
            )
        counts = counts.astype(np.int64)
        counts.sum_duplicates()
        counts.eliminate_zeros()
        return cls(counts, samples, features)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of features."""
        return self.counts.shape

    @cached_property
    def depths(self) -> np.ndarray:
        """(N,) int64 reads of each sample."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    @property
    def richness(self) -> np.ndarray:
        """(N,) observed features of each sample."""
        return np.diff(self.counts.indptr)

    def take_samples(self, rows: np.ndarray) -> "FeatureTable":
        """The samples of `rows` (positions or a mask), with all features."""
        return FeatureTable(self.counts[rows], self.sample_ids[rows], self.feature_ids)

    def take_features(self, columns: np.ndarray) -> "FeatureTable":
        """The features of `columns` (positions or a mask), with all samples."""
        counts = self.counts[:, columns]
        counts.sort_indices()
        return FeatureTable(counts, self.sample_ids, self.feature_ids[columns])

    def observed_features(self) -> np.ndarray:
        """Positions of the features that have reads."""
        return np.unique(self.counts.indices)

    def without_empty_samples(self, report: Report) -> "FeatureTable":
        """Leave samples without reads out, and tell of them.

        Raises
        ------
        InputError
            If no sample has any.
        """
        empty = self.depths == 0
        if empty.all():
            raise InputError("The feature table holds no reads.")
        if not empty.any():
            return self
        report(
            f"{empty.sum():,} of {len(empty):,} samples have no reads and are left "
            f"out: {some(self.sample_ids[empty])}."
        )
        return self.take_samples(~empty)

    def rarefy(
        self,
        depth: int,
        seed: int,
        report: Report,
        keys: Sequence[str] | None = None,
        *,
        keep_shallow: bool = False,
    ) -> "FeatureTable":
        """Draw `depth` reads of each sample, without replacement.

        The draw of a sample depends on `seed`, its id and its counts only, not on
        the order of the table or on other samples.

        Parameters
        ----------
        depth : int
            Reads drawn; 0 returns the table unchanged.
        seed : int
            Seed of the draws.
        report : callable
            Is told which samples have fewer reads and are left out.
        keys : sequence of str, optional
            A name of each feature, such as its sequence, that the draw goes by
            instead of its id.
        keep_shallow : bool
            Whether samples with fewer reads stay, with all that they have.

        Returns
        -------
        FeatureTable
            Without the features that have no reads left.

        Raises
        ------
        InputError
            If no sample has as many reads.
        """
        if depth == 0:
            return self
        deep = self.depths >= depth
        if not deep.any() and not keep_shallow:
            raise InputError(
                f"No sample has rarefy_depth = {depth:,} reads; the largest has "
                f"{self.depths.max():,}. Choose a smaller rarefy_depth, or 0 to keep "
                "all reads."
            )
        if not deep.all():
            shallow = self.sample_ids[~deep]
            fate = "predicted with what they have" if keep_shallow else "left out"
            report(
                f"{len(shallow):,} of {len(deep):,} samples have fewer than {depth:,} "
                f"reads (rarefy_depth) and are {fate}: {some(shallow)}."
            )
        if depth > MOST_OF_MANY and (many := self.depths >= MANY).any():
            raise InputError(
                f"Samples of {MANY:,} reads and more are rarefied to "
                f"{MOST_OF_MANY:,} reads at most, not to {depth:,} (rarefy_depth): "
                f"{some(self.sample_ids[many])}. Choose a smaller depth, or 0 to keep "
                "all reads."
            )
        if keep_shallow:
            deep[:] = True
        # Drawn in the order of the keys, so that the table's is no matter.
        names = self.feature_ids if keys is None else keys
        pairs = list(zip(names, self.feature_ids, strict=True))
        order = np.array(sorted(range(len(pairs)), key=pairs.__getitem__))
        drawn = self.take_samples(deep).take_features(order)._drawn(depth, seed)
        observed = drawn.observed_features()
        return drawn.take_features(observed[np.argsort(order[observed])])

    def _drawn(self, depth: int, seed: int) -> "FeatureTable":
        counts = self.counts.copy()
        for row, sample_id in enumerate(self.sample_ids):
            reads = counts.data[counts.indptr[row] : counts.indptr[row + 1]]
            generator = np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
            total = reads.sum()
            if total > depth and total >= MANY:
                reads[:] = _some_of_many(reads, depth, generator)
            elif total > depth:
                reads[:] = generator.multivariate_hypergeometric(
                    reads, depth, method="marginals"
                )
        counts.eliminate_zeros()
        return FeatureTable(counts, self.sample_ids, self.feature_ids)


def _some_of_many(
    reads: np.ndarray, depth: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw without replacement from more reads than numpy's distribution takes."""
    ends = np.cumsum(reads)
    drawn = generator.choice(ends[-1], depth, replace=False, shuffle=False)
    places = np.searchsorted(ends, drawn, side="right")
    return np.bincount(places, minlength=len(reads))


def _ids(kind: str, ids: Sequence) -> np.ndarray:
    names = np.array([str(i) for i in ids], dtype=object)
    if not len(names):
        raise InputError(f"The feature table holds no {kind.lower()}s.")
    if strange := [name for name in names if not _is_text(name)]:
        raise InputError(
            f"{kind} ids hold characters that no text can have (surrogates): "
            f"{some(strange)}. Rename them."
        )
    index = pd.Index(names)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise InputError(f"{kind} ids occur more than once: {some(twice)}.")
    return names


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
