"""How a batch is divided among processes or devices, and put together.

Every part has the same number of ASVs and of samples: the last ones of some parts are
repeated, and their results dropped, so that no gradient reaches them. With the same
number of calls everywhere, processes that wait for each other in each layer never wait
in vain, and parts may outnumber samples.

Shapes: W parts, U distinct ASVs of a batch, L nucleotides, M masked nucleotides,
S samples.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aam_core.data.batches import Batch, chunks_of
from aam_core.data.packing import places
from aam_core.data.sequences import PAD

#: What a model returns that no loss reads, or that is put together on its own.
KEPT_APART = ("states", "sample", "nucleotides")


def shard_rows(total: int, part: int, parts: int) -> np.ndarray:
    """Positions that belong to one part: every `parts`-th of `total`.

    All parts have equally many; beyond the end the last position is repeated.
    Neighbours, which are similar in size, go to different parts.

    Examples
    --------
    >>> from aam_core.distributed.batch_split import shard_rows
    >>> [shard_rows(5, part, 2).tolist() for part in range(2)]
    [[0, 2, 4], [1, 3, 4]]
    """
    size = -(-total // parts)
    return (np.arange(size) * parts + part).clip(max=total - 1)


def in_order(values: Tensor, total: int) -> Tensor:
    """Put (W, size, …) values of all parts into the order of their `total`."""
    return values.transpose(0, 1).flatten(0, 1)[:total]


def asv_shard(batch: Batch, part: int, parts: int) -> Batch:
    """The ASVs of one part of a batch, with their masked nucleotides.

    They are in chunks of the size that those of the batch have, so in equally many.
    Samples are left as they are; this batch is for `Encoder.encode_asvs` only.
    """
    rows = shard_rows(len(batch.features), part, parts)
    chunk_size = batch.chunks[0].stop
    tokens_UL = batch.tokens_UL[torch.from_numpy(rows).to(batch.tokens_UL.device)]
    lengths = (tokens_UL != PAD).sum(dim=1).cpu().numpy()
    if batch.masked_row_M is None:
        chunks = chunks_of(lengths, chunk_size)
        return replace(batch, tokens_UL=tokens_UL, chunks=chunks)
    mine_M = batch.masked_row_M % parts == part
    masked_row_M = batch.masked_row_M[mine_M] // parts
    return replace(
        batch,
        tokens_UL=tokens_UL,
        chunks=chunks_of(lengths, chunk_size, masked_row_M.cpu().numpy()),
        masked_row_M=masked_row_M,
        masked_column_M=batch.masked_column_M[mine_M],
    )


def logits_in_order(logits: Tensor, batch: Batch) -> Tensor:
    """Put (W, most, 4) logits of all parts into the order of the masked nucleotides."""
    parts, most = logits.shape[:2]
    part_M = batch.masked_row_M % parts
    place_M = torch.empty_like(part_M)
    for part in range(parts):
        mine_M = part_M == part
        place_M[mine_M] = mine_M.cumsum(0)[mine_M] - 1 + part * most
    return logits.flatten(0, 1)[place_M]


def most_masked(batch: Batch, parts: int) -> int:
    """The most masked nucleotides that a part has; at least 1."""
    counts = torch.bincount(batch.masked_row_M % parts, minlength=parts)
    return max(int(counts.max()), 1)


def sample_shard(batch: Batch, part: int, parts: int) -> Batch:
    """The samples of one part of a batch, for a model that knows the ASVs already.

    They keep the batch's width: the largest sample sets the time that all parts
    need, and without it the results have one shape.
    """
    rows = shard_rows(len(batch.rows), part, parts)
    place = torch.from_numpy(rows).to(batch.index_SA.device)
    by_sample = ("index_SA", "abundance_SA", "present_SA", "masked_SA")
    tensors = {
        name: getattr(batch, name)[place]
        for name in (*by_sample, "categories_SK", "features_SV", "targets_ST")
        if getattr(batch, name) is not None
    }
    nothing = dict.fromkeys(("masked_row_M", "masked_column_M", "masked_truth_M"))
    sizes = tuple(batch.sizes[row] for row in rows)
    return replace(
        batch,
        rows=batch.rows[rows],
        sizes=sizes,
        place_T=places(sizes, batch.present_SA.shape[1]).to(place.device),
        distances=None,
        **tensors,
        **nothing,
    )
