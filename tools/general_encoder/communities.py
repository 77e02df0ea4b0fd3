"""Studies that are simulated: ASVs of one region, and samples that share clades.

A biome is a set of clades, some of them common and some rare. A study looks at a part
of one biome by one region, in a few environments that differ.

Shapes: N samples, V ASVs of a study, K clades of a biome, E environments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOTHING = -12.0  #: logarithm of the abundance of a clade that is next to absent


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How studies are simulated."""

    biomes: int = 5
    clades: int = 40  #: of a biome
    clade_tips: tuple[int, int] = (5, 2000)  #: of the reference tree
    samples: int = 100  #: of a study
    clades_seen: tuple[float, float] = (0.3, 1.0)  #: fraction of them in a study
    most_asvs: int = 1500  #: of a study, before strains
    environments: tuple[int, int] = (2, 6)
    strains: float = 0.3  #: fraction of ASVs with close relatives
    most_substitutions: int = 5  #: between relatives
    richness: int = 120  #: most ASVs of a sample; its logarithm is drawn evenly
    single: float = 0.2  #: fraction of samples of one ASV
    reads: int = 5000  #: of a sample, beside one of each ASV
    spread: float = 2.0  #: SD of the logarithm of abundances


@dataclass(frozen=True, eq=False)
class Asv:
    """An ASV, and where it stands in the tree of the reference."""

    sequence: str
    tip: int
    clade: int
    length: float = 0.0  #: of the branch below the tip


@dataclass(frozen=True, eq=False)
class Biome:
    """Clades, as (K, 2) ranges of tips, and (K,) how common they are (a logarithm)."""

    clades_K2: np.ndarray
    level_K: np.ndarray


def draw_biome(clades: np.ndarray, plan: Plan, generator: np.random.Generator) -> Biome:
    """Some of (·, 2) clades.

    First sizes, evenly on a logarithmic scale, then a clade of about each size: most
    clades of a tree are small, and drawn evenly they would leave most tips out.
    """
    sizes = clades[:, 1] - clades[:, 0]
    order = np.argsort(sizes, kind="stable")
    logs = np.log(sizes[order])
    wanted = generator.uniform(logs[0], logs[-1], plan.clades)
    first = np.searchsorted(logs, wanted - 0.4).clip(max=len(logs) - 1)
    last = np.searchsorted(logs, wanted + 0.4, side="right")
    chosen = order[generator.integers(first, np.maximum(last, first + 1))]
    return Biome(clades[chosen], generator.normal(0, plan.spread, plan.clades))


def draw_asvs(
    reads: Sequence[str | None],
    biome: Biome,
    plan: Plan,
    generator: np.random.Generator,
) -> list[Asv]:
    """The ASVs of a study: tips of some clades of a biome, and strains beside them.

    Parameters
    ----------
    reads : sequence of str or None
        What the region shows of each tip, in the order of the tree.
    biome : Biome
        What there is.
    plan : Plan
        Numbers.
    generator : numpy.random.Generator
        Draws.

    Returns
    -------
    list of Asv
        With distinct sequences.
    """
    seen = generator.random(len(biome.clades_K2)) < generator.uniform(*plan.clades_seen)
    found: dict[str, Asv] = {}
    for clade in np.flatnonzero(seen):
        for tip in range(*biome.clades_K2[clade]):
            if reads[tip] is not None:
                found.setdefault(reads[tip], Asv(reads[tip], tip, int(clade)))
    asvs = list(found.values())
    if len(asvs) > plan.most_asvs:
        kept = generator.choice(len(asvs), plan.most_asvs, replace=False)
        asvs = [asvs[i] for i in np.sort(kept)]
    found = {asv.sequence: asv for asv in asvs}
    for asv in asvs:
        if generator.random() < plan.strains:
            for _ in range(generator.geometric(0.5)):
                strain = _strain(asv, plan.most_substitutions, generator)
                found.setdefault(strain.sequence, strain)
    return list(found.values())


def _strain(asv: Asv, most: int, generator: np.random.Generator) -> Asv:
    """A relative that differs by one substitution or a few."""
    letters = list(asv.sequence)
    changes = min(int(generator.integers(1, most + 1)), len(letters))
    for place in generator.choice(len(letters), changes, replace=False):
        others = "ACGT".replace(letters[place], "")
        letters[place] = others[generator.integers(3)]
    return Asv("".join(letters), asv.tip, asv.clade, changes / len(letters))


def draw_samples(
    asvs: Sequence[Asv], biome: Biome, plan: Plan, generator: np.random.Generator
) -> np.ndarray:
    """Reads of the ASVs in samples of a few environments and mixtures of two.

    An environment has half of the clades, each with a typical abundance, and so has
    each ASV. A sample takes as many ASVs as its richness, rare ones seldom.

    Returns
    -------
    ndarray of int64
        (N, V).
    """
    level_EV = _environments(asvs, biome, plan, generator)
    counts_NV = np.zeros((plan.samples, len(asvs)), dtype=np.int64)
    for row in range(plan.samples):
        one, other = generator.integers(len(level_EV), size=2)
        part = generator.random() if generator.random() < 0.5 else 1.0
        mixed_V = part * level_EV[one] + (1 - part) * level_EV[other]
        log_V = np.log(mixed_V + 1e-12)
        log_V += generator.normal(0, plan.spread / 2, len(asvs))
        # The largest of Gumbel draws are a sample without replacement (Vieira 2014).
        keys_V = log_V + generator.gumbel(size=len(asvs))
        kept = np.argsort(-keys_V)[: _richness(plan, len(asvs), generator)]
        share = np.exp(log_V[kept] - log_V[kept].max())
        share /= share.sum()
        counts_NV[row, kept] = 1 + generator.multinomial(plan.reads, share)
    return counts_NV


def _environments(
    asvs: Sequence[Asv], biome: Biome, plan: Plan, generator: np.random.Generator
) -> np.ndarray:
    """(E, V) typical abundances."""
    clade_V = np.array([asv.clade for asv in asvs])
    number = generator.integers(plan.environments[0], plan.environments[1] + 1)
    size = (number, len(biome.level_K))
    clade_EK = biome.level_K + generator.normal(0, plan.spread / 2, size)
    clade_EK[generator.random(size) < 0.5] = NOTHING
    common_V = generator.normal(0, plan.spread, len(asvs))
    own_EV = generator.normal(0, plan.spread / 2, (number, len(asvs)))
    return np.exp(clade_EK[:, clade_V] + common_V + own_EV)


def _richness(plan: Plan, most: int, generator: np.random.Generator) -> int:
    if generator.random() < plan.single:
        return 1
    drawn = np.exp(generator.uniform(np.log(2), np.log(plan.richness + 1)))
    return min(int(drawn), most)


def choices(
    weights: Sequence[float], number: int, generator: np.random.Generator
) -> np.ndarray:
    """Choices by weight, each as often as its share says, or once more or less."""
    share = np.cumsum(weights) / np.sum(weights)
    marks = (np.arange(number) + generator.random()) / number
    return np.searchsorted(share, marks).clip(max=len(share) - 1)
