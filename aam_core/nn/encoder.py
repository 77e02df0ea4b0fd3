"""The encoder: nucleotides → ASVs → sample.

Shapes: U distinct ASVs of a batch, L nucleotides, P positions of the nucleotide
transformer (L / patch), S samples, A ASVs of a sample, M masked nucleotides,
D width.

Padding never changes a result; ASVs carry no position, so that their order does not
either.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aam_core.config import Architecture
from aam_core.data.batches import Batch, Chunk
from aam_core.data.sequences import PAD, VOCABULARY_SIZE
from aam_core.nn.activation_checkpoint import recomputed
from aam_core.nn.transformer import KEPT, KEPT_AROUND, AttentionPooling, Transformer

NUCLEOTIDES = 4


class NucleotideEncoder(nn.Module):
    """Nucleotides of an ASV → one embedding.

    `nucleotide_patch` neighbouring nucleotides share one position of the
    transformer (as image patches do in Dosovitskiy et al. 2021), which divides
    the cost; each masked nucleotide of a patch still has its own prediction.
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
        """Encode the chunks of a batch in turn; see `forward`.

        With `checkpointing` either whole chunks are recomputed in the backward
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
            Logits (M, 4) of the nucleotides masked in this chunk of `batch`.
        """
        hidden_UPD, keep_UP = self.hidden(tokens_UL, chunk.ragged)
        pooled = self.pool(hidden_UPD, keep_UP)
        if batch is None or batch.masked_row_M is None:
            return pooled, None
        here = slice(chunk.first_masked, chunk.last_masked)
        row = batch.masked_row_M[here] - chunk.start
        column = batch.masked_column_M[here]
        logits = self.head(hidden_UPD[row, column // self.patch])
        logits = logits.unflatten(-1, (self.patch, NUCLEOTIDES))
        offset = (column % self.patch)[:, None, None].expand(-1, 1, NUCLEOTIDES)
        return pooled, logits.gather(1, offset).squeeze(1)


def keeps_chunks(chunks: int, layers: int) -> bool:
    """Whether to recompute whole chunks rather than each layer of all chunks.

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
        self, asv_SAD: Tensor, abundance_SA: Tensor, masked_SA: Tensor | None
    ) -> Tensor:
        """Return (S, A, D); where `masked_SA`, the abundance stays unknown.

        Also without padding, (T, D) of (T, D) and (T,).
        """
        level = log_abundance(abundance_SA)
        root = abundance_SA.sqrt()
        known = torch.ones_like(level)
        if masked_SA is not None:
            known = (~masked_SA).to(level.dtype)
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
            Logits of the masked nucleotides, (M, 4).
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
        masked = batch.masked_SA
        if packing is not None:
            index, abundance = packing.pack(index), packing.pack(abundance)
            masked = None if masked is None else packing.pack(masked)
        x = asv_UD[index]
        if self.abundance is not None:
            x = self.abundance(x, abundance, masked)
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
            `nucleotides` (M, 4) logits; `sample` (S, D) embedding;
            `distance_embedding` (S, D), between whose rows distances are predicted;
            `faith_pd` (S,) prediction of Faith's PD; `counts` (S, A) prediction of
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
            "distance_embedding": self.distance_head(sample_SD),
            "faith_pd": F.softplus(self.value_head(sample_SD)).squeeze(-1),
            "counts": self.count_head(x_SAD).squeeze(-1),
            "states": x_SAD,
        }

    def set_checkpointing(self, on: bool) -> None:
        """Recompute the layers in the backward pass instead of keeping them."""
        for stack in (self.nucleotides, self.sample, self.encoder):
            stack.checkpointing = on
