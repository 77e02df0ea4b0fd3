"""Packed samples: their ASVs follow each other, without padding.

All that is computed for each ASV then costs nothing at padding. What reads a whole
sample, attention above all, finds its ASVs here.

Shapes: S samples, A ASVs of the largest, T ASVs of all samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def places(sizes_S: np.ndarray, width: int) -> Tensor:
    """Where the ASVs of samples of these sizes are among the S · `width`, (T,)."""
    present_SA = np.arange(width) < np.asarray(sizes_S)[:, None]
    return torch.from_numpy(np.flatnonzero(present_SA))


@dataclass(frozen=True)
class Packing:
    """The way between samples with padding, (S, A, …), and without, (T, …)."""

    sizes: tuple[int, ...]  #: ASVs of each sample
    place_T: Tensor  #: as `places` returns it, on the device of what is packed
    present_SA: Tensor  #: bool, False at padding

    def pack(self, padded_SA: Tensor) -> Tensor:
        """(T, …) of (S, A, …)."""
        return padded_SA.flatten(0, 1).index_select(0, self.place_T)

    def unpack(self, packed_T: Tensor) -> Tensor:
        """(S, A, …) of (T, …), with 0 at padding."""
        shape = self.present_SA.shape
        padded = packed_T.new_zeros(shape.numel(), *packed_T.shape[1:])
        return padded.index_copy(0, self.place_T, packed_T).unflatten(0, shape)


def among_samples(
    x_SAD: Tensor,
    packing: Packing | None,
    layers: Callable[[Tensor, Packing | None], Tensor],
) -> Tensor:
    """What layers make of (S, A, D), computed without padding."""
    if packing is None:
        return layers(x_SAD, None)
    return packing.unpack(layers(packing.pack(x_SAD), packing))
