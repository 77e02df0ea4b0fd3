"""Damaged tables of results: validated, and read as QIIME 2 and our commands read them.

Embeddings, details of regressions, contributions, and cross-validations.
"""

import functools
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of QIIME 2 and other plugins, when imported
    import qiime2
    from qiime2.plugin import ValidationError
    from qiime2.plugin.util import transform
    from qiime2.sdk import PluginManager

    PluginManager()

from aam_core.commands.cross_validation_scores import compare
from aam_core.data.contributions import read_contributions
from aam_core.errors import InputError
from aam_core.io.cross_validation import (
    PREDICTIONS,
    RUN,
    read_cross_validation,
    write_cross_validation,
)
from q2_aam import _formats
from tests.cross_validations import table_of
from tests.fuzz.artifacts import Damage
from tests.fuzz.harness import Target
from tests.fuzz.mutations import (
    apply_bytes,
    apply_cells,
    apply_json,
    byte_changes,
    cell_changes,
    json_changes,
)

APPLY = {"bytes": apply_bytes, "cells": apply_cells, "json": apply_json}


def damages(*tables: str, json: str | None = None) -> st.SearchStrategy:
    """Of these tables, and of a file of JSON."""
    files = st.sampled_from(tables)
    found = [
        st.builds(Damage, files, st.just("cells"), cell_changes()),
        st.builds(Damage, files, st.just("bytes"), byte_changes()),
    ]
    if json is not None:
        found.append(st.builds(Damage, st.just(json), st.just("json"), json_changes()))
        found.append(st.builds(Damage, st.just(json), st.just("bytes"), byte_changes()))
    return st.one_of(found)


def write(results: Path, damage: Damage, folder: Path) -> None:
    """Lay down a copy of results with this damage."""
    shutil.copytree(results, folder, dirs_exist_ok=True)
    path = folder / damage.file
    path.write_bytes(APPLY[damage.how](path.read_bytes(), damage.what))


def scores(folder: Path) -> Any:
    """How many scores there are; of few samples some cannot be computed."""
    return len(compare(read_cross_validation(folder)).folds)


def contributions(folder: Path) -> Any:
    """All of them."""
    return read_contributions(folder / "contributions.tsv")


def use(format_name: str, own: Callable[[Path], Any] | None, folder: Path) -> Any:
    """Validate and read results, at both levels and as metadata.

    Raises
    ------
    InputError
        The first refusal, after all has been tried.
    """
    fmt = getattr(_formats, format_name)(str(folder), mode="r")
    refusals = []
    tries = [lambda level=level: fmt.validate(level) for level in ("min", "max")]
    tries += [lambda to=to: transform(fmt, to_type=to) for to in KINDS]
    for one in tries:
        try:
            one()
        except ValidationError as error:
            refusals.append(error)
    found = None
    try:
        found = own and own(folder)
    except InputError as error:
        refusals.append(error)
    if refusals:
        raise InputError(str(refusals[0]))
    return found


#: What results are read as.
KINDS = (qiime2.Metadata, pd.DataFrame)


def make_results(folder: Path) -> None:
    """Small tables of each kind."""
    drawn = np.random.default_rng(1).normal(size=(4, 3))
    numbers = pd.DataFrame(drawn, pd.Index([f"s{i}" for i in range(4)], name="id"))
    for name, file in (("embedding", "embedding.tsv"), ("details", "details.tsv")):
        (folder / name).mkdir()
        numbers.add_prefix("dim_").to_csv(folder / name / file, sep="\t")
    (folder / "contributions").mkdir()
    rows = pd.DataFrame(
        {
            "sample": ["s0", "s0", "s1", "s1"],
            "feature": ["f0", "f1"] * 2,
            "target": "ph",
            "contribution": [0.5, -0.25, 1.0, 0.5],
            "standard_error": 0.1,
            "abundance": 0.5,
            "baseline": 7.0,
            "prediction": [7.25, 7.25, 8.5, 8.5],
            "scale": "units",
        }
    )
    path = folder / "contributions" / "contributions.tsv"
    rows.to_csv(path, sep="\t", index=False)
    for task in ("regression", "classification"):
        (folder / task).mkdir()
        write_cross_validation(table_of(task, 12, 2, 2, groups=6), folder / task)


def targets(folder: Path) -> list[Target]:
    """Each kind of results, damaged."""
    make_results(folder)
    of_run = damages(PREDICTIONS, json=RUN)
    cross_validation = "AAMCrossValidationDirectoryFormat"
    kinds = {
        "embedding": (
            damages("embedding.tsv"),
            "AAMEmbeddingDirectoryFormat",
            None,
        ),
        "details": (damages("details.tsv"), "RegressionDetailsDirectoryFormat", None),
        "contributions": (
            damages("contributions.tsv"),
            "AAMContributionsDirectoryFormat",
            contributions,
        ),
        "regression": (of_run, cross_validation, scores),
        "classification": (of_run, cross_validation, scores),
    }
    return [
        Target(
            f"results-{name}",
            cases,
            functools.partial(write, folder / name),
            functools.partial(use, format_name, own),
            number=30,
        )
        for name, (cases, format_name, own) in kinds.items()
    ]
