"""What is masked in self-supervision.

Shapes: U distinct ASVs of the batch, L nucleotides.
"""

from dataclasses import dataclass

import numpy as np

from aam_core.data.sequences import PAD, UNKNOWN

SPAN = 10  #: nucleotides of one masked span


@dataclass(frozen=True)
class Masking:
    """What is masked in self-supervision."""

    ratio: float = 0.0
    strategy: str = "random"
    abundances: float = 0.0  #: fraction of the ASVs whose abundance is masked


def mask_nucleotides(
    tokens_UL: np.ndarray, masking: Masking, generator: np.random.Generator
) -> np.ndarray:
    """Choose the nucleotides to mask.

    Parameters
    ----------
    tokens_UL : numpy.ndarray
        Tokens; only known nucleotides are ever chosen.
    masking : Masking
        `random` chooses nucleotides independently; `span` chooses runs of
        `SPAN` neighbours, so many that on average `ratio` are covered.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Boolean, of the shape of `tokens_UL`.
    """
    known = (tokens_UL != PAD) & (tokens_UL != UNKNOWN)
    draws = generator.random(tokens_UL.shape, dtype=np.float32)
    if masking.strategy == "random":
        return known & (draws < masking.ratio)
    # A position is covered unless none of the SPAN starts that reach it is drawn.
    starts = draws < 1 - (1 - masking.ratio) ** (1 / SPAN)
    running = np.cumsum(starts, axis=1)
    running[:, SPAN:] = running[:, SPAN:] - running[:, :-SPAN]
    return known & (running > 0)
