"""What a model reads: samples as counts of ASVs, and the ASVs as tokens.

Shapes: N samples, F features, L nucleotides.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from aam_core.config import InputOptions
from aam_core.data.sequences import match_sequences, tokenise
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError, some
from aam_core.reporting import Report


@dataclass(frozen=True, eq=False)
class Study:
    """Rarefied samples and their ASVs; made by `prepare_study`.

    Parameters
    ----------
    table : FeatureTable
        Features sorted by (sequence, id) and samples by id, so that nothing
        downstream depends on the order of the input.
    tokens_FL : ndarray of uint8
        Tokens of each feature, padded on the right.
    file_rank_F : ndarray of int64
        Position of each feature in the input table.
    digests : tuple of bytes
        16 bytes for each feature, the same where the whole sequences are the same,
        also where they are longer than what `tokens_FL` holds of them.
    """

    table: FeatureTable
    tokens_FL: np.ndarray
    file_rank_F: np.ndarray
    digests: tuple[bytes, ...] = ()
    taken: dict[str, int] = field(default_factory=dict)  #: what took part, and what not

    @property
    def depths(self) -> np.ndarray:
        """(N,) int64 reads of each sample after rarefaction."""
        return self.table.depths

    def take_samples(self, rows: np.ndarray) -> "Study":
        """The samples of `rows` (positions or a mask), with all features."""
        return replace(self, table=self.table.take_samples(rows))

    def sample(
        self,
        row: int,
        token_limit: int,
        sampling: str,
        generator: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ASVs of one sample that the model reads.

        Parameters
        ----------
        row : int
            Row of the sample.
        token_limit : int
            Most ASVs read.
        sampling : {"first", "abundance", "random"}
            Which ASVs, if the sample has more: the first of the input table, the
            most abundant (ties in the canonical order), or random ones.
        generator : numpy.random.Generator, optional
            Draws for "random".

        Returns
        -------
        columns, counts : ndarray of int64
            Features, ascending, and their reads in the whole rarefied sample.
        """
        counts = self.table.counts
        span = slice(counts.indptr[row], counts.indptr[row + 1])
        columns, reads = counts.indices[span].astype(np.int64), counts.data[span]
        if len(columns) <= token_limit:
            return columns, reads
        if sampling == "random":
            assert generator is not None
            chosen = generator.choice(len(columns), token_limit, replace=False)
        else:
            assert sampling in ("first", "abundance")
            key = self.file_rank_F[columns] if sampling == "first" else -reads
            chosen = np.argsort(key, kind="stable")[:token_limit]
        chosen.sort()
        return columns[chosen], reads[chosen]


def prepare_study(
    table: FeatureTable,
    sequences: Mapping[str, str] | None,
    options: InputOptions,
    *,
    max_bp: int,
    seed: int,
    report: Report,
    keep_features: Collection[str] | None = None,
    keep_shallow: bool = False,
) -> Study:
    """Align the table with sequences (and phylogeny), rarefy, sort and tokenise.

    Parameters
    ----------
    table : FeatureTable
        Features without reads are left out silently.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    options : InputOptions
        `rarefy_depth` and `missing_features`.
    max_bp : int
        Nucleotides read of a sequence.
    seed : int
        Seed of the rarefaction.
    report : callable
        Is told, in one sentence each, what was left out or cut.
    keep_features : collection of str, optional
        Tips of the phylogeny; other features are missing from it.
    keep_shallow : bool
        Whether samples of fewer reads than the depth stay, with all that they have.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If features have no sequence or tip (and `missing_features` is "error", or
        none is left), or nothing is left to read.
    """
    drop = options.missing_features == "drop"
    taken = {"samples in table": table.shape[0]}
    rank = {name: i for i, name in enumerate(table.feature_ids)}
    table = table.take_features(table.observed_features())
    found = match_sequences(table.feature_ids, sequences)
    known = np.array([s is not None for s in found], dtype=bool)
    table = _leave_out(table, known, "sequence", sequences, drop, report)
    taken["features without sequence"] = int((~known).sum())
    if keep_features is not None:
        tips = set(keep_features)
        known = np.array([name in tips for name in table.feature_ids], dtype=bool)
        table = _leave_out(table, known, "tip in the phylogeny", tips, drop, report)
        taken["features without tip"] = int((~known).sum())
    before = table.shape[0]
    table = table.without_empty_samples(report)
    taken["samples without reads"] = before - table.shape[0]
    # By sequence, so that the ids, hashed or not, do not change the draw.
    keys = _texts(table, sequences)
    depth, before = options.rarefy_depth or 0, table.shape[0]
    table = table.rarefy(depth, seed, report, keys, keep_shallow=keep_shallow)
    taken["samples of fewer reads"] = before - table.shape[0]
    table, ordered = _canonical(table, sequences)
    tokens_FL, cut = tokenise(ordered, table.feature_ids, max_bp)
    if cut:
        report(
            f"{cut:,} of {len(ordered):,} sequences are longer than {max_bp:,} "
            "nucleotides (max_bp) and are cut."
        )
    file_rank_F = np.array([rank[name] for name in table.feature_ids], dtype=np.int64)
    taken |= {"samples": table.shape[0], "features": table.shape[1]}
    taken["sequences cut"] = cut
    digests = tuple(map(digest, ordered))
    return Study(table, tokens_FL, file_rank_F, digests, taken)


def longest_sequence(
    table: FeatureTable, sequences: Mapping[str, str] | None = None
) -> int:
    """Nucleotides of the longest sequence of a feature that has reads."""
    table = table.take_features(table.observed_features())
    found = match_sequences(table.feature_ids, sequences)
    return max((len(text) for text in found if text is not None), default=0)


def digest(sequence: str) -> bytes:
    """What tells a sequence from all others, in 16 bytes.

    Models name ASVs by it: no artifact then holds the sequences of a study.
    """
    return hashlib.blake2b(sequence.encode(), digest_size=16).digest()


def _leave_out(
    table: FeatureTable,
    known: np.ndarray,
    what: str,
    others: Collection[str] | None,
    drop: bool,
    report: Report,
) -> FeatureTable:
    """`table` with the features that are `known`, or an error."""
    if known.all():
        return table
    missing = table.feature_ids[~known]
    if not known.any():
        raise InputError(
            f"No feature of the table has a {what}: check that both use the same ids "
            f"(table: {some(missing)}; other: {some(sorted(others))})."
        )
    lost = table.take_features(~known).depths.sum() / table.depths.sum()
    fact = (
        f"{len(missing):,} of {len(known):,} features ({lost:.2%} of the reads) have "
        f"no {what}"
    )
    if not drop:
        raise InputError(
            f"{fact}: {some(missing)}. Give each feature a {what}, or leave these "
            "features out with missing_features drop."
        )
    report(f"{fact} and are left out: {some(missing)}.")
    return table.take_features(known)


def _texts(table: FeatureTable, sequences: Mapping[str, str] | None) -> list[str]:
    """The sequence of each feature, as upper-case DNA."""
    found = match_sequences(table.feature_ids, sequences)
    return [text.upper().replace("U", "T") for text in found]


def _canonical(
    table: FeatureTable, sequences: Mapping[str, str] | None
) -> tuple[FeatureTable, list[str]]:
    """`table` in its canonical order, and the sequences in that order."""
    texts = _texts(table, sequences)
    pairs = list(zip(texts, table.feature_ids, strict=True))
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    table = table.take_features(np.array(order))
    table = table.take_samples(np.argsort(table.sample_ids))
    return table, [texts[i] for i in order]
