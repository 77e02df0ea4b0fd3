"""What an action sees of an artifact, where that is neither a format nor a table."""

from typing import Any, NamedTuple

import pandas as pd


class Run(NamedTuple):
    """How an encoder or a model was trained."""

    config: dict[str, Any]  #: of `config.json`
    history: pd.DataFrame  #: of `history.tsv`
