"""Tables of cross-validations that nothing was fitted for, for tests."""

import numpy as np
import pandas as pd

from aam_core.io.cross_validation import CrossValidated

KINDS = ("a", "b", "c")


def table_of(
    task, samples=60, repeats=3, folds=3, groups=None, labels=(), noise=(1.0, 2.0)
):
    """Noisy predictions of random numbers or classes; of both methods."""
    rng = np.random.default_rng(0)
    ids = [f"s{i:03}" for i in range(samples)]
    if task == "regression":
        true = rng.normal(20, 5, samples)
    else:
        true = np.array(KINDS, dtype=object)[rng.integers(0, 3, samples)]
    parts = []
    for repeat in range(1, repeats + 1):
        fold = rng.permutation(np.arange(samples) % folds) + 1
        for number in (None, *labels):
            head = {"id": ids, "repeat": repeat, "fold": fold}
            head["labels"] = "all" if number is None else str(number)
            head |= {"training": number or samples * (folds - 1) // folds}
            head["true"] = true
            if groups:
                head["group"] = [f"g{i % groups}" for i in range(samples)]
            more = 1.0 if number is None else 2.0
            for who, level in zip(("aam", "forest"), noise, strict=True):
                head |= predicted(task, who, true, more * level, rng)
            parts.append(pd.DataFrame(head))
    run = {"schema": 1, "version": "0.1.0", "task": task, "column": "x[0].<b>"}
    run |= {"classes": [] if task == "regression" else list(KINDS)}
    run |= {"folds": folds, "repeats": repeats, "completed": True, "notes": []}
    cells = folds * repeats * (1 + len(labels))
    run |= {"cells": cells, "done": cells, "options": {}}
    return CrossValidated(run, pd.concat(parts, ignore_index=True))


def predicted(task, who, true, noise, rng):
    """Columns of a method."""
    if task == "regression":
        found = true + rng.normal(0, noise, len(true))
        columns = {f"{who}_predicted": found}
        if who == "aam":
            columns |= {"aam_lower_90": found - 2, "aam_upper_90": found + 2}
        return columns
    logits = rng.normal(0, noise, (len(true), 3))
    logits += 2.0 * (true[:, None] == np.array(KINDS, dtype=object))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array(KINDS, dtype=object)[chances.argmax(axis=1)]
    columns = {f"{who}_predicted": labels}
    return columns | {
        f"{who}_probability_{kind}": chances[:, place]
        for place, kind in enumerate(KINDS)
    }
