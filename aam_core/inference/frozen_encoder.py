"""What a frozen encoder makes of the samples, computed once per run.

Shapes: N samples of the study, S of a batch, A ASVs of the largest one, T ASVs of all
kept samples, packed, D width.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from aam_core.config import DeviceOptions
from aam_core.data.batches import Batch, BatchMaker, RowBatches, loader, start
from aam_core.inference.encode import AsvTable
from aam_core.nn.encoder import Encoder
from aam_core.runtime.device import autocast
from aam_core.runtime.draws import generator
from aam_core.runtime.spill import SpillBuffer

#: What the encoder returns per sample and a predictor passes on: (S, D) and (S,).
SCORES = ("distance_embedding", "faith_pd")


class FrozenBase:
    """The outputs of a frozen encoder, which all epochs and the validation share.

    They depend on the sample only, except where its ASVs are drawn anew each epoch
    (`asv_sampling` random, more than `token_limit` ASVs): these samples are encoded
    at each call.

    Parameters
    ----------
    encoder : Encoder
        In evaluation, and staying so; its weights must not change.
    table : AsvTable
        The embeddings of the ASVs.
    maker : BatchMaker
        How samples are read.
    rows : numpy.ndarray
        Samples that will be asked for.
    buffer : SpillBuffer
        Where the states of the ASVs are kept.
    options : DeviceOptions
        Batch size and precision.
    device : torch.device
        Where the encoder is.

    Notes
    -----
    It belongs to one run: nothing is written that a later run, with other weights or
    samples, could find.
    """

    def __init__(
        self,
        encoder: Encoder,
        table: AsvTable,
        maker: BatchMaker,
        rows: np.ndarray,
        buffer: SpillBuffer,
        options: DeviceOptions,
        device: torch.device,
    ) -> None:
        self.encoder = encoder
        self.table = table
        sizes_N = maker.sizes
        self.redrawn_N = np.zeros(len(sizes_N), dtype=bool)
        if maker.asv_sampling == "random":
            self.redrawn_N = maker.study.table.richness > sizes_N
        kept = rows[~self.redrawn_N[rows]]
        # The largest first: smaller ones then fit into the memory that these leave.
        kept = kept[np.argsort(-sizes_N[kept], kind="stable")]
        self.start_N = np.zeros(len(sizes_N), dtype=np.int64)
        self.last_N = np.zeros(len(sizes_N), dtype=np.int64)
        ends = sizes_N[kept].cumsum()
        self.start_N[kept] = ends - sizes_N[kept]
        self.last_N[kept] = ends - 1
        self.scores: dict[str, Tensor] = {}
        self.states_TD: Tensor | None = None
        batches = RowBatches(kept, options.batch_size, shuffle=False)
        with torch.no_grad(), autocast(options, device):
            made = loader(maker, batches, device, options.num_workers, generator())
            for batch in start(made):
                self._keep(batch.to(device), buffer)

    def _keep(self, batch: Batch, buffer: SpillBuffer) -> None:
        """Encode a batch of samples and keep what is asked for later."""
        out = self.encoder(batch, self.table(batch))
        states = out["states"][batch.present_SA]
        if self.states_TD is None:
            total = int(self.last_N.max()) + 1
            self.states_TD = buffer.tensor(total, states.shape[1], states.dtype)
            for name in SCORES:
                shape = (len(self.start_N), *out[name].shape[1:])
                self.scores[name] = out[name].new_zeros(shape)
        first = self.start_N[batch.rows[0]]
        self.states_TD[first : first + len(states)] = states
        for name, kept in self.scores.items():
            kept[torch.from_numpy(batch.rows)] = out[name]

    @torch.no_grad()
    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """What a predictor reads of the encoder's output for a batch.

        Parameters
        ----------
        batch : Batch
            On the encoder's device, made without tokens.

        Returns
        -------
        dict
            `states` (S, A, D), `distance_embedding` (S, D) and `faith_pd` (S,) as
            `Encoder.forward` returns them, and `nucleotides`, which is None. At
            padding the states are any of the sample's.
        """
        redrawn = np.flatnonzero(self.redrawn_N[batch.rows])
        if len(redrawn) == len(batch.rows):
            return self.encoder(batch, self.table(batch))
        out = self._kept(batch)
        if len(redrawn):
            here = torch.from_numpy(redrawn).to(batch.index_SA.device)
            part = _only(batch, redrawn, here)
            new = self.encoder(part, self.table(part))
            for name in ("states", *SCORES):
                out[name][here] = new[name].to(out[name].dtype)
        return out

    def _kept(self, batch: Batch) -> dict[str, Tensor]:
        start, last = self.start_N[batch.rows], self.last_N[batch.rows]
        offsets = np.arange(batch.index_SA.shape[1])
        index_SA = np.minimum(start[:, None] + offsets, last[:, None])
        device = batch.index_SA.device
        index = torch.from_numpy(index_SA).flatten().to(self.states_TD.device)
        states = self.states_TD.index_select(0, index).to(device)
        rows = torch.from_numpy(batch.rows).to(device)
        return {
            "nucleotides": None,
            "states": states.unflatten(0, index_SA.shape),
            **{name: kept[rows] for name, kept in self.scores.items()},
        }


def _only(batch: Batch, rows: np.ndarray, here: Tensor) -> Batch:
    """The redrawn samples of a batch: they are the largest, so without padding."""
    return replace(
        batch,
        rows=batch.rows[rows],
        index_SA=batch.index_SA[here],
        abundance_SA=batch.abundance_SA[here],
        present_SA=batch.present_SA[here],
        sizes=tuple(batch.sizes[row] for row in rows),
        place_T=torch.arange(batch.index_SA[here].numel(), device=here.device),
    )
