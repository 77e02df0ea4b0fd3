"""Transformer layers and attention pooling.

Shapes: B batch, N positions, D width, H heads, T positions of all samples, packed.

Attention has no dropout of its own: it would cost the fast kernels, and the
dropout of each layer's output regularises as well. Padding is masked out of every
attention, so that it never changes a result.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aam_core.data.packing import Packing
from aam_core.nn.attention import attend_all, attend_packed
from aam_core.nn.dropout import DropoutAdd

MLP_RATIO = 4
#: Numbers of width D that a layer keeps for its backward pass, per position: two
#: normalisations, queries, keys and values, the attention, two sums, and the two
#: sides of the activation in the MLP.
KEPT = 2 + 3 + 1 + 2 + 2 * MLP_RATIO
#: The same for what surrounds a stack of layers: input and last normalisation.
KEPT_AROUND = 3


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, D), or over samples as they are packed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attn_implementation = "sdpa"
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, among: Tensor | Packing | None = None) -> Tensor:
        """Attend among the N, or the ASVs of a sample.

        Parameters
        ----------
        x : Tensor
            (B, N, D), or (T, D) with a `Packing`.
        among : Tensor or Packing, optional
            Which of the N to attend to, (B, N); or whose the T are.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        if isinstance(among, Packing):
            y = attend_packed(qkv, among, self.attn_implementation)
        else:
            mask = None if among is None else among[:, None, None, :]
            y = attend_all(qkv, mask, self.attn_implementation)
        return self.out(y.flatten(-2))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width),
            nn.GELU(),
            nn.Linear(MLP_RATIO * width, width),
        )
        self.dropout = DropoutAdd(dropout)

    def forward(self, x: Tensor, among: Tensor | Packing | None = None) -> Tensor:
        """Return the layer's output, of the shape of `x`; see `Attention`."""
        x = self.dropout(x, self.attention(self.attention_norm(x), among))
        return self.dropout(x, self.mlp(self.mlp_norm(x)))


class Transformer(nn.Module):
    """A stack of layers and a last normalisation."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.checkpointing = False
        # Each layer adds to the residual stream twice; keep its variance (GPT-2).
        with torch.no_grad():
            for block in self.blocks:
                block.attention.out.weight.div_(math.sqrt(2 * layers))
                block.mlp[-1].weight.div_(math.sqrt(2 * layers))

    def forward(self, x: Tensor, among: Tensor | Packing | None = None) -> Tensor:
        """Return the shape of `x`; see `Attention`."""
        for block in self.blocks:
            if self.checkpointing and self.training:
                x = checkpoint(block, x, among, use_reentrant=False)
            else:
                x = block(x, among)
        return self.norm(x)


class AttentionPooling(nn.Module):
    """Pool (B, N, D) to (B, D) by attention of one learned query per head.

    The query is the same for all of B, so that it is joined with the weights of the
    keys, and what is attended to is summed before it becomes a value: no keys and
    values of the N are needed.

    Parameters
    ----------
    width, heads : int
        D, and how many heads share it.
    weighted : bool
        Whether the attention may follow the weights of the N (abundances): each
        head multiplies what it attends to by weight ** power, with a learned power
        that starts at 0 (presence) for one half of the heads and at 1 (abundance)
        for the other.
    """

    def __init__(self, width: int, heads: int, weighted: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.power = None
        if weighted:
            self.power = nn.Parameter((torch.arange(heads) % 2).float())
        self.query = nn.Parameter(torch.randn(1, heads, 1, width // heads))
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        x_BND: Tensor,
        keep_BN: Tensor | None = None,
        weight_BN: Tensor | None = None,
    ) -> Tensor:
        """Return (B, D)."""
        key_HdD, value_HdD = self.kv.weight.unflatten(0, (2, self.heads, -1))
        query_Hd = self.query[0, :, 0] / math.sqrt(key_HdD.shape[1])
        scores_BHN = F.linear(x_BND, torch.einsum("hd,hdc->hc", query_Hd, key_HdD)).mT
        if self.power is not None:
            level_BN = weight_BN.clamp_min(1e-6).log()
            scores_BHN = scores_BHN + self.power[:, None] * level_BN[:, None]
        if keep_BN is not None:
            scores_BHN = scores_BHN.masked_fill(~keep_BN[:, None], -torch.inf)
        x_BHD = scores_BHN.softmax(-1).to(x_BND.dtype) @ x_BND
        y_BD = torch.einsum("bhc,hdc->bhd", x_BHD, value_HdD).flatten(1)
        bias_D = self.kv.bias.chunk(2)[1]
        return self.norm(self.out(y_BD + bias_D))
