"""Charts of contributions, by Altair; colours are those of `charts`."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from aam_core.report.charts import BLUE, GREY, ORANGE

#: What the directions are called, and their colours.
DIRECTIONS = {
    "more of it raises": BLUE,
    "more of it lowers": ORANGE,
    "no clear direction": "#aaaaaa",
}
ROW = 24  #: height of the row of an ASV, in pixels


def _chosen(name: str, label: str, values: Sequence[str], first: str) -> alt.Parameter:
    """What a list below the chart chooses."""
    drawn = alt.binding_select(options=list(values), name=f"{label}: ")
    return alt.param(name=name, bind=drawn, value=first)


def _what(classes: bool) -> str:
    return "class" if classes else "target"


def _in_order() -> alt.EncodingSortField:
    """Rows in the order of `place`."""
    return alt.EncodingSortField("place", op="min", order="ascending")


def overview(
    features: pd.DataFrame, points: pd.DataFrame, targets: Sequence[str], classes: bool
) -> alt.TopLevelMixin:
    """Importance with direction, and each contribution of each ASV beside it."""
    height = ROW * int(features.groupby("target")["place"].max().max())
    unit = "log-odds" if classes else "units of the target"
    if not classes and len(targets) == 1:
        unit = f"in units of {targets[0]}"
    left = _importance(int(features["place"].max()), height)
    right = _strips(points, unit, height)
    both = alt.hconcat(left, right, spacing=8).resolve_scale(color="independent")
    return both.add_params(list_of_targets("shown", targets, classes))


def list_of_targets(name: str, targets: Sequence[str], classes: bool) -> alt.Parameter:
    """The target (or class) that a chart shows; a list, if there are several."""
    if len(targets) == 1:
        return alt.param(name=name, value=targets[0])
    return _chosen(name, _what(classes), targets, targets[0])


def direction_colour() -> alt.Color:
    """The colour of the column `direction`."""
    scale = alt.Scale(domain=list(DIRECTIONS), range=list(DIRECTIONS.values()))
    legend = alt.Legend(orient="top", columns=1, symbolType="square")
    return alt.Color("direction:N", title=None, scale=scale, legend=legend)


def _importance(most: int, height: int) -> alt.Chart:
    """A bar for each of the first ASVs, coloured by direction."""
    bars = alt.Chart(alt.NamedData("features"), width=150, height=height)
    bars = bars.transform_filter(f"datum.place <= {most} && datum.target == shown")
    axis = alt.Axis(labelLimit=300)
    return bars.mark_bar(height={"band": 0.6}).encode(
        y=alt.Y("label:N", sort=_in_order(), title=None, axis=axis),
        x=alt.X(
            "importance:Q",
            title="mean absolute contribution",
            axis=alt.Axis(tickCount=4),
        ),
        color=direction_colour(),
        tooltip=[
            alt.Tooltip("feature:N"),
            alt.Tooltip("taxon:N"),
            alt.Tooltip("importance:Q", format=".3g"),
            alt.Tooltip("correlation:Q", title="with abundance", format=".2f"),
            alt.Tooltip("samples:Q", title="samples that have it"),
        ],
    )


def _strips(points: pd.DataFrame, unit: str, height: int) -> alt.LayerChart:
    """A point for each sample in the row of each ASV, coloured by abundance."""
    base = alt.Chart(alt.NamedData("points"), width=420, height=height)
    base = base.transform_filter("datum.target == shown")
    scale = alt.Scale(type="log", scheme="cividis", reverse=True, domain=_range(points))
    legend = alt.Legend(orient="top", format="~%", gradientLength=200)
    colour = alt.Color(
        "abundance:Q", title="relative abundance", scale=scale, legend=legend
    )
    offset = alt.YOffset("offset:Q", scale=alt.Scale(domain=[-1.6, 1.6]))
    drawn = base.mark_circle(size=26, opacity=0.85, clip=True).encode(
        y=alt.Y("label:N", sort=_in_order(), title=None, axis=None),
        yOffset=offset,
        x=alt.X("contribution:Q", title=f"contribution ({unit})"),
        color=alt.condition("datum.abundance > 0", colour, alt.value("#c4c4c4")),
        tooltip=[
            alt.Tooltip("sample:N"),
            alt.Tooltip("feature:N"),
            alt.Tooltip("taxon:N"),
            alt.Tooltip("contribution:Q", format=".3g"),
            alt.Tooltip("standard_error:Q", title="standard error", format=".2g"),
            alt.Tooltip("abundance:Q", title="relative abundance", format=".3%"),
            alt.Tooltip("prediction:Q", format=".4g"),
        ],
    )
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color=GREY)
    return drawn + zero.encode(x="zero:Q")


def _range(points: pd.DataFrame) -> list[float]:
    """The lowest and the highest abundance of what is there."""
    there = points.loc[points["abundance"] > 0, "abundance"]
    return [float(there.min()), float(there.max())] if len(there) else [0.001, 1.0]


def waterfall(
    steps: pd.DataFrame, targets: Sequence[str], classes: bool, predicted: str
) -> alt.TopLevelMixin:
    """The bars of one sample, which a list chooses; first the one that moves most."""
    ids = sorted(steps["sample"].unique())
    ends = steps.groupby(["sample", "target"])["end"].agg(["first", "last"])
    far = (ends["last"] - ends["first"]).abs().idxmax()[0]
    params = [_chosen("one_sample", "sample", ids, far)]
    wanted = "datum.sample == one_sample"
    if classes and len(targets) > 1:
        params.append(_chosen("one_class", "class", [predicted, *targets], predicted))
        mine = f"one_class == '{predicted}' && datum.predicted"
        wanted += f" && (datum.target == one_class || ({mine}))"
    elif len(targets) > 1:
        params.append(_chosen("one_class", "target", targets, targets[0]))
        wanted += " && datum.target == one_class"
    height = ROW * (int(steps["place"].max()) + 1)
    base = alt.Chart(alt.NamedData("steps"), width=520, height=height)
    base = base.transform_filter(wanted).transform_calculate(
        kind="datum.change === null ? 'total' : datum.change > 0 ? 'raises' : 'lowers'",
        high="max(datum.start, datum.end)",
        text="datum.change === null ? format(datum.end, '.3~f') : "
        "format(datum.change, '+.3~f')",
        probability="1 / (1 + exp(-datum.end))",
    )
    return _layers(base, classes).add_params(*params)


def _layers(base: alt.Chart, classes: bool) -> alt.LayerChart:
    """Bars, both ends, and numbers."""
    axis = alt.Axis(labelLimit=380)
    y = alt.Y("step:N", sort=_in_order(), title=None, axis=axis)
    title = "log-odds of the class" if classes else "prediction"
    scale = alt.Scale(zero=False, padding=40)
    x = alt.X("start:Q", title=title, scale=scale)
    tips = [
        alt.Tooltip("target:N", title=_what(classes)),
        alt.Tooltip("step:N"),
        alt.Tooltip("feature:N"),
        alt.Tooltip("taxon:N"),
        alt.Tooltip("change:Q", title="contribution", format="+.4g"),
        alt.Tooltip("end:Q", title="prediction so far", format=".4g"),
    ]
    if classes:
        tips.append(alt.Tooltip("probability:Q", format=".3f"))
    kinds = alt.Scale(domain=["raises", "lowers"], range=[BLUE, ORANGE])
    legend = alt.Legend(orient="top")
    changes = base.transform_filter("datum.kind != 'total'")
    bars = changes.mark_bar(height={"band": 0.6}).encode(
        y=y,
        x=x,
        x2="end:Q",
        tooltip=tips,
        color=alt.Color("kind:N", title=None, scale=kinds, legend=legend),
    )
    totals = base.transform_filter("datum.kind == 'total'")
    ends = totals.mark_tick(color="#222", thickness=3, height=ROW * 0.7)
    text = base.mark_text(align="left", dx=5, fontSize=11, color="#333")
    numbers = text.encode(y=y, x=alt.X("high:Q", scale=scale), text="text:N")
    return bars + ends.encode(y=y, x=x, tooltip=tips) + numbers
