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
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

from aam_core.errors import InputError
from aam_core.options import Options, option, shown

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


def _preset(name: str) -> Callable[[], str]:
    return lambda: f"{PRESETS[DEFAULT_PRESET][name]} (preset {DEFAULT_PRESET})"


def _common(name: str) -> Callable[[], str]:
    return lambda: shown(ARCHITECTURE[name])


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
        (0.1, 0.5, 0.9),
        "Quantiles predicted with loss_type quantile.",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    over_penalty: float = option(
        1.0, "Weight of predictions above the target (loss_type asymmetric).", low=0
    )
    under_penalty: float = option(
        1.0, "Weight of predictions below the target (loss_type asymmetric).", low=0
    )
    class_weights: str = option(
        "none",
        "Weight of the classes: equal, or balanced by their frequency.",
        choices=("none", "balanced"),
    )
    best_metric: str = option(
        "val_loss",
        "Validation score that selects the best model.",
        choices=("val_loss", "r2", "mae", "mse", "accuracy", "f1"),
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
        if self.loss_type == "quantile" and 0.5 not in self.quantiles:
            raise InputError("quantiles must hold 0.5, the median that is predicted.")
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise InputError("quantiles must rise, each named once.")
        regression = ("r2", "mae", "mse")
        wrong = ("accuracy", "f1") if self.task == "regression" else regression
        if self.best_metric in wrong:
            raise InputError(
                f"best_metric {self.best_metric} does not fit a {self.task}."
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
    categorical_embed_dim: int = option(
        16, "Width of the embedding of each categorical column.", low=1
    )
    categorical_fusion: str = option(
        "concat",
        "How the categories join the sample.",
        choices=("concat", "add"),
    )


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
    InputOptions,
    BaseOptions,
    CategoricalOptions,
    TargetOptions,
):
    """Options of `train`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig(DeviceOptions, UnknownOptions, FeatureOptions):
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
