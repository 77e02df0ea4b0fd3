"""Models that do not say whom they were fitted to.

`config.json` lists the samples of training and validation, and repeats what the run
said, which names samples, groups and files. Nothing of that is read to predict.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aam_core.errors import InputError
from aam_core.io.model_folder import (
    HISTORY,
    WEIGHTS,
    check_layout,
    new_folder,
    read_config,
    write_config,
)

#: Entries of `config.json` that stay: what predicts, and numbers that tell of the run.
KEPT = (
    "schema",
    "software",
    "architecture",
    "options",
    "seed",
    "split",
    "samples",
    "kind",
    "task",
    "completed",
    "run",
    "distance",
    "target",
    "categories",
    "head",
    "ensemble",
    "best_epoch",
    "scores",
    "tensors",
)

#: Samples of a side of the split, or of a fold: their ids, or how many there are.
Side = Sequence[str] | int


def strip(model: Path, output: Path) -> None:
    """Write an encoder or model without ids of samples; it predicts the same.

    Parameters
    ----------
    model : Path
        What `pretrain` or `train` wrote. It stays as it is.
    output : Path
        Folder that must be empty or not exist; it appears whole or not at all. A
        training state is left out, since it lists the samples, too.

    Raises
    ------
    InputError
        If there is no encoder or model, it was damaged, or `output` holds something.

    Notes
    -----
    What is needed to predict stays: names of columns, classes, categories of
    covariates, scales, weights, and digests and profiles of the ASVs.
    """
    config = read_config(model)
    check_layout(model)
    with new_folder(output) as made:
        for name in (WEIGHTS, HISTORY):
            shutil.copyfile(model / name, made / name)
        write_config(made, stripped(config))


def stripped(config: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `config.json` without ids of samples."""
    kept = {name: config[name] for name in KEPT if name in config}
    return kept | {"split": _counted(config["split"])}


def _counted(split: Mapping[str, Any]) -> dict[str, Any]:
    """How many samples each side, and each fold, has."""
    counts: dict[str, Any] = {n: size(split[n]) for n in ("training", "validation")}
    if "folds" in split:
        counts["folds"] = [size(fold) for fold in split["folds"]]
    return counts


def size(side: Side) -> int:
    """How many samples a side or fold has."""
    return side if isinstance(side, int) else len(side)


def are_listed(split: Mapping[str, Any]) -> bool:
    """Whether a split says which samples it divides."""
    sides = [split["training"], split["validation"], *split.get("folds", ())]
    return not any(isinstance(side, int) for side in sides)


def check_listed(split: Mapping[str, Any]) -> None:
    """Raise `InputError` unless a split says which samples it divides."""
    if not are_listed(split):
        raise InputError(
            "The model does not say which samples it was fitted to, since aam strip "
            "took their ids out: leave the model out, or name it as train wrote it."
        )
