"""What is measured: objects that do their work at each call; see `measure`.

`facts` of an object are what else is told of it.
"""

import dataclasses
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import (
    PredictConfig,
    PretrainConfig,
    TrainConfig,
    resolve_architecture,
)
from aam_core.data.batches import Batch, BatchMaker, chunks_of
from aam_core.data.inputs import Inputs, Sources, prepare_inputs, split_rows
from aam_core.data.labels import fit_labels
from aam_core.data.masking import Masking
from aam_core.data.targets import read_target
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.losses import self_supervised_losses, target_loss, weighted_total
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import silent
from aam_core.runtime.device import autocast, choose_device
from aam_core.training.optimiser import Stepper, make_optimizer
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.train_session import TrainSession, head_shape
from benchmarks import synthetic
from benchmarks.reference import (
    PlainEncoder,
    PlainPredictor,
    Slots,
    plain_losses,
    slots_of,
)

CPU = torch.device("cpu")
#: A way of training that takes little memory.
LEAN = {"gradient_checkpointing": True}

PRODUCTS = 5  #: times that matrix products are computed in a run
COUNTED = 16  #: ASVs of which floating-point operations are counted


@dataclasses.dataclass(frozen=True)
class Sizes:
    """A generated study and a model."""

    samples: int = 8
    features: int = 1750
    asvs: int = 256
    length: int = 150
    short: float = 0.0
    seed: int = 0
    batch: int = 8
    preset: str = "small"
    patch: int | None = None

    @cached_property
    def made(self) -> synthetic.Generated:
        """The study."""
        return synthetic.study(
            self.samples,
            self.features,
            self.asvs,
            self.length,
            short=self.short,
            seed=self.seed,
        )

    @property
    def options(self) -> dict[str, Any]:
        """Options of `pretrain` and `train`."""
        return {
            "preset": self.preset,
            "nucleotide_patch": self.patch,
            "max_bp": self.length,
            "batch_size": self.batch,
            "rarefy_depth": 0,
            "token_limit": self.asvs,
            "device": "cpu",
        }

    def inputs(self, config: PretrainConfig | TrainConfig, unifrac: bool) -> Inputs:
        """What a run reads."""
        phylogeny = self.made.phylogeny if unifrac else None
        sources = Sources(self.made.table, self.made.sequences, phylogeny)
        return prepare_inputs(config, sources, max_bp=self.length, report=silent)


class Step:
    """Steps of pre-training on one batch, that of the first samples.

    With `lean`, in little memory; with `known`, from known embeddings of the ASVs, so
    without the nucleotide encoder.
    """

    def __init__(
        self,
        lean: bool = False,
        known: bool = False,
        precision: str = "none",
        device: str = "cpu",
        **sizes: Any,
    ) -> None:
        sizes = Sizes(**sizes)
        more = {"mixed_precision": precision, "device": device}
        config = PretrainConfig(**sizes.options | more | (LEAN if lean else {}))
        self.device = choose_device(config)
        inputs = sizes.inputs(config, unifrac=True)
        rows = np.arange(sizes.batch)
        self.model = Encoder(resolve_architecture(config)).train().to(self.device)
        self.model.set_checkpointing(lean)
        self.session = PretrainSession(
            config, self.model, inputs, rows, rows, self.device
        )
        batches = self.session.batches()
        self.stepper = Stepper(self.model, batches, config, self.device)
        self.batch = batches.dataset[0, rows].to(self.device)
        self.facts = facts_of(self.batch)
        self.asv_UD = None
        if known:
            shape = len(self.batch.features), self.model.arch.embedding_dim
            self.asv_UD = torch.randn(shape, requires_grad=True)
            self.facts["flops"] = self._flops()

    def _flops(self) -> int:
        """Floating-point operations of a whole step.

        Counted here, since counting takes memory, and of the nucleotide encoder for a
        few ASVs, with those of the others in proportion to their nucleotides.
        """
        with counted() as beyond:
            self()
        lengths = self.session.batches().dataset.lengths_F[self.batch.features]
        few = chunks_of(lengths[-COUNTED:], 0)[0]
        tokens_UL = self.batch.tokens_UL[-COUNTED:, : few.length]
        with counted() as counter:
            self.model.nucleotides(tokens_UL, few)[0].sum().backward()
        share = lengths[-COUNTED:].sum() / lengths.sum()
        return int(beyond.get_total_flops() + counter.get_total_flops() / share)

    def __call__(self) -> None:
        """One step."""
        choose_device(self.session.config)  # as a run does; sets up the process
        with autocast(self.session.config, self.device):
            if self.asv_UD is None:
                total, _ = self.session.losses(self.batch)
            else:
                out = self.model(self.batch, self.asv_UD)
                losses = self_supervised_losses(out, self.batch, self.session.config)
                total = weighted_total(losses, self.session.config)
        self.stepper.backward(total, 1)
        self.stepper.step()


def facts_of(batch: Batch) -> dict[str, int]:
    """Slots of a batch, those with an ASV in them, and its distinct ASVs."""
    return {
        "slots": batch.present_SA.numel(),
        "present": int(batch.present_SA.sum()),
        "distinct": len(batch.features),
    }


def counted() -> FlopCounterMode:
    """Counts floating-point operations; it does not know attention on a CPU."""
    aten = torch.ops.aten
    forward = aten._scaled_dot_product_flash_attention_for_cpu

    def attention(q: Any, k: Any, v: Any, *rest: Any, **options: Any) -> int:
        return sdpa_flop_count(q, k, v)

    def attention_backward(g: Any, q: Any, k: Any, v: Any, *rest: Any, **o: Any) -> int:
        return sdpa_backward_flop_count(g, q, k, v)

    backward = aten._scaled_dot_product_flash_attention_for_cpu_backward
    mapping = {forward: attention, backward: attention_backward}
    return FlopCounterMode(display=False, custom_mapping=mapping)


class PlainStep:
    """Steps of the reference on the first `share` samples of the same batch."""

    def __init__(self, share: int, **sizes: Any) -> None:
        ours = Step(**sizes)
        self.model = PlainEncoder(ours.model).train()
        self.config, self.slots = ours.session.config, slots_of(ours.batch, share)
        self.optimizer = make_optimizer(self.model, self.config)
        self.facts = {"slots": self.slots.present_SA.numel()}

    def __call__(self) -> None:
        """One step."""
        losses = plain_losses(self.model(self.slots), self.slots)
        weighted_total(losses, self.config).backward()
        plain_update(self.model, self.optimizer, self.config.max_grad_norm)


def plain_update(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, norm: float
) -> None:
    """Clip the gradient and update the weights."""
    if norm:
        torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class MatrixProducts:
    """The matrix products of one layer of the nucleotide encoder, and nothing else.

    Of one chunk: forward, and the two of each in the backward pass.
    """

    def __init__(self, rows: int, width: int) -> None:
        shapes = [(width, 3 * width), (width, width)]
        shapes += [(width, 4 * width), (4 * width, width)]
        self.operands = [
            (torch.randn(rows, n), torch.randn(n, m), torch.randn(rows, m))
            for n, m in shapes
        ]
        self.flops = sum(6 * rows * n * m for n, m in shapes)
        self.facts: dict[str, float] = {}

    def __call__(self) -> None:
        """All of them, several times; the fastest is kept, since it is a peak."""
        for _ in range(PRODUCTS):
            start = time.perf_counter()
            with torch.inference_mode():
                for x, weight, gradient in self.operands:
                    torch.mm(x, weight)
                    torch.mm(gradient, weight.T)
                    torch.mm(x.T, gradient)
            speed = self.flops / (time.perf_counter() - start)
            self.facts["peak"] = max(speed, self.facts.get("peak", 0.0))


class Epoch:
    """Epochs of training on all samples, without validation."""

    def __init__(self, frozen: bool, **sizes: Any) -> None:
        sizes = Sizes(**sizes)
        config = TrainConfig(
            metadata_column=("value",),
            task="regression",
            freeze_base=frozen,
            **sizes.options,
        )
        inputs = sizes.inputs(config, unifrac=False)
        metadata, ids = sizes.made.metadata, inputs.study.table.sample_ids
        target = read_target(metadata, ("value",), "regression", ids, silent)
        training, validation = split_rows(
            inputs.study, config, metadata=metadata, report=silent
        )
        labels = fit_labels(config, metadata, target, training, silent)
        base = Encoder(resolve_architecture(config))
        shape = head_shape(config, labels)
        self.model = SequencePredictor(base, shape, frozen).train()
        self.session = TrainSession(
            config, self.model, inputs, labels, training, validation, CPU
        )
        self.batches = self.session.batches()
        self.stepper = Stepper(self.model, self.batches, config, CPU)
        shapes = [facts_of(batch) for batch in self.batches]
        used = np.unique(inputs.study.table.counts[training].indices)
        self.facts = {"slots": sum(f["slots"] for f in shapes), "distinct": len(used)}
        self.facts["steps"] = len(shapes)

    def __call__(self) -> None:
        """One epoch."""
        choose_device(self.session.config)
        for batch in self.batches:
            total, _ = self.session.losses(batch)
            self.stepper.backward(total, 1)
            self.stepper.step()


class PlainEpoch:
    """The reference on `share` samples of a training batch."""

    def __init__(self, share: int, frozen: bool, **sizes: Any) -> None:
        made = Sizes(**sizes)
        options = made.options
        self.config = TrainConfig(
            metadata_column=("value",), task="regression", **options
        )
        self.slots = some_slots(made, share, mask=0.0 if frozen else 0.15)
        base = Encoder(resolve_architecture(self.config))
        ours = SequencePredictor(base, HeadShape(outputs=1), frozen)
        self.model = PlainPredictor(ours).train()
        self.optimizer = make_optimizer(self.model, self.config)
        self.loss = target_loss(self.config)
        self.facts = {"slots": self.slots.present_SA.numel()}

    def __call__(self) -> None:
        """One step."""
        out = self.model(self.slots)
        losses = plain_losses(out, self.slots)
        losses["target_loss"] = self.loss(out["target"], self.slots.targets_ST)
        sum(losses.values()).backward()
        plain_update(self.model, self.optimizer, self.config.max_grad_norm)


def some_slots(sizes: Sizes, share: int, mask: float) -> Slots:
    """The first `share` samples of a study's first batch."""
    config = PretrainConfig(**sizes.options)
    study = sizes.inputs(config, unifrac=False).study
    maker = BatchMaker(
        study,
        token_limit=sizes.asvs,
        asv_sampling="abundance",
        masking=Masking(mask),
        targets_NT=sizes.made.metadata.to_numpy(dtype=np.float32),
    )
    return slots_of(maker[0, np.arange(sizes.batch)], share)


def small_model(folder: Path, **options: Any) -> Path:
    """A model with these options of `train`, trained on next to nothing."""
    made = synthetic.study(10, 20, 4, 20)
    config = TrainConfig(
        metadata_column=("value",),
        task="regression",
        epochs=1,
        ensemble=("network",),
        cross_fit=0,
        **options,
    )
    train(
        config,
        folder / "model",
        table=made.table,
        sequences=made.sequences,
        metadata=made.metadata,
        report=silent,
    )
    return folder / "model"


class Prediction:
    """`predict`, with all that belongs to it but reading the files.

    The model is written into the `folder`.
    """

    def __init__(self, folder: str, **sizes: Any) -> None:
        self.sizes = Sizes(**sizes)
        self.model = small_model(Path(folder), **self.sizes.options)
        self.config = PredictConfig(batch_size=self.sizes.batch, device="cpu")
        table = self.sizes.made.table
        self.facts = {"samples": table.shape[0]}
        self.facts["distinct"] = len(table.observed_features())

    def __call__(self) -> None:
        """Predict all samples."""
        made = self.sizes.made
        predict(
            self.config,
            self.model,
            table=made.table,
            sequences=made.sequences,
            report=silent,
        )


class PlainPrediction:
    """The reference on `share` samples of a batch."""

    def __init__(self, share: int, **sizes: Any) -> None:
        sizes = Sizes(**sizes)
        self.slots = some_slots(sizes, share, mask=0.0)
        base = Encoder(resolve_architecture(PretrainConfig(**sizes.options)))
        ours = SequencePredictor(base, HeadShape(outputs=1))
        self.model = PlainPredictor(ours).eval()
        self.facts = {"samples": len(self.slots.present_SA)}

    def __call__(self) -> None:
        """Predict these samples."""
        with torch.inference_mode():
            self.model(self.slots)
