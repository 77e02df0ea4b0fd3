"""Profiles of sequences: numbers that are near to each other where sequences are alike.

They are fixed functions of a sequence, the same in every version: nothing is fitted.

Shapes: N sequences, F features, L nucleotides, W words of a sequence, D numbers of a
profile.
"""

import numpy as np

from aam_core.data.sequences import UNKNOWN, T

#: Length of the words whose frequencies make the profile of a sequence.
WORD = 6
PROFILE = 64  #: D
#: Sequences of which profiles are computed at a time.
PIECE = 1024


def profiles(tokens_FL: np.ndarray) -> np.ndarray:
    """Profiles of sequences, near to each other where these are alike.

    Parameters
    ----------
    tokens_FL : numpy.ndarray
        Tokens, padded on the right.

    Returns
    -------
    numpy.ndarray
        (F, D) float32, of length 1 or nearly so.

    Notes
    -----
    The square roots of the frequencies of all words of `WORD` nucleotides, projected by
    random signs to D numbers, which keeps distances (Achlioptas 2003,
    doi:10.1016/S0022-0000(03)00025-4). The signs are the bits of a hash of the word, so
    that a sequence has the same profile in every version. Words with an ambiguous
    nucleotide are left out.
    """
    signs = _signs()
    parts = [
        _frequencies(tokens_FL[start : start + PIECE]) @ signs
        for start in range(0, len(tokens_FL), PIECE)
    ]
    return np.concatenate([np.zeros((0, PROFILE), np.float32), *parts])


def _frequencies(tokens_NL: np.ndarray) -> np.ndarray:
    """Square roots of the fractions of all words, (N, 4 ** WORD)."""
    total, words = len(tokens_NL), max(tokens_NL.shape[1] - WORD + 1, 0)
    code_NW = np.zeros((total, words), dtype=np.int64)
    valid_NW = np.ones((total, words), dtype=bool)
    for place in range(WORD):
        token = tokens_NL[:, place : place + words].astype(np.int64)
        valid_NW &= (token > 0) & (token <= T)
        code_NW = 4 * code_NW + (token - 1)
    assert UNKNOWN > T
    row, _ = np.nonzero(valid_NW)
    size = 4**WORD
    counts = np.bincount(row * size + code_NW[valid_NW], minlength=total * size)
    counts = counts.reshape(total, size).astype(np.float32)
    return np.sqrt(counts / counts.sum(axis=1, keepdims=True).clip(1))


def _signs() -> np.ndarray:
    """±1 / √D for each word and number."""
    bits = hashed(np.arange(4**WORD))
    ones = (bits[:, None] >> np.arange(PROFILE, dtype=np.uint64)) & np.uint64(1)
    return ((2.0 * ones - 1) / np.sqrt(PROFILE)).astype(np.float32)


def hashed(numbers: np.ndarray) -> np.ndarray:
    """64 bits for each number that look random, by SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        bits = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))
