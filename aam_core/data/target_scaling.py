"""What turns targets into numbers of a model, and back: scales and codes of classes.

Letters of shapes: n samples, T targets, Q quantiles, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from aam_core.errors import InputError, some


@dataclass(frozen=True, eq=False)
class TargetScaler:
    """Scale of the targets of a regression, fitted on the training samples.

    Inside of the model a target is ``(f(value) - shift) / scale``, where f is log1p
    for the log transforms and else nothing.
    """

    columns: tuple[str, ...]
    transform_name: str
    shift: np.ndarray  #: (T,) float64
    scale: np.ndarray  #: (T,) float64
    #: shift and scale of each category, for zscore-category
    categories: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict
    )

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        columns: Sequence[str],
        transform: str,
        groups: Sequence[str] | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> "TargetScaler":
        """Learn the scale.

        Parameters
        ----------
        values : numpy.ndarray
            (n, T) targets of the training samples, and of no others.
        columns : sequence of str
            Names of the targets.
        transform : str
            none, minmax, zscore, zscore-category, log-minmax or log-zscore.
        groups : sequence of str, optional
            Category of each sample, for zscore-category; see
            `category_labels`. An empty label is no category. In each target, a category
            with fewer than two training samples or without spread takes the scale of
            all.
        sample_ids : sequence of str, optional
            Named in errors.

        Raises
        ------
        InputError
            On negative targets with a log transform.
        """
        names = ("none", "minmax", "zscore", "zscore-category")
        assert transform in (*names, "log-minmax", "log-zscore"), transform
        values = np.asarray(values, dtype=np.float64)
        assert values.ndim == 2, values.shape
        assert np.isfinite(values).all()
        values = _forward(values, columns, transform, sample_ids)
        shift, scale = _shift_and_scale(values, transform)
        categories = {}
        if transform == "zscore-category":
            assert groups is not None
            assert len(groups) == len(values)
            categories = _by_category(values, groups, shift, scale)
        return cls(tuple(columns), transform, shift, scale, categories)

    def transform(
        self,
        values: np.ndarray,
        groups: Sequence[str] | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Scale (n, T) targets; arguments and errors as for `fit`."""
        values = np.asarray(values, dtype=np.float64)
        values = _forward(values, self.columns, self.transform_name, sample_ids)
        shift, scale = self._rows(len(values), groups)
        return (values - shift) / scale

    def inverse(
        self, scaled: np.ndarray, groups: Sequence[str] | None = None
    ) -> np.ndarray:
        """Bring (n, T) or (n, T, Q) scaled values back to the original units."""
        scaled = np.asarray(scaled, dtype=np.float64)
        shift, scale = self._rows(len(scaled), groups)
        if scaled.ndim == 3:
            shift, scale = shift[..., None], scale[..., None]
        values = scaled * scale + shift
        return np.expm1(values) if self.transform_name.startswith("log") else values

    def from_other(
        self, scaled: np.ndarray, other: "TargetScaler", groups: Sequence[str] | None
    ) -> np.ndarray:
        """What another scaler of the same target scaled, on the scale of this one.

        Parameters
        ----------
        scaled : numpy.ndarray
            (n, T) or (n, T, Q).
        other : TargetScaler
            With the same transform, fitted to other samples.
        groups : sequence of str, optional
            Categories of the samples, for zscore-category.
        """
        scaled = np.asarray(scaled, dtype=np.float64)
        shift, scale = other._rows(len(scaled), groups)
        own_shift, own_scale = self._rows(len(scaled), groups)
        shift, scale = (shift - own_shift) / own_scale, scale / own_scale
        if scaled.ndim == 3:
            shift, scale = shift[..., None], scale[..., None]
        return scaled * scale + shift

    @property
    def zero(self) -> np.ndarray:
        """Where 0 in the original units lies on the scale of all samples, (T,)."""
        return -self.shift / self.scale

    def unseen(self, groups: Sequence[str]) -> list[str]:
        """The categories that are scaled like all samples, sorted."""
        return sorted(set(groups) - set(self.categories) - {""})

    def _rows(
        self, n: int, groups: Sequence[str] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of each sample, (n, T)."""
        if self.transform_name != "zscore-category":
            groups = [""] * n
        assert groups is not None
        assert len(groups) == n
        every = (self.shift, self.scale)
        rows = [self.categories.get(group, every) for group in groups]
        both = np.array(rows, dtype=np.float64).reshape(n, 2, len(self.columns))
        return both[:, 0], both[:, 1]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "columns": list(self.columns),
            "transform": self.transform_name,
            "shift": self.shift.tolist(),
            "scale": self.scale.tolist(),
            "categories": {
                label: {"shift": shift.tolist(), "scale": scale.tolist()}
                for label, (shift, scale) in self.categories.items()
            },
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "TargetScaler":
        """The scaler that `to_dict` described."""
        categories = {
            label: (np.array(own["shift"]), np.array(own["scale"]))
            for label, own in saved["categories"].items()
        }
        return cls(
            tuple(saved["columns"]),
            saved["transform"],
            np.array(saved["shift"], dtype=np.float64),
            np.array(saved["scale"], dtype=np.float64),
            categories,
        )


def _forward(
    values: np.ndarray,
    columns: Sequence[str],
    transform: str,
    sample_ids: Sequence[str] | None,
) -> np.ndarray:
    if not transform.startswith("log"):
        return values
    for name, column in zip(columns, values.T, strict=True):
        if len(rows := np.flatnonzero(column < 0)):
            ids = rows.tolist() if sample_ids is None else [sample_ids[i] for i in rows]
            raise InputError(
                f"target_transform {transform} needs targets of 0 or more, but column "
                f"{name!r} holds {some(column[rows].tolist())} (samples {some(ids)}): "
                "choose minmax or zscore."
            )
    return np.log1p(values)


def _shift_and_scale(
    values: np.ndarray, transform: str
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of (n, T) values; a constant target has scale 1."""
    lowest, highest = values.min(axis=0), values.max(axis=0)
    if transform == "none":
        return np.zeros_like(lowest), np.ones_like(lowest)
    if transform.endswith("minmax"):
        shift, scale = lowest, highest - lowest
    else:
        shift, scale = values.mean(axis=0), values.std(axis=0)
    # the spread of numbers near to 1e-200 is lost when it is squared
    return shift, np.where((highest > lowest) & (scale > 0), scale, 1.0)


def _by_category(
    values: np.ndarray, groups: Sequence[str], shift: np.ndarray, scale: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    categories = {}
    for label in sorted(set(groups) - {""}):
        own = values[[group == label for group in groups]]
        spread = np.ptp(own, axis=0) > 0
        if spread.any():
            own_shift, own_scale = _shift_and_scale(own, "zscore")
            categories[label] = (
                np.where(spread, own_shift, shift),
                np.where(spread, own_scale, scale),
            )
    return categories


@dataclass(frozen=True)
class Classes:
    """The classes of a classification, fitted on the training samples."""

    labels: tuple[str, ...]  #: sorted; the position of a label is its code

    @classmethod
    def fit(cls, labels: Sequence[str]) -> "Classes":
        """Learn the classes of the training samples.

        Raises
        ------
        InputError
            If all training samples are of one class.
        """
        found = tuple(sorted(set(labels)))
        if len(found) < 2:
            raise InputError(
                f"All {len(labels):,} training samples are of class {some(found)}: at "
                "least two classes are needed. Change test_size or seed."
            )
        return cls(found)

    def encode(
        self, labels: Sequence[str], sample_ids: Sequence[str] | None = None
    ) -> np.ndarray:
        """Codes of labels, int64.

        Raises
        ------
        InputError
            If a class was not among the training samples; names it, and the samples
            if `sample_ids` are given.
        """
        codes = {label: code for code, label in enumerate(self.labels)}
        rows = [row for row, label in enumerate(labels) if label not in codes]
        if rows:
            strange = sorted({labels[row] for row in rows})
            ids = [] if sample_ids is None else [sample_ids[row] for row in rows]
            where = f" (samples {some(ids)})" if ids else ""
            raise InputError(
                f"No training sample is of class {some(strange)}{where}; known are "
                f"{some(self.labels)}. "
                "Merge or leave out rare classes, or change test_size or seed."
            )
        return np.array([codes[label] for label in labels], dtype=np.int64)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Labels of codes, an object array of str."""
        return np.array(self.labels, dtype=object)[np.asarray(codes)]

    def weights(self, how: str, labels: Sequence[str]) -> np.ndarray:
        """Weight of each class in the loss.

        Parameters
        ----------
        how : {"none", "balanced"}
            Equal weights, or by the frequency of the class as in scikit-learn.
        labels : sequence of str
            Labels of the training samples.

        Returns
        -------
        numpy.ndarray
            (C,) float64.
        """
        assert how in ("none", "balanced"), how
        return compute_class_weight(
            None if how == "none" else how,
            classes=np.array(self.labels),
            y=np.array(labels, dtype=str),
        ).astype(np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Classes":
        """The classes that `to_dict` described."""
        return cls(tuple(saved["labels"]))
