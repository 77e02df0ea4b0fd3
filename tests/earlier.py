"""What earlier versions wrote, in `tests/data`."""

import zipfile
from pathlib import Path

#: By version 0.1.0 of 25 November 2026: an encoder, a regression (quantiles,
#: covariates, hidden layers, a linear part) on it, a classification, a run of
#: pre-training that was stopped after two of six epochs, what they read, and what both
#: models predicted.
SCHEMA_1 = Path(__file__).parent / "data" / "schema-1"


def unpacked(name, path):
    """The folder of an encoder, model or run, unpacked to `path`."""
    with zipfile.ZipFile(SCHEMA_1 / f"{name}.zip") as archive:
        archive.extractall(path)
    return path
