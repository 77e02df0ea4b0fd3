"""Categorical covariates: from columns of the sample metadata to indices."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from aam_core.config.covariates import CategoricalOptions, UnknownOptions
from aam_core.data.missing import MISSING_ADVICE, missing_words
from aam_core.data.spelled_numbers import spelling
from aam_core.errors import SHOWN_IDS, InputError, some
from aam_core.reporting import Report, silent

logger = logging.getLogger("aam_core")

#: Index of a category that is missing or was not among the training samples.
UNKNOWN_CATEGORY = 0
#: Digits of a decimal number that a float keeps.
TOLD_APART = 15


def require_columns(metadata: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that the metadata have the columns, each named once.

    Parameters
    ----------
    metadata : pandas.DataFrame
        Sample metadata.
    columns : sequence of str
        Names that must be among its columns.

    Raises
    ------
    InputError
        Lists the columns there are, the most similar names first.
    """
    for name in columns:
        if list(columns).count(name) > 1:
            raise InputError(f"Column {name!r} is named twice: name each column once.")
        if name not in metadata.columns:
            there = [str(c) for c in metadata.columns]
            close = difflib.get_close_matches(name, there, n=5, cutoff=0.5)
            others = [c for c in there if c not in close]
            raise InputError(
                f"The metadata have no column {name!r}; they have "
                f"{some(close + others) or 'no columns at all'}."
            )


def label_texts(values: pd.Series) -> pd.Series:
    """The values of a column as category labels.

    Parameters
    ----------
    values : pandas.Series
        Text, numbers or booleans.

    Returns
    -------
    pandas.Series
        Same index, dtype object: str, or NaN where the value is missing. Numbers that
        were read from a file keep their spelling; other whole numbers lose their
        decimals.

    Raises
    ------
    InputError
        If numbers whose spelling is lost have more digits than a float tells apart.

    Examples
    --------
    >>> import pandas as pd
    >>> from aam_core.data.categories import label_texts
    >>> label_texts(pd.Series([1.0, 2.5, None])).tolist()
    ['1', '2.5', nan]
    """
    known = spelling(values)
    if known is None:
        _refuse_rounded(values)
        known = values
    texts = [np.nan if pd.isna(value) else _text(value) for value in known]
    return pd.Series(texts, index=values.index, name=values.name, dtype=object)


def _text(value: Any) -> str:
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return str(int(value)) if number and float(value).is_integer() else str(value)


def _refuse_rounded(values: pd.Series) -> None:
    """Refuse floats that other numbers may have been rounded to."""
    if not pd.api.types.is_float_dtype(values):
        return
    some_rounded = [v for v in values.dropna().unique() if _digits(v) > TOLD_APART]
    if some_rounded:
        raise InputError(
            f"Column {values.name!r} is numeric and is to be taken as categories, but "
            f"numbers of more than {TOLD_APART} digits are rounded when they are read, "
            f"so that categories may have become one: {some(some_rounded)}. Declare "
            "the column categorical in the metadata file (#q2:types)."
        )


def _digits(value: float) -> int:
    """Significant digits of a number as Python writes it; of whole ones, all."""
    if not np.isfinite(value):
        return 0
    if float(value).is_integer():
        return TOLD_APART if abs(value) < 2**53 else TOLD_APART + 1
    mantissa = repr(float(value)).partition("e")[0].strip("-")
    return len(mantissa.replace(".", "").strip("0"))


def tell_categories(
    metadata: pd.DataFrame,
    columns: Sequence[str],
    sample_ids: Sequence[str],
    report: Report,
) -> None:
    """Tell of what is taken as categories and may be meant otherwise.

    Parameters
    ----------
    metadata : pandas.DataFrame
        Sample metadata.
    columns : sequence of str
        Columns that are taken as categories.
    sample_ids : sequence of str
        The samples that are read.
    report : callable
        Is told of numbers that are taken as categories, and of words that mean that
        a value is missing.
    """
    if report is silent:
        return
    ids = metadata.index.intersection(list(sample_ids))
    for name in columns:
        values = metadata.loc[ids, name]
        if numeric(values):
            report(
                f"Column {name!r} is numeric: its numbers are taken as "
                f"{label_texts(values).nunique():,} categories; declare it categorical "
                "(`#q2:types`)."
            )
        elif words := missing_words(values):
            report(
                f"Column {name!r} holds {listed(words)}, taken as "
                f"{'categories' if len(words) > 1 else 'a category'}. {MISSING_ADVICE}"
            )


def numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers; booleans are none."""
    boolean = pd.api.types.is_bool_dtype(values)
    return pd.api.types.is_numeric_dtype(values) and not boolean


def listed(counts: Mapping[str, int], shown: int = SHOWN_IDS) -> str:
    """Values, with the number of samples that have each.

    Examples
    --------
    >>> from aam_core.data.categories import listed
    >>> listed({"gut": 12, "skin": 1})
    "'gut' (12 samples), 'skin' (1 sample)"
    """
    first = [
        f"{value!r} ({number:,} sample{'s' * (number != 1)})"
        for value, number in list(counts.items())[:shown]
    ]
    more = f" and {len(counts) - shown:,} more" if len(counts) > shown else ""
    return ", ".join(first) + more


def category_labels(
    metadata: pd.DataFrame,
    columns: Sequence[str],
    sample_ids: Sequence[str],
    report: Report,
) -> list[str]:
    """One label per sample that joins its categories in several columns.

    Parameters
    ----------
    metadata : pandas.DataFrame
        Sample metadata.
    columns : sequence of str
        Columns whose values are joined with ``|``.
    sample_ids : sequence of str
        Samples, in the order of the result.
    report : callable
        Is told of samples without a label.

    Returns
    -------
    list of str
        Empty where a sample has no value in one of the columns.
    """
    require_columns(metadata, columns)
    tell_categories(metadata, columns, sample_ids, report)
    chosen = metadata.reindex(list(sample_ids))
    texts = pd.DataFrame({name: label_texts(chosen[name]) for name in columns})
    missing = texts.isna().any(axis=1).to_numpy()
    if missing.any():
        report(
            f"{missing.sum():,} of {len(texts):,} samples have no value in "
            f"{some(columns)} and belong to no category: {some(texts.index[missing])}."
        )
    rows = zip(texts.to_numpy(), missing, strict=True)
    return ["" if lacks else "|".join(row) for row, lacks in rows]


@dataclass(frozen=True)
class CategoricalColumnConfig:
    """One categorical covariate, as the model needs to know it."""

    name: str
    cardinality: int  #: number of indices, with index 0 for unknown or missing
    embed_dim: int
    required: bool


@dataclass(frozen=True)
class CategoricalSchema:
    """All categorical covariates of a model, in the order of their indices."""

    columns: tuple[CategoricalColumnConfig, ...]


@dataclass(frozen=True)
class CategoricalEncoder:
    """Categories as indices, fitted on the training samples.

    Index 0 stands for a missing or unknown category; the known ones count from 1 in
    sorted order.

    Examples
    --------
    >>> import pandas as pd
    >>> from aam_core import CategoricalEncoder
    >>> training = pd.DataFrame({"season": ["summer", "winter", None]})
    >>> encoder = CategoricalEncoder.fit(training, ["season"])
    >>> encoder.get_cardinalities()  # index 0 is unknown or missing
    {'season': 3}
    >>> encoder.transform(pd.DataFrame({"season": ["winter", "summer"]})).tolist()
    [[2], [1]]
    """

    categories: Mapping[str, tuple[str, ...]]  #: known categories by column
    embed_dim: int
    required: bool

    @classmethod
    def fit(
        cls,
        metadata: pd.DataFrame,
        columns: Sequence[str],
        *,
        embed_dim: int = CategoricalOptions.categorical_embed_dim,
        required: bool = False,
    ) -> "CategoricalEncoder":
        """Learn the categories of each column.

        Parameters
        ----------
        metadata : pandas.DataFrame
            Metadata of the training samples, and of no others.
        columns : sequence of str
            Categorical columns; numbers are read as categories, too.
        embed_dim : int
            Width of the embedding of each column.
        required : bool
            Whether a missing value is an error.

        Raises
        ------
        InputError
            If a column is missing or has no value among the training samples.
        """
        require_columns(metadata, columns)
        categories = {}
        for name in columns:
            known = tuple(sorted(set(label_texts(metadata[name]).dropna())))
            if not known:
                raise InputError(
                    f"Column {name!r} has no value in any of the {len(metadata):,} "
                    "training samples: leave it out of categorical_columns."
                )
            categories[name] = known
        return cls(categories, embed_dim, required)

    def transform(
        self,
        metadata: pd.DataFrame,
        sample_ids: Sequence[str] | None = None,
        unknown: str = UnknownOptions.unknown_categories,
        report: Report = logger.info,
    ) -> np.ndarray:
        """Look up the categories of samples.

        Parameters
        ----------
        metadata : pandas.DataFrame
            Sample metadata; a sample that is not there has missing categories.
        sample_ids : sequence of str, optional
            Samples, in the order of the result; without, all of the metadata.
        unknown : {"error", "ignore"}
            What to do with categories that were not among the training samples.
        report : callable
            Is told what was taken as missing.

        Returns
        -------
        numpy.ndarray
            (n, K) int64, one column per categorical column.

        Raises
        ------
        InputError
            On a missing column, an unknown category with ``unknown="error"``, or a
            missing value where one is required.
        """
        assert unknown in ("error", "ignore"), unknown
        require_columns(metadata, list(self.categories))
        ids = metadata.index if sample_ids is None else sample_ids
        tell_categories(metadata, list(self.categories), ids, report)
        chosen = metadata if sample_ids is None else metadata.reindex(list(sample_ids))
        indices = [
            self._indices(name, label_texts(chosen[name]), unknown, report)
            for name in self.categories
        ]
        return np.array(indices, dtype=np.int64).reshape(-1, len(chosen)).T

    def _indices(
        self,
        name: str,
        texts: pd.Series,
        unknown: str,
        report: Report,
    ) -> np.ndarray:
        known = self.categories[name]
        missing = texts.isna()
        if missing.any():
            self._missing(name, texts.index[missing], len(texts), report)
        strange = texts[~missing & ~texts.isin(known)]
        if len(strange):
            found = (
                f"Column {name!r} holds categories that were not among the training "
                f"samples: {some(sorted(set(strange)))} (samples "
                f"{some(strange.index)}); known are {some(known)}."
            )
            if unknown == "error":
                raise InputError(
                    f"{found} Correct them, or set unknown_categories to 'ignore' to "
                    "treat them as missing."
                )
            report(f"{found} They are treated as missing.")
        numbers = {category: i for i, category in enumerate(known, start=1)}
        return np.array([numbers.get(text, UNKNOWN_CATEGORY) for text in texts])

    def _missing(self, name: str, ids: pd.Index, total: int, report: Report) -> None:
        found = (
            f"{len(ids):,} of {total:,} samples have no value in the categorical "
            f"column {name!r}: {some(ids)}."
        )
        if self.required:
            raise InputError(f"{found} A value is required: add it to the metadata.")
        report(found)

    def get_cardinalities(self) -> dict[str, int]:
        """Number of indices of each column, including index 0."""
        return {name: len(known) + 1 for name, known in self.categories.items()}

    @property
    def schema(self) -> CategoricalSchema:
        """What the model needs to know of the columns."""
        return CategoricalSchema(
            tuple(
                CategoricalColumnConfig(name, number, self.embed_dim, self.required)
                for name, number in self.get_cardinalities().items()
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "columns": [
                {"name": name, "categories": list(known)}
                for name, known in self.categories.items()
            ],
            "embed_dim": self.embed_dim,
            "required": self.required,
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "CategoricalEncoder":
        """The encoder that `to_dict` described."""
        categories = {c["name"]: tuple(c["categories"]) for c in saved["columns"]}
        return cls(categories, saved["embed_dim"], saved["required"])
