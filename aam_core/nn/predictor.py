"""The predictor: an encoder, covariates and a head for the target.

Shapes: S samples, A ASVs, D width, K categorical columns, T target columns,
Q quantiles, C classes.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from aam_core.config import Architecture
from aam_core.data.batches import Batch
from aam_core.data.packing import among_samples
from aam_core.nn.encoder import Encoder
from aam_core.nn.fusion import OutputScaling, make_fusion, sometimes_unknown
from aam_core.nn.head import HeadShape, TargetHead
from aam_core.nn.linear_part import LinearPart
from aam_core.nn.transformer import AttentionPooling, Transformer
from aam_core.nn.wide_pooling import WidePooling


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
        self.fusion = make_fusion(arch, shape) if shape.cardinalities else None
        latents = self.fusion is not None and shape.categorical_fusion == "perceiver"
        weighted = arch.count_embedding and not latents  # latents have no abundance
        self.pool = AttentionPooling(width, heads, weighted=weighted)
        self.wide = None
        if shape.pooled_features:
            self.wide = WidePooling(shape.pooled_features, width, shape.pooled_dropout)
        self.scaling = OutputScaling(shape.outputs, shape) if shape.scaled_by else None
        self.norm = nn.LayerNorm(width) if shape.layer_norm else nn.Identity()
        self.head = TargetHead(width, shape)
        self.linear = None
        if shape.linear:
            self.linear = LinearPart(width, shape, arch.count_embedding)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SequencePredictor":
        """Switch to training; a frozen encoder stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.base.eval()
        return self

    def forward(
        self,
        batch: Batch,
        asv_UD: Tensor | None = None,
        base: dict[str, Tensor] | None = None,
        added_UO: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the encoder returns, and `target`.

        Parameters
        ----------
        batch : Batch
            The samples.
        asv_UD : Tensor, optional
            Embeddings of the batch's ASVs, where they are known already.
        base : dict, optional
            What the encoder returns for the batch, where that is known already.
        added_UO : Tensor, optional
            `LinearPart.contributions` of the ASVs, where they are known already.

        Returns
        -------
        dict
            `target`: (S, C) logits, (S, T) scaled predictions, or (S, T, Q) scaled
            quantiles that never cross; with what the linear model adds, if there is
            one. `represented`: (S, D) what the head reads. What the fusion tells of
            itself, (S,), by the names of `fusion.MONITORED`.
        """
        if self.linear is not None and added_UO is None:
            if asv_UD is None:
                asv_UD, _ = self.base.encode_asvs(batch)
            added_UO = self.linear.contributions(asv_UD)
        out = dict(base) if base is not None else self._encoded(batch, asv_UD)
        if self.fusion is not None and self.training:
            seen = sometimes_unknown(batch.categories_SK)
            batch = replace(batch, categories_SK=seen)
        sample_SD = self.pooled(out, batch)
        if self.wide is not None:
            sample_SD = self.wide(sample_SD, batch.features_SV)
        if self.fusion is not None:
            sample_SD = self.fusion.after(sample_SD, batch.categories_SK, out)
        adjust = None
        if self.scaling is not None:
            adjust = partial(self.scaling, categories_SK=batch.categories_SK)
        sample_SD = self.norm(sample_SD)
        target = self.head(sample_SD, adjust)
        if self.linear is not None:
            mixed = self.linear.mixed(target, self.linear(batch, added_UO))
            target = self.head.within(mixed)
        return out | {"target": target, "represented": sample_SD}

    def _encoded(self, batch: Batch, asv_UD: Tensor | None) -> dict[str, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.base(batch, asv_UD)

    def set_checkpointing(self, on: bool) -> None:
        """Recompute the layers in the backward pass instead of keeping them."""
        self.base.set_checkpointing(on)
        self.target.checkpointing = on

    def pooled(self, out: dict[str, Tensor], batch: Batch) -> Tensor:
        """The sample (S, D) as pooled, which some fusions condition already.

        What they tell of themselves is put into `out`.
        """
        states, keep, weights = out["states"], batch.keep_SA, batch.abundance_SA
        categories = batch.categories_SK
        if self.fusion is not None:
            states = self.fusion.before(states, keep, categories, out)
        states = among_samples(states, batch.packing, self.target)
        if self.fusion is None:
            return self.pool(states, keep, weights)
        return self.pool(*self.fusion.between(states, keep, weights, categories))
