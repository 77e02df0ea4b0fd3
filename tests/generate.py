"""Small studies with a known signal, for tests."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import skbio
from scipy import sparse

from aam_core.config import InputOptions
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.study import Study, prepare_study
from aam_core.data.table import FeatureTable

#: Options of a model that is trained in a second.
SIZES = {
    "embedding_dim": 16,
    "attention_heads": 2,
    "attention_layers": 1,
    "nucleotide_patch": 4,
    "max_bp": 60,
}
LETTERS = np.array(list("ACGT"))


@dataclass(frozen=True)
class Generated:
    """A feature table with sequences, a tree and metadata."""

    table: FeatureTable
    sequences: dict[str, str]
    tree: skbio.TreeNode
    metadata: pd.DataFrame

    @property
    def phylogeny(self) -> Phylogeny:
        return Phylogeny.from_skbio(self.tree)


def random_tree(
    tips: list[str], generator: np.random.Generator
) -> tuple[skbio.TreeNode, dict[str, np.ndarray]]:
    """A rooted binary tree, and one trait per tip that evolves along it."""
    root = skbio.TreeNode()
    leaves = [(root, generator.integers(0, 4, 60))]
    while len(leaves) < len(tips):
        node, sequence = leaves.pop(generator.integers(len(leaves)))
        for _ in range(2):
            length = generator.uniform(0.05, 0.3)
            child = skbio.TreeNode(length=length)
            node.append(child)
            mutated = sequence.copy()
            sites = generator.random(len(sequence)) < length / 2
            mutated[sites] = generator.integers(0, 4, sites.sum())
            leaves.append((child, mutated))
    traits = {}
    for name, (node, sequence) in zip(tips, leaves, strict=True):
        node.name = name
        traits[name] = sequence
    return root, traits


def random_newick(n_tips: int, rng: np.random.Generator, root_length: str = "") -> str:
    """Join tips at random: polytomies, single children, zero lengths."""

    def length() -> str:
        return f":{0 if rng.random() < 0.15 else rng.exponential():.6f}"

    parts = [f"t_{i}" for i in range(n_tips)]
    while len(parts) > 1:
        rng.shuffle(parts)
        n = rng.choice([1, 2, 3, 4], p=[0.2, 0.5, 0.2, 0.1])
        parts, joined = parts[n:], parts[:n]
        parts.append("(" + ",".join(part + length() for part in joined) + ")")
    return parts[0] + root_length + ";"


def parse(newick: str) -> skbio.TreeNode:
    return skbio.TreeNode.read([newick], format="newick", convert_underscores=False)


def study(samples: int = 24, features: int = 40, seed: int = 0) -> Generated:
    """A study in which one clade's abundance sets the column `value`.

    Metadata: `value` (numeric), `kind` (two classes: value above its median),
    `site` (categorical, unrelated), `subject` (pairs of samples).
    """
    generator = np.random.default_rng(seed)
    names = [f"asv{i:03d}" for i in range(features)]
    tree, traits = random_tree(names, generator)
    sequences = {name: "".join(LETTERS[traits[name]]) for name in names}
    clade = {
        t.name for t in max(tree.children, key=lambda c: c.count(tips=True)).tips()
    }
    inside = np.array([name in clade for name in names])
    share = generator.uniform(0.1, 0.9, samples)
    counts = np.zeros((samples, features), dtype=np.int64)
    for row in range(samples):
        weights = generator.exponential(size=features) * (
            generator.random(features) < 0.6
        )
        weights[inside] *= share[row] / max(weights[inside].sum(), 1e-9)
        weights[~inside] *= (1 - share[row]) / max(weights[~inside].sum(), 1e-9)
        counts[row] = generator.multinomial(400, weights / weights.sum())
    ids = [f"s{i:02d}" for i in range(samples)]
    table = FeatureTable(
        sparse.csr_matrix(counts),
        np.array(ids, dtype=object),
        np.array(names, dtype=object),
    )
    metadata = pd.DataFrame(
        {
            "value": 10 * share,
            "kind": np.where(share > np.median(share), "high", "low"),
            "site": generator.choice(["gut", "skin", "soil"], samples),
            "subject": [f"p{i // 2}" for i in range(samples)],
        },
        index=pd.Index(ids, name="id"),
    )
    return Generated(table, sequences, tree, metadata)


def prepared(samples: int) -> Study:
    """A study as a model reads it, of 300 reads a sample."""
    made = study(samples)
    options = InputOptions(rarefy_depth=300)
    return prepare_study(
        made.table, made.sequences, options, max_bp=60, seed=0, report=print
    )


@dataclass(frozen=True)
class Planted:
    """A study in which a few single ASVs set the columns `value` and `kind`."""

    table: FeatureTable
    sequences: dict[str, str]
    metadata: pd.DataFrame
    raising: tuple[str, ...]  #: ASVs with which `value` rises
    lowering: tuple[str, ...]


def planted(samples: int = 60, features: int = 40, seed: int = 0) -> Planted:
    """A study of unlike sequences: two ASVs raise `value`, two lower it.

    Each acts by its log abundance, with the same weight. `kind` is `high` where
    `value` is above its median.
    """
    generator = np.random.default_rng(seed)
    names = [f"asv{i:03d}" for i in range(features)]
    sequences = {n: "".join(generator.choice(LETTERS, 60)) for n in names}
    here = generator.random((samples, features)) < 0.5
    weights = here * generator.lognormal(0, 1.5, (samples, features))
    weights[:, -1] += 0.1  # no sample is empty
    shares = weights / weights.sum(axis=1, keepdims=True)
    counts = np.stack([generator.multinomial(2000, row) for row in shares])
    levels = np.log10(1 + 10_000 * counts / 2000)
    chosen = generator.permutation(features)[:4]
    value = levels[:, chosen] @ np.array([1.0, 1.0, -1.0, -1.0])
    value += 0.2 * generator.normal(size=samples)
    ids = np.array([f"s{i:03d}" for i in range(samples)], dtype=object)
    table = FeatureTable(sparse.csr_matrix(counts), ids, np.array(names, dtype=object))
    kind = np.where(value > np.median(value), "high", "low")
    index = pd.Index(ids, name="id")
    metadata = pd.DataFrame({"value": value, "kind": kind}, index)
    chosen = [names[i] for i in chosen]
    return Planted(table, sequences, metadata, tuple(chosen[:2]), tuple(chosen[2:]))
