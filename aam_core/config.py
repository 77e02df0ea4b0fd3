"""Every option of q2-aam, declared once.

The `aam` command line, the signatures of the QIIME 2 actions and the option
tables of the documentation are generated from the dataclasses below. An option
is a field with a default, a one-line help, and its allowed values; nothing else
in the project states a default.

A command's options are one class (`PretrainConfig`, `TrainConfig`, …) that
inherits the topics it needs, so that a function which needs only the model's
options takes a `ModelOptions`, whichever command it serves.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

from aam_core.errors import InputError, some
from aam_core.options import Options, option, option_specs, shown

#: Sizes of the model. `small` has the width, heads and depth of the documented
#: default of the peer; the others scale it down for a laptop and up for a GPU.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embedding_dim": 64,
        "attention_heads": 4,
        "attention_layers": 2,
        "nucleotide_patch": 6,
    },
    "small": {
        "embedding_dim": 128,
        "attention_heads": 4,
        "attention_layers": 4,
        "nucleotide_patch": 6,
    },
    "medium": {
        "embedding_dim": 768,
        "attention_heads": 6,
        "attention_layers": 4,
        "nucleotide_patch": 1,
    },
    "large": {
        "embedding_dim": 1152,
        "attention_heads": 12,
        "attention_layers": 8,
        "nucleotide_patch": 1,
    },
}
DEFAULT_PRESET = "small"

#: What every preset shares.
ARCHITECTURE: dict[str, Any] = {
    "max_bp": 150,
    "dropout": 0.1,
    "count_embedding": True,
    "count_embedding_method": "add",
}


#: Share of a GPU's memory that a run plans with where nothing else is asked for.
MEMORY_FRACTION = 0.8

#: Options of the schedulers where they are left open.
SCHEDULER: dict[str, Any] = {
    "scheduler_t_mult": 2,
    "scheduler_eta_min": 0.0,
    "scheduler_patience": 5,
    "scheduler_factor": 0.3,
    "scheduler_min_lr": 0.0,
}
#: Which schedulers each of them belongs to.
SCHEDULER_OF: dict[str, tuple[str, ...]] = {
    "warmup_steps": ("warmup_cosine",),
    "scheduler_t0": ("cosine_restarts",),
    "scheduler_t_mult": ("cosine_restarts",),
    "scheduler_eta_min": ("warmup_cosine", "cosine", "cosine_restarts"),
    "scheduler_patience": ("plateau",),
    "scheduler_factor": ("plateau",),
    "scheduler_min_lr": ("plateau",),
}
#: Options of one loss only, where they are left open, and that loss.
LOSS: dict[str, Any] = {
    "quantiles": (0.1, 0.5, 0.9),
    "over_penalty": 1.0,
    "under_penalty": 1.0,
}
LOSS_OF: dict[str, str] = {
    "quantiles": "quantile",
    "over_penalty": "asymmetric",
    "under_penalty": "asymmetric",
}
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
#: Options that mean nothing to the other task.
TASK_OF: dict[str, str] = {
    "target_transform": "regression",
    "normalize_by": "regression",
    "loss_type": "regression",
    "loss_config": "regression",
    "class_weights": "classification",
    "bounded_targets": "regression",
    "output_activation": "regression",
    "learnable_output_scale": "regression",
    "regressor_hidden_dims": "regression",
    "regressor_dropout": "regression",
    "residual_regression_head": "regression",
}
#: Dropout of `regressor_hidden_dims` where it is left open.
REGRESSOR_DROPOUT = 0.0


#: Options of the covariates where they are left open.
CATEGORICAL: dict[str, Any] = {
    "categorical_embed_dim": 16,
    "categorical_fusion": "concat",
    "perceiver_num_latents": 64,
    "perceiver_num_layers": 2,
    "cross_attn_heads": 8,
}
#: Which fusions some of them belong to.
FUSION_OF: dict[str, tuple[str, ...]] = {
    "perceiver_num_latents": ("perceiver",),
    "perceiver_num_layers": ("perceiver",),
    "cross_attn_heads": ("cross-attention", "perceiver"),
}


def _preset(name: str) -> Callable[[], str]:
    return lambda: f"{PRESETS[DEFAULT_PRESET][name]} (preset {DEFAULT_PRESET})"


def _common(name: str) -> Callable[[], str]:
    return lambda: shown(ARCHITECTURE[name])


def _categorical(name: str) -> Callable[[], str]:
    return lambda: shown(CATEGORICAL[name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthOptions(Options):
    """How many reads of a sample count."""

    topic: typing.ClassVar[str] = "Input"

    rarefy_depth: int = option(
        5000,
        "Reads drawn at random from each sample; samples with fewer are left out. "
        "0 keeps all reads.",
        low=0,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """What happens to features that the model cannot read."""

    topic: typing.ClassVar[str] = "Input"

    missing_features: str = option(
        "error",
        "What to do with features that have no sequence, or no tip in the phylogeny: "
        "stop, or leave them out and report how many reads that costs.",
        choices=("error", "drop"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputOptions(FeatureOptions, DepthOptions):
    """How the feature table becomes samples of ASVs."""

    topic: typing.ClassVar[str] = "Input"

    token_limit: int = option(
        1024, "Most ASVs of a sample that the model reads.", low=1
    )
    asv_sampling: str = option(
        "abundance",
        "Which ASVs are read where a sample has more than token_limit: the first of "
        "the table, the most abundant, or random ones (drawn anew each epoch).",
        choices=("first", "abundance", "random"),
    )
    missing_samples: str = option(
        "error",
        "What to do with samples that the distance matrix lacks: stop, or leave them "
        "out and report.",
        choices=("error", "ignore"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The architecture. None: the preset's, or the pre-trained encoder's."""

    topic: typing.ClassVar[str] = "Model"

    preset: str | None = option(
        None,
        "Size of the model; single options below override it.",
        choices=tuple(PRESETS),
        shown=lambda: DEFAULT_PRESET,
    )
    embedding_dim: int | None = option(
        None, "Width of all embeddings.", low=8, shown=_preset("embedding_dim")
    )
    attention_heads: int | None = option(
        None, "Attention heads of a layer.", low=1, shown=_preset("attention_heads")
    )
    attention_layers: int | None = option(
        None,
        "Layers of each of the transformers (nucleotides, sample, encoder).",
        low=1,
        shown=_preset("attention_layers"),
    )
    max_bp: int | None = option(
        None,
        "Longest sequence read; longer ones are cut, and the run says how many.",
        low=1,
        shown=_common("max_bp"),
    )
    nucleotide_patch: int | None = option(
        None,
        "Neighbouring nucleotides that share one position of the nucleotide "
        "transformer; 1 is the full per-nucleotide encoder.",
        low=1,
        high=64,
        shown=_preset("nucleotide_patch"),
    )
    dropout: float | None = option(
        None,
        "Dropout between the layers in training.",
        low=0,
        high=1,
        open_high=True,
        shown=_common("dropout"),
    )
    count_embedding: bool | None = option(
        None,
        "Whether the abundance of each ASV is an input of the model.",
        shown=_common("count_embedding"),
    )
    count_embedding_method: str | None = option(
        None,
        "How the abundance joins the ASV embedding.",
        choices=("add", "concat", "film"),
        shown=_common("count_embedding_method"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """Which samples are for training, and which for validation."""

    topic: typing.ClassVar[str] = "Training and validation samples"

    test_size: float = option(
        0.2,
        "Share of the samples kept for validation.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    group_column: str | None = option(
        None,
        "Metadata column whose groups (subjects, sites) are never divided between "
        "training and validation.",
    )
    seed: int = option(42, "Seed of all random choices.", low=0, high=2**32 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """What is learned without labels, and the weight of each part."""

    topic: typing.ClassVar[str] = "Self-supervision"

    unifrac_metric: str = option(
        "unweighted",
        "Distance computed from the phylogeny (with a distance matrix: its own).",
        choices=("unweighted", "weighted", "faith_pd"),
    )
    penalty: float = option(1.0, "Weight of the UniFrac loss.", low=0)
    nuc_penalty: float = option(
        1.0,
        "Weight of the masked-nucleotide loss (off while the base is frozen).",
        low=0,
    )
    count_penalty: float = option(
        1.0, "Weight of the abundance loss of count_prediction.", low=0
    )
    count_prediction: bool = option(
        False,
        "Also learn the abundance of ASVs whose abundance is hidden from the model.",
    )
    nuc_mask_ratio: float = option(
        0.15,
        "Share of the nucleotides hidden and predicted; 0 turns it off.",
        low=0,
        high=1,
        open_high=True,
    )
    nuc_mask_strategy: str = option(
        "random",
        "Hide single nucleotides, or spans of neighbours.",
        choices=("random", "span"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserOptions(Options):
    """Optimiser, learning rate and when to stop."""

    topic: typing.ClassVar[str] = "Optimisation"

    epochs: int = option(100, "Most passes over the training samples.", low=1)
    lr: float = option(1e-4, "Peak learning rate.", low=0, open_low=True)
    optimizer: str = option("adamw", "Optimiser.", choices=("adamw", "adam", "sgd"))
    weight_decay: float = option(0.01, "Weight decay of weight matrices.", low=0)
    scheduler: str = option(
        "warmup_cosine",
        "Course of the learning rate.",
        choices=("warmup_cosine", "cosine", "cosine_restarts", "plateau", "onecycle"),
    )
    warmup_steps: int | None = option(
        None,
        "Optimiser steps of linear warm-up (warmup_cosine).",
        low=0,
        shown=lambda: "a tenth of all steps",
    )
    scheduler_t0: int | None = option(
        None,
        "Optimiser steps before the first restart (cosine_restarts).",
        low=1,
        shown=lambda: "a quarter of all steps",
    )
    scheduler_t_mult: int | None = option(
        None,
        "What the steps between restarts are multiplied by at each (cosine_restarts).",
        low=1,
        shown=lambda: str(SCHEDULER["scheduler_t_mult"]),
    )
    scheduler_eta_min: float | None = option(
        None,
        "Lowest learning rate (warmup_cosine, cosine, cosine_restarts).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_eta_min"]),
    )
    scheduler_patience: int | None = option(
        None,
        "Epochs without a better validation score before the learning rate falls "
        "(plateau).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_patience"]),
    )
    scheduler_factor: float | None = option(
        None,
        "What the learning rate is then multiplied by (plateau).",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        shown=lambda: str(SCHEDULER["scheduler_factor"]),
    )
    scheduler_min_lr: float | None = option(
        None,
        "Lowest learning rate (plateau).",
        low=0,
        shown=lambda: str(SCHEDULER["scheduler_min_lr"]),
    )
    patience: int = option(
        10, "Epochs without a better validation score before training ends.", low=1
    )
    max_hours: float | None = option(
        None,
        "Hours after which training ends early, with the best model so far, marked as "
        "not completed.",
        low=0,
        open_low=True,
        shown=lambda: "no limit",
    )
    max_grad_norm: float | None = option(
        1.0, "Clip the gradient to this norm; 0 turns it off.", low=0
    )
    gradient_accumulation_steps: int = option(
        1, "Batches whose gradients are averaged for one step.", low=1
    )
    target_effective_batch_size: int | None = option(
        None,
        "Samples that each step shall see: sets gradient_accumulation_steps to what "
        "that takes, rounded up.",
        low=1,
        shown=lambda: "batch_size times gradient_accumulation_steps",
    )

    def _check(self) -> None:
        self._check_accumulation()
        for name, schedulers in SCHEDULER_OF.items():
            if getattr(self, name) is not None and self.scheduler not in schedulers:
                raise InputError(
                    f"{name} has no effect with scheduler {self.scheduler!r}, but with "
                    f"{' and '.join(schedulers)}: leave {name} out, or choose one."
                )

    def _check_accumulation(self) -> None:
        target = self.target_effective_batch_size
        if target is None:
            return
        if self.gradient_accumulation_steps > 1:
            raise InputError(
                f"target_effective_batch_size is {target} and "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}: one "
                "follows from the other, so leave one of them out."
            )
        batch_size = getattr(self, "batch_size", 1)
        if target < batch_size:
            raise InputError(
                f"target_effective_batch_size is {target}, which is below batch_size "
                f"{batch_size}: leave it out, or lower batch_size."
            )

    def accumulation(self) -> int:
        """Batches of one step (of a config that has `DeviceOptions` too)."""
        if self.target_effective_batch_size is None:
            return self.gradient_accumulation_steps
        return math.ceil(self.target_effective_batch_size / self.batch_size)

    def scheduler_value(self, name: str) -> float:
        """An option of the scheduler, or its default."""
        value = getattr(self, name)
        return SCHEDULER[name] if value is None else value


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceOptions(Options):
    """Where and how the computation runs."""

    topic: typing.ClassVar[str] = "Device and memory"

    batch_size: int = option(8, "Samples of a batch.", low=1)
    device: str = option(
        "auto",
        "Device; auto takes the GPU where there is one.",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    mixed_precision: str = option(
        "none",
        "Precision of matrix products.",
        choices=("none", "fp16", "bf16"),
    )
    asv_chunk_size: int = option(
        256, "ASVs encoded at a time; 0 encodes all of a batch together.", low=0
    )
    num_workers: int = option(
        0, "Processes that prepare batches ahead; 0 prepares them in this one.", low=0
    )
    attn_implementation: str = option(
        "sdpa",
        "Kernel of the attention; sdpa takes the fastest that serves each call.",
        choices=("sdpa", "flash", "mem_efficient", "math"),
    )
    tf32: bool = option(
        False,
        "Let an NVIDIA GPU round the factors of float32 matrix products to 10 bits, "
        "which is faster.",
    )
    use_expandable_segments: bool = option(
        False,
        "Let the GPU memory of this process grow in place, which helps where an "
        "out-of-memory error tells of memory that is reserved but unallocated.",
    )
    memory_profile: bool = option(
        False, "Report the peak memory of each phase of the run."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryOptions(Options):
    """How training fits into memory, and its compilation."""

    topic: typing.ClassVar[str] = "Device and memory"

    gradient_checkpointing: bool | None = option(
        None,
        "Compute the layers again in the backward pass instead of keeping their "
        "results: a fraction of the memory for about a third more time.",
        shown=lambda: "on an NVIDIA or AMD GPU where a step does not fit without it",
    )
    compile_model: bool = option(
        False,
        "Compile the transformer layers with torch.compile; needs a C++ compiler, and "
        "a long run to pay.",
    )
    auto_batch_size: bool = option(
        False,
        "Double batch_size as long as a training step fits into max_memory_fraction "
        "of the GPU's memory.",
    )
    max_memory_fraction: float | None = option(
        None,
        "Share of the GPU's memory that auto_batch_size and the decision on "
        "gradient_checkpointing may fill.",
        low=0,
        high=1,
        open_low=True,
        shown=lambda: str(MEMORY_FRACTION),
    )

    def _check(self) -> None:
        decided = self.gradient_checkpointing is not None and not self.auto_batch_size
        if decided and self.max_memory_fraction is not None:
            raise InputError(
                "max_memory_fraction has no effect without auto_batch_size where "
                "gradient_checkpointing is given: leave one of the two out, or choose "
                "auto_batch_size."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnOptions(Options):
    """What is predicted."""

    topic: typing.ClassVar[str] = "Target"

    metadata_column: tuple[str, ...] = option(
        (), "Column or columns of the sample metadata to predict."
    )
    task: str = option(
        "regression",
        "Predict numbers or classes.",
        choices=("regression", "classification"),
    )

    def _check(self) -> None:
        if not self.metadata_column:
            raise InputError("metadata_column is missing: name the column to predict.")
        if self.task == "classification" and len(self.metadata_column) > 1:
            raise InputError(
                "A classification predicts one column; metadata_column names "
                f"{len(self.metadata_column)}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetOptions(ColumnOptions):
    """How the target is scaled, and its loss."""

    topic: typing.ClassVar[str] = "Target"

    target_penalty: float = option(1.0, "Weight of the target loss.", low=0)
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
    )
    normalize_by: tuple[str, ...] = option(
        (), "Metadata columns whose categories zscore-category scales separately."
    )
    loss_type: str = option(
        "huber",
        "Loss of a regression.",
        choices=("huber", "mse", "mae", "quantile", "asymmetric"),
    )
    quantiles: tuple[float, ...] = option(
        (),
        "Quantiles predicted with loss_type quantile; 0.5, the prediction, is one.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        shown=lambda: shown(LOSS["quantiles"]),
    )
    over_penalty: float | None = option(
        None,
        "Weight of predictions above the target (loss_type asymmetric).",
        low=0,
        shown=lambda: shown(LOSS["over_penalty"]),
    )
    under_penalty: float | None = option(
        None,
        "Weight of predictions below the target (loss_type asymmetric).",
        low=0,
        shown=lambda: shown(LOSS["under_penalty"]),
    )
    loss_config: str | None = option(
        None,
        "Loss of single targets (mse, mae, huber) where several are predicted, as JSON "
        'by position or name: {"0": "mse", "age": "huber"}. Others have loss_type.',
    )
    class_weights: str = option(
        "none",
        "Weight of the classes: equal, or balanced by their frequency.",
        choices=("none", "balanced"),
    )
    best_metric: str = option(
        "val_loss",
        "Validation score that selects the best model.",
        choices=("val_loss", *METRICS["regression"], *METRICS["classification"]),
    )

    def _check(self) -> None:
        if self.target_transform == "zscore-category" and not self.normalize_by:
            raise InputError(
                "target_transform zscore-category needs normalize_by, the metadata "
                "columns that hold the categories."
            )
        if self.normalize_by and self.target_transform != "zscore-category":
            raise InputError(
                "normalize_by goes with target_transform zscore-category; "
                f"target_transform is {self.target_transform!r}."
            )
        levels = self.loss_value("quantiles")
        if list(levels) != sorted(set(levels)):
            raise InputError("quantiles must rise, each named once.")
        if 0.5 not in levels:
            raise InputError("quantiles must hold 0.5, the median that is predicted.")
        if self.best_metric not in ("val_loss", *METRICS[self.task]):
            raise InputError(
                f"best_metric {self.best_metric} does not fit a {self.task}: choose "
                f"val_loss or one of {some(METRICS[self.task])}."
            )
        for name, loss in LOSS_OF.items():
            if getattr(self, name) not in (None, ()) and self.loss_type != loss:
                raise InputError(
                    f"{name} has no effect with loss_type {self.loss_type!r}, but with "
                    f"{loss}: leave {name} out, or choose loss_type {loss}."
                )
        self._check_task()
        self.target_losses()

    def _check_task(self) -> None:
        """Refuse options that only the other task has a use for."""
        for spec in option_specs(type(self)):
            task = TASK_OF.get(spec.name, self.task)
            if task != self.task and getattr(self, spec.name) != spec.default:
                raise InputError(
                    f"{spec.name} has no effect on a {self.task}, but on a {task}: "
                    f"leave {spec.name} out."
                )

    def loss_value(self, name: str) -> Any:
        """An option of the loss, or its default."""
        value = getattr(self, name)
        return LOSS[name] if value in (None, ()) else value

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
        True, "Whether the sample embedding is normalised before the last layers."
    )
    regressor_hidden_dims: tuple[int, ...] = option(
        (),
        "Widths of hidden layers between the sample embedding and the prediction "
        "(64,32); without, the prediction is linear in the embedding. For targets with "
        "hundreds of samples and more.",
        low=1,
    )
    regressor_dropout: float | None = option(
        None,
        "Dropout after each of regressor_hidden_dims.",
        low=0,
        high=1,
        open_high=True,
        shown=lambda: shown(REGRESSOR_DROPOUT),
    )
    residual_regression_head: bool = option(
        False,
        "Add what regressor_hidden_dims predict to a linear prediction instead of "
        "replacing it.",
    )
    bounded_targets: bool = option(
        False,
        "Keep predictions within the range of the training samples (within 0 to 1 with "
        "target_transform none), by a sigmoid. For targets with natural bounds that "
        "the samples reach, such as shares.",
    )
    output_activation: str = option(
        "none",
        "Keep predictions at 0 or more in the target's own units, by this function. "
        "For counts and concentrations: softplus learns most easily, relu can predict "
        "exactly 0, exp suits values over several orders of magnitude.",
        choices=("none", "relu", "softplus", "exp"),
    )
    learnable_output_scale: bool = option(
        False,
        "Learn one factor per target by which predictions vary about the first guess. "
        "For predictions that stay too close to the mean at a low lr.",
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
        for name in ("regressor_dropout", "residual_regression_head"):
            value = getattr(self, name)
            given = value is not None and value is not False
            if given and not self.regressor_hidden_dims:
                raise InputError(
                    f"{name} has no effect without regressor_hidden_dims: leave {name} "
                    "out, or choose hidden layers (64,32)."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseOptions(Options):
    """What becomes of a pre-trained encoder."""

    topic: typing.ClassVar[str] = "Pre-trained encoder"

    freeze_base: bool = option(
        False,
        "Keep the encoder as it is and train only what is new; each ASV is then "
        "encoded once per run.",
    )
    target_layers: int = option(
        1,
        "Transformer layers between the encoder and the prediction.",
        low=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoricalOptions(Options):
    """Covariates that the prediction is conditioned on."""

    topic: typing.ClassVar[str] = "Categorical covariates"

    categorical_columns: tuple[str, ...] = option(
        (), "Categorical metadata columns that the prediction is conditioned on."
    )
    categorical_embed_dim: int | None = option(
        None,
        "Width of the embedding of each categorical column.",
        low=1,
        shown=_categorical("categorical_embed_dim"),
    )
    categorical_fusion: str | None = option(
        None,
        "How the categories join the sample; the documentation has a guide "
        "(aam train --categorical-help).",
        choices=("concat", "add", "gmu", "cross-attention", "perceiver"),
        shown=_categorical("categorical_fusion"),
    )
    perceiver_num_latents: int | None = option(
        None,
        "Learned latents of the perceiver fusion.",
        low=1,
        shown=_categorical("perceiver_num_latents"),
    )
    perceiver_num_layers: int | None = option(
        None,
        "Layers of self-attention among the latents of the perceiver fusion.",
        low=1,
        shown=_categorical("perceiver_num_layers"),
    )
    cross_attn_heads: int | None = option(
        None,
        "Attention heads of the cross-attention and perceiver fusions; they must "
        "divide embedding_dim.",
        low=1,
        shown=_categorical("cross_attn_heads"),
    )
    categorical_lr: float | None = option(
        None,
        "Peak learning rate of what reads the categories (embeddings, fusion, "
        "scaling); it follows the schedule of lr.",
        low=0,
        open_low=True,
        shown=lambda: "lr",
    )
    categorical_loss_weights: str | None = option(
        None,
        "Weight of the target loss of samples by category: winter=2,summer=1, the "
        "same as a JSON object, or auto (rare categories count more). Categories "
        "that are not named have weight 1.",
    )
    categorical_loss_weight_column: str | None = option(
        None,
        "Which of categorical_columns has the categories of categorical_loss_weights.",
        shown=lambda: "the first of categorical_columns",
    )
    conditional_output_scaling: tuple[str, ...] = option(
        (),
        "Which of categorical_columns scale and shift the prediction: a learned "
        "factor and offset per category.",
    )

    def _check(self) -> None:
        if not self.categorical_columns:
            self._refuse_without_columns()
        fusion = self.categorical_value("categorical_fusion")
        for name, fusions in FUSION_OF.items():
            if getattr(self, name) is not None and fusion not in fusions:
                raise InputError(
                    f"{name} has no effect with categorical_fusion {fusion!r}, but "
                    f"with {' and '.join(fusions)}: leave {name} out, or choose one."
                )
        if self.categorical_loss_weights is not None:
            category_weights(self.categorical_loss_weights)
        elif self.categorical_loss_weight_column is not None:
            raise InputError(
                "categorical_loss_weight_column needs categorical_loss_weights: give "
                "the weights, or leave the column out."
            )
        columns = {
            "categorical_loss_weight_column": (self.loss_weight_column,),
            "conditional_output_scaling": self.conditional_output_scaling,
        }
        for option_name, names in columns.items():
            self._check_columns(option_name, names)

    def _refuse_without_columns(self) -> None:
        given = [
            field.name
            for field in dataclasses.fields(CategoricalOptions)
            if getattr(self, field.name) not in (None, ())
        ]
        if given:
            raise InputError(
                f"{given[0]} has no effect without categorical_columns: name the "
                f"columns, or leave {given[0]} out."
            )

    def _check_columns(self, option_name: str, names: tuple[str | None, ...]) -> None:
        for name in names:
            if name is not None and name not in self.categorical_columns:
                raise InputError(
                    f"{option_name} names {name!r}, which is not among "
                    f"categorical_columns ({some(self.categorical_columns)}): add it "
                    "there, or choose one of them."
                )
        if len(set(names)) < len(names):
            raise InputError(f"{option_name} names a column twice: {some(names)}.")

    @property
    def loss_weight_column(self) -> str | None:
        """The column that weights the target loss, if one does."""
        if self.categorical_loss_weights is None:
            return None
        return self.categorical_loss_weight_column or self.categorical_columns[0]

    def categorical_value(self, name: str) -> Any:
        """An option of the covariates, or its default."""
        value = getattr(self, name)
        return CATEGORICAL[name] if value is None else value


def category_weights(text: str) -> dict[str, float] | None:
    """The weights that `categorical_loss_weights` states; None for ``auto``.

    Raises
    ------
    InputError
        If it is neither ``auto`` nor a mapping of categories to weights, or no
        weight is above 0.

    Examples
    --------
    >>> from aam_core.config import category_weights
    >>> category_weights("winter=2, summer=1")
    {'winter': 2.0, 'summer': 1.0}
    >>> category_weights('{"winter": 2}')
    {'winter': 2.0}
    """
    if text == "auto":
        return None
    try:
        if text.startswith("{"):
            pairs = json.loads(text, object_pairs_hook=list)
        else:
            pairs = [part.rsplit("=", 1) for part in text.split(",")]
        weights = {name.strip(): float(weight) for name, weight in pairs}
    except (TypeError, ValueError):
        raise InputError(
            f"categorical_loss_weights is {text!r}; allowed are auto, a list such as "
            "winter=2,summer=1, and a JSON object such as "
            '{"winter": 2, "summer": 1}.'
        ) from None
    bad = [name for name, weight in weights.items() if not 0 <= weight < math.inf]
    if bad or len(weights) < len(pairs) or not any(weights.values()):
        raise InputError(
            f"categorical_loss_weights is {text!r}: each category is named once, with "
            "a weight of 0 or more, and one weight at least is above 0."
        )
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnknownOptions(Options):
    """What a prediction does with categories it was not trained on."""

    topic: typing.ClassVar[str] = "Categorical covariates"

    unknown_categories: str = option(
        "error",
        "What to do with categories that were not among the training samples: stop, "
        "or treat them as missing.",
        choices=("error", "ignore"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationOptions(InputOptions):
    """How validation samples are predicted."""

    topic: typing.ClassVar[str] = "Input"

    val_prediction_passes: int = option(
        1,
        "Random draws of ASVs over which the predictions of validation samples with "
        "more than token_limit ASVs are averaged (asv_sampling random).",
        low=1,
    )

    def _check(self) -> None:
        if self.val_prediction_passes > 1 and self.asv_sampling != "random":
            raise InputError(
                "val_prediction_passes has no effect with asv_sampling "
                f"{self.asv_sampling!r}, where each pass reads the same ASVs: leave "
                "val_prediction_passes out, or choose asv_sampling random."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassOptions(Options):
    """Averages over random draws of ASVs."""

    topic: typing.ClassVar[str] = "Prediction"

    prediction_passes: int | None = option(
        None,
        "Random draws of ASVs over which the predictions of samples with more than "
        "token_limit ASVs are averaged, for models trained with asv_sampling random.",
        low=1,
        shown=lambda: "the model's val_prediction_passes, 1 if not chosen",
    )
    output_variance: bool = option(
        False,
        "Add the standard deviation over the passes to the details: of each target, "
        "or of the probability of each class, in columns that end in _sd. Leave "
        "it out where sample-classifier is to plot the probabilities.",
    )

    def _check(self) -> None:
        if self.output_variance and self.prediction_passes == 1:
            raise InputError(
                "output_variance needs at least two passes: choose more "
                "prediction_passes, or leave output_variance out."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestOptions(Options):
    """The random forest."""

    topic: typing.ClassVar[str] = "Random forest"

    n_estimators: int = option(500, "Trees of the forest.", low=1)
    max_features: str = option(
        "sqrt",
        "Features tried at a split: sqrt, log2, a share (0.3), or a number (20).",
    )
    random_seed: int = option(42, "Seed of the forest.", low=0, high=2**32 - 1)
    n_jobs: int = option(-1, "Processes; -1 takes all cores.", low=-1)

    def _check(self) -> None:
        self.features_per_split()
        if self.n_jobs == 0:
            raise InputError("n_jobs is 0; allowed are -1 (all cores) and 1 or more.")

    def features_per_split(self) -> str | float | int:
        """`max_features` as scikit-learn takes it."""
        text = self.max_features
        if text in ("sqrt", "log2"):
            return text
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if 0 < number < 1 or ("." in text and number == 1):
            return number
        if number >= 1 and number.is_integer():
            return int(number)
        raise InputError(
            f"max_features is {text!r}; allowed are sqrt, log2, a share of the "
            "features such as 0.3, or a number of features such as 20."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig(
    MemoryOptions,
    DeviceOptions,
    OptimiserOptions,
    LossOptions,
    SplitOptions,
    ModelOptions,
    InputOptions,
):
    """Options of `pretrain`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(
    MemoryOptions,
    DeviceOptions,
    OptimiserOptions,
    LossOptions,
    SplitOptions,
    ModelOptions,
    ValidationOptions,
    BaseOptions,
    CategoricalOptions,
    OutputOptions,
):
    """Options of `train`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(DeviceOptions, PassOptions, UnknownOptions, FeatureOptions):
    """Options of `predict`; how samples are read is the model's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForestConfig(ForestOptions, SplitOptions, DepthOptions, ColumnOptions):
    """Options of `rf-baseline`."""


COMMANDS: Mapping[str, type[Options]] = {
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "predict": PredictConfig,
    "rf-baseline": ForestConfig,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The concrete architecture of one model, as `config.json` keeps it."""

    embedding_dim: int
    attention_heads: int
    attention_layers: int
    nucleotide_patch: int
    max_bp: int
    dropout: float
    count_embedding: bool
    count_embedding_method: str


def resolve_architecture(
    options: ModelOptions, encoder: Architecture | None = None
) -> Architecture:
    """Fill what the options leave open from the preset or the encoder.

    Parameters
    ----------
    options : ModelOptions
        What the user chose.
    encoder : Architecture, optional
        The architecture of a pre-trained encoder.

    Returns
    -------
    Architecture

    Raises
    ------
    InputError
        If an option contradicts the encoder, or `attention_heads` does not divide
        `embedding_dim`.
    """
    names = [f.name for f in dataclasses.fields(Architecture)]
    chosen = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    if encoder is None:
        base = ARCHITECTURE | PRESETS[options.preset or DEFAULT_PRESET]
    else:
        base = dataclasses.asdict(encoder)
        wanted = (PRESETS[options.preset] if options.preset else {}) | chosen
        wanted.pop("dropout", None)
        for name, value in wanted.items():
            if value != base[name]:
                raise InputError(
                    f"{name} is {value}, but the pre-trained encoder has {base[name]}: "
                    f"leave {name} out, or pre-train an encoder with it."
                )
    architecture = Architecture(**(base | chosen))
    if architecture.embedding_dim % architecture.attention_heads:
        raise InputError(
            f"embedding_dim {architecture.embedding_dim} cannot be divided among "
            f"{architecture.attention_heads} attention_heads: choose a multiple."
        )
    return architecture
