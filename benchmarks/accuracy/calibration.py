"""Whether intervals and probabilities are right as often as they say.

Shapes: n predictions, G groups, B bins.
"""

from typing import Any

import numpy as np
import pandas as pd

from aam_core.bootstrap import DRAWS

BINS = 10  #: of probability, of equal width
CHANCES = 200  #: draws of labels from the probabilities


def intervals(predicted: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """One row for each interval: whether it holds the truth, its width and score.

    Parameters
    ----------
    predicted : pandas.DataFrame
        `prediction`, and limits such as `lower_90` and `upper_90`; rows without limits
        are left out.
    labels : pandas.Series
        True values.

    Returns
    -------
    pandas.DataFrame
        `level`, `inside`, and, in units of the mean absolute error of the mean of
        the labels, `width` and `score`: the interval score of Gneiting and Raftery
        2007 (doi:10.1198/016214506000001437), lower where intervals are narrow and
        hold the truth.
    """
    true, parts = labels[predicted.index], []
    unit = (labels - labels.mean()).abs().mean()
    for name in predicted.columns[predicted.columns.str.startswith("lower_")]:
        percent = int(name.removeprefix("lower_"))
        low, high = predicted[name], predicted[f"upper_{percent}"]
        beyond = (low - true).clip(lower=0) + (true - high).clip(lower=0)
        score = high - low + 2 / (1 - percent / 100) * beyond
        found = {"inside": (beyond == 0).astype(float), "width": (high - low) / unit}
        found |= {"score": score / unit}
        parts.append(pd.DataFrame(found).assign(level=percent)[low.notna()])
    return pd.concat(parts) if parts else pd.DataFrame()


def confidences(predicted: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """One row a sample: the highest probability, and whether that class is true."""
    chosen = predicted.idxmax(axis=1)
    right = (chosen == labels[predicted.index]).astype(float)
    return pd.DataFrame({"confidence": predicted.max(axis=1), "right": right})


def coverage(long: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Of rows of `intervals` of one level, with `unit` and `target`."""
    (level,) = long["level"].unique()
    third = long.groupby("target")["width"].rank(pct=True, method="first")
    held, low, high = mean_of_groups(long["inside"], long["unit"], seed)
    return {
        "level": f"{level} %",
        "coverage": f"{held:.3f} [{low:.3f}, {high:.3f}]",
        "of samples": float(long["inside"].mean()),
        "narrow": float(long["inside"][third <= 1 / 3].mean()),
        "wide": float(long["inside"][third > 2 / 3].mean()),
        "width": float(long["width"].mean()),
        "score": float(long["score"].mean()),
    }


def mean_of_groups(
    values: pd.Series, units: pd.Series, seed: int = 0
) -> tuple[float, float, float]:
    """The mean of the groups' means, with a 95 % bootstrap interval over groups."""
    means_G = values.groupby(units.to_numpy()).mean().to_numpy()
    drawn = _draws(len(means_G), seed) @ means_G / len(means_G)
    return float(means_G.mean()), *map(float, np.quantile(drawn, [0.025, 0.975]))


def gap(long: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Of rows of `confidences` with `unit` and `target`: over-confidence and ECE."""
    sums_GB3 = _sums(long)
    drawn = np.einsum("dg,gbk->dbk", _draws(len(sums_GB3), seed), sums_GB3)
    every, each = sums_GB3.sum(axis=0), drawn
    low, high = np.quantile(_over(each), [0.025, 0.975])
    sample = pd.factorize(long["target"] + "/" + long.index)[0]
    generator = np.random.default_rng(seed)
    chance = []
    for _ in range(CHANCES):
        right = generator.random(sample.max() + 1)[sample] < long["confidence"]
        chance.append(_ece(_sums(long.assign(right=right.astype(float))).sum(axis=0)))
    return {
        "probability": float(long["confidence"].mean()),
        "accuracy": float(long["right"].mean()),
        "gap": f"{_over(every):+.3f} [{low:+.3f}, {high:+.3f}]",
        "ECE": float(_ece(every)),
        "ECE by chance": float(np.mean(chance)),
    }


def reliability(long: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """Of rows of `confidences` with `unit`, what each bin of probability holds.

    Returns
    -------
    list of dict
        For each bin with samples of two groups or more: its limits, predictions, mean
        probability, accuracy, and a 95 % bootstrap interval of it over groups.
    """
    sums_GB3 = _sums(long)
    drawn = np.einsum("dg,gbk->dbk", _draws(len(sums_GB3), seed), sums_GB3)
    rows = []
    for number in range(BINS):
        count, probability, right = sums_GB3[:, number].sum(axis=0)
        if (sums_GB3[:, number, 0] > 0).sum() < 2:
            continue
        part = drawn[:, number]
        some = part[:, 0] > 0
        found = part[some, 2] / part[some, 0]
        low, high = np.quantile(found, [0.025, 0.975])
        row = {"bin": f"{number / BINS:.1f}–{(number + 1) / BINS:.1f}"}
        row |= {"predictions": int(count), "probability": probability / count}
        row |= {"accuracy": right / count, "low": float(low), "high": float(high)}
        rows.append(row | {"holds": "yes" if low <= row["probability"] <= high else ""})
    return rows


def _sums(long: pd.DataFrame) -> np.ndarray:
    """(G, B, 3) by group and bin: predictions, their probabilities, those right."""
    group = pd.factorize(long["unit"])[0]
    bin_n = np.clip((long["confidence"].to_numpy() * BINS).astype(int), 0, BINS - 1)
    sums = np.zeros((group.max() + 1, BINS, 3))
    values = long[["confidence", "right"]].to_numpy(float)
    np.add.at(sums, (group, bin_n), np.c_[np.ones(len(long)), values])
    return sums


def _draws(number: int, seed: int) -> np.ndarray:
    """(draws, G) how often each group is drawn."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, np.full(number, 1 / number), size=DRAWS)


def _over(sums: np.ndarray) -> np.ndarray:
    """Mean probability less accuracy, of (…, B, 3)."""
    return (sums[..., 1] - sums[..., 2]).sum(-1) / sums[..., 0].sum(-1)


def _ece(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599), of (…, B, 3)."""
    return np.abs(sums[..., 1] - sums[..., 2]).sum(-1) / sums[..., 0].sum(-1)
