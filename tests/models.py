"""Small models of all sorts: networks, kernel and trees, classes, quantiles."""

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
KINDS = {"pretrain": "encoder", "train": "model"}


def make_models(folder: Path) -> dict[str, tuple[str, Path]]:
    """Kind and folder of each sort; all are of `generate.study(samples=32)`."""
    made = generate.study(samples=32)
    for name, (command, options) in SORTS.items():
        go(command, made, folder / name, **options)
    return {n: (KINDS[command], folder / n) for n, (command, _) in SORTS.items()}
