"""How many distinct ASVs the batches of a study have, by how they are composed.

Each sample is in one batch. Batches of samples at random are compared with larger ones,
and with batches of groups: a sample and its nearest of those left, by Jaccard distance.
Encoding costs as much as there are distinct ASVs. Distances are learned within a batch,
so that the mean distance of its samples shows how far it is from chance.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import sparse

from aam_core.data.table import FeatureTable
from benchmarks.measure import tell

LARGER = (1, 2, 4)  #: times the batch
GROUPS = (2, 4, 8)  #: samples of a group


def jaccard(present_SF: sparse.csr_matrix) -> np.ndarray:
    """Jaccard distances between samples, (S, S)."""
    shared_SS = (present_SF @ present_SF.T).toarray()
    sizes_S = shared_SS.diagonal()
    return 1 - shared_SS / (sizes_S[:, None] + sizes_S - shared_SS)


def grouped(
    distance_SS: np.ndarray, size: int, generator: np.random.Generator
) -> np.ndarray:
    """An order of all samples in which each `size` are near each other."""
    left = np.ones(len(distance_SS), dtype=bool)
    groups = []
    for first in generator.permutation(len(distance_SS)):
        if not left[first]:
            continue
        left[first] = False
        nearest = np.argsort(np.where(left, distance_SS[first], np.inf), kind="stable")
        others = nearest[: min(size - 1, int(left.sum()))]
        left[others] = False
        groups.append(np.append(others, first))
    generator.shuffle(groups)
    return np.concatenate(groups)


def composed(
    present_SF: sparse.csr_matrix, distance_SS: np.ndarray, order: np.ndarray, size: int
) -> dict[str, Any]:
    """Means over the full batches of `size` neighbours in an order."""
    full = order[: len(order) // size * size].reshape(-1, size)
    distinct = [len(np.unique(present_SF[rows].indices)) for rows in full]
    asvs = [present_SF[rows].nnz for rows in full]
    pairs = np.triu_indices(size, k=1)
    distances = [distance_SS[np.ix_(rows, rows)][pairs].mean() for rows in full]
    row = {"ASVs a sample": np.mean(asvs) / size}
    row |= {"distinct ASVs a sample": np.mean(distinct) / size}
    return row | {"mean Jaccard distance": float(np.mean(distances))}


@click.command(help=__doc__)
@click.option("--table", type=click.Path(path_type=Path), required=True, help="BIOM.")
@click.option("--depth", default=1000, show_default=True, help="rarefy_depth.")
@click.option("--batch", default=8, show_default=True, help="Samples of a batch.")
@click.option("--seed", default=0, show_default=True, help="Seed.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Results.")
def main(table: Path, depth: int, batch: int, seed: int, path: Path | None) -> None:
    """Compare batches."""
    generator = np.random.default_rng(seed)
    counts = FeatureTable.read(table)
    if depth:
        counts = counts.rarefy(depth, seed, print)
    present_SF = counts.counts.astype(bool).astype(np.float32)
    distance_SS = jaccard(present_SF)
    order = generator.permutation(len(distance_SS))
    rows = []
    for times in LARGER:
        found = composed(present_SF, distance_SS, order, times * batch)
        rows.append({"batch": times * batch, "composed": "at random"} | found)
    for size in GROUPS:
        order = grouped(distance_SS, size, generator)
        found = composed(present_SF, distance_SS, order, batch)
        rows.append({"batch": batch, "composed": f"groups of {size}"} | found)
    sizes = {"table": table.name, "depth": depth, "seed": seed}
    tell("sharing", sizes, rows, path=path)
