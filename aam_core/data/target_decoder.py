"""From what the model returns to predictions in the target's own units.

Shapes: n samples, T target columns, Q quantiles, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from aam_core.data.intervals import COVERAGE, spread_of
from aam_core.data.target_scaling import Classes, TargetScaler
from aam_core.metrics import LEAST_PROBABILITY

PRIOR = 10  #: samples that speak for probabilities as they are


@dataclass(frozen=True)
class Decoder:
    """The target of one model, as `config.json` keeps it.

    Attributes
    ----------
    task : {'regression', 'classification'}
        What is predicted.
    columns : tuple of str
        Target columns.
    scaler : TargetScaler or None
        Of a regression.
    classes : Classes or None
        Of a classification.
    normalize_by : tuple of str
        Metadata columns whose categories the scaler treats separately.
    quantiles : tuple of float
        Predicted quantiles; empty for a point prediction.
    half_widths : tuple of float
        For each target, half the width of the prediction interval where members
        agree; empty where there were too few validation samples to know it.
    widening : tuple of float
        For each target, the fraction of itself by which an interval widens with each
        unit of disagreement; empty for intervals of one width.
    non_negative : bool
        Whether predictions are 0 or more, so that intervals end there.
    temperature : float
        What the logits of classes are divided by, so that probabilities are as often
        right as they say.
    """

    task: str
    columns: tuple[str, ...]
    scaler: TargetScaler | None = None
    classes: Classes | None = None
    normalize_by: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    half_widths: tuple[float, ...] = ()
    widening: tuple[float, ...] = ()
    non_negative: bool = False
    temperature: float = 1.0

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """(…, C) calibrated probabilities of (…, C) logits."""
        return softmax(raw.astype(np.float64) / self.temperature, axis=-1)

    def point(self, raw: np.ndarray, groups: Sequence[str] | None) -> np.ndarray:
        """The prediction itself: (n,) labels, or (n, T) values in original units."""
        if self.task == "classification":
            return self.classes.decode(raw.argmax(axis=-1))
        values = self._values(raw, groups)
        if self.quantiles:
            return values[..., self.quantiles.index(0.5)]
        return values

    def _values(self, raw: np.ndarray, groups: Sequence[str] | None) -> np.ndarray:
        """(n, T) or (n, T, Q) in original units."""
        values = self.scaler.inverse(raw, groups)
        # The model keeps to this limit; only rounding can miss it.
        return np.maximum(values, 0.0) if self.non_negative else values

    def predictions(
        self, raw: np.ndarray, ids: Sequence[str], groups: Sequence[str] | None
    ) -> pd.DataFrame:
        """One column per target; the index is named 'id'."""
        index = pd.Index(list(ids), name="id")
        values = self.point(raw, groups)
        return pd.DataFrame(values, index=index, columns=list(self.columns))

    def details(
        self,
        raw: np.ndarray,
        ids: Sequence[str],
        groups: Sequence[str] | None,
        disagreement: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """All that is known of each prediction, numbers only.

        Parameters
        ----------
        raw, ids, groups
            As for `predictions`.
        disagreement : numpy.ndarray, optional
            (n, T) of the members in original units; without, they agree.

        Returns
        -------
        pandas.DataFrame
            Classification: the probability of each class. Regression: for each
            target its prediction, quantiles and prediction interval.
        """
        index = pd.Index(list(ids), name="id")
        if self.task == "classification":
            return pd.DataFrame(
                self.probabilities(raw), index=index, columns=list(self.classes.labels)
            )
        point = self.point(raw, groups)
        spread = spread_of(self.widening, disagreement, point)
        table = {}
        for t, name in enumerate(self.columns):
            table[f"{name}_predicted"] = point[:, t]
            for q, level in enumerate(self.quantiles):
                values = self._values(raw, groups)[:, t, q]
                table[f"{name}_quantile_{level:g}"] = values
            if self.half_widths:
                percent, width = f"{100 * COVERAGE:.0f}", self.half_widths[t]
                lower = point[:, t] - width * spread[:, t]
                if self.non_negative:
                    lower = np.maximum(lower, 0.0)
                table[f"{name}_lower_{percent}"] = lower
                table[f"{name}_upper_{percent}"] = point[:, t] + width * spread[:, t]
        return pd.DataFrame(table, index=index)

    def spread(
        self, raw_PN: np.ndarray, ids: Sequence[str], groups: Sequence[str] | None
    ) -> pd.DataFrame:
        """Standard deviation of the prediction over P passes.

        Parameters
        ----------
        raw_PN : numpy.ndarray
            (P, n, …) what the model returned at each pass; P is 2 or more.
        ids, groups
            As for `details`.

        Returns
        -------
        pandas.DataFrame
            For each target, in its own units, or for the probability of each class:
            the square root of the unbiased variance, in a column NAME_sd.
        """
        if self.task == "classification":
            names = self.classes.labels
            values = self.probabilities(raw_PN)
        else:
            names = self.columns
            values = np.stack([self.point(raw, groups) for raw in raw_PN])
        index = pd.Index(list(ids), name="id")
        columns = [f"{name}_sd" for name in names]
        return pd.DataFrame(values.std(axis=0, ddof=1), index=index, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "columns": list(self.columns),
            "scaler": self.scaler and self.scaler.to_dict(),
            "classes": self.classes and self.classes.to_dict(),
            "normalize_by": list(self.normalize_by),
            "quantiles": list(self.quantiles),
            "half_widths": list(self.half_widths),
            "widening": list(self.widening),
            "non_negative": self.non_negative,
            "temperature": self.temperature,
        }

    @classmethod
    def from_dict(cls, task: str, saved: Mapping[str, Any]) -> "Decoder":
        """The decoder that `to_dict` described."""
        regression = task == "regression"
        return cls(
            task=task,
            columns=tuple(saved["columns"]),
            scaler=TargetScaler.from_dict(saved["scaler"]) if regression else None,
            classes=None if regression else Classes.from_dict(saved["classes"]),
            normalize_by=tuple(saved["normalize_by"]),
            quantiles=tuple(saved["quantiles"]),
            half_widths=tuple(saved["half_widths"]),
            widening=tuple(saved.get("widening", ())),
            non_negative=saved.get("non_negative", False),
            temperature=saved.get("temperature", 1.0),
        )


@dataclass(frozen=True)
class Predictions:
    """Predictions of samples, by id."""

    predictions: pd.DataFrame  #: one column per target
    details: pd.DataFrame  #: probabilities, or quantiles and intervals
    #: of new samples: how many reads were read, whether these are fewer than in
    #: training, and the fraction of them in ASVs that are far from all of training
    reliability: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()  #: what was left out, and what not to trust

    def with_reliability(self) -> pd.DataFrame:
        """Details and reliability in one table; a class goes before its namesake."""
        if self.reliability is None:
            return self.details
        own = self.reliability.columns.difference(self.details.columns, sort=False)
        return self.details.join(self.reliability[own])


def calibrating_temperature(logits: np.ndarray, codes: np.ndarray) -> float:
    """What logits are divided by for the least log loss.

    Parameters
    ----------
    logits : numpy.ndarray
        (n, C) of samples that the prediction was not fitted to.
    codes : numpy.ndarray
        (n,) their classes.

    Returns
    -------
    float

    Notes
    -----
    Temperature scaling (Guo et al. 2017, arXiv:1706.04599). A mean of probabilities is
    less sure than its members, so that it is often below 1. Few samples draw it
    towards 1, as if `PRIOR` samples had been seen that ask for no change. Probabilities
    are at least `LEAST_PROBABILITY`, so that one surprise does not decide.
    """
    if not len(codes):
        return 1.0
    rows = np.arange(len(codes))

    def loss(log_temperature: float) -> float:
        chances = softmax(logits / np.exp(log_temperature), axis=1)
        chances = chances.clip(LEAST_PROBABILITY)
        chances /= chances.sum(axis=1, keepdims=True)
        losses = -np.log(chances[rows, codes])
        return float(losses.sum() + PRIOR * log_temperature**2)

    best = minimize_scalar(loss, bounds=(-np.log(4), np.log(4)), method="bounded")
    return float(np.exp(best.x))
