"""Primer regions cut out of full-length 16S sequences.

Shapes: N sequences, L nucleotides of the longest, W places where a primer may lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: What a letter stands for, one bit a nucleotide.
BITS = dict(zip("ACGT", (1, 2, 4, 8), strict=True)) | {
    **{"R": 5, "Y": 10, "S": 6, "W": 9, "K": 12, "M": 3},
    **{"B": 14, "D": 13, "H": 11, "V": 7, "N": 15},
}
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")
#: Most letters of a primer that a sequence may contradict.
MOST_MISMATCHES = 3
#: How far, as a fraction, an amplicon's length may be from their median.
UNUSUAL = 0.2
PIECE = 2048  #: sequences searched at a time


@dataclass(frozen=True)
class Region:
    """What a study sequences: the reads between two primers, cut to one length."""

    name: str
    forward: str
    reverse: str  #: as it is ordered, which is the other strand
    length: int | None  #: None: as far as the reverse primer
    weight: float = 1.0  #: how often a simulated study has it


_27F, _338R, _534R = "AGAGTTTGATCMTGGCTCAG", "TGCTGCCTCCCGTAGGAGT", "ATTACCGCGGCTGCTGG"
_341F, _805R = "CCTACGGGNGGCWGCAG", "GACTACHVGGGTATCTAATCC"
_515F, _806R, _926R = (
    "GTGYCAGCMGCCGCGGTAA",
    "GGACTACNVGGGTWTCTAAT",
    "CCGYCAATTYMTTTRAGTTT",
)
_784F, _1061R = "AGGATTAGATACCCTGGTA", "CRRCACGAGCTGACGAC"
_969F, _1406R = "ACGCGHNRAACCTTACC", "ACGGGCRGTGWGTRCAA"
REGIONS = (
    Region("V4, 100 nt", _515F, _806R, 100, 2),
    Region("V4, 150 nt", _515F, _806R, 150, 4),
    Region("V4, 250 nt", _515F, _806R, 250),
    Region("V3-V4, 150 nt", _341F, _805R, 150, 3),
    Region("V3-V4, 250 nt", _341F, _805R, 250),
    Region("V3-V4", _341F, _805R, None, 0.5),
    Region("V1-V2, 150 nt", _27F, _338R, 150),
    Region("V1-V2, 250 nt", _27F, _338R, 250, 0.5),
    Region("V1-V3", _27F, _534R, None, 0.5),
    Region("V4-V5", _515F, _926R, None, 0.5),
    Region("V5-V6, 150 nt", _784F, _1061R, 150),
    Region("V5-V6", _784F, _1061R, None, 0.5),
    Region("V6-V8, 150 nt", _969F, _1406R, 150),
)


def reverse_complement(primer: str) -> str:
    """The other strand.

    Examples
    --------
    >>> from tools.general_encoder.regions import reverse_complement
    >>> reverse_complement("GGACTACNVG")
    'CBNGTAGTCC'
    """
    return primer.translate(COMPLEMENT)[::-1]


def as_bits(sequences: Sequence[str]) -> np.ndarray:
    """(N, L) uint8: the nucleotides that each letter stands for, 0 beyond the end."""
    lookup = np.zeros(256, dtype=np.uint8)
    for letter, bits in BITS.items():
        lookup[ord(letter)] = bits
    found_NL = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.uint8)
    for row, sequence in enumerate(sequences):
        found_NL[row, : len(sequence)] = lookup[
            np.frombuffer(sequence.encode(), np.uint8)
        ]
    return found_NL


def find(bits_NL: np.ndarray, primer: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a primer fits each sequence best.

    Returns
    -------
    place_N, misses_N : ndarray
        The first of the places with the fewest mismatches, and how many these are.
    """
    places = bits_NL.shape[1] - len(primer) + 1
    if places < 1:
        none_N = np.zeros(len(bits_NL), dtype=np.int64)
        return none_N, none_N + len(primer)
    misses_NW = np.zeros((len(bits_NL), places), dtype=np.uint8)
    for at, letter in enumerate(primer):
        misses_NW += (bits_NL[:, at : at + places] & BITS[letter]) == 0
    place_N = misses_NW.argmin(axis=1)
    return place_N, np.take_along_axis(misses_NW, place_N[:, None], 1)[:, 0]


def amplicons(sequences: Sequence[str], forward: str, reverse: str) -> list[str | None]:
    """What lies between two primers.

    Parameters
    ----------
    sequences : sequence of str
        In upper case.
    forward, reverse : str
        Primers, each as it is ordered.

    Returns
    -------
    list of str or None
        Without the primers; None where one of them does not fit with
        `MOST_MISMATCHES` or fewer, where they lie the wrong way round, or where a
        nucleotide between them is ambiguous.
    """
    found: list[str | None] = []
    for start in range(0, len(sequences), PIECE):
        piece = sequences[start : start + PIECE]
        bits_NL = as_bits(piece)
        first_N, misses_N = find(bits_NL, forward)
        end_N, more_N = find(bits_NL, reverse_complement(reverse))
        fits_N = np.maximum(misses_N, more_N) <= MOST_MISMATCHES
        begin_N = first_N + len(forward)
        for sequence, fits, begin, end in zip(
            piece, fits_N, begin_N, end_N, strict=True
        ):
            between = sequence[begin:end]
            plain = fits and between and set(between) <= set("ACGT")
            found.append(between if plain else None)
    return found


def reads(between: Sequence[str | None], length: int | None) -> list[str | None]:
    """Amplicons of a usual length, cut to `length`; None where one is shorter.

    One that is a fifth longer or shorter than their median was found at a place that
    only looks like the primer's.
    """
    usual = np.median([len(s) for s in between if s is not None] or [0])
    least, most = max((1 - UNUSUAL) * usual, length or 0), (1 + UNUSUAL) * usual
    return [
        s[:length] if s is not None and least <= len(s) <= most else None
        for s in between
    ]
