"""What a run did: its samples, settings, members and course of training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from aam_core.config import PretrainConfig, TrainConfig
from aam_core.config.option import Options, option_specs
from aam_core.io.strip import size
from aam_core.report.charts import GREY, ORANGE, SETS
from aam_core.report.page import (
    Figure,
    Grid,
    Page,
    Section,
    Table,
    chart_values,
    unchecked,
)
from aam_core.reporting import duration

CONFIGS: Mapping[str, type[Options]] = {"encoder": PretrainConfig, "model": TrainConfig}
#: Chosen by a run where the user leaves them open.
FOLLOW = ("epochs", "lr", "patience", "preset", "rarefy_depth", "ensemble", "cross_fit")
SIDES = {"train": "training", "val": "validation"}
HEADLINES = ("mae", "r2", "balanced_accuracy", "log_loss", "roc_auc")
CLASSES = 30  #: that a table shows


@unchecked()
def model_page(config: Mapping[str, Any], history: pd.DataFrame, title: str) -> Page:
    """The page of an encoder or model.

    Parameters
    ----------
    config : mapping
        Its `config.json`.
    history : pandas.DataFrame
        Its `history.tsv`.
    title : str
        Of the page.
    """
    samples = config["samples"]["samples"] if "samples" in config else 0
    kind = "A model of" if config["kind"] == "model" else "An encoder of"
    lead = f"{kind} {samples:,} samples, by q2-aam {config['software']['q2-aam']}."
    sections = model_sections(config, history)
    index = history.columns[0]
    return Page(title, lead, sections, [Table("history", history.set_index(index))])


def model_sections(config: Mapping[str, Any], history: pd.DataFrame) -> list[Section]:
    """Sections that tell of a run."""
    sections = [_overview(config)]
    if "weights" in config.get("ensemble", {}):
        sections.append(_members(config))
    if "samples" in config:
        sections.append(_samples(config))
    if figures := list(_curves(config, history)):
        text = "Lines end where training stopped; points are best epochs."
        sections.append(Section("Course of training", text, figures))
    sections.append(_settings(config))
    if config.get("report"):
        sections.append(Section("What the run said", "", (), config["report"]))
    return sections


def _overview(config: Mapping[str, Any]) -> Section:
    options, rows = config["options"], []
    if config["kind"] == "model":
        rows.append(["predicts", ", ".join(config["target"]["columns"])])
        rows.append(["task", config["task"]])
    folds = config["split"].get("folds")
    training, validation = (size(config["split"][s]) for s in SIDES.values())
    sides = f"{training:,}, in {len(folds)} folds" if folds else f"{training:,}"
    if not folds:
        sides += f", and {validation:,} for validation"
    rows.append(["samples", sides])
    if options.get("group_column"):
        rows.append(["groups", f"{options['group_column']}, never divided"])
    for name, value in config.get("scores", {}).items():
        if name.removeprefix("val_") in HEADLINES:
            kind = "out of fold" if folds else "validation"
            rows.append([f"{name.removeprefix('val_')}, {kind}", _score(value)])
    if "best_epoch" in config:
        rows.append(["best epoch", str(config["best_epoch"])])
    completed = config.get("completed", True)
    rows.append(["completed", "yes" if completed else "no, it was stopped"])
    if run := config.get("run"):
        rows.append(["time", duration(run["seconds"])])
        rows.append(["device", run["device"]])
        if memory := run.get("peak_memory_bytes"):
            rows.append(["memory at most", f"{memory / 1e9:.2f} GB"])
    versions = ", ".join(f"{n} {v}" for n, v in config["software"].items())
    rows.append(["software", versions])
    return Section("Overview", "", [Grid("", ["", ""], rows)])


def _score(value: float | None, digits: int = 3) -> str:
    """A number; a dash where it could not be computed."""
    return "–" if value is None else f"{value:.{digits}g}"


def _members(config: Mapping[str, Any]) -> Section:
    """Weights of the members, and what each reaches alone."""
    ensemble = config["ensemble"]
    weights, scores = ensemble["weights"], ensemble["scores"]
    shown = [n for n in HEADLINES if all(n in s for s in scores.values())]
    rows = [
        [name, f"{weight:.2f}", *(_score(scores[name][score]) for score in shown)]
        for name, weight in weights.items()
    ]
    together = config.get("scores", {})
    rows.append(["together", "", *(_score(together.get(f"val_{s}")) for s in shown)])
    text = (
        "A prediction is the weighted mean of these members. Weights are chosen by "
        "what they predict of samples that they were not fitted to; the scores of all "
        "together use weights of other folds."
    )
    bars = [{"member": n, "weight": w} for n, w in weights.items()]
    chart = (
        alt.Chart(alt.Data(values=chart_values(bars)), width=420, height=alt.Step(24))
        .mark_bar(color=SETS[0], height={"band": 0.6})
        .encode(
            x=alt.X("weight:Q", title="weight", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("member:N", title=None, sort=list(weights)),
            tooltip=["member:N", alt.Tooltip("weight:Q", format=".3f")],
        )
    )
    grid = Grid("What each reaches alone", ["member", "weight", *shown], rows)
    return Section("Members", text, [Figure("Weights", chart), grid])


def _samples(config: Mapping[str, Any]) -> Section:
    """What went in, and the targets of both sides."""
    rows = [[name, f"{number:,}"] for name, number in config["samples"].items()]
    depth = config["options"].get("rarefy_depth")
    rows.append(["reads of each sample", f"{depth:,}" if depth else "all"])
    items = [Grid("", ["", "number"], rows)]
    if labels := config.get("labels"):
        items += [
            _divided(column, place, labels)
            for place, column in enumerate(config["target"]["columns"])
        ]
    return Section("What went in", "", items)


def _divided(column: str, place: int, labels: Sequence[Mapping[str, Any]]) -> Grid:
    """The target of each fold's samples, beside those that it was fitted to."""
    sides = []
    for number, part in enumerate(labels, start=1):
        name = f"fold {number}" if len(labels) > 1 else "validation"
        sides.append((name, part["held_out"][place]))
        if len(labels) == 1:
            sides.insert(0, ("training", part["fitted"][place]))
    columns = ["", *(f"{name} ({of['samples']:,})" for name, of in sides)]
    if "quartiles" in sides[0][1]:
        names = ("smallest", "lower quartile", "median", "upper quartile", "largest")
        rows = [
            [name, *(_score(of["quartiles"][i], 4) for _, of in sides)]
            for i, name in enumerate(names)
        ]
        return Grid(f"Distribution of {column}", columns, rows)
    counts: dict[str, int] = {}
    for _, of in sides:
        for label, number in of["classes"].items():
            counts[label] = counts.get(label, 0) + number
    order = sorted(counts, key=lambda label: (-counts[label], label))
    rows = [
        [label, *(str(of["classes"].get(label, 0)) for _, of in sides)]
        for label in order[:CLASSES]
    ]
    left = len(order) - CLASSES
    caption = f"The {CLASSES} commonest classes; {left} more." if left > 0 else ""
    return Grid(f"Samples of each class of {column}", columns, rows, caption)


def _curves(config: Mapping[str, Any], history: pd.DataFrame) -> Iterator[Figure]:
    """A panel for each loss and metric over the epochs."""
    if len(history) < 2:
        return
    best, scores = _best_epochs(config), {}
    for name in history:
        if name not in ("epoch", "fold"):
            side, score = _side_and_score(name)
            scores.setdefault(score, {})[side] = name
    panels = []
    for score, columns in scores.items():
        rows = [
            {"epoch": row["epoch"], "fold": row.get("fold", 1)}
            | {"side": side, "value": row[name]}
            for row in history.to_dict("records")
            for side, name in columns.items()
            if pd.notna(row[name])
        ]
        if rows:
            panels.append(_panel(score, rows, best))
    yield Figure("", alt.concat(*panels, columns=3))


def _side_and_score(name: str) -> tuple[str, str]:
    """Training, validation or neither; and what is measured."""
    head, _, score = name.partition("_")
    if head not in SIDES:
        return "", name
    return SIDES[head], "loss" if score == "total_loss" else score


def _best_epochs(config: Mapping[str, Any]) -> dict[int, int]:
    """By fold."""
    networks = config.get("ensemble", {}).get("network", ())
    if len(networks) > 1:
        return {n: of["best_epoch"] for n, of in enumerate(networks, start=1)}
    return {1: config["best_epoch"]} if "best_epoch" in config else {}


def _panel(score: str, rows: list[dict], best: Mapping[int, int]) -> alt.LayerChart:
    data = alt.Data(values=chart_values(rows))
    base = alt.Chart(data, width=270, height=170, title=score.replace("_", " "))
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    colour = alt.Color(
        "side:N",
        title=None,
        scale=alt.Scale(domain=[*SIDES.values(), ""], range=[GREY, SETS[0], GREY]),
        legend=alt.Legend(orient="bottom", values=[*SIDES.values()]),
    )
    tips = [
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("fold:Q"),
        alt.Tooltip("side:N"),
        alt.Tooltip("value:Q", format=".4g"),
    ]
    lines = base.mark_line(strokeWidth=1.5, opacity=0.8, point={"size": 6})
    lines = lines.encode(x=x, y=y, color=colour, detail="fold:N", tooltip=tips)
    chosen = [
        row
        for row in rows
        if row["side"] != "training" and best.get(row["fold"]) == row["epoch"]
    ]
    points = alt.Chart(alt.Data(values=chart_values(chosen)))
    points = points.mark_point(filled=True, size=55, color=ORANGE, opacity=1)
    return lines + points.encode(x=x, y=y, tooltip=tips)


def _settings(config: Mapping[str, Any]) -> Section:
    """Options that differ from their defaults, or that the run chose itself."""
    rows, given = [], config["options"]
    for spec in option_specs(CONFIGS[config["kind"]]):
        if spec.name not in given:
            continue
        value = spec.check(given[spec.name])
        if value != spec.default:
            default = spec.shown_default or "none"
            who = "chosen by the run" if spec.name in FOLLOW else ""
            rows.append([spec.name, _text(value), default, who])
    columns = ["option", "value", "default", ""]
    text = "" if rows else "All options were at their defaults."
    items = [Grid("", columns, rows)] if rows else []
    return Section("Options that differ from the defaults", text, items)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
