"""The engine of q2-aam: deep learning for microbial communities, in PyTorch."""

import importlib
import os
from typing import Any

# Threads that wait for each other actively stand in each other's way where cores are
# shared with other programs: a step then takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

#: Names that are offered here, and the module that has them.
_OFFERED = {
    "Study": "aam_core.api",
    "Encoder": "aam_core.api",
    "Regressor": "aam_core.api",
    "Classifier": "aam_core.api",
    "load": "aam_core.api",
    "cross_validate": "aam_core.api",
    "CategoricalColumnConfig": "aam_core.data.categories",
    "CategoricalEncoder": "aam_core.data.categories",
    "CategoricalSchema": "aam_core.data.categories",
}

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what is offered when it is asked for: pandas is not wanted before."""
    if name not in _OFFERED:
        raise AttributeError(f"module 'aam_core' has no attribute {name!r}")
    return getattr(importlib.import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    """What is here and what is offered, for tab completion."""
    return sorted({*globals(), *_OFFERED})
