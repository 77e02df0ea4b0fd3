"""What an action sees of an artifact, where that is neither a format nor a table."""

from typing import Any, NamedTuple

import pandas as pd


class Run(NamedTuple):
    """How an encoder or a model was trained."""

    config: dict[str, Any]  #: of `config.json`
    history: pd.DataFrame  #: of `history.tsv`


class CrossValidation(NamedTuple):
    """Predictions out of fold, and how they came to be."""

    run: dict[str, Any]  #: of `run.json`
    predictions: pd.DataFrame  #: of `predictions.tsv`


class Predictions(NamedTuple):
    """Predictions of samples, as they are spelled."""

    texts: pd.Series


class Details(NamedTuple):
    """Numbers beside predictions: probabilities, or intervals."""

    numbers: pd.DataFrame
