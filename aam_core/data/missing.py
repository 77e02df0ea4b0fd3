"""Words of sample metadata that mean that there is no value.

Those of INSDC, which databases ask for in place of an empty cell; see
https://www.insdc.org/submitting-standards/missing-value-reporting/.
"""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from aam_core.errors import some
from aam_core.reporting import Report

#: What QIIME 2 calls the ways to mark a missing value.
SCHEMES = ("blank", "no-missing", "INSDC:missing")
#: What QIIME 2 takes as missing by INSDC's scheme.
INSDC_WORDS = (
    "not applicable",
    "missing",
    "not collected",
    "not provided",
    "restricted access",
)
_SPELLED = re.compile(rf"missing *:.*|{'|'.join(INSDC_WORDS)}", re.IGNORECASE)
MISSING_ADVICE = (
    "If that stands for a missing value, set missing_scheme to INSDC:missing (train, "
    "rf-baseline, cross-validate), declare it below the header of the metadata "
    "(`#q2:missing`), or leave the cells empty."
)


def is_missing(text: str, scheme: str) -> bool:
    """Whether QIIME 2 takes the text of a cell as missing."""
    return not text or (scheme == "INSDC:missing" and text in INSDC_WORDS)


def is_missing_word(value: object) -> bool:
    """Whether a value is one of INSDC's words, in any case, also behind 'missing:'."""
    return isinstance(value, str) and bool(_SPELLED.fullmatch(value.strip()))


def missing_words(values: pd.Series) -> dict[str, int]:
    """Values of a column that mean missing, with how often each is there."""
    words = [value for value in values if is_missing_word(value)]
    return pd.Series(words, dtype=object).value_counts().to_dict()


def with_missing(metadata: pd.DataFrame | None, scheme: str) -> pd.DataFrame | None:
    """Sample metadata in which words of a scheme are missing values.

    Parameters
    ----------
    metadata : pandas.DataFrame, optional
        Sample metadata.
    scheme : {"blank", "INSDC:missing"}
        Whether only empty cells are missing, or INSDC's words, too: in any case, and
        with the reason behind "missing:".
    """
    if metadata is None or scheme == "blank":
        return metadata
    found = {
        name: metadata[name].where(~metadata[name].map(is_missing_word), np.nan)
        for name in metadata
        if metadata[name].dtype == object
    }
    return metadata.assign(**found) if found else metadata


#: Texts that pandas takes for missing values, unless it is told not to.
READ_AS_MISSING = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"}
    | {"1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)


def tell_misread(what: str, names: Iterable[str], report: Report) -> None:
    """Tell of ids or classes that others will take for missing values.

    Parameters
    ----------
    what : str
        What they are, such as "Sample ids".
    names : iterable of str
        The ids or classes.
    report : callable
        Is told.
    """
    if misread := sorted(READ_AS_MISSING.intersection(names)):
        report(
            f"{what} {some(misread)}: pandas, and QIIME 2 plugins that read with it "
            "(sample-classifier), take that for a missing value. q2-aam does not, but "
            "rename it if others are to read the results."
        )
