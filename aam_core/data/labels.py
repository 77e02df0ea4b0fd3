"""Targets and covariates of one training run, fitted on its training samples.

Shapes: N samples of the study, T target columns, K categorical columns, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aam_core.config import CategoricalOptions, TrainConfig, category_weights
from aam_core.data.categories import CategoricalEncoder, category_labels
from aam_core.data.target_decoder import Decoder
from aam_core.data.target_scaling import Classes, TargetScaler
from aam_core.errors import InputError, some
from aam_core.reporting import Report

#: Scaled targets: the squares of larger ones overflow in single precision, and of a
#: smaller spread nothing is left when it is squared.
LARGEST_SCALED, LEAST_SPREAD = 1e15, 1e-15


@dataclass(frozen=True)
class Labels:
    """What the model is to predict, and from which covariates."""

    target: pd.DataFrame  #: (N, T) in original units, or one column of classes
    decoder: Decoder
    values: np.ndarray  #: (N, T) float32 scaled targets, or (N,) int64 classes
    groups: list[str] | None  #: category of each sample that the scale depends on
    class_weights: np.ndarray | None  #: (C,) float32
    categories: CategoricalEncoder | None
    categories_NK: np.ndarray | None
    loss_weights_N: np.ndarray | None = None  #: float32, of each sample's target loss

    @property
    def outputs(self) -> int:
        """What the head predicts: classes, or target columns."""
        if self.decoder.classes is not None:
            return len(self.decoder.classes.labels)
        return len(self.decoder.columns)


def without_new_classes(
    target: pd.DataFrame, training: np.ndarray, validation: np.ndarray, report: Report
) -> np.ndarray:
    """The validation rows whose class is among the training samples."""
    labels = target.iloc[:, 0].to_numpy()
    known = np.isin(labels[validation], labels[training])
    if not known.all():
        lost = validation[~known]
        report(
            f"{len(lost):,} validation samples are left out, since no training sample "
            f"is of their class ({some(sorted(set(labels[lost])))}): "
            f"{some(target.index[lost])}."
        )
    return validation[known]


def fit_labels(
    config: TrainConfig,
    metadata: pd.DataFrame,
    target: pd.DataFrame,
    training: np.ndarray,
    report: Report,
) -> Labels:
    """Fit scales, classes and categories on the training samples.

    Parameters
    ----------
    config : TrainConfig
        Options of the target and of the covariates.
    metadata : pandas.DataFrame
        Sample metadata.
    target : pandas.DataFrame
        Targets of all samples of the study, in its order.
    training : numpy.ndarray
        Rows to fit on.
    report : callable
        Takes sentences for the user.
    """
    ids = target.index.to_numpy()
    fitted = _classes if config.task == "classification" else _scale
    decoder, values, groups, weights = fitted(
        config, metadata, target, training, report
    )
    categories = categories_NK = None
    if config.categorical_columns:
        categories = CategoricalEncoder.fit(
            metadata.loc[ids[training]],
            config.categorical_columns,
            embed_dim=config.categorical_embed_dim,
        )
        categories_NK = categories.transform(metadata, ids, "ignore", report)
    loss_weights_N = None
    if config.loss_weight_column is not None:
        column = config.loss_weight_column
        indices_N = categories_NK[:, config.categorical_columns.index(column)]
        known = categories.categories[column]
        loss_weights_N = category_loss_weights(config, known, indices_N, training)
    return Labels(
        target,
        decoder,
        values,
        groups,
        weights,
        categories,
        categories_NK,
        loss_weights_N,
    )


def category_loss_weights(
    config: CategoricalOptions,
    known: Sequence[str],
    indices_N: np.ndarray,
    training: np.ndarray,
) -> np.ndarray:
    """The weight of each sample in the target loss, by its category.

    Parameters
    ----------
    config : CategoricalOptions
        With `categorical_loss_weights`.
    known : sequence of str
        The categories of the column, whose indices count from 1.
    indices_N : numpy.ndarray
        Category of each sample; 0 is unknown and has weight 1.
    training : numpy.ndarray
        Rows of the training samples.

    Returns
    -------
    numpy.ndarray
        (N,) float32, on average 1 over the training samples, so that the weights
        leave the size of the loss beside the others as it is.

    Raises
    ------
    InputError
        If a named category is not among the training samples, or all of these have
        weight 0.
    """
    weights = np.ones(len(known) + 1)
    named = category_weights(config.categorical_loss_weights)
    if named is None:
        counts = np.bincount(indices_N[training], minlength=len(weights))[1:]
        weights[1:] = counts.sum() / (len(counts) * counts)
    else:
        _check_categories(named, config.loss_weight_column, known)
        for name, weight in named.items():
            weights[known.index(name) + 1] = weight
    weights_N = weights[indices_N]
    mean = weights_N[training].mean()
    if not mean:
        raise InputError(
            "categorical_loss_weights gives all training samples weight 0: nothing "
            "would be learned."
        )
    return (weights_N / mean).astype(np.float32)


def _check_categories(
    named: Mapping[str, float], column: str, known: Sequence[str]
) -> None:
    strange = [name for name in named if name not in known]
    if strange:
        raise InputError(
            f"categorical_loss_weights names {some(strange)}, which no training sample "
            f"has in column {column!r}; known are {some(known)}. Correct the name, or "
            "choose another categorical_loss_weight_column."
        )


def _classes(config, metadata, target, training, report):
    labels = target.iloc[:, 0].to_numpy()
    classes = Classes.fit(labels[training].tolist())
    # Rows of other classes take no part; their code is never read.
    known = np.isin(labels, classes.labels)
    values = np.zeros(len(labels), dtype=np.int64)
    values[known] = classes.encode(labels[known].tolist())
    weights = None
    if config.class_weights != "none":
        weights = classes.weights(config.class_weights, labels[training].tolist())
        weights = weights.astype(np.float32)
    decoder = Decoder("classification", tuple(config.metadata_column), classes=classes)
    return decoder, values, None, weights


def _scale(config, metadata, target, training, report):
    ids = target.index.to_numpy()
    groups = None
    if config.normalize_by:
        groups = category_labels(metadata, config.normalize_by, ids, report)
    numbers = target.to_numpy(dtype=np.float64)
    _check_constraints(config, target)
    scaler = TargetScaler.fit(
        numbers[training],
        config.metadata_column,
        config.target_transform,
        groups=groups and [groups[row] for row in training],
        sample_ids=ids[training],
    )
    if groups and (unseen := scaler.unseen(groups)):
        report(
            f"Categories with too few training samples take the scale of all samples: "
            f"{some(unseen)}."
        )
    decoder = Decoder(
        "regression",
        tuple(config.metadata_column),
        scaler=scaler,
        normalize_by=config.normalize_by,
        quantiles=(config.quantiles if config.loss_type == "quantile" else ()),
        non_negative=config.output_activation != "none",
    )
    values = scaler.transform(numbers, groups, sample_ids=ids)
    _check_scaled(values, target, config.target_transform)
    return decoder, values.astype(np.float32), groups, None


def _check_scaled(values: np.ndarray, target: pd.DataFrame, transform: str) -> None:
    """Refuse targets that single precision cannot hold on the model's scale."""
    for column, name in zip(values.T, target, strict=True):
        advice = (
            f"on the scale of target_transform {transform}. Choose minmax or zscore, "
            "or give the column in another unit."
        )
        large = ~(np.abs(column) <= LARGEST_SCALED)
        if large.any():
            raise InputError(
                f"Column {name!r} holds {some(target[name][large].tolist())} (samples "
                f"{some(target.index[large])}), which training would overflow with "
                f"{advice}"
            )
        if np.ptp(column) < LEAST_SPREAD and target[name].nunique() > 1:
            raise InputError(
                f"The values of column {name!r} are too near to each other to be told "
                f"apart {advice}"
            )


def _check_constraints(config: TrainConfig, target: pd.DataFrame) -> None:
    """Refuse targets that a constrained model could never predict."""
    low, high = -np.inf, np.inf
    if config.output_activation != "none":
        option, low = f"output_activation {config.output_activation}", 0.0
    elif config.bounded_targets and config.target_transform == "none":
        option, low, high = "bounded_targets with target_transform none", 0.0, 1.0
    for name, values in target.items():
        outside = values[(values < low) | (values > high)]
        if len(outside):
            within = "of 0 or more" if high == np.inf else "from 0 to 1"
            remedy = "" if high == np.inf else " choose target_transform minmax, or"
            raise InputError(
                f"{option} predicts values {within}, but column {name!r} holds "
                f"{some(outside.tolist())} (samples {some(outside.index)}):{remedy} "
                f"leave {option.split()[0]} out."
            )
