"""Dropout whose random numbers do not cost more than the layer around it.

On a CPU, PyTorch draws one number of 53 bits for each element, in one thread, which
takes longer than the matrix products of a layer. Here 16 bits are drawn for each, by a
faster generator (SFC64) that PyTorch's own generator seeds at each call, so that a
seed, or layers recomputed in the backward pass, draw the same elements.
"""

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 2**16
SEEDS = 2**62  #: seeds that PyTorch's generator gives to others


class DropoutAdd(nn.Dropout):
    """`torch.nn.Dropout` and the sum that follows it, faster on a CPU.

    There an element is dropped with the multiple of 2⁻¹⁶ that is nearest to `p`, and
    the others are divided by the exact fraction of those kept, so that the mean stays.
    """

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return `residual` plus `x`, a fraction `p` of it at 0 and the rest scaled."""
        dropped = round(self.p * LEVELS)
        drops = self.training and 0 < dropped < LEVELS
        if not drops or x.device.type != "cpu" or torch.compiler.is_compiling():
            return residual + super().forward(x)
        kept = keep_mask(x.shape, dropped, x.dtype)
        return torch.addcmul(residual, x, kept, value=LEVELS / (LEVELS - dropped))


def keep_mask(shape: torch.Size, dropped: int, dtype: torch.dtype) -> Tensor:
    """A mask of ones and zeros, 0 with a probability of `dropped` / 2¹⁶."""
    number = shape.numel()
    seed = int(torch.randint(SEEDS, ()))
    words = np.random.SFC64(seed).random_raw(-(-number // 4))
    parts = torch.from_numpy(words.view(np.int16)[:number]).view(shape)
    return torch.ge(parts, dropped - LEVELS // 2, out=torch.empty(shape, dtype=dtype))
