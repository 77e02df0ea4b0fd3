"""The predictor: an encoder, covariates and a head for the target.

Shapes: S samples, A ASVs, D width, K categorical columns, T target columns,
Q quantiles, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aam_core.batches import Batch
from aam_core.config import Architecture
from aam_core.model import AttentionPooling, Encoder, Transformer


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """What the head of one model predicts, as `config.json` keeps it."""

    outputs: int  #: target columns, or classes
    quantiles: int = 0  #: quantiles per target column; 0 for a point prediction
    target_layers: int = 1
    cardinalities: tuple[int, ...] = ()  #: categories per covariate, with unknown
    categorical_embed_dim: int = 16
    categorical_fusion: str = "concat"


class CategoricalFusion(nn.Module):
    """Condition a sample embedding on categorical covariates.

    Category 0 means unknown or missing. In training, a covariate is now and then
    replaced by it, so that its embedding is learned even where no training sample
    lacks the covariate.
    """

    UNKNOWN_RATE = 0.1

    def __init__(self, width: int, shape: HeadShape) -> None:
        super().__init__()
        self.fusion = shape.categorical_fusion
        each = shape.categorical_embed_dim
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, each) for size in shape.cardinalities
        )
        total = each * len(shape.cardinalities)
        inputs = total + width if self.fusion == "concat" else total
        self.project = nn.Linear(inputs, width)

    def forward(self, sample_SD: Tensor, categories_SK: Tensor) -> Tensor:
        """Return (S, D)."""
        if self.training:
            keep = torch.rand_like(categories_SK, dtype=torch.float)
            categories_SK = categories_SK * (keep >= self.UNKNOWN_RATE)
        embedded = torch.cat(
            [e(c) for e, c in zip(self.embeddings, categories_SK.T, strict=True)], -1
        )
        if self.fusion == "concat":
            return self.project(torch.cat([sample_SD, embedded], dim=-1))
        return sample_SD + self.project(embedded)


class SequencePredictor(nn.Module):
    """Predict the target of samples.

    Parameters
    ----------
    encoder : Encoder
        New or pre-trained.
    shape : HeadShape
        What is predicted, and from which covariates.
    freeze_base : bool
        Keep the encoder as it is: no gradient reaches it and its dropout is off.
    """

    def __init__(
        self, encoder: Encoder, shape: HeadShape, freeze_base: bool = False
    ) -> None:
        super().__init__()
        arch: Architecture = encoder.arch
        width, heads = arch.embedding_dim, arch.attention_heads
        self.base = encoder
        self.shape = shape
        self.frozen = freeze_base
        self.base.requires_grad_(not freeze_base)
        self.target = Transformer(width, heads, shape.target_layers, arch.dropout)
        self.pool = AttentionPooling(width, heads, weighted=arch.count_embedding)
        self.fusion = None
        if shape.cardinalities:
            self.fusion = CategoricalFusion(width, shape)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape.outputs * max(shape.quantiles, 1))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SequencePredictor":
        """Switch to training; a frozen encoder stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.base.eval()
        return self

    def forward(self, batch: Batch, asv_UD: Tensor | None = None) -> dict[str, Tensor]:
        """What the encoder returns, and `target`.

        Returns
        -------
        dict
            `target`: (S, C) logits, (S, T) scaled predictions, or (S, T, Q) scaled
            quantiles that never cross.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            out = self.base(batch, asv_UD)
        sample_SD = self.pooled(out, batch)
        if self.fusion is not None:
            sample_SD = self.fusion(sample_SD, batch.categories_SK)
        raw = self.head(self.norm(sample_SD))
        return out | {"target": self._outputs(raw.float())}

    def set_checkpointing(self, on: bool) -> None:
        """Recompute the layers in the backward pass instead of keeping them."""
        self.base.set_checkpointing(on)
        self.target.checkpointing = on

    def pooled(self, out: dict[str, Tensor], batch: Batch) -> Tensor:
        """The sample (S, D) as the target sees it, before the covariates."""
        states = self.target(out["states"], out["keep"])
        return self.pool(states, out["keep"], batch.abundance_SA)

    def _outputs(self, raw: Tensor) -> Tensor:
        if not self.shape.quantiles:
            return raw
        first, steps = raw.unflatten(-1, (-1, self.shape.quantiles)).split(
            [1, self.shape.quantiles - 1], dim=-1
        )
        return torch.cat([first, F.softplus(steps)], dim=-1).cumsum(dim=-1)
