"""What the clades of a phylogeny contribute, and how a few of its tips are drawn.

Shapes: S samples, T tips, E branches.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from aam_core.data.phylogeny import Phylogeny


def clade_importance(
    phylogeny: Phylogeny, contributions: pd.DataFrame, samples: int
) -> np.ndarray:
    """How much each clade moves the predictions, as a whole.

    Parameters
    ----------
    phylogeny : Phylogeny
        Its tips are the features of the contributions.
    contributions : pandas.DataFrame
        Columns `sample`, `feature`, `contribution`, of one target.
    samples : int
        Samples that are explained: those without any of the tips count as zero.

    Returns
    -------
    np.ndarray of float64, (E,)
        Of the branch above each clade, in the units of the contributions.

    Notes
    -----
    Contributions add up, so that of a clade is the sum of those of its ASVs. The
    importance is the mean of its absolute value over the samples: less than the sum of
    the importances of the ASVs where these work against each other.
    """
    tips = pd.Index(phylogeny.tip_names)
    wide = contributions.pivot(index="sample", columns="feature", values="contribution")
    values = wide.reindex(columns=tips).fillna(0.0).to_numpy()
    sums = np.concatenate([np.zeros((len(wide), 1)), values.cumsum(axis=1)], axis=1)
    of_clades = sums[:, phylogeny.high] - sums[:, phylogeny.low]
    return np.abs(of_clades).sum(axis=0) / samples


def drawing(phylogeny: Phylogeny, tips: Sequence[str]) -> pd.DataFrame:
    """Where the branches to a few tips are drawn, as a phylogram.

    Branches that lead to the same of these tips are drawn as one, and what lies above
    their last common ancestor is not drawn.

    Parameters
    ----------
    phylogeny : Phylogeny
        With these tips and, as a rule, many more.
    tips : sequence of str
        Names of two tips or more.

    Returns
    -------
    pandas.DataFrame
        One row for each branch that is drawn: `branch`, the number of the branch of the
        phylogeny whose lower end this is; `feature`, the tip there, or None; `x` and
        `x2`, the distances of its ends from the root, in units of branch length;
        `y`, its row, from 0; `low` and `high`, the rows of the first and the last
        branch below it (its own for a tip); `asvs`, how many tips lie below it.
    """
    wanted = np.isin(phylogeny.tip_names.astype(str), list(tips))
    before = np.concatenate([[0], np.cumsum(wanted)])
    low, high = before[phylogeny.low], before[phylogeny.high]
    kept, parents, lengths = _merged(phylogeny, low, high, int(wanted.sum()))
    ends = np.zeros(len(kept))
    starts = np.zeros(len(kept))
    for place, parent in enumerate(parents):
        starts[place] = ends[parent] if parent >= 0 else 0.0
        ends[place] = starts[place] + lengths[place]
    rows, first, last = _rows(low[kept], high[kept], parents)
    names = phylogeny.tip_names[phylogeny.low[kept]]
    return pd.DataFrame(
        {
            "branch": kept,
            "feature": np.where(high[kept] - low[kept] == 1, names, None),
            "x": starts,
            "x2": ends,
            "y": rows,
            "low": first,
            "high": last,
            "asvs": (phylogeny.high - phylogeny.low)[kept],
        }
    )


def _merged(
    phylogeny: Phylogeny, low: np.ndarray, high: np.ndarray, total: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Branches that are drawn, in preorder, with the place of each one's parent.

    Of branches in a row that lead to the same tips the lowest one stands for all, and
    their lengths add up.
    """
    kept: list[int] = []
    parents: list[int] = []
    lengths: list[float] = []
    place: dict[int, int] = {}  # by branch: the drawn one that it belongs to
    for branch, above in enumerate(phylogeny.parent.tolist()):
        number = high[branch] - low[branch]
        if not 0 < number < total:
            continue
        drawn = place.get(above, -1)
        if drawn >= 0 and number == high[kept[drawn]] - low[kept[drawn]]:
            kept[drawn] = branch
            lengths[drawn] += phylogeny.lengths[branch]
        else:
            drawn_above, drawn = drawn, len(kept)
            kept.append(branch)
            parents.append(drawn_above)
            lengths.append(phylogeny.lengths[branch])
        place[branch] = drawn
    return np.array(kept), np.array(parents), np.array(lengths)


def _rows(
    low: np.ndarray, high: np.ndarray, parents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of each branch, in the middle of those below it, and their first and last."""
    rows = np.where(high - low == 1, low, np.nan).astype(float)
    first, last = rows.copy(), rows.copy()
    for place in range(len(rows) - 1, -1, -1):
        if np.isnan(rows[place]):
            rows[place] = (first[place] + last[place]) / 2
        if (above := parents[place]) >= 0:
            first[above] = np.fmin(first[above], rows[place])
            last[above] = np.fmax(last[above], rows[place])
    return rows, first, last


def common_taxon(taxa: Sequence[str]) -> str:
    """The ranks that all taxa share, from the highest one on; empty if there are none.

    Taxa are ranks between semicolons, as QIIME 2 writes them.
    """
    known = [[r.strip() for r in taxon.split(";")] for taxon in taxa if taxon]
    shared = []
    for ranks in zip(*known, strict=False):
        if len(set(ranks)) > 1 or ranks[0].endswith("__"):
            break
        shared.append(ranks[0])
    return "; ".join(shared)


def taxa_of_clades(
    phylogeny: Phylogeny, branches: Sequence[int], labels: Mapping[str, str]
) -> list[str]:
    """What the taxa of each clade share, of the tips that have a taxon."""
    taxa = [labels.get(str(name), "") for name in phylogeny.tip_names]
    return [common_taxon(taxa[phylogeny.low[b] : phylogeny.high[b]]) for b in branches]
