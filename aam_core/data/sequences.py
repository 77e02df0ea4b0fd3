"""Sequences of ASVs, and the tokens that the model reads.

Shapes: F features, L nucleotides of the longest sequence kept.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aam_core.data.file_kinds import check_kind
from aam_core.errors import InputError, some

PAD, A, C, G, T, UNKNOWN, MASK = range(7)
VOCABULARY_SIZE = 7

SHORTEST_ID = 20  #: a feature id of fewer letters is not taken for a sequence
AMBIGUOUS = "RYSWKMBDHVN"
_IS_SEQUENCE = re.compile(f"[ACGTU{AMBIGUOUS}]{{{SHORTEST_ID},}}", re.IGNORECASE)
_INVALID = 255


def _lookup() -> np.ndarray:
    table = np.full(256, _INVALID, dtype=np.uint8)
    codes = {"A": A, "C": C, "G": G, "T": T, "U": T} | dict.fromkeys(AMBIGUOUS, UNKNOWN)
    for letter, code in codes.items():
        table[[ord(letter), ord(letter.lower())]] = code
    return table


_LOOKUP = _lookup()


def read_fasta(path: str | Path) -> dict[str, str]:
    """Read sequences by their id, the first word of the header.

    Parameters
    ----------
    path : path
        A FASTA file; a sequence may take several lines.

    Returns
    -------
    dict of str
        In the order of the file.

    Raises
    ------
    InputError
        If the file is empty or not FASTA, or an id is missing or not unique.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a FASTA file of the sequences.")
    check_kind(path, "a FASTA file")
    parts: dict[str, list[str]] = {}
    current = None
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if line.startswith(">"):
                current = _add_id(parts, line, f"{path}, line {number}")
            elif line and current is None:
                if line.startswith("@"):
                    raise InputError(
                        f"{path} is not FASTA, but looks like reads (FASTQ): name the "
                        "sequences of the features, as DADA2 or Deblur write them."
                    )
                raise InputError(
                    f"{path} is not FASTA: line {number} comes before the first "
                    "header, a line that starts with '>'."
                )
            elif line:
                current.append(line)
    if not parts:
        raise InputError(f"{path} holds no sequences.")
    return {name: "".join(lines) for name, lines in parts.items()}


def _add_id(parts: dict[str, list[str]], header: str, where: str) -> list[str]:
    words = header[1:].split(maxsplit=1)
    if not words:
        raise InputError(f"{where}: the header has no id after '>'.")
    if words[0] in parts:
        raise InputError(
            f"{where}: the id {words[0]!r} occurs for the second time; each feature "
            "has one sequence."
        )
    parts[words[0]] = []
    return parts[words[0]]


def match_sequences(
    feature_ids: Sequence[str], sequences: Mapping[str, str] | None
) -> list[str | None]:
    """Find the sequence of each feature.

    Parameters
    ----------
    feature_ids : sequence of str
        Ids of the feature table.
    sequences : mapping, optional
        Sequence of each feature id. None: the ids are the sequences.

    Returns
    -------
    list of str or None
        In the order of `feature_ids`; None where `sequences` lacks the id.

    Raises
    ------
    InputError
        If there are no `sequences` and an id is not a sequence (at least 20 IUPAC
        nucleotide letters and nothing else).

    Examples
    --------
    >>> from aam_core.data.sequences import match_sequences
    >>> match_sequences(["asv2", "asv1"], {"asv1": "ACGT"})
    [None, 'ACGT']
    """
    if sequences is not None:
        return [sequences.get(name) for name in feature_ids]
    other = [name for name in feature_ids if not _IS_SEQUENCE.fullmatch(name)]
    if other:
        raise InputError(
            f"{len(other):,} of {len(feature_ids):,} feature ids are not sequences: "
            f"{some(other)}. Pass the sequences of the features (--i-sequences with "
            "qiime, --sequences with aam)."
        )
    return list(feature_ids)


def tokenise(
    sequences: Sequence[str], feature_ids: Sequence[str], max_bp: int
) -> tuple[np.ndarray, int]:
    """Turn sequences into tokens.

    A C G T (and U) become tokens of their own, in either case; every other IUPAC
    nucleotide letter becomes `UNKNOWN`.

    Parameters
    ----------
    sequences : sequence of str
        F sequences.
    feature_ids : sequence of str
        Their ids, for messages.
    max_bp : int
        Nucleotides kept of a sequence, from its start.

    Returns
    -------
    tokens_FL : ndarray of uint8
        Padded on the right with `PAD`; L is the length of the longest kept.
    cut : int
        Number of sequences longer than `max_bp`.

    Raises
    ------
    InputError
        If a sequence is empty or holds any other character, such as a gap.

    Examples
    --------
    >>> from aam_core.data.sequences import tokenise
    >>> tokens, cut = tokenise(["ACGTN", "uu"], ["asv1", "asv2"], max_bp=4)
    >>> tokens
    array([[1, 2, 3, 4],
           [4, 4, 0, 0]], dtype=uint8)
    >>> cut
    1
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    _check(sequences, feature_ids, lengths)
    kept = np.minimum(lengths, max_bp)
    width = int(kept.max(initial=0))
    tokens_FL = np.zeros((len(sequences), width), dtype=np.uint8)
    assert PAD == 0
    tokens_FL[np.arange(width) < kept[:, None]] = _codes(s[:max_bp] for s in sequences)
    return tokens_FL, int((lengths > max_bp).sum())


def _codes(sequences) -> np.ndarray:
    # A character outside of Latin-1 becomes '?', which no nucleotide is.
    text = "".join(sequences).encode("latin-1", errors="replace")
    return _LOOKUP[np.frombuffer(text, dtype=np.uint8)]


def _check(
    sequences: Sequence[str], feature_ids: Sequence[str], lengths: np.ndarray
) -> None:
    empty = [feature_ids[i] for i in np.flatnonzero(lengths == 0)]
    if empty:
        raise InputError(
            f"Features have an empty sequence: {some(empty)}. Leave them out, or give "
            "their sequences."
        )
    invalid = np.flatnonzero(_codes(sequences) == _INVALID)
    if not len(invalid):
        return
    ends = np.cumsum(lengths)
    which = int(np.searchsorted(ends, invalid[0], side="right"))
    position = int(invalid[0] - (ends[which] - lengths[which]))
    raise InputError(
        f"The sequence of feature {feature_ids[which]!r} holds "
        f"{sequences[which][position]!r} at position {position + 1}; allowed are A C G "
        f"T U and {' '.join(AMBIGUOUS)}. Pass unaligned nucleotide sequences."
    )


def reverse_complement(tokens_FL: np.ndarray) -> np.ndarray:
    """Tokens of the other strand, read from its start; padded on the right.

    Parameters
    ----------
    tokens_FL : numpy.ndarray
        Tokens, padded on the right.
    """
    length_F = (tokens_FL != PAD).sum(axis=1)
    place_FL = length_F[:, None] - 1 - np.arange(tokens_FL.shape[1])
    turned = np.take_along_axis(tokens_FL, place_FL.clip(0), axis=1)
    named = (turned >= A) & (turned <= T)
    turned = np.where(named, A + T - turned, turned)
    return np.where(place_FL < 0, PAD, turned).astype(tokens_FL.dtype)
