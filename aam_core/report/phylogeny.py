"""The section of a page that shows contributions along the phylogeny."""

from collections.abc import Mapping

import pandas as pd

from aam_core.data.clades import clade_importance, drawing, taxa_of_clades
from aam_core.data.phylogeny import Phylogeny
from aam_core.report import phylogeny_charts as charts
from aam_core.report.page import Figure, Section, Table

MOST_TIPS = 60  #: that are drawn


def phylogeny_section(
    contributions: pd.DataFrame,
    features: pd.DataFrame,
    phylogeny: Phylogeny,
    labels: Mapping[str, str],
    top: int,
    classes: bool,
) -> tuple[Section, list[Table]]:
    """The ASVs that matter most, as tips of the tree.

    Parameters
    ----------
    contributions : pandas.DataFrame
        With the columns of `aam_core.data.contributions`.
    features : pandas.DataFrame
        What `overall` makes of them.
    phylogeny : Phylogeny
        ASVs that it lacks are not drawn.
    labels : mapping
        Taxon of a feature.
    top : int
        How many ASVs of each target are drawn, of those in the tree.
    classes : bool
        Whether targets are classes.

    Returns
    -------
    tuple of Section and list of Table
        The tables are what the chart draws.
    """
    known = set(map(str, phylogeny.tip_names))
    there = features[features["feature"].isin(known)]
    best = there.groupby("feature")["place"].min().sort_values(kind="stable")
    total = features["feature"].nunique()
    if len(best) < 2:
        note = (
            f"Of {total:,} ASVs {len(best)} are tips of the phylogeny: too few to draw."
        )
        return Section("Along the phylogeny", notes=[note]), []
    whole = phylogeny.shear(best.index)
    shown = best[best <= top].head(MOST_TIPS)
    if len(shown) < 2:
        shown = best.head(2)
    drawn = drawing(whole, list(shown.index))
    drawn["clade"] = taxa_of_clades(whole, drawn["branch"], labels)
    targets = list(dict.fromkeys(features["target"]))
    samples = contributions["sample"].nunique()
    parts = []
    for target in targets:
        mine = contributions[contributions["target"] == target]
        value = clade_importance(whole, mine, samples)
        parts.append(drawn.assign(target=target, importance=value[drawn["branch"]]))
    branches = pd.concat(parts, ignore_index=True)
    rows = drawn.dropna(subset="feature")[["feature", "y"]]
    tips = features.merge(rows, on="feature")
    tips["name"] = tips["label"].str.partition(". ")[2]
    figure = Figure(
        f"{len(shown)} ASVs in the phylogeny",
        charts.phylogram(branches, tips, targets, classes),
        "Branches are as long as in the phylogeny, and the darker, the more their "
        "clade moves the prediction: the mean absolute sum of the contributions of "
        "all its ASVs, also of those that are not drawn. Hover over the lower end of "
        "a branch to see its clade. Bars: the ASV's own importance, as above.",
    )
    text = (
        "Whether relatives matter alike. A clade that is no darker than its ASVs holds "
        "some that raise and others that lower the prediction."
    )
    notes = []
    if lacking := total - len(best):
        notes.append(f"{lacking:,} of {total:,} ASVs are no tips of the phylogeny.")
    tables = [
        Table("branches", branches.set_index("branch")),
        Table("tips", tips.set_index("feature")),
    ]
    return Section("Along the phylogeny", text, [figure], notes), tables
