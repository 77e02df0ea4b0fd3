"""Whether explanations find the ASVs that set a target, and how stable they are.

Generated studies (`tests/generate.py`), in which two ASVs raise the target and two
lower it, each by its log abundance. A seed is that of the study and of the run; the
explanation is repeated with another seed of its own.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from aam_core.commands.explain import Explanation, explain
from aam_core.commands.train import train
from aam_core.config import ExplainConfig, TrainConfig
from aam_core.io.model_folder import read_config
from aam_core.reporting import silent
from tests import generate

#: What is explained: the usual ensemble, or a network alone.
ENSEMBLES: tuple[tuple[str, ...], ...] = ((), ("network",))


def fitted(
    made: generate.Planted, folder: Path, column: str, options: dict[str, Any]
) -> dict[str, float]:
    """Train a model; its score out of fold, and the weight of its network."""
    task = "regression" if column == "value" else "classification"
    config = TrainConfig(metadata_column=(column,), task=task, device="cpu", **options)
    given = {"table": made.table, "sequences": made.sequences, "report": silent}
    found = train(config, folder, **given, metadata=made.metadata).predictions[column]
    true = made.metadata.loc[found.index, column]
    if task == "regression":
        score = {"R²": 1 - float(((found - true) ** 2).mean() / true.var(ddof=0))}
    else:
        score = {"accuracy": float((found == true).mean())}
    weights = read_config(folder)["ensemble"]["weights"]
    return {
        "out of fold": " ".join(f"{n} {v:.2f}" for n, v in score.items()),
        "weight of network": weights.get("network", 0.0),
    }


def found_by(found: Explanation, made: generate.Planted, target: str) -> dict[str, Any]:
    """Precision among the first, and the fraction of planted ASVs of the right sign."""
    signs = dict.fromkeys(made.raising, 1) | dict.fromkeys(made.lowering, -1)
    first = found.importance.index[: len(signs)]
    rows = found.contributions[found.contributions["target"] == target]
    right = [
        np.sign(spearmanr(part["abundance"], part["contribution"])[0]) == signs[name]
        for name, part in rows.groupby("feature")
        if name in signs
    ]
    return {
        "precision at 4": float(np.mean([name in signs for name in first])),
        "right sign": float(np.sum(right)) / len(signs),
    }


def agreement(one: Explanation, other: Explanation) -> dict[str, float]:
    """Rank correlation of importance, and correlation of contributions."""
    ranks = one.importance.join(other.importance, rsuffix="_other")
    keys = ["sample", "target", "feature"]
    both = [e.contributions.set_index(keys)["contribution"] for e in (one, other)]
    values = pd.concat(both, axis=1).fillna(0.0)
    return {
        "rank correlation of importance": float(spearmanr(*ranks.T.to_numpy())[0]),
        "correlation of contributions": float(np.corrcoef(values.T.to_numpy())[0, 1]),
    }


def table(
    seeds: Sequence[int],
    samples: int,
    features: int,
    training: dict[str, Any],
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """One row for each target, ensemble and seed."""
    rows = []
    for column, target in (("value", "value"), ("kind", "high")):
        for ensemble in ENSEMBLES:
            for seed in seeds:
                made = generate.planted(samples, features, seed)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "model"
                    more = {"seed": seed, "ensemble": ensemble}
                    fit = fitted(made, path, column, training | more)
                    row = {"target": column, "ensemble": ",".join(ensemble) or "all"}
                    row |= {"seed": seed} | fit
                    rows.append(row | _row(made, path, target, options))
    return rows


def _row(
    made: generate.Planted, path: Path, target: str, options: dict[str, Any]
) -> dict[str, Any]:
    given = {"table": made.table, "sequences": made.sequences, "report": silent}
    began = time.monotonic()
    one = explain(ExplainConfig(seed=0, device="cpu", **options), path, **given)
    samples = tuple(one.contributions["sample"].unique())
    again = {name: value for name, value in options.items() if name != "max_samples"}
    again |= {"samples": samples, "seed": 1, "device": "cpu"}
    other = explain(ExplainConfig(**again), path, **given)
    explained = 2 * len(samples)
    seconds = time.monotonic() - began
    row = found_by(one, made, target) | agreement(one, other)
    return row | {"seconds per sample": seconds / explained}
