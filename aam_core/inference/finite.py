"""What a model returns is finite, or an error says what is not, and where."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aam_core.errors import InputError, some


def check_finite(
    numbers: np.ndarray | pd.DataFrame, ids: Sequence[str], what: str, unit: str
) -> None:
    """Raise `InputError` where numbers are NaN or infinite.

    Parameters
    ----------
    numbers : numpy.ndarray or pandas.DataFrame
        (n, …); of a table those columns that hold numbers.
    ids : sequence of str
        What the n rows belong to.
    what : str
        What the numbers are, in words.
    unit : str
        What the rows are, in the plural.
    """
    if isinstance(numbers, pd.DataFrame):
        numbers = numbers.select_dtypes("number").to_numpy(dtype=float)
    fits = np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
    if not fits.all():
        wrong = np.asarray(ids)[~fits]
        raise InputError(
            f"{what} are not finite in {len(wrong):,} of {len(fits):,} {unit}: "
            f"{some(wrong)}. The weights of the model overflow, or were damaged: use "
            "it as it was written, or train it anew at a lower lr."
        )
