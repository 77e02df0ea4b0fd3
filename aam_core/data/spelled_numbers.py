"""Columns of numbers that keep how their numbers are spelled.

What looks like a number may be the name of a subject, a plate or a version: `01`,
`1.10`, `1E1`, a barcode of 17 digits. Such a column is numeric to all that calculates,
and gives its texts to what takes it as categories.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import (
    ExtensionArray,
    ExtensionDtype,
    ExtensionScalarOpsMixin,
    register_extension_dtype,
    take,
)

_NUMBER = re.compile(r"[-+]?(\d*\.\d+|\d+\.?)([Ee][+-]?\d+)?", re.ASCII)


def is_number(text: str) -> bool:
    """Whether QIIME 2 takes a text for a number."""
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


@register_extension_dtype
class SpelledDtype(ExtensionDtype):
    """Numbers with their spelling, as pandas needs to know them."""

    name = "spelled"
    type = np.float64
    kind = "f"
    na_value = np.nan
    _is_numeric = True

    @classmethod
    def construct_array_type(cls) -> type:
        """The array of this dtype."""
        return SpelledNumbers


class SpelledNumbers(ExtensionScalarOpsMixin, ExtensionArray):
    """Numbers, float64 to all that calculates, with their spelling.

    Parameters
    ----------
    texts : sequence
        The numbers as text; what is missing is NaN.

    Examples
    --------
    >>> import pandas as pd
    >>> from aam_core.data.spelled_numbers import SpelledNumbers
    >>> plates = pd.Series(SpelledNumbers(["01", "1.10", "1E1"]))
    >>> plates.tolist()
    [1.0, 1.1, 10.0]
    >>> plates.array.texts.tolist()
    ['01', '1.10', '1E1']
    """

    def __init__(self, texts: Sequence) -> None:
        self.texts = np.array(texts, dtype=object)
        self._numbers = self.texts.astype(np.float64)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False):
        return cls(getattr(scalars, "texts", scalars))

    @classmethod
    def _from_factorized(cls, values: Any, original: Any) -> "SpelledNumbers":
        return cls(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence) -> "SpelledNumbers":
        return cls(np.concatenate([part.texts for part in to_concat]))

    def _values_for_factorize(self) -> tuple[np.ndarray, float]:
        return self._numbers, np.nan

    def _values_for_argsort(self) -> np.ndarray:
        return self._numbers

    def _reduce(
        self, name: str, *, skipna: bool = True, keepdims: bool = False, **kwargs: Any
    ) -> Any:
        found = getattr(pd.Series(self._numbers), name)(skipna=skipna, **kwargs)
        return np.array([found]) if keepdims else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The numbers."""
        return self._numbers.astype(dtype or np.float64)

    def __getitem__(self, item: Any) -> Any:
        """A number, or some of them with their spelling."""
        item = pd.api.indexers.check_array_indexer(self, item)
        found = self.texts[item]
        return type(self)(found) if isinstance(found, np.ndarray) else float(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write numbers; their spelling is that of Python, or of other such numbers."""
        self.texts[key] = getattr(value, "texts", value)
        self._numbers[key] = value

    def __len__(self) -> int:
        """How many there are."""
        return len(self.texts)

    @property
    def dtype(self) -> SpelledDtype:
        """Always `SpelledDtype`."""
        return SpelledDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers and of what names their texts."""
        return self.texts.nbytes + self._numbers.nbytes

    def value_counts(self, dropna: bool = True) -> pd.Series:
        """How often each number is there."""
        return pd.Series(self._numbers).value_counts(dropna=dropna)

    def isna(self) -> np.ndarray:
        """Whether a number is missing."""
        return np.isnan(self._numbers)

    def take(
        self,
        indices: Sequence[int],
        *,
        allow_fill: bool = False,
        fill_value: Any = None,
    ) -> "SpelledNumbers":
        """Some of them; where `allow_fill`, -1 stands for a missing one."""
        fill = np.nan if fill_value is None else fill_value
        texts = take(self.texts, indices, allow_fill=allow_fill, fill_value=fill)
        return type(self)(texts)

    def copy(self) -> "SpelledNumbers":
        """The same, in memory of its own."""
        return type(self)(self.texts)


SpelledNumbers._add_arithmetic_ops()
SpelledNumbers._add_comparison_ops()


def spelling(values: pd.Series) -> pd.Series | None:
    """How the numbers of a column are spelled; None where that is not known."""
    if not isinstance(values.dtype, SpelledDtype):
        return None
    return pd.Series(
        values.array.texts, index=values.index, name=values.name, dtype=object
    )


def plain_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose numbers are float64, without their spelling."""
    kinds = frame.dtypes.items()
    spelled = [name for name, kind in kinds if isinstance(kind, SpelledDtype)]
    return frame.astype(dict.fromkeys(spelled, np.float64))
