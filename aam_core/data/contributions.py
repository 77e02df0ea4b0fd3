"""The table of contributions of ASVs to predictions, as it is written and read."""

from pathlib import Path

import numpy as np
import pandas as pd

from aam_core.errors import InputError, some

TEXTS = ("sample", "feature", "target", "scale")
#: Columns of the table, in their order.
COLUMNS = (
    "sample",
    "feature",
    "target",
    "contribution",
    "standard_error",
    "abundance",
    "baseline",
    "prediction",
    "scale",
)
NUMBERS = tuple(name for name in COLUMNS if name not in TEXTS)
#: What contributions are measured in: units of the target, or log-odds of the class.
UNITS, LOG_ODDS = "units", "log-odds"
#: By how much sums of contributions may miss predictions, in parts of the largest.
TOLERANCE = 1e-6


def read_contributions(path: str | Path, rows: int | None = None) -> pd.DataFrame:
    """Read a table of contributions.

    Parameters
    ----------
    path : path
        A TSV with the columns `COLUMNS`.
    rows : int, optional
        How many are read; without, all.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    InputError
        If it is no such table, or contributions and baseline do not sum up to the
        prediction (where all rows are read).
    """
    path = Path(path)
    try:
        frame = pd.read_csv(
            path,
            sep="\t",
            dtype=dict.fromkeys(TEXTS, str),
            keep_default_na=False,
            nrows=rows,
            float_precision="round_trip",
        )
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path.name} is not a table of contributions: {error}. Pass what explain "
            "wrote."
        ) from None
    check_contributions(frame, path.name, sums=rows is None)
    return frame


def check_contributions(
    frame: pd.DataFrame, name: str = "The table", *, sums: bool = True
) -> None:
    """Raise `InputError` unless a frame is a table of contributions."""
    if tuple(frame.columns) != COLUMNS:
        raise InputError(
            f"{name} has the columns {some(frame.columns, 9)}, not {some(COLUMNS, 9)}: "
            "pass the contributions that explain wrote."
        )
    if frame.empty:
        raise InputError(f"{name} has no rows below the header.")
    for column in NUMBERS:
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(
                f"{name} holds {frame[column].iloc[row]!r} as {column} in row "
                f"{row + 1}, not a number."
            )
    if strange := sorted(set(frame["scale"]) - {UNITS, LOG_ODDS}):
        raise InputError(
            f"{name} has the scale {some(strange)}; allowed are {UNITS}, {LOG_ODDS}."
        )
    if sums:
        _check_sums(frame, name)


def _check_sums(frame: pd.DataFrame, name: str) -> None:
    by = frame.groupby(["sample", "target"], sort=False)
    found = by["contribution"].sum() + by["baseline"].first()
    true = by["prediction"].first()
    largest = max(true.abs().max(), found.abs().max(), 1.0)
    wrong = ~((found - true).abs() <= TOLERANCE * largest) | ~np.isfinite(found)
    if wrong.any():
        ids = [sample for sample, _ in found.index[wrong]]
        raise InputError(
            f"{name}: baseline and contributions do not sum up to the prediction of "
            f"{some(ids)}. Pass the whole table, as explain wrote it."
        )
