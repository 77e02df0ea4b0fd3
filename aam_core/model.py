"""The encoder: nucleotides → ASVs → sample.

Shapes: U distinct ASVs of a batch, L nucleotides, P positions of the nucleotide
transformer (L / patch), S samples, A ASVs of a sample, M masked nucleotides,
D width, H heads.

Attention has no dropout of its own: it would cost the fast kernels, and the
dropout of each layer's output regularises as well. Padding is masked out of every
attention, so that it never changes a result; ASVs carry no position, so that
their order does not either.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aam_core.attention import attend_all, attend_packed
from aam_core.batches import Batch, Chunk
from aam_core.config import Architecture
from aam_core.dropout import DropoutAdd
from aam_core.packing import Packing
from aam_core.recompute import recomputed
from aam_core.sequences import PAD, VOCABULARY_SIZE

NUCLEOTIDES = 4
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


class NucleotideEncoder(nn.Module):
    """Nucleotides of an ASV → one embedding.

    `nucleotide_patch` neighbouring nucleotides share one position of the
    transformer (as image patches do in Dosovitskiy et al. 2021), which divides
    the cost; each hidden nucleotide of a patch still has its own prediction.
    A position also reads `nucleotide_overlap` nucleotides on either side of its
    patch, so that what lies across its border is seen at once: together a
    convolution over the sequence, as in the stem of Xiao et al. 2021.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        width = arch.embedding_dim
        self.patch = arch.nucleotide_patch
        self.overlap = arch.nucleotide_overlap
        positions = -(-arch.max_bp // self.patch)
        self.reach = arch.reach
        self.embed = nn.Linear(arch.reach * VOCABULARY_SIZE, width)
        self.position_PD = nn.Parameter(torch.randn(positions, width) * 0.1)
        self.transformer = Transformer(
            width, arch.attention_heads, arch.attention_layers, arch.dropout
        )
        self.pool = AttentionPooling(width, arch.attention_heads)
        self.head = nn.Linear(width, self.patch * NUCLEOTIDES)
        self.checkpointing = False

    def hidden(self, tokens_UL: Tensor, ragged: bool) -> tuple[Tensor, Tensor | None]:
        """Return the positions' states (U, P, D) and which are not padding."""
        short = -tokens_UL.shape[1] % self.patch
        if short:
            tokens_UL = F.pad(tokens_UL, (0, short), value=PAD)
        wide = F.pad(tokens_UL, (self.overlap, self.overlap), value=PAD)
        windows_UPR = wide.unfold(1, self.reach, self.patch)
        one_hot = F.one_hot(windows_UPR.long(), VOCABULARY_SIZE).flatten(2)
        x_UPD = self.embed(one_hot.to(self.embed.weight.dtype))
        x_UPD = x_UPD + self.position_PD[: x_UPD.shape[1]]
        keep_UP = None
        if ragged:
            keep_UP = (tokens_UL != PAD).unflatten(1, (-1, self.patch)).any(-1)
        return self.transformer(x_UPD, keep_UP), keep_UP

    def of_chunks(self, batch: Batch) -> list[tuple[Tensor, Tensor | None]]:
        """Encode the chunks of a batch one after the other; see `forward`.

        With `checkpointing` either whole chunks are computed again in the backward
        pass, or each layer is: whichever keeps less.
        """
        calls = [
            partial(self, batch.tokens_UL[c.start : c.stop, : c.length], c, batch)
            for c in batch.chunks
        ]
        whole = keeps_chunks(len(calls), len(self.transformer.blocks))
        self.transformer.checkpointing = self.checkpointing and not whole
        if not (self.checkpointing and whole and self.training):
            return [call() for call in calls]
        weights, device = list(self.parameters()), batch.tokens_UL.device
        return [recomputed(call, weights, device) for call in calls]

    def forward(
        self, tokens_UL: Tensor, chunk: Chunk, batch: Batch | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Encode one chunk.

        Returns
        -------
        Tensor
            Embeddings, (U, D).
        Tensor or None
            Logits (M, 4) of the nucleotides hidden in this chunk of `batch`.
        """
        hidden_UPD, keep_UP = self.hidden(tokens_UL, chunk.ragged)
        pooled = self.pool(hidden_UPD, keep_UP)
        if batch is None or batch.masked_row_M is None:
            return pooled, None
        hidden_here = slice(chunk.first_masked, chunk.last_masked)
        row = batch.masked_row_M[hidden_here] - chunk.start
        column = batch.masked_column_M[hidden_here]
        logits = self.head(hidden_UPD[row, column // self.patch])
        logits = logits.unflatten(-1, (self.patch, NUCLEOTIDES))
        offset = (column % self.patch)[:, None, None].expand(-1, 1, NUCLEOTIDES)
        return pooled, logits.gather(1, offset).squeeze(1)


def keeps_chunks(chunks: int, layers: int) -> bool:
    """Whether to compute whole chunks again rather than each layer of all chunks.

    The one keeps the layers of one chunk at a time, the other the inputs of all
    layers, and what surrounds them, of all chunks.
    """
    return layers * KEPT < chunks * (layers + KEPT_AROUND)


class AbundanceEmbedding(nn.Module):
    """Join the relative abundance of each ASV to its embedding.

    Parameters
    ----------
    width : int
        D.
    method : {'add', 'concat', 'film'}
        Add an embedding of the abundance; concatenate it and project back; or
        scale and shift each channel (Perez et al. 2018).
    """

    def __init__(self, width: int, method: str) -> None:
        super().__init__()
        self.method = method
        out = 2 * width if method == "film" else width
        self.embed = nn.Sequential(
            nn.Linear(3, width), nn.GELU(), nn.Linear(width, out)
        )
        if method == "concat":
            self.project = nn.Linear(2 * width, width)

    def forward(
        self, asv_SAD: Tensor, abundance_SA: Tensor, hidden_SA: Tensor | None
    ) -> Tensor:
        """Return (S, A, D); where `hidden_SA`, the abundance stays unknown.

        Also without padding, (T, D) of (T, D) and (T,).
        """
        level = log_abundance(abundance_SA)
        root = abundance_SA.sqrt()
        known = torch.ones_like(level)
        if hidden_SA is not None:
            known = (~hidden_SA).to(level.dtype)
        features = torch.stack([level * known, root * known, known], dim=-1)
        embedded = self.embed(features)
        if self.method == "add":
            return asv_SAD + embedded
        if self.method == "concat":
            return self.project(torch.cat([asv_SAD, embedded], dim=-1))
        scale, shift = embedded.chunk(2, dim=-1)
        return asv_SAD * (1 + scale) + shift


def log_abundance(abundance: Tensor) -> Tensor:
    """log10 of a relative abundance, moved so that 1 % is 0 and 100 % is 1."""
    return abundance.clamp_min(1e-6).log10() / 2 + 1


class Encoder(nn.Module):
    """Nucleotide transformer, sample transformer, encoder transformer, pooling.

    Parameters
    ----------
    arch : Architecture
        Sizes.
    """

    frozen = False  #: as of a predictor: it is trained

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        width, heads = arch.embedding_dim, arch.attention_heads
        self.nucleotides = NucleotideEncoder(arch)
        self.abundance = None
        if arch.count_embedding:
            self.abundance = AbundanceEmbedding(width, arch.count_embedding_method)
        layers = arch.attention_layers
        self.sample = Transformer(width, heads, layers, arch.dropout)
        self.encoder = Transformer(width, heads, layers, arch.dropout)
        self.pool = AttentionPooling(width, heads, weighted=arch.count_embedding)
        self.distance_head = nn.Linear(width, width)
        self.value_head = nn.Linear(width, 1)
        self.count_head = nn.Linear(width, 1)

    @property
    def base(self) -> "Encoder":
        """Itself, as a predictor names its encoder."""
        return self

    def encode_asvs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Encode the distinct ASVs of a batch.

        Returns
        -------
        Tensor
            Embeddings, (U, D).
        Tensor or None
            Logits of the hidden nucleotides, (M, 4).
        """
        parts = self.nucleotides.of_chunks(batch)
        asv_UD = torch.cat([pooled for pooled, _ in parts])
        if batch.masked_row_M is None:
            return asv_UD, None
        return asv_UD, torch.cat([logits for _, logits in parts])

    def encode_samples(self, asv_UD: Tensor, batch: Batch) -> Tensor:
        """Encode the samples from the embeddings of their ASVs.

        Returns
        -------
        Tensor
            States of the ASVs in their sample, (S, A, D); 0 at padding.
        """
        packing = batch.packing
        index, abundance = batch.index_SA, batch.abundance_SA
        hidden = batch.hidden_SA
        if packing is not None:
            index, abundance = packing.pack(index), packing.pack(abundance)
            hidden = None if hidden is None else packing.pack(hidden)
        x = asv_UD[index]
        if self.abundance is not None:
            x = self.abundance(x, abundance, hidden)
        x = self.encoder(self.sample(x, packing), packing)
        return x if packing is None else packing.unpack(x)

    def forward(self, batch: Batch, asv_UD: Tensor | None = None) -> dict[str, Tensor]:
        """Everything that self-supervision needs.

        Parameters
        ----------
        batch : Batch
            The samples.
        asv_UD : Tensor, optional
            Embeddings of the batch's ASVs, where they are known already.

        Returns
        -------
        dict
            `nucleotides` (M, 4) logits; `sample` (S, D) embedding; `position`
            (S, D), between whose rows distances are predicted; `value` (S,)
            prediction of Faith's PD; `counts` (S, A) prediction of
            `log_abundance`.
        """
        logits = None
        if asv_UD is None:
            asv_UD, logits = self.encode_asvs(batch)
        x_SAD = self.encode_samples(asv_UD, batch)
        sample_SD = self.pool(x_SAD, batch.keep_SA, batch.abundance_SA)
        return {
            "nucleotides": logits,
            "sample": sample_SD,
            "position": self.distance_head(sample_SD),
            "value": F.softplus(self.value_head(sample_SD)).squeeze(-1),
            "counts": self.count_head(x_SAD).squeeze(-1),
            "states": x_SAD,
        }

    def set_checkpointing(self, on: bool) -> None:
        """Recompute the layers in the backward pass instead of keeping them."""
        for stack in (self.nucleotides, self.sample, self.encoder):
            stack.checkpointing = on
