"""Charts of folds, repeats and learning curves."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from aam_core.report.charts import SIDE, sets_colour
from aam_core.report.page import chart_values

#: Folds of all repeats that a chart shows.
FOLDS = 100


def by_fold(
    table: pd.DataFrame, names: Sequence[str], scores: Sequence[tuple[str, str]]
) -> alt.TopLevelMixin:
    """A row a fold, with a point a set, joined by a line; a panel a score.

    Parameters
    ----------
    table : pandas.DataFrame
        `repeat`, `fold`, `set`, `training`, `samples` and scores.
    names : sequence of str
        The two sets.
    scores : sequence of tuple
        Columns, and what people call them.
    """
    rows = [
        row | {"label": f"repeat {row['repeat']}, fold {row['fold']}"}
        for row in table.to_dict("records")
    ]
    order = list(dict.fromkeys(row["label"] for row in rows))[:FOLDS]
    rows = [row for row in rows if row["label"] in set(order)]
    data = alt.Data(values=chart_values(rows))
    panels = []
    for place, (score, title) in enumerate(scores):
        base = alt.Chart(data, width=SIDE - 60, height=alt.Step(16))
        y = alt.Y(
            "label:N",
            sort=order,
            title=None,
            axis=alt.Axis(labels=not place, ticks=not place, grid=True),
        )
        zero = alt.Scale(zero=False)
        x = alt.X(f"{score}:Q", title=title, scale=zero)
        low = alt.X(f"min({score}):Q", title=title, scale=zero)
        joined = base.mark_rule(color="#bbb").encode(
            y=y, x=low, x2=alt.X2(f"max({score}):Q")
        )
        tips = [alt.Tooltip(f"{n}:N") for n in ("set", "repeat", "fold")]
        tips += [
            alt.Tooltip("training:Q", title="training samples"),
            alt.Tooltip("samples:Q", title="samples of the fold"),
            alt.Tooltip(f"{score}:Q", title=title, format=".4g"),
        ]
        points = base.mark_point(filled=True, size=60, opacity=0.75).encode(
            y=y, x=x, color=sets_colour(names), shape=_shape(names), tooltip=tips
        )
        panels.append(joined + points)
    return alt.hconcat(*panels)


def learning_curve(
    table: pd.DataFrame, names: Sequence[str], what: str
) -> alt.TopLevelMixin:
    """Error over the number of training samples, with the spread over repeats."""
    spread = table["sd"].fillna(0.0)
    rows = table.assign(
        low=table["error"] - spread, high=table["error"] + spread
    ).to_dict("records")
    data = alt.Data(values=chart_values(rows))
    base = alt.Chart(data, width=SIDE * 1.4, height=300)
    x = alt.X(
        "training:Q",
        title="training samples (mean over folds)",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=alt.Axis(
            values=sorted({round(row["training"]) for row in rows}), grid=False
        ),
    )
    scale = alt.Scale(zero=False)
    tips = [
        alt.Tooltip("set:N"),
        alt.Tooltip("labels:N", title="asked for"),
        alt.Tooltip("training:Q", title="training samples", format=".4g"),
        alt.Tooltip("error:Q", title=what, format=".4g"),
        alt.Tooltip("sd:Q", title="SD over repeats", format=".2g"),
    ]
    colour, y = sets_colour(names), alt.Y("error:Q", title=what, scale=scale)
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title=what, scale=scale), y2="high:Q", color=colour
    )
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x, y=y, color=colour, shape=_shape(names), tooltip=tips
    )
    return bars + lines + points


def _shape(names: Sequence[str]) -> alt.Shape:
    return alt.Shape("set:N", title=None, scale=alt.Scale(domain=list(names)))
