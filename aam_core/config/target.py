"""The options of the target: its scale, losses and the head that predicts it.

Declared as `aam_core.config` describes.
"""

import dataclasses
import json
import typing
from typing import Any

from aam_core.config.option import GIVEN, Options, option
from aam_core.errors import InputError, some

#: Losses that can be chosen for each target.
TARGET_LOSSES = ("huber", "mse", "mae")


#: Scores of the validation samples by task, as `aam_core.metrics` names them.
METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("r2", "mae", "mse", "rmse", "pearson"),
    "classification": (
        "accuracy",
        "balanced_accuracy",
        "f1",
        "precision",
        "recall",
    ),
}


#: Options, of which a command has some, that name columns beside the predicted one.
OTHER_COLUMNS = ("group_column", "batch_columns", "categorical_columns", "normalize_by")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnOptions(Options):
    """What is predicted."""

    topic: typing.ClassVar[str] = "Target"

    metadata_column: tuple[str, ...] = option(
        (),
        "Column or columns of the sample metadata to predict.",
        when="Always: it names what to predict; several numeric columns share "
        "one model.",
    )
    task: str = option(
        "regression",
        "Predict numbers or classes.",
        choices=("regression", "classification"),
        when="Choose classification for labels, also where they are written as "
        "numbers (cluster 1, 2, 3).",
    )

    batch_columns: tuple[str, ...] = option(
        (),
        "Metadata columns that may have left their mark on the reads (sequencing run, "
        "plate): the run says which of them predict the target alone.",
        when="Name them wherever samples were sequenced in several batches.",
    )

    def _check(self) -> None:
        if not self.metadata_column:
            raise InputError("metadata_column is missing: name the column to predict.")
        if self.task == "classification" and len(self.metadata_column) > 1:
            raise InputError(
                "A classification predicts one column; metadata_column names "
                f"{len(self.metadata_column)}."
            )
        for name in OTHER_COLUMNS:
            given = getattr(self, name, None) or ()
            given = {given} if isinstance(given, str) else set(given)
            if told := given.intersection(self.metadata_column):
                raise InputError(
                    f"{name} names {some(sorted(told))}, which is to be predicted: "
                    "name another column, or leave it out."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetOptions(ColumnOptions):
    """How the target is scaled, and its loss."""

    topic: typing.ClassVar[str] = "Target"

    target_penalty: float = option(
        1.0,
        "Weight of the target loss.",
        low=0,
        when="Raise it where distances and nucleotides are learned beside the "
        "target and the target loss hardly falls.",
    )
    target_transform: str = option(
        "minmax",
        "Scale of the target inside of the model, fitted on training samples; "
        "predictions and metrics are always in the original units.",
        choices=(
            "none",
            "minmax",
            "zscore",
            "zscore-category",
            "log-minmax",
            "log-zscore",
        ),
        when="Choose log-minmax or log-zscore for counts and concentrations over "
        "orders of magnitude, zscore where outliers squeeze minmax, none "
        "for fractions.",
        only_with={"task": ("regression",)},
    )
    normalize_by: tuple[str, ...] = option(
        (),
        "Metadata columns whose categories zscore-category scales separately.",
        when="With zscore-category, name what sets the level of the target "
        "(study, host species) where differences within it are of interest.",
        only_with={"target_transform": ("zscore-category",)},
    )
    loss_type: str = option(
        "huber",
        "Loss of a regression.",
        choices=("huber", "mse", "mae", "quantile", "asymmetric"),
        when="Choose quantile for intervals per sample, mae where some labels "
        "are wrong, mse where large errors are worst, asymmetric where one "
        "side costs more.",
        only_with={"task": ("regression",)},
    )
    quantiles: tuple[float, ...] = option(
        (0.1, 0.5, 0.9),
        "Quantiles predicted with loss_type quantile; 0.5, the prediction, is one.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        when="Choose 0.05,0.5,0.95 for intervals that shall hold nine of ten "
        "samples; add levels for the shape of the distribution.",
        only_with={"loss_type": ("quantile",)},
    )
    over_penalty: float = option(
        1.0,
        "Weight of predictions above the target (loss_type asymmetric).",
        low=0,
        when="Raise it above under_penalty where a prediction that is too high "
        "does more harm than one that is too low.",
        only_with={"loss_type": ("asymmetric",)},
    )
    under_penalty: float = option(
        1.0,
        "Weight of predictions below the target (loss_type asymmetric).",
        low=0,
        when="Raise it above over_penalty where a prediction that is too low "
        "does more harm than one that is too high.",
        only_with={"loss_type": ("asymmetric",)},
    )
    loss_config: str | None = option(
        None,
        "Loss of single targets (mse, mae, huber) where several are predicted, as JSON "
        'by position or name: {"0": "mse", "age": "huber"}. Others have loss_type.',
        when="Use it where one of several targets has outliers or wrong labels "
        "(mae) and the others do not.",
        only_with={"task": ("regression",)},
    )
    class_weights: str = option(
        "none",
        "Weight of the classes: equal, or balanced by their frequency.",
        choices=("none", "balanced"),
        when="Choose balanced where a rare class matters as much as a common "
        "one; go by balanced_accuracy or f1 then.",
        only_with={"task": ("classification",)},
    )
    best_metric: str = option(
        "val_loss",
        "Validation score that selects the best model.",
        choices=("val_loss", *METRICS["regression"], *METRICS["classification"]),
        when="Choose what you will report, such as mae, or f1 where classes are "
        "of unequal size; val_loss weighs the target as it is trained.",
    )

    def _check(self) -> None:
        if self.target_transform == "zscore-category" and not self.normalize_by:
            raise InputError(
                "target_transform zscore-category needs normalize_by, the metadata "
                "columns that hold the categories."
            )
        levels = self.quantiles
        if list(levels) != sorted(set(levels)):
            raise InputError("quantiles must rise, each named once.")
        if 0.5 not in levels:
            raise InputError("quantiles must hold 0.5, the median that is predicted.")
        if self.best_metric not in ("val_loss", *METRICS[self.task]):
            raise InputError(
                f"best_metric {self.best_metric} does not fit a {self.task}: choose "
                f"val_loss or one of {some(METRICS[self.task])}."
            )
        self.target_losses()

    def target_losses(self) -> tuple[str, ...]:
        """The loss of each target column.

        Raises
        ------
        InputError
            If `loss_config` is not understood or does not fit the targets.
        """
        losses = dict.fromkeys(self.metadata_column, self.loss_type)
        if self.loss_config is None:
            return tuple(losses.values())
        if self.loss_type not in TARGET_LOSSES:
            raise InputError(
                f"loss_config cannot be combined with loss_type {self.loss_type!r}, "
                "which holds for all targets: leave one of them out."
            )
        chosen: dict[str, str] = {}
        for key, loss in _json_pairs("loss_config", self.loss_config):
            column = _column_of(key, self.metadata_column)
            if loss not in TARGET_LOSSES:
                raise InputError(
                    f"loss_config gives {column!r} the loss {loss!r}; allowed are "
                    f"{', '.join(TARGET_LOSSES)}."
                )
            if column in chosen:
                raise InputError(f"loss_config names {column!r} twice: name it once.")
            chosen[column] = loss
        return tuple((losses | chosen).values())


def _json_pairs(name: str, text: str) -> list[tuple[str, Any]]:
    """Keys and values of a JSON object; a key that is there twice stays twice."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError:
        pairs = None
    # an array is a list, too, but text that starts with { is an object
    if not pairs or not text.startswith("{"):
        raise InputError(
            f'{name} is {text!r}, but must be a JSON object such as {{"0": "mse", '
            '"1": "huber"}.'
        )
    return pairs


def _column_of(key: str, columns: tuple[str, ...]) -> str:
    """The target column that a key means: its name, or its position from 0."""
    if key in columns:
        return key
    if key.isdecimal() and int(key) < len(columns):
        return columns[int(key)]
    raise InputError(
        f"loss_config names {key!r}, which is no target: allowed are the positions 0 "
        f"to {len(columns) - 1} and the names {some(columns)}."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions(TargetOptions):
    """The last layers of a regression, and what it may predict."""

    topic: typing.ClassVar[str] = "Output constraints"

    target_layer_norm: bool = option(
        True,
        "Whether the sample embedding is normalised before the last layers.",
        when="Turn it off where the length of the sample embedding, which "
        "normalisation removes, should bear on the prediction; rarely "
        "needed.",
    )
    pooled_features: int = option(
        256,
        "Random features of the sequences at each of three bandwidths, summed over all "
        "ASVs of a sample, that the head reads beside the transformers' embedding; 0 "
        "for none. ASVs beyond token_limit are among them.",
        low=0,
        high=4096,
        when="Raise it where samples are many and close relatives act differently; "
        "set 0 to see what the transformers learn alone.",
    )
    pooled_dropout: float = option(
        0.3,
        "Dropout of what is learned of these features.",
        low=0,
        high=1,
        open_high=True,
        when="Raise it where the validation loss rises after few epochs.",
    )
    regressor_hidden_dims: tuple[int, ...] = option(
        (),
        "Widths of hidden layers between the sample embedding and the prediction "
        "(64,32); without, the prediction is linear in the embedding. For targets with "
        "hundreds of samples and more.",
        low=1,
        high=16_384,
        when="Add them (64,32) where samples are many and a frozen base or a "
        "linear head leaves the training loss high.",
        only_with={"task": ("regression",)},
    )
    regressor_dropout: float = option(
        0.0,
        "Dropout after each of regressor_hidden_dims.",
        low=0,
        high=1,
        open_high=True,
        when="Raise it where hidden layers make the training loss fall and the "
        "validation loss rise.",
        only_with={"regressor_hidden_dims": GIVEN},
    )
    residual_regression_head: bool = option(
        False,
        "Add what regressor_hidden_dims predict to a linear prediction instead of "
        "replacing it.",
        when="Turn it on where hidden layers predict worse than none: they then "
        "only correct the linear prediction.",
        only_with={"regressor_hidden_dims": GIVEN},
    )
    bounded_targets: bool = option(
        False,
        "Keep predictions within the range of the training samples (within 0 to 1 with "
        "target_transform none), by a sigmoid. For targets with natural bounds that "
        "the samples reach, such as fractions.",
        when="Turn it on for fractions and percentages that the samples reach; not "
        "where new samples may lie outside of the training range.",
        only_with={"task": ("regression",)},
    )
    output_activation: str = option(
        "none",
        "Keep predictions at 0 or more in the target's own units, by this function. "
        "For counts and concentrations: softplus learns most easily, relu can predict "
        "exactly 0, exp suits values over several orders of magnitude.",
        choices=("none", "relu", "softplus", "exp"),
        when="Choose softplus for concentrations and times that must not be "
        "negative, relu where many are exactly 0, exp over orders of "
        "magnitude.",
        only_with={"task": ("regression",)},
    )
    learnable_output_scale: bool = option(
        False,
        "Learn one factor per target by which predictions vary about the first guess. "
        "For predictions that stay too close to the mean at a low lr.",
        when="Turn it on where predictions span much less than the true values "
        "while the training loss still falls.",
        only_with={"task": ("regression",)},
    )

    def _check(self) -> None:
        scaled = self.target_transform
        if self.bounded_targets and self.output_activation != "none":
            raise InputError(
                "bounded_targets and output_activation contradict each other: leave "
                "output_activation out, or bounded_targets."
            )
        if self.bounded_targets and scaled.startswith(("zscore", "log-zscore")):
            raise InputError(
                "bounded_targets needs a target that is scaled to the range 0 to 1; "
                f"target_transform {scaled} is not: choose minmax or log-minmax, or "
                "leave bounded_targets out."
            )
        if self.output_activation != "none" and scaled == "zscore-category":
            raise InputError(
                "output_activation needs one scale for all samples; target_transform "
                "zscore-category has one per category, in which 0 lies elsewhere: "
                "choose another target_transform, or leave output_activation out."
            )
