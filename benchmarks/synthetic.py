"""Studies of any size that look like amplicon studies, made fast.

A random tree; sequences that evolved along it; ASVs that few or many samples share,
by Zipf's law.

Shapes: N samples, F features (the tips of the tree), L nucleotides.
"""

from dataclasses import dataclass
from pathlib import Path

import biom
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.data.phylogeny import Phylogeny
from aam_core.data.table import FeatureTable

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
BRANCH_LENGTH = 0.02  #: mean substitutions per site of a branch
ZIPF = 0.85  #: exponent of the popularity of ASVs among samples
LEAST_SHARE = 0.4  #: of `asvs`, that a sample has
SHORTEST = 2 / 3  #: of `length`, that a short sequence has
BLOCK = 20_000  #: samples drawn at once


@dataclass(frozen=True)
class Generated:
    """A feature table with sequences, a tree and metadata."""

    table: FeatureTable
    sequences: dict[str, str]
    phylogeny: Phylogeny
    metadata: pd.DataFrame  #: column `value`, random


def study(
    samples: int = 8,
    features: int = 1750,
    asvs: int = 256,
    length: int = 150,
    *,
    short: float = 0.0,
    depth: int = 10_000,
    seed: int = 0,
) -> Generated:
    """Make a study.

    Parameters
    ----------
    samples, features : int
        N and F. As in a real table, not every ASV need occur in a sample.
    asvs : int
        ASVs of the richest sample; the poorest has `LEAST_SHARE` of them.
    length : int
        L.
    short : float
        Share of the sequences that are shorter.
    depth : int
        Reads of a sample, about.
    seed : int
        Fixes all.
    """
    generator = np.random.default_rng(seed)
    names = np.array([f"asv{i:07d}" for i in range(features)], dtype=object)
    tree, sequences_FL = evolve(names, length, generator)
    lengths = np.full(features, length)
    cut = generator.random(features) < short
    lengths[cut] = generator.integers(int(SHORTEST * length), length, cut.sum())
    pairs = zip(sequences_FL, lengths, strict=True)
    texts = [row[:n].tobytes().decode() for row, n in pairs]
    counts = zipf_counts(samples, features, asvs, depth, generator)
    ids = np.array([f"sample{i:07d}" for i in range(samples)], dtype=object)
    values = pd.DataFrame(
        {"value": generator.normal(size=samples)}, index=pd.Index(ids, name="sample-id")
    )
    sequences = dict(zip(names, texts, strict=True))
    return Generated(FeatureTable(counts, ids, names), sequences, tree, values)


def evolve(
    names: np.ndarray, length: int, generator: np.random.Generator
) -> tuple[Phylogeny, np.ndarray]:
    """A random binary tree, and sequences (F, L) that evolved along it, as letters.

    All branches of one distance (in branches) from the root are made together.
    """
    low, high = np.array([0]), np.array([len(names)])
    states = generator.integers(0, 4, (1, length), dtype=np.uint8)
    tips_FL = np.empty((len(names), length), dtype=np.uint8)
    levels = []
    while len(low):
        middle = generator.integers(low + 1, high)
        low, high = (
            np.stack([low, middle]).T.ravel(),
            np.stack([middle, high]).T.ravel(),
        )
        lengths = generator.exponential(BRANCH_LENGTH, len(low))
        states = np.repeat(states, 2, axis=0)
        changed = generator.random(states.shape, dtype=np.float32) < lengths[:, None]
        tip = high - low == 1
        # A tip differs from its neighbour, as ASVs do.
        changed[np.flatnonzero(tip), generator.integers(0, length, tip.sum())] = True
        states[changed] += generator.integers(1, 4, changed.sum(), dtype=np.uint8)
        states %= 4
        tips_FL[low[tip]] = states[tip]
        levels.append((low, high, lengths))
        low, high, states = low[~tip], high[~tip], states[~tip]
    return _phylogeny(names, levels), LETTERS[tips_FL]


def _phylogeny(names: np.ndarray, levels: list) -> Phylogeny:
    low, high, lengths = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    # Level by level, each branch that divides is above the next two; so is the root.
    inner = np.flatnonzero(high - low > 1)
    above = np.concatenate([[-1, -1], np.repeat(inner, 2)])
    order = np.lexsort([-high, low])  # preorder: a branch before those below it
    place = np.empty(len(order) + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    place[-1] = -1
    return Phylogeny(
        tip_names=names,
        low=low[order],
        high=high[order],
        lengths=lengths[order],
        parent=place[above[order]],
    )


def zipf_counts(
    samples: int, features: int, asvs: int, depth: int, generator: np.random.Generator
) -> sparse.csr_matrix:
    """Reads (N, F) of samples that draw their ASVs by popularity."""
    if asvs > features // 2:
        raise ValueError(f"{asvs} ASVs per sample need {2 * asvs} features or more.")
    weights = np.arange(1, features + 1) ** -ZIPF
    below = np.cumsum(weights / weights.sum())
    ranked = generator.permutation(features)
    sizes = generator.integers(int(LEAST_SHARE * asvs), asvs + 1, samples)
    sizes = np.maximum(sizes, 1)
    sizes[0] = asvs
    columns = [
        _distinct(sizes[start : start + BLOCK], below, ranked, generator)
        for start in range(0, samples, BLOCK)
    ]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    amounts = generator.lognormal(0, 2, starts[-1])
    amounts /= np.repeat(np.add.reduceat(amounts, starts[:-1]), sizes)
    reads = 1 + (depth * amounts).astype(np.int64)
    shape = (samples, features)
    return sparse.csr_matrix((reads, np.concatenate(columns), starts), shape=shape)


def _distinct(
    sizes: np.ndarray,
    below: np.ndarray,
    ranked: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Columns of each sample, as many as `sizes` says, all of them distinct."""
    features = len(below)
    keys = np.empty(0, dtype=np.int64)
    missing = sizes
    while missing.any():
        rows = np.repeat(np.arange(len(sizes)), missing)
        drawn = np.searchsorted(below[:-1], generator.random(len(rows)))
        new = rows * features + ranked[drawn]
        keys = np.sort(np.concatenate([keys, new]), kind="stable")
        keys = keys[np.diff(keys, prepend=-1) > 0]
        missing = sizes - np.bincount(keys // features, minlength=len(sizes))
    return keys % features


def newick(tree: Phylogeny) -> str:
    """A binary tree as text."""
    parts, open_branches = ["("], []
    rows = zip(
        tree.low.tolist(), tree.high.tolist(), tree.lengths.tolist(), strict=True
    )
    for low, high, length in rows:
        if parts[-1] != "(":
            parts.append(",")
        if high - low > 1:
            parts.append("(")
            open_branches.append((high, length))
            continue
        parts.append(f"{tree.tip_names[low]}:{length:.6f}")
        while open_branches and open_branches[-1][0] == high:
            parts.append(f"):{open_branches.pop()[1]:.6f}")
    return "".join([*parts, ");\n"])


def write(made: Generated, folder: Path) -> None:
    """Write `table.biom`, `sequences.fasta`, `tree.nwk` and `metadata.tsv`."""
    table = made.table
    by_feature = biom.Table(table.counts.T, table.feature_ids, table.sample_ids)
    with h5py.File(folder / "table.biom", "w") as file:
        by_feature.to_hdf5(file, "q2-aam benchmarks")
    with (folder / "sequences.fasta").open("w") as file:
        file.writelines(f">{name}\n{text}\n" for name, text in made.sequences.items())
    (folder / "tree.nwk").write_text(newick(made.phylogeny))
    made.metadata.to_csv(folder / "metadata.tsv", sep="\t")
