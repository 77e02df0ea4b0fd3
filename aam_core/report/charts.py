"""Charts of predictions, by Altair.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart. Charts
read the tables of their page by name, and are readable at a hundred samples and at
thousands.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from aam_core.report.page import chart_values

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
SETS = (BLUE, ORANGE)  #: of the first and the second set of predictions
SIDE = 400  #: of a panel, in pixels
#: More samples than this are drawn without their intervals.
INTERVALS = 200
#: Classes, and groups, that a chart shows.
CLASSES, GROUPS = len(COLOURS), 40

Tooltips = Sequence[alt.Tooltip]


def size_of(samples: int) -> dict[str, float]:
    """Size and opacity of a point, where so many are drawn."""
    if samples <= 150:
        return {"size": 55, "opacity": 0.8}
    if samples <= 1000:
        return {"size": 28, "opacity": 0.6}
    return {"size": 12, "opacity": 0.4}


def line(values: Sequence[dict[str, Any]], x: str, y: str) -> alt.Chart:
    """A dashed grey line through a few points."""
    drawn = alt.Chart(alt.Data(values=chart_values(values)))
    scale = alt.Scale(zero=False)  # else it would draw 0 into the panel
    return drawn.mark_line(color=GREY, strokeDash=[4, 3], strokeWidth=1).encode(
        x=alt.X(f"{x}:Q", scale=scale), y=alt.Y(f"{y}:Q", scale=scale)
    )


def predicted_against_true(
    samples: pd.DataFrame, names: Sequence[str], column: str, tips: Tooltips
) -> alt.TopLevelMixin:
    """Predicted over true numbers, a panel a set; hovering shows a sample in both."""
    sets = range(1, len(names) + 1)
    every = samples[["true", *(f"predicted_{n}" for n in sets)]]
    low, high = float(every.min().min()), float(every.max().max())
    pad = 0.03 * (high - low or 1.0)
    scale = alt.Scale(domain=[low - pad, high + pad], nice=False)
    hover = _hover("scatter")
    panels = []
    for number, name in zip(sets, names, strict=True):
        base = alt.Chart(alt.NamedData("samples"), width=SIDE, height=SIDE, title=name)
        x = alt.X("true:Q", title=f"true {column}", scale=scale)
        y = alt.Y(f"predicted_{number}:Q", title=f"predicted {column}", scale=scale)
        ends = [{"a": low - pad, "b": low - pad}, {"a": high + pad, "b": high + pad}]
        layers = [line(ends, "a", "b")]
        limits = f"lower_{number}", f"upper_{number}"
        if limits[0] in samples and len(samples) <= INTERVALS:
            clip = alt.Y(f"{limits[0]}:Q", title=f"predicted {column}", scale=scale)
            rules = base.mark_rule(color=SETS[number - 1], opacity=0.25, clip=True)
            layers.append(rules.encode(x=x, y=clip, y2=f"{limits[1]}:Q"))
        layers.append(_points(base, SETS[number - 1], len(samples), hover, tips, x, y))
        panels.append(alt.layer(*layers))
    return _beside(panels, hover)


def residuals(
    samples: pd.DataFrame, names: Sequence[str], column: str, tips: Tooltips
) -> alt.TopLevelMixin:
    """Predicted less true over the prediction, a panel a set."""
    sets = range(1, len(names) + 1)
    errors = samples[[f"error_{n}" for n in sets]]
    most = float(errors.abs().max().max()) * 1.05 or 1.0
    y_scale, hover = alt.Scale(domain=[-most, most], nice=False), _hover("residuals")
    panels = []
    for number, name in zip(sets, names, strict=True):
        base = alt.Chart(alt.NamedData("samples"), width=SIDE, height=220, title=name)
        title = f"predicted {column}"
        x = alt.X(f"predicted_{number}:Q", title=title, scale=alt.Scale(zero=False))
        y = alt.Y(f"error_{number}:Q", title="predicted − true", scale=y_scale)
        zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(
            color=GREY, strokeDash=[4, 3]
        )
        points = _points(base, SETS[number - 1], len(samples), hover, tips, x, y)
        panels.append(zero.encode(y="zero:Q") + points)
    return _beside(panels, hover)


def error_curve(samples: pd.DataFrame, names: Sequence[str], column: str) -> alt.Chart:
    """The fraction of samples whose error is at most so large, a line a set."""
    rows = []
    for number, name in enumerate(names, start=1):
        errors = samples[f"error_{number}"].abs().sort_values().to_numpy()
        for place in range(0, len(errors), max(len(errors) // 200, 1)):
            fraction = (place + 1) / len(errors)
            rows.append({"set": name, "error": errors[place], "fraction": fraction})
        rows.append({"set": name, "error": errors[-1], "fraction": 1.0})
    base = alt.Chart(alt.Data(values=chart_values(rows)), width=SIDE * 1.4, height=240)
    return base.mark_line(interpolate="step-after", strokeWidth=2).encode(
        x=alt.X("error:Q", title=f"absolute error of {column}"),
        y=alt.Y(
            "fraction:Q",
            title="fraction of samples",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        color=sets_colour(names),
        tooltip=[
            alt.Tooltip("set:N"),
            alt.Tooltip("error:Q", title="error at most", format=".4g"),
            alt.Tooltip("fraction:Q", title="of samples", format=".1%"),
        ],
    )


def error_by_group(groups: pd.DataFrame, names: Sequence[str], what: str) -> alt.Chart:
    """Mean error of each group, a point a set; the largest errors first."""
    first = groups[groups["set"] == names[0]].sort_values("error", ascending=False)
    order = first["group"].head(GROUPS).tolist()
    shown = groups[groups["group"].isin(order)]
    counts = first.set_index("group")["samples"]
    labels = [f"{g} ({counts[g]})" for g in order]
    rows = [
        row | {"label": f"{row['group']} ({counts[row['group']]})"}
        for row in shown.to_dict("records")
    ]
    base = alt.Chart(
        alt.Data(values=chart_values(rows)), width=560, height=alt.Step(15)
    )
    axis = alt.Axis(labelLimit=260)
    y = alt.Y("label:N", sort=labels, title="group (samples)", axis=axis)
    x = alt.X("error:Q", title=what)
    tips = [alt.Tooltip(f"{n}:N") for n in ("group", "set", "samples")]
    tips.append(alt.Tooltip("error:Q", title=what, format=".4g"))
    if "bias" in shown:
        tips.append(
            alt.Tooltip("bias:Q", title="mean of predicted − true", format=".4g")
        )
    spread = base.mark_rule(color="#bbb").encode(
        y=y, x="min(error):Q", x2="max(error):Q"
    )
    points = base.mark_point(filled=True, size=60, opacity=0.9)
    shape = alt.Shape("set:N", scale=alt.Scale(domain=list(names)), title=None)
    return spread + points.encode(
        y=y, x=x, color=sets_colour(names), shape=shape, tooltip=tips
    )


def confusion(
    table: pd.DataFrame, names: Sequence[str], classes: Sequence[str]
) -> alt.TopLevelMixin:
    """Samples of each true and predicted class, a panel a set."""
    step = max(26, min(54, 300 // max(len(classes), 1)))
    panels = []
    for name in names:
        rows = table[table["set"] == name].to_dict("records")
        data = alt.Data(values=chart_values(rows))
        size = alt.Step(step)
        base = alt.Chart(data, width=size, height=size, title=name).encode(
            x=alt.X("predicted:N", title="predicted class", sort=list(classes)),
            y=alt.Y("true:N", title="true class", sort=list(classes)),
            tooltip=[
                alt.Tooltip("true:N"),
                alt.Tooltip("predicted:N"),
                alt.Tooltip("samples:Q"),
                alt.Tooltip("fraction:Q", title="of the true class", format=".1%"),
            ],
        )
        cells = base.mark_rect(stroke="#fff").encode(
            color=alt.Color(
                "fraction:Q",
                title="of the true class",
                scale=alt.Scale(scheme="blues", domain=[0, 1]),
                legend=alt.Legend(format="%") if name == names[-1] else None,
            )
        )
        layers = [cells]
        if len(classes) <= 15:
            dark = alt.value("#fff")
            text = base.mark_text(fontSize=11).encode(text="samples:Q")
            light = alt.condition("datum.fraction > 0.55", dark, alt.value("#222"))
            layers.append(text.encode(color=light))
        panels.append(alt.layer(*layers))
    return alt.hconcat(*panels).resolve_scale(color="shared")


def curves(
    table: pd.DataFrame, names: Sequence[str], classes: Sequence[str], kind: str
) -> alt.TopLevelMixin:
    """ROC or precision-recall of each class, a panel a set."""
    axes = {
        "ROC": ("false positive rate", "true positive rate"),
        "precision-recall": ("recall", "precision"),
    }
    panels = []
    for name in names:
        rows = table[(table["set"] == name) & (table["kind"] == kind)]
        if rows.empty:
            continue
        data = alt.Data(values=chart_values(rows.to_dict("records")))
        base = alt.Chart(data, width=SIDE - 60, height=SIDE - 60, title=name)
        span = alt.Scale(domain=[0, 1])
        area = "area" if kind == "ROC" else "average precision"
        drawn = base.mark_line(strokeWidth=2, interpolate="step-after").encode(
            x=alt.X("x:Q", title=axes[kind][0], scale=span),
            y=alt.Y("y:Q", title=axes[kind][1], scale=span),
            order="place:O",
            color=alt.Color(
                "class:N",
                title="class",
                scale=alt.Scale(domain=list(classes), range=list(COLOURS)),
            ),
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("samples:Q", title="samples of the class"),
                alt.Tooltip("score:Q", title=area, format=".3f"),
                alt.Tooltip("x:Q", title=axes[kind][0], format=".3f"),
                alt.Tooltip("y:Q", title=axes[kind][1], format=".3f"),
            ],
        )
        if kind == "ROC":
            ends = [{"a": 0, "b": 0}, {"a": 1, "b": 1}]
            drawn = line(ends, "a", "b") + drawn
        panels.append(drawn)
    return alt.hconcat(*panels)


def reliability(table: pd.DataFrame, names: Sequence[str]) -> alt.TopLevelMixin:
    """Accuracy over probability in bins, a panel a set."""
    panels = []
    most = int(table["samples"].max())
    for name in names:
        rows = table[table["set"] == name]
        if rows.empty:
            continue
        colour = SETS[list(names).index(name)]
        data = alt.Data(values=chart_values(rows.to_dict("records")))
        base = alt.Chart(data, width=SIDE - 60, height=SIDE - 60, title=name)
        span = alt.Scale(domain=[0, 1])
        title = "mean probability of the predicted class"
        x = alt.X("probability:Q", title=title, scale=span)
        y = alt.Y("accuracy:Q", title="accuracy", scale=span)
        size = alt.Size(
            "samples:Q",
            title="samples",
            scale=alt.Scale(domain=[0, most], range=[15, 260]),
        )
        bars = base.mark_rule(color=colour).encode(
            x=x, y=alt.Y("low:Q", title="accuracy", scale=span), y2="high:Q"
        )
        tips = [
            alt.Tooltip("probability:Q", format=".3f"),
            alt.Tooltip("accuracy:Q", format=".3f"),
            alt.Tooltip("low:Q", title="95 % from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
            alt.Tooltip("samples:Q"),
        ]
        dots = base.mark_point(filled=True, color=colour, opacity=1)
        dots = dots.encode(x=x, y=y, size=size, tooltip=tips)
        ends = [{"a": 0, "b": 0}, {"a": 1, "b": 1}]
        panels.append(line(ends, "a", "b") + bars + dots)
    return alt.hconcat(*panels)


def probability_of_true(
    samples: pd.DataFrame, names: Sequence[str], tips: Tooltips
) -> alt.TopLevelMixin:
    """The probability that each sample's own class got, by class, a panel a set."""
    hover, panels = _hover("classes"), []
    for number, name in enumerate(names, start=1):
        field = f"probability_of_true_{number}"
        if field not in samples:
            continue
        step = alt.Step(max(24, min(60, 360 // samples["true"].nunique())))
        base = alt.Chart(alt.NamedData("samples"), width=SIDE, height=step, title=name)
        base = base.transform_calculate(jitter="random()")
        scale = alt.Scale(domain=[0, 1])
        x = alt.X(f"{field}:Q", title="probability of the true class", scale=scale)
        y = alt.Y("true:N", title="true class")
        points = _points(base, SETS[number - 1], len(samples), hover, tips, x, y)
        panels.append(points.encode(yOffset=alt.YOffset("jitter:Q")))
    return _beside(panels, hover)


def _points(base, colour, samples, hover, tips, x, y):
    """Points of samples; the one that is hovered over is drawn large."""
    look = size_of(samples)
    large = alt.condition(hover, alt.value(160), alt.value(look["size"]), empty=False)
    dark = alt.condition(hover, alt.value("#000"), alt.value(colour), empty=False)
    points = base.mark_point(filled=True, opacity=look["opacity"])
    return points.encode(x=x, y=y, size=large, color=dark, tooltip=list(tips))


def _beside(panels: Sequence[alt.LayerChart], hover: alt.Parameter) -> alt.HConcatChart:
    """Panels beside one another that share what is hovered over."""
    with warnings.catch_warnings():
        # that it is the same in all panels is what is wanted
        warnings.filterwarnings("ignore", "Automatically deduplicated")
        return alt.hconcat(*panels).add_params(hover)


def _hover(name: str) -> alt.Parameter:
    """The sample under the pointer, the same in all panels of a chart."""
    return alt.selection_point(
        name=name, fields=["id"], on="pointerover", clear="pointerout"
    )


def sets_colour(names: Sequence[str]) -> alt.Color:
    """The colour of each set of predictions."""
    scale = alt.Scale(domain=list(names), range=list(SETS[: len(names)]))
    return alt.Color("set:N", title=None, scale=scale)


def top_features(importance: pd.Series, labels: Mapping[str, str]) -> alt.Chart:
    """The importance of features, in the order given, with what they are called."""
    rows = []
    for place, (name, value) in enumerate(importance.items(), start=1):
        known = labels.get(str(name), "")
        shown = known or (name if len(name) <= 24 else f"{name[:20]}…")
        rows.append(
            {"feature": str(name), "taxon": known, "label": f"{place}. {shown}"}
            | {"importance": float(value)}
        )
    data = alt.Data(values=chart_values(rows))
    tips = ["feature:N", "taxon:N", alt.Tooltip("importance:Q", format=".4g")]
    y = alt.Y(
        "label:N",
        title=None,
        sort=[row["label"] for row in rows],
        axis=alt.Axis(labelLimit=420),
    )
    bars = alt.Chart(data, width=440, height=alt.Step(17)).mark_bar(
        color=BLUE, height={"band": 0.65}
    )
    x = alt.X("importance:Q", title=str(importance.name or "importance"))
    return bars.encode(x=x, y=y, tooltip=tips)
