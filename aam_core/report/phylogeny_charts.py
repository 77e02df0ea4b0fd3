"""A phylogram with bars at its tips, by Altair."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from aam_core.report.charts import GREY
from aam_core.report.contribution_charts import ROW, direction_colour, list_of_targets

WIDTH = 300  #: of the tree, in pixels
#: Colours without the lightest, which are hard to see as lines.
DARKER = alt.SchemeParams(name="cividis", extent=[0, 0.85])


def phylogram(
    branches: pd.DataFrame, tips: pd.DataFrame, targets: Sequence[str], classes: bool
) -> alt.TopLevelMixin:
    """Branches coloured by the importance of their clade, and bars beside the tips.

    Parameters
    ----------
    branches, tips : pandas.DataFrame
        The tables `branches` and `tips` of the page.
    targets : sequence of str
        Targets or classes, one of which is shown.
    classes : bool
        Whether they are classes.
    """
    rows = int(branches["high"].max()) + 1
    height = ROW * rows
    place = alt.Scale(domain=[rows - 0.5, -0.5], nice=False, zero=False, padding=0)
    tree = _tree(branches, place, height)
    both = alt.hconcat(tree, _names(place, height), _bars(place, height), spacing=4)
    both = both.resolve_scale(color="independent")
    return both.add_params(list_of_targets("target_of_tree", targets, classes))


def _tree(branches: pd.DataFrame, place: alt.Scale, height: int) -> alt.LayerChart:
    base = alt.Chart(alt.NamedData("branches"), width=WIDTH, height=height)
    base = base.transform_filter("datum.target == target_of_tree")
    y = alt.Y("y:Q", scale=place, axis=None)
    top = float(branches["importance"].max()) or 1.0
    colour = alt.Color(
        "importance:Q",
        title="importance of the clade",
        scale=alt.Scale(type="sqrt", scheme=DARKER, reverse=True, domain=[0, top]),
        legend=alt.Legend(
            orient="top", type="gradient", gradientLength=180, tickCount=4
        ),
    )
    tips = [
        alt.Tooltip("asvs:Q", title="ASVs below"),
        alt.Tooltip("clade:N", title="what they share"),
        alt.Tooltip("feature:N"),
        alt.Tooltip("importance:Q", title="importance of the clade", format=".3g"),
    ]
    x = alt.X("x:Q", title="branch length", axis=alt.Axis(tickCount=4, grid=False))
    across = base.mark_rule(strokeWidth=3).encode(
        x=x, x2="x2:Q", y=y, color=colour, tooltip=tips
    )
    inner = base.transform_filter("datum.high > datum.low")
    down = inner.mark_rule(color=GREY, strokeWidth=1).encode(
        x="x2:Q", y=alt.Y("low:Q", scale=place, axis=None), y2="high:Q"
    )
    ends = base.mark_circle(size=45, opacity=1).encode(
        x="x2:Q", y=y, color=colour, tooltip=tips
    )
    roots = branches[branches["x"] == 0]
    stem = alt.Data(values=[{"low": roots["y"].min(), "high": roots["y"].max()}])
    root = alt.Chart(stem).mark_rule(color=GREY, strokeWidth=1)
    root = root.encode(
        x=alt.datum(0), y=alt.Y("low:Q", scale=place, axis=None), y2="high:Q"
    )
    return alt.layer(down, root, across, ends)


def _names(place: alt.Scale, height: int) -> alt.Chart:
    base = alt.Chart(alt.NamedData("tips"), width=240, height=height)
    base = base.transform_filter("datum.target == target_of_tree")
    y = alt.Y("y:Q", scale=place, axis=None)
    return base.mark_text(align="left", limit=235, fontSize=11).encode(
        x=alt.value(2), y=y, text="name:N", tooltip=["feature:N", "taxon:N"]
    )


def _bars(place: alt.Scale, height: int) -> alt.Chart:
    base = alt.Chart(alt.NamedData("tips"), width=150, height=height)
    base = base.transform_filter("datum.target == target_of_tree")
    return base.mark_bar(orient="horizontal", size=ROW * 0.6).encode(
        x=alt.X(
            "importance:Q",
            title="mean absolute contribution",
            axis=alt.Axis(tickCount=3),
        ),
        y=alt.Y("y:Q", scale=place, axis=None),
        color=direction_colour(),
        tooltip=[
            "feature:N",
            "taxon:N",
            alt.Tooltip("importance:Q", format=".3g"),
            alt.Tooltip("place:Q", title="place among all ASVs"),
        ],
    )
