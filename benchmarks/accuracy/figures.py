"""Figures of the yardstick, as SVG.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; shapes
tell contenders apart without any colour.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#999999", "#CC79A7", "#E69F00")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
KNOWN = ("q2-aam", "forest", "linear", "mean")  #: have a colour of their own each
GREY = "#666666"

Rows = Sequence[Mapping[str, Any]]


def save(chart: alt.TopLevelMixin, path: Path) -> None:
    """Write a chart as SVG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chart.save(path, format="svg")


def data(rows: Rows) -> alt.Data:
    """Rows as data."""
    return alt.Data(values=[dict(row) for row in rows])


def named(rows: Rows) -> list[dict[str, Any]]:
    """Rows with names of contenders without options, unless these tell them apart."""
    whole = dict.fromkeys(row["contender"] for row in rows)
    short = Counter(name.partition(":")[0] for name in whole)
    names = {
        name: one if short[one := name.partition(":")[0]] == 1 else name
        for name in whole
    }
    return [dict(row, contender=names[row["contender"]]) for row in rows]


def _who(rows: Rows) -> dict[str, Any]:
    """Colour and shape of each contender, in the order of the rows."""
    names = list(dict.fromkeys(row["contender"] for row in rows))
    known = [*KNOWN, *(name for name in names if name not in KNOWN)]
    place = [known.index(name) % len(COLOURS) for name in names]
    colours, shapes = ([of[p] for p in place] for of in (COLOURS, SHAPES))
    scales = (alt.Scale(domain=names, range=r) for r in (colours, shapes))
    kinds = {"color": alt.Color, "shape": alt.Shape}
    return {
        name: kind("contender:N", title=None, scale=scale)
        for (name, kind), scale in zip(kinds.items(), scales, strict=True)
    }


def curves(points: Rows) -> alt.ConcatChart:
    """Error over the number of labelled samples: a panel a target."""
    points = named(points)
    who, panels = _who(points), []
    for target in dict.fromkeys(p["target"] for p in points):
        own = [
            dict(p, low=p["error"] - p["sd"], high=p["error"] + p["sd"])
            for p in points
            if p["target"] == target
        ]
        x = alt.X(
            "labels:Q",
            title="labelled samples",
            scale=alt.Scale(type="log", nice=False, padding=12),
            axis=alt.Axis(values=[25, 50, 100, 200, 400, 800], grid=False),
        )
        y = alt.Y("error:Q", title=own[0]["score"], scale=alt.Scale(zero=False))
        title = f"{target} ({own[0]['samples']} samples)"
        base = alt.Chart(data(own), title=title, width=190, height=150)
        colour = who["color"]
        bars = base.mark_rule().encode(x=x, y="low:Q", y2="high:Q", color=colour)
        line = base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour)
        dots = base.mark_point(filled=True, size=45).encode(x=x, y=y, **who)
        panels.append(line + bars + dots)
    return alt.concat(*panels, columns=3)


def coverage(rows: Rows) -> alt.LayerChart:
    """Coverage of intervals of each target, with its bootstrap interval."""
    shown = []
    for row in rows:
        held, _, limits = row["coverage"].partition(" ")
        low, high = limits.strip("[]").split(", ")
        label = f"{row['target']} ({row['groups']} groups)"
        place = {"label": label, "held": float(held)}
        shown.append({**row, **place, "low": float(low), "high": float(high)})
    level = float(shown[0]["level"].split()[0]) / 100
    order = list(dict.fromkeys(row["label"] for row in shown))
    base = alt.Chart(data(shown), width=300, height=alt.Step(26))
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    title = "fraction of held-out samples inside, 95 % interval over groups"
    x = alt.X("held:Q", title=title, scale=alt.Scale(domain=[0.6, 1], clamp=True))
    said = alt.Chart(alt.Data(values=[{"held": level}])).mark_rule(
        color=GREY, strokeDash=[4, 3]
    )
    bars = base.mark_rule(color=COLOURS[0], strokeWidth=2).encode(
        y=y, x=alt.X("low:Q", title=title), x2="high:Q"
    )
    dots = base.mark_point(filled=True, size=70, color=COLOURS[0]).encode(x=x, y=y)
    return said.encode(x=x) + bars + dots


def reliability(rows: Rows) -> alt.HConcatChart:
    """Accuracy over probability, all targets together: a panel a contender."""
    rows = named(rows)
    who, panels = _who(rows), []
    for name in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == name]
        number = sum(row["predictions"] for row in own)
        title = f"{name} ({number:,} predictions)"
        base = alt.Chart(data(own), title=title, width=190, height=190)
        span = alt.Scale(domain=[0, 1])
        x = alt.X("probability:Q", title="mean probability", scale=span)
        y = alt.Y("accuracy:Q", title="accuracy, 95 % over groups", scale=span)
        size = alt.Size(
            "predictions:Q", scale=alt.Scale(range=[15, 220]), title="predictions"
        )
        bars = base.mark_rule().encode(x=x, y="low:Q", y2="high:Q", color=who["color"])
        dots = base.mark_point(filled=True).encode(x=x, y=y, size=size, **who)
        line = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
        line = line.mark_line(color=GREY, strokeDash=[4, 3], strokeWidth=1)
        panels.append(line.encode(x="x:Q", y="y:Q") + bars + dots)
    return alt.hconcat(*panels)


def across(rows: Rows, by: str) -> alt.ConcatChart:
    """Error on each value that was left out: a panel a target."""
    rows = named(rows)
    who, panels = _who(rows), []
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [dict(row) for row in rows if row["target"] == target]
        score = "MAE" if "MAE" in own[0] else "log loss"
        for row in own:
            row["error"], row["sd"] = map(_number, row[score].split(" ± "))
            row["low"], row["high"] = row["error"] - row["sd"], row["error"] + row["sd"]
            row["label"] = f"{row[by]} ({row['samples']})"
        unit = f", {own[0]['unit']}" if own[0].get("unit") else ""
        base = alt.Chart(data(own), title=target, width=260, height=alt.Step(11))
        y = alt.Y("label:N", title=f"{by} left out (samples)")
        side = alt.YOffset("contender:N", sort=who["color"]["scale"]["domain"])
        spread = " ± SD over seeds" if any(row["sd"] for row in own) else ""
        x = alt.X("error:Q", title=f"{score}{unit}{spread}")
        bars = base.mark_rule().encode(
            y=y, yOffset=side, x="low:Q", x2="high:Q", color=who["color"]
        )
        dots = base.mark_point(filled=True, size=60, opacity=1)
        panels.append(bars + dots.encode(x=x, y=y, yOffset=side, **who))
    return alt.concat(*panels, columns=2)


def _number(text: str) -> float:
    """0 for the standard deviation of a single seed."""
    return 0.0 if text == "nan" else float(text)
