"""The same model, computed plainly: what the measurements compare with.

Every slot of every sample is encoded, padding included, however often an ASV occurs;
the layers are `torch.nn.TransformerEncoderLayer` with padding masks and dropout inside
attention; each layer is recomputed in the backward pass; the nucleotide loss reads
the logits of all positions. With the weights of an `aam_core` model, results in
evaluation are the same.

Shapes: S samples, A ASVs of the largest sample, L nucleotides, P positions of the
nucleotide transformer, V nucleotides to choose from, D width, H heads; B anything.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aam_core.data.batches import Batch
from aam_core.data.sequences import PAD
from aam_core.nn.encoder import NUCLEOTIDES, Encoder, NucleotideEncoder
from aam_core.nn.losses import pairwise_distances
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import AttentionPooling, Block, Transformer

IGNORED = -100  #: truth of a nucleotide that is not masked


@dataclass(frozen=True)
class Slots:
    """Samples with one slot for each of their ASVs, and padding."""

    tokens_SAL: Tensor
    truth_SAL: Tensor  #: int64, `IGNORED` where nothing is masked
    weight_SA: Tensor  #: 1 / slots that hold the same ASV
    abundance_SA: Tensor
    present_SA: Tensor
    distances_SS: Tensor | None
    targets_ST: Tensor | None


def slots_of(batch: Batch, samples: int | None = None) -> Slots:
    """The first samples (default: all) of a batch, each slot written out."""
    truth_UL = torch.full(batch.tokens_UL.shape, IGNORED)
    if batch.masked_row_M is not None:
        truth_UL[batch.masked_row_M, batch.masked_column_M] = batch.masked_truth_M
    index_SA, present_SA = batch.index_SA[:samples], batch.present_SA[:samples]
    tokens_SAL, truth_SAL = batch.tokens_UL[index_SA].long(), truth_UL[index_SA]
    tokens_SAL[~present_SA] = PAD
    truth_SAL[~present_SA] = IGNORED
    times_U = torch.bincount(index_SA[present_SA], minlength=len(batch.tokens_UL))
    distances = batch.distances
    return Slots(
        tokens_SAL=tokens_SAL,
        truth_SAL=truth_SAL,
        weight_SA=1 / times_U.clamp_min(1)[index_SA],
        abundance_SA=batch.abundance_SA[:samples],
        present_SA=present_SA,
        distances_SS=None if distances is None else distances[:samples, :samples],
        targets_ST=None if batch.targets_ST is None else batch.targets_ST[:samples],
    )


def plain_layer(block: Block, heads: int) -> nn.TransformerEncoderLayer:
    """PyTorch's own layer, with the weights of ours."""
    width = block.attention.out.in_features
    layer = nn.TransformerEncoderLayer(
        width,
        heads,
        block.mlp[0].out_features,
        dropout=block.dropout.p,
        activation=F.gelu,
        batch_first=True,
        norm_first=True,
    )
    ours = {
        "self_attn.in_proj_": block.attention.qkv,
        "self_attn.out_proj.": block.attention.out,
        "linear1.": block.mlp[0],
        "linear2.": block.mlp[2],
        "norm1.": block.attention_norm,
        "norm2.": block.mlp_norm,
    }
    layer.load_state_dict(
        {k + n: v for k, m in ours.items() for n, v in m.state_dict().items()}
    )
    return layer


class PlainTransformer(nn.Module):
    """A stack of PyTorch's layers, each recomputed in the backward pass."""

    def __init__(self, stack: Transformer, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(plain_layer(b, heads) for b in stack.blocks)
        self.norm = copy.deepcopy(stack.norm)

    def forward(self, x_BND: Tensor, keep_BN: Tensor) -> Tensor:
        """Return (B, N, D)."""
        for layer in self.layers:
            if self.training and torch.is_grad_enabled():
                again = (layer, x_BND, None, ~keep_BN)
                x_BND = checkpoint(*again, use_reentrant=False)
            else:
                x_BND = layer(x_BND, None, ~keep_BN)
        return self.norm(x_BND)


class PlainPooling(nn.Module):
    """Attention of one learned query per head."""

    def __init__(self, pooling: AttentionPooling) -> None:
        super().__init__()
        self.parts = copy.deepcopy(pooling)

    def forward(
        self, x_BND: Tensor, keep_BN: Tensor, weight_BN: Tensor | None = None
    ) -> Tensor:
        """Return (B, D)."""
        parts, heads = self.parts, self.parts.heads
        k, v = parts.kv(x_BND).chunk(2, dim=-1)
        k, v = k.unflatten(-1, (heads, -1)), v.unflatten(-1, (heads, -1))
        query = parts.query[0, :, 0]
        scores_BNH = torch.einsum("hd,bnhd->bnh", query, k) / math.sqrt(k.shape[-1])
        if parts.power is not None:
            level_BN = weight_BN.clamp_min(1e-6).log()
            scores_BNH = scores_BNH + level_BN[..., None] * parts.power
        scores_BNH = scores_BNH.masked_fill(~keep_BN[..., None], -torch.inf)
        y = torch.einsum("bnh,bnhd->bhd", scores_BNH.softmax(dim=1), v)
        return parts.norm(parts.out(y.flatten(1)))


def shifted(tokens_BL: Tensor, by: int) -> Tensor:
    """Nucleotide `l + by` in place of nucleotide `l`; padding beyond the ends."""
    length = tokens_BL.shape[1]
    sides = F.pad(tokens_BL, (max(-by, 0), max(by, 0)), value=PAD)
    return sides[:, -length:] if by > 0 else sides[:, :length]


class PlainNucleotides(nn.Module):
    """Embeddings of sequences, and the logits of all of their nucleotides."""

    def __init__(self, ours: NucleotideEncoder, heads: int) -> None:
        super().__init__()
        self.patch, self.reach, self.overlap = ours.patch, ours.reach, ours.overlap
        self.embed, self.head = copy.deepcopy(ours.embed), copy.deepcopy(ours.head)
        self.position_PD = copy.deepcopy(ours.position_PD)
        self.transformer = PlainTransformer(ours.transformer, heads)
        self.pool = PlainPooling(ours.pool)

    def forward(self, tokens_BL: Tensor, logits: bool) -> tuple[Tensor, Tensor | None]:
        """Return (B, D) and, if wanted, logits (B, L, V)."""
        length = tokens_BL.shape[1]
        tokens_BL = F.pad(tokens_BL, (0, -length % self.patch), value=PAD)
        tokens_BPp = tokens_BL.unflatten(1, (-1, self.patch))
        by_place = self.embed.weight.T.unflatten(0, (self.reach, -1))
        x_BPD = self.embed.bias.expand(*tokens_BPp.shape[:2], -1)
        for place, weight in enumerate(by_place, start=-self.overlap):
            read = shifted(tokens_BL, place)[:, :: self.patch]
            x_BPD = x_BPD + F.embedding(read, weight)
        x_BPD = x_BPD + self.position_PD[: x_BPD.shape[1]]
        keep_BP = (tokens_BPp != PAD).any(-1)
        keep_BP[:, 0] = True  # an empty slot attends to something, and is not used
        x_BPD = self.transformer(x_BPD, keep_BP)
        pooled_BD = self.pool(x_BPD, keep_BP)
        if not logits:
            return pooled_BD, None
        logits_BLV = self.head(x_BPD).unflatten(-1, (self.patch, NUCLEOTIDES))
        return pooled_BD, logits_BLV.flatten(1, 2)[:, :length]


class PlainEncoder(nn.Module):
    """The encoder of `aam_core.nn.encoder`, computed plainly."""

    def __init__(self, ours: Encoder) -> None:
        super().__init__()
        heads = ours.arch.attention_heads
        self.nucleotides = PlainNucleotides(ours.nucleotides, heads)
        self.abundance = copy.deepcopy(ours.abundance)
        self.sample = PlainTransformer(ours.sample, heads)
        self.encoder = PlainTransformer(ours.encoder, heads)
        self.pool = PlainPooling(ours.pool)
        self.distance_head = copy.deepcopy(ours.distance_head)

    def forward(self, slots: Slots) -> dict[str, Tensor | None]:
        """Embeddings of the slots and of the samples, positions and logits."""
        tokens_BL = slots.tokens_SAL.flatten(0, 1)
        masked = bool((slots.truth_SAL != IGNORED).any())
        asv_BD, logits_BLV = self.nucleotides(tokens_BL, masked)
        x_SAD = asv_SAD = asv_BD.unflatten(0, slots.present_SA.shape)
        if self.abundance is not None:
            x_SAD = self.abundance(x_SAD, slots.abundance_SA, None)
        for stack in (self.sample, self.encoder):
            x_SAD = stack(x_SAD, slots.present_SA)
        sample_SD = self.pool(x_SAD, slots.present_SA, slots.abundance_SA)
        return {
            "asv": asv_SAD,
            "states": x_SAD,
            "sample": sample_SD,
            "distance_embedding": self.distance_head(sample_SD),
            "nucleotides": logits_BLV,
        }


class PlainPredictor(nn.Module):
    """The predictor of `aam_core.nn` (without covariates), computed plainly."""

    def __init__(self, ours: SequencePredictor) -> None:
        super().__init__()
        self.base, self.frozen = PlainEncoder(ours.base), ours.frozen
        self.target = PlainTransformer(ours.target, ours.base.arch.attention_heads)
        self.pool = PlainPooling(ours.pool)
        self.norm, self.head = copy.deepcopy(ours.norm), copy.deepcopy(ours.head)
        self.base.requires_grad_(not self.frozen)

    def forward(self, slots: Slots) -> dict[str, Tensor | None]:
        """What the encoder returns, and `target`."""
        if self.frozen:
            self.base.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            out = self.base(slots)
        states_SAD = self.target(out["states"], slots.present_SA)
        sample_SD = self.pool(states_SAD, slots.present_SA, slots.abundance_SA)
        return out | {"target": self.head(self.norm(sample_SD))}


def plain_losses(out: dict[str, Tensor | None], slots: Slots) -> dict[str, Tensor]:
    """The losses of pre-training, from the logits of all positions of all slots."""
    losses = {}
    if slots.distances_SS is not None:
        predicted_SS = pairwise_distances(out["distance_embedding"])
        size = len(predicted_SS)
        upper = torch.ones(size, size, dtype=torch.bool).triu(diagonal=1)
        error = (predicted_SS - slots.distances_SS)[upper].square()
        losses["unifrac_loss"] = error.sum() / max(len(error), 1)
    if out["nucleotides"] is not None:
        truth_BL = slots.truth_SAL.flatten(0, 1)
        each_BL = F.cross_entropy(
            out["nucleotides"].flatten(0, 1), truth_BL.flatten(), reduction="none"
        ).view_as(truth_BL)
        weight_BL = slots.weight_SA.flatten()[:, None] * (truth_BL != IGNORED)
        losses["nuc_loss"] = (each_BL * weight_BL).sum() / weight_BL.sum()
    return losses
