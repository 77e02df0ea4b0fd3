"""The page of an evaluation."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from aam_core.bootstrap import ERRORS, FEWEST, Estimate
from aam_core.commands.evaluate import CHANCE, Evaluation
from aam_core.report import charts
from aam_core.report.page import Figure, Grid, Page, Section, Table, unchecked

#: Columns of metadata that hovering shows.
HOVERED = 8
NO_BREAK = "\N{NO-BREAK SPACE}"
NAMES = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log loss",
    "roc_auc": "area under ROC",
}


@unchecked()
def evaluation_page(
    found: Evaluation, title: str, more: Sequence[Section] = ()
) -> Page:
    """A page of scores, charts and tables of predictions.

    Parameters
    ----------
    found : Evaluation
        What `evaluate` returned.
    title : str
        Of the page.
    more : sequence of Section
        Added behind it.
    """
    groups = found.samples["group"].nunique() if found.grouped else 0
    lead = f"{len(found.samples):,} samples" + (
        f" of {groups:,} groups" if groups else ""
    )
    lead += f", predicted by {' and '.join(found.names)}."
    samples, labels = with_metadata(found)
    tables = [Table("samples", samples, labels), Table("scores", score_rows(found))]
    for name in ("groups", "confusion", "reliability"):
        frame = getattr(found, name)
        if frame is not None:
            tables.append(Table(name, frame.set_index(frame.columns[0])))
    sections = [scores_section(found), *charts_sections(found, samples, labels), *more]
    return Page(title, lead, sections, tables)


def scores_section(found: Evaluation) -> Section:
    """Scores of each set with their intervals, and what differs between two."""
    units = "groups" if found.grouped else "samples"
    own = found.scores[found.names[0]]
    columns = ["score", *found.names]
    paired = bool(found.paired)
    columns += ["difference"] * paired + ["ratio of errors"] * paired + ["no model"]
    rows = []
    for name in own:
        row = [NAMES[name]]
        row += [shown(found.scores[who].get(name)) for who in found.names]
        if paired:
            of_pair = found.paired.get(name, {})
            row += [shown(of_pair.get(kind)) for kind in ("difference", "ratio")]
        chance = found.scores[CHANCE].get(name)
        rows.append([*row, "" if chance is None else f"{chance.value:.3g}"])
    if found.coverage:
        cells = [shown(found.coverage.get(who)) for who in found.names]
        cells += [""] * (len(columns) - 1 - len(cells))
        rows.append(["inside of the 90 % interval", *cells])
    guess = "the median" if found.task == "regression" else "the frequencies of classes"
    caption = (
        f"In brackets: 95 % bootstrap intervals over {units}. No model: {guess} of "
        "these very samples. Lower is better of errors and log loss."
    )
    items = [Grid("", columns, rows, caption)]
    return Section("Scores", verdict(found), items, found.notes)


def verdict(found: Evaluation) -> str:
    """Who predicts better, and whether that is more than noise."""
    if not found.paired:
        return ""
    ours, theirs = found.names
    name = next(n for n in (*ERRORS, "accuracy") if n in found.paired)
    differ = found.paired[name]["difference"]
    more, less, total = found.better
    units = "groups" if found.grouped else "samples"
    regression = found.task == "regression"
    how = "with smaller errors" if regression else "rightly more often"
    where = f"Of {total:,} {units} {more:,} are predicted {how} by {ours}, {less:,} by "
    where += f"{theirs}."
    if total < FEWEST:
        return f"{total} {units} are too few to tell a difference from noise. {where}"
    sign = 1 if name in ERRORS else -1
    low, high = sorted((sign * differ.low, sign * differ.high))
    noise = f"({NAMES[name]}), by more than the noise of these {units}."
    if high < 0:
        return f"{ours} predicts better than {theirs} {noise} {where}"
    if low > 0:
        return f"{theirs} predicts better than {ours} {noise} {where}"
    return (
        f"{ours} and {theirs} differ by less than the noise: other {units} could turn "
        f"it round. {where}"
    )


def charts_sections(
    found: Evaluation, samples: pd.DataFrame, labels: dict[str, str]
) -> list[Section]:
    """What is to be looked at."""
    tips = _tips(samples, labels)
    if found.task == "regression":
        sections = _of_numbers(found, samples, tips)
    else:
        sections = _of_classes(found, samples, tips)
    if found.groups is not None:
        sections.append(_by_group(found))
    return sections


def _of_numbers(found, samples, tips) -> list[Section]:
    names, column = found.names, found.column
    intervals = "lower_1" in samples and len(samples) <= charts.INTERVALS
    caption = "A point a sample; dashed: what is predicted exactly."
    caption += " Lines: prediction intervals." * intervals
    items = [
        Figure(
            "Predicted and true",
            charts.predicted_against_true(samples, names, column, tips),
            caption,
        ),
        Figure(
            "Residuals",
            charts.residuals(samples, names, column, tips),
            "A trend means that predictions are drawn to the middle, or are off at one "
            "end.",
        ),
        Figure(
            "How large errors are",
            charts.error_curve(samples, names, column),
            "The higher a line, the more samples are predicted that closely.",
        ),
    ]
    return [Section("Predictions", "", items)]


def _of_classes(found, samples, tips) -> list[Section]:
    names, classes = found.names, found.classes
    counts = samples["true"].value_counts()
    items = [
        Figure(
            "Confusion matrix",
            charts.confusion(found.confusion, names, classes),
            "Samples; the colour is their fraction of the true class.",
        )
    ]
    if found.curves is not None:
        most = [c for c in counts.index if c in set(found.curves["class"])]
        shown = sorted(most[: charts.CLASSES])
        left = len(most) - len(shown)
        note = f" The {len(shown)} commonest classes; {left} others not drawn." * bool(
            left
        )
        table = found.curves[found.curves["class"].isin(shown)]
        items += [
            Figure(
                "ROC curves",
                charts.curves(table, names, shown, "ROC"),
                "Each class against all others." + note,
            ),
            Figure(
                "Precision and recall",
                charts.curves(table, names, shown, "precision-recall"),
                "Of rare classes it tells more than the ROC curve." + note,
            ),
        ]
    if found.reliability is not None:
        items += [
            Figure(
                "Are probabilities right?",
                charts.reliability(found.reliability, names),
                "Samples by the probability of the class that was predicted: on the "
                "dashed line it is right as often as it says.",
            ),
            Figure(
                "Probability of the true class",
                charts.probability_of_true(samples, names, tips),
                "A point a sample, scattered within its class; those at the left are "
                "predicted wrongly with confidence.",
            ),
        ]
    return [Section("Predictions", "", items)]


def _by_group(found: Evaluation) -> Section:
    numeric = found.task == "regression"
    what = "mean absolute error" if numeric else "fraction of samples predicted wrongly"
    number = found.groups["group"].nunique()
    caption = (
        "Hover for the number of samples"
        + " and the mean of predicted − true" * numeric
    )
    if number > charts.GROUPS:
        caption += f"; the {charts.GROUPS} of {number:,} groups with the largest error"
    chart = charts.error_by_group(found.groups, found.names, what)
    return Section("Groups", "", [Figure("Error by group", chart, caption + ".")])


def with_metadata(found: Evaluation) -> tuple[pd.DataFrame, dict[str, str]]:
    """The samples and their metadata, whose columns get names that charts can read.

    The second is their real names.
    """
    if found.metadata is None:
        return found.samples, {}
    columns = [f"metadata_{place}" for place in range(found.metadata.shape[1])]
    beside = found.metadata.set_axis(columns, axis=1)
    labels = dict(zip(columns, map(str, found.metadata), strict=True))
    return found.samples.join(beside), labels


def _tips(samples: pd.DataFrame, labels: dict[str, str]) -> list[alt.Tooltip]:
    """What hovering over a sample shows."""
    tips = [alt.Tooltip("id:N", title="sample")]
    for name in samples:
        if name in labels:
            continue
        number = pd.api.types.is_numeric_dtype(samples[name])
        title = str(name).replace("_", " ")
        kind = {"format": ".4g"} if number else {}
        tips.append(
            alt.Tooltip(f"{name}:{'Q' if number else 'N'}", title=title, **kind)
        )
    shown = list(labels)[:HOVERED]
    tips += [alt.Tooltip(f"{name}:N", title=labels[name]) for name in shown]
    return tips


def score_rows(found: Evaluation) -> pd.DataFrame:
    """All scores and differences, a row each."""
    rows = [
        {"score": name, "of": who, **value._asdict()}
        for who, scores in found.scores.items()
        for name, value in scores.items()
    ]
    rows += [
        {"score": "coverage", "of": who, **value._asdict()}
        for who, value in found.coverage.items()
    ]
    rows += [
        {"score": name, "of": kind, **value._asdict()}
        for name, kinds in found.paired.items()
        for kind, value in kinds.items()
    ]
    return pd.DataFrame(rows).set_index("score")


def shown(value: Estimate | None) -> str:
    """A score with its interval, for a cell of a table."""
    if value is None:
        return ""
    if pd.isna(value.low):
        return f"{value.value:.3g}"
    text = f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"
    return text.replace(" ", NO_BREAK)
