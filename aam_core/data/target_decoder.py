"""From what the model returns to predictions in the target's own units.

Shapes: n samples, T target columns, Q quantiles, C classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from aam_core.data.targets import Classes, TargetScaler

COVERAGE = 0.9  #: fraction of new samples that an interval should hold


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
        For each target, half the width of the prediction interval; empty where
        there were too few validation samples to know it.
    non_negative : bool
        Whether predictions are 0 or more, so that intervals end there.
    """

    task: str
    columns: tuple[str, ...]
    scaler: TargetScaler | None = None
    classes: Classes | None = None
    normalize_by: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    half_widths: tuple[float, ...] = ()
    non_negative: bool = False

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
        self, raw: np.ndarray, ids: Sequence[str], groups: Sequence[str] | None
    ) -> pd.DataFrame:
        """All that is known of each prediction, numbers only.

        Returns
        -------
        pandas.DataFrame
            Classification: the probability of each class. Regression: for each
            target its prediction, quantiles and prediction interval.
        """
        index = pd.Index(list(ids), name="id")
        if self.task == "classification":
            probabilities = softmax(raw.astype(np.float64), axis=-1)
            return pd.DataFrame(
                probabilities, index=index, columns=list(self.classes.labels)
            )
        point = self.point(raw, groups)
        table = {}
        for t, name in enumerate(self.columns):
            table[f"{name}_predicted"] = point[:, t]
            for q, level in enumerate(self.quantiles):
                values = self._values(raw, groups)[:, t, q]
                table[f"{name}_quantile_{level:g}"] = values
            if self.half_widths:
                percent = f"{100 * COVERAGE:.0f}"
                lower = point[:, t] - self.half_widths[t]
                if self.non_negative:
                    lower = np.maximum(lower, 0.0)
                table[f"{name}_lower_{percent}"] = lower
                table[f"{name}_upper_{percent}"] = point[:, t] + self.half_widths[t]
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
            values = softmax(raw_PN.astype(np.float64), axis=-1)
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
            "non_negative": self.non_negative,
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
            non_negative=saved.get("non_negative", False),
        )


def interval_half_widths(true: np.ndarray, predicted: np.ndarray) -> tuple[float, ...]:
    """Half widths of split-conformal prediction intervals.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        (n, T) of samples that the weights were not fitted to.

    Returns
    -------
    tuple of float
        For each target the smallest half width that holds a new, exchangeable
        sample with probability `COVERAGE`; empty where n is too small for one.

    Notes
    -----
    The ceil((n + 1) · coverage)-th smallest absolute residual (Lei et al. 2018,
    doi:10.1080/01621459.2017.1307116). The validation samples also chose the best
    epoch, so that the intervals are slightly too narrow.
    """
    rank = math.ceil((len(true) + 1) * COVERAGE)
    if rank > len(true):
        return ()
    residuals = np.sort(np.abs(true - predicted), axis=0)
    return tuple(residuals[rank - 1].tolist())
