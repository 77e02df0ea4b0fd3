"""How categorical covariates join a sample.

Shapes: S samples, A ASVs, D width, H heads, K categorical columns, T tokens (the
categories of a sample, one per column), N latents, O outputs.

A fusion can act at three places, of which each kind uses one:

- `before` the target transformer, on the states of the ASVs (cross-attention);
- `between` transformer and pooling, on what is pooled (perceiver);
- `after` pooling, on the embedding of the sample (concat, add, gmu).

Category 0 means unknown or missing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aam_core.config import Architecture, CategoricalOptions
from aam_core.errors import InputError
from aam_core.nn.transformer import Transformer

UNKNOWN_RATE = 0.1
#: Options that a `FusionShape` keeps.
SHAPE_OPTIONS = (
    "categorical_embed_dim",
    "categorical_fusion",
    "perceiver_num_latents",
    "perceiver_num_layers",
    "cross_attn_heads",
)
#: What a fusion tells of itself, (S,), by its name in the history.
MONITORED = ("gmu_gate_mean", "cross_attn_weight_mean")
#: The modules of a predictor that belong to the covariates.
COVARIATE_MODULES = ("fusion", "scaling")


@dataclass(frozen=True, kw_only=True)
class FusionShape:
    """What a fusion is built from, as `config.json` keeps it."""

    cardinalities: tuple[int, ...] = ()  #: categories per covariate, with unknown
    categorical_embed_dim: int = CategoricalOptions.categorical_embed_dim
    categorical_fusion: str = CategoricalOptions.categorical_fusion
    perceiver_num_latents: int = CategoricalOptions.perceiver_num_latents
    perceiver_num_layers: int = CategoricalOptions.perceiver_num_layers
    cross_attn_heads: int = CategoricalOptions.cross_attn_heads
    scaled_by: tuple[int, ...] = ()  #: covariates that scale the output


def sometimes_unknown(categories_SK: Tensor) -> Tensor:
    """Replace categories by unknown now and then.

    Its embedding is then learned even where no training sample lacks the covariate.
    """
    keep = torch.rand_like(categories_SK, dtype=torch.float) >= UNKNOWN_RATE
    return categories_SK * keep


def is_covariate(name: str) -> bool:
    """Whether a parameter of a predictor, by its name, belongs to the covariates."""
    return any(part in COVARIATE_MODULES for part in name.split("."))


def check_heads(options: CategoricalOptions, width: int) -> None:
    """Raise `InputError` unless `cross_attn_heads` divides the width, where used."""
    fusion = options.categorical_fusion
    heads = options.cross_attn_heads
    if fusion not in ("cross-attention", "perceiver") or width % heads == 0:
        return
    fits = max(n for n in range(1, min(heads, width) + 1) if width % n == 0)
    raise InputError(
        f"cross_attn_heads is {heads}, which does not divide embedding_dim {width}: "
        f"choose {fits}, for example."
    )


class CategoricalFusion(nn.Module):
    """Base of the fusions: embeds the categories and changes nothing."""

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__()
        each = shape.categorical_embed_dim
        self.embeddings = nn.ModuleList(
            nn.Embedding(size, each) for size in shape.cardinalities
        )
        self.total = each * len(shape.cardinalities)

    def embedded(self, categories_SK: Tensor) -> list[Tensor]:
        """The embedding of each column's category, K times (S, E)."""
        columns = categories_SK.T
        return [e(c) for e, c in zip(self.embeddings, columns, strict=True)]

    def before(
        self,
        states_SAD: Tensor,
        keep_SA: Tensor | None,
        categories_SK: Tensor,
        notes: dict[str, Tensor],
    ) -> Tensor:
        """The states of the ASVs that the target transformer reads."""
        return states_SAD

    def between(
        self,
        states_SAD: Tensor,
        keep_SA: Tensor | None,
        abundance_SA: Tensor | None,
        categories_SK: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What is pooled, which of it is no padding, and its weights."""
        return states_SAD, keep_SA, abundance_SA

    def after(
        self, sample_SD: Tensor, categories_SK: Tensor, notes: dict[str, Tensor]
    ) -> Tensor:
        """The embedding of the sample that the head reads."""
        return sample_SD


class ConcatFusion(CategoricalFusion):
    """Concatenate the embeddings to the sample's, and project back."""

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        width = arch.embedding_dim
        self.project = nn.Linear(self.total + width, width)

    def after(self, sample_SD, categories_SK, notes):
        """Return (S, D)."""
        parts = [sample_SD, *self.embedded(categories_SK)]
        return self.project(torch.cat(parts, dim=-1))


class AddFusion(CategoricalFusion):
    """Add a projection of the embeddings to the sample's."""

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        self.project = nn.Linear(self.total, arch.embedding_dim)

    def after(self, sample_SD, categories_SK, notes):
        """Return (S, D)."""
        return sample_SD + self.project(torch.cat(self.embedded(categories_SK), dim=-1))


class GatedFusion(CategoricalFusion):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992, eq. 1).

    A gate, computed from both, weighs the community against the categories in each
    channel of each sample: gate · tanh(W x) + (1 − gate) · tanh(V c).
    """

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        width = arch.embedding_dim
        self.community = nn.Linear(width, width)
        self.context = nn.Linear(self.total, width)
        self.gate = nn.Linear(width + self.total, width)

    def after(self, sample_SD, categories_SK, notes):
        """Return (S, D); note the mean weight of the community."""
        context = torch.cat(self.embedded(categories_SK), dim=-1)
        gate_SD = self.gate(torch.cat([sample_SD, context], dim=-1)).sigmoid()
        notes["gmu_gate_mean"] = gate_SD.detach().float().mean(dim=-1)
        community = self.community(sample_SD).tanh()
        return gate_SD * community + (1 - gate_SD) * self.context(context).tanh()


class CrossAttention(nn.Module):
    """Multi-head attention of one set to another, without its softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of `x`, keys and values of `memory`, each (S, H, ·, D / H)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.kv(memory).unflatten(-1, (2, self.heads, -1))
        k, v = kv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def join(self, y: Tensor) -> Tensor:
        """The heads' results as one, (S, ·, D)."""
        return self.out(y.transpose(1, 2).flatten(-2))


class TokenFusion(CategoricalFusion):
    """Base of the fusions by attention: each column becomes a token (S, K, D)."""

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        width = arch.embedding_dim
        self.to_token = nn.Linear(shape.categorical_embed_dim, width)
        self.attention = CrossAttention(width, shape.cross_attn_heads)

    def tokens(self, categories_SK: Tensor) -> Tensor:
        """The categories as tokens, (S, K, D)."""
        return self.to_token(torch.stack(self.embedded(categories_SK), dim=1))


class CrossAttentionFusion(TokenFusion):
    """Each ASV attends to the categories and takes from them what its gate lets in.

    Attention to a single key has weight 1 at every ASV, so that one column would add
    the same vector everywhere. So there is a learned null token to attend to instead,
    and a gate that each ASV computes from its own state and from what it attended
    to. The target transformer then reads ASVs in the light of the categories.
    """

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        width = arch.embedding_dim
        self.norm = nn.LayerNorm(width)
        self.null = nn.Parameter(torch.randn(1, 1, width))
        self.gate = nn.Linear(2 * width, width)

    def before(self, states_SAD, keep_SA, categories_SK, notes):
        """Return (S, A, D); note the mean attention to categories (not to null)."""
        tokens = self.tokens(categories_SK)
        null = self.null.to(tokens.dtype).expand(len(tokens), -1, -1)
        x_SAD = self.norm(states_SAD)
        q, k, v = self.attention.split(x_SAD, torch.cat([tokens, null], dim=1))
        weights_SHAT = (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)
        context_SAD = self.attention.join(weights_SHAT.to(v.dtype) @ v)
        gate = self.gate(torch.cat([x_SAD, context_SAD], dim=-1)).sigmoid()
        seen_SA = 1 - weights_SHAT[..., -1].detach().float().mean(dim=1)
        if keep_SA is None:
            keep_SA = torch.ones_like(seen_SA, dtype=torch.bool)
        notes["cross_attn_weight_mean"] = (seen_SA * keep_SA).sum(1) / keep_SA.sum(1)
        return states_SAD + gate * context_SAD


class PerceiverFusion(TokenFusion):
    """Learned latents read ASVs and categories (Jaegle et al. 2021, 2103.03206).

    The latents then attend to each other, and are what is pooled. Padding is masked
    out of their attention. Where the model reads abundances, each head multiplies
    its attention to an ASV by a learned power of the abundance, as in pooling.
    """

    def __init__(self, arch: Architecture, shape: FusionShape) -> None:
        super().__init__(arch, shape)
        width, heads = arch.embedding_dim, shape.cross_attn_heads
        self.latents_ND = nn.Parameter(
            torch.randn(shape.perceiver_num_latents, width) * 0.5
        )
        self.power = None
        if arch.count_embedding:
            self.power = nn.Parameter((torch.arange(heads) % 2).float())
        self.refine = Transformer(
            width, heads, shape.perceiver_num_layers, arch.dropout
        )

    def between(self, states_SAD, keep_SA, abundance_SA, categories_SK):
        """Return the latents, (S, N, D), without padding or weights."""
        tokens = self.tokens(categories_SK).to(states_SAD.dtype)
        latents = self.latents_ND.to(states_SAD.dtype).expand(len(tokens), -1, -1)
        memory = torch.cat([states_SAD, tokens], dim=1)
        q, k, v = self.attention.split(latents, memory)
        mask = self._mask(keep_SA, abundance_SA, tokens.shape[1], q.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.refine(latents + self.attention.join(y)), None, None

    def _mask(
        self,
        keep_SA: Tensor | None,
        abundance_SA: Tensor,
        tokens: int,
        dtype: torch.dtype,
    ) -> Tensor | None:
        """What to add to the attention of each head, (S, H or 1, 1, A + K)."""
        if self.power is None:
            if keep_SA is None:
                return None
            return F.pad(keep_SA, (0, tokens), value=True)[:, None, None, :]
        # Each category weighs as much as the sample's mean ASV; padding is 0.
        sizes_S1 = (abundance_SA > 0).sum(dim=1, keepdim=True)
        mean_ST = (abundance_SA.sum(dim=1, keepdim=True) / sizes_S1).expand(-1, tokens)
        level = torch.cat([abundance_SA, mean_ST], dim=1).clamp_min(1e-6).log()
        bias = (self.power[:, None, None] * level[:, None, None, :]).to(dtype)
        if keep_SA is None:
            return bias
        keep = F.pad(keep_SA, (0, tokens), value=True)[:, None, None, :]
        return bias.masked_fill(~keep, -torch.inf)


class OutputScaling(nn.Module):
    """A factor and an offset of the output for each category, at first 1 and 0.

    The factor is positive, so that quantiles do not cross and no category can turn
    the prediction round. Several covariates multiply their factors and add their
    offsets.
    """

    def __init__(self, outputs: int, shape: FusionShape) -> None:
        super().__init__()
        self.columns = shape.scaled_by
        self.embeddings = nn.ModuleList(
            nn.Embedding(shape.cardinalities[c], 2 * outputs) for c in self.columns
        )
        for embedding in self.embeddings:
            nn.init.zeros_(embedding.weight)

    def forward(self, output: Tensor, categories_SK: Tensor) -> Tensor:
        """Scale and shift outputs, (S, O) or (S, O, quantiles)."""
        found = [
            embedding(categories_SK[:, column])
            for column, embedding in zip(self.columns, self.embeddings, strict=True)
        ]
        log_factor, offset = sum(found).to(output.dtype).chunk(2, dim=-1)
        if output.dim() == 3:
            log_factor, offset = log_factor[..., None], offset[..., None]
        return output * log_factor.exp() + offset


FUSIONS = {
    "concat": ConcatFusion,
    "add": AddFusion,
    "gmu": GatedFusion,
    "cross-attention": CrossAttentionFusion,
    "perceiver": PerceiverFusion,
}


def make_fusion(arch: Architecture, shape: FusionShape) -> CategoricalFusion:
    """The fusion that the shape names, for an encoder of this architecture."""
    return FUSIONS[shape.categorical_fusion](arch, shape)
