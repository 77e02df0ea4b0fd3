"""Small models of all sorts: networks, kernel and trees, classes, quantiles.

`python -m tests.models FOLDER` makes them once for many sessions of tests, which find
them where the environment variable `READY` says so: `make mutants` has thousands.
"""

import sys
from pathlib import Path

from tests import generate
from tests.runs import go

EVERY = {"ensemble": ("network", "kernel", "trees"), "cross_fit": 2}
COVARIATES = {"categorical_columns": ("site",)}
#: Command and options, by name.
SORTS = {
    "encoder": ("pretrain", {}),
    "regression": ("train", EVERY | COVARIATES),
    "classes": (
        "train",
        EVERY | {"task": "classification", "metadata_column": ("kind",)},
    ),
    "quantiles": (
        "train",
        COVARIATES
        | {"categorical_fusion": "perceiver", "cross_attn_heads": 2}
        | {"loss_type": "quantile", "regressor_hidden_dims": (4,)}
        | {"conditional_output_scaling": ("site",)},
    ),
}
#: Environment variable that names a folder of such models.
READY = "AAM_TEST_MODELS"
KINDS = {"pretrain": "encoder", "train": "model"}


def make_models(folder: Path) -> dict[str, tuple[str, Path]]:
    """Kind and folder of each sort; all are of `generate.study(samples=32)`."""
    made = generate.study(samples=32)
    for name, (command, options) in SORTS.items():
        go(command, made, folder / name, **options)
    return models_in(folder)


def models_in(folder: Path) -> dict[str, tuple[str, Path]]:
    """The same, made before."""
    return {n: (KINDS[command], folder / n) for n, (command, _) in SORTS.items()}


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))
