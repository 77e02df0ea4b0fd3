"""The page of an explanation: what ASVs contribute, overall and in each sample."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from aam_core.config import ContributionPageOptions
from aam_core.data.contributions import LOG_ODDS
from aam_core.data.phylogeny import Phylogeny
from aam_core.report import contribution_charts as charts
from aam_core.report.page import Figure, Page, Section, Table, unchecked
from aam_core.report.phylogeny import phylogeny_section

#: From this rank correlation of abundance and contribution on, a direction is said.
CLEAR = 0.3
RAISES, LOWERS, BOTH = "more of it raises", "more of it lowers", "no clear direction"
#: Bins of contributions within which points are stacked, and the most that stand out.
BINS, STACK = 80, 9
PREDICTED = "(predicted class)"


@unchecked()
def contributions_page(
    contributions: pd.DataFrame,
    title: str,
    *,
    labels: Mapping[str, str] | None = None,
    phylogeny: Phylogeny | None = None,
    top: int = ContributionPageOptions.top,
) -> Page:
    """The page of what `explain` returned.

    Parameters
    ----------
    contributions : pandas.DataFrame
        With the columns of `aam_core.data.contributions`.
    title : str
        Of the page.
    labels : mapping, optional
        What a feature is called, such as its taxon.
    phylogeny : Phylogeny, optional
        Along which the ASVs are shown, too.
    top : int
        ASVs of the overview; of a sample half as many.
    """
    lead, sections, tables = contribution_sections(
        contributions, labels or {}, phylogeny, top
    )
    return Page(title, lead, sections, tables)


def contribution_sections(
    contributions: pd.DataFrame,
    known: Mapping[str, str],
    phylogeny: Phylogeny | None,
    top: int,
) -> tuple[str, list[Section], list[Table]]:
    """What is said first, the sections, and their tables."""
    targets = list(dict.fromkeys(contributions["target"]))
    classes = contributions["scale"].iloc[0] == LOG_ODDS
    features = overall(contributions, known)
    shown = features[features["place"] <= top]
    points = points_of(contributions, shown)
    steps = waterfalls(contributions, known, max(top // 2, 1))
    samples = contributions["sample"].nunique()
    unit = "the log-odds of a class" if classes else "units of the target"
    whom = "1 sample is" if samples == 1 else f"{samples:,} samples are"
    lead = (
        f"{whom} explained; contributions are in {unit}. The baseline "
        "of a sample and the contributions of all ASVs sum up to its prediction."
    )
    sections = [_overview(features, shown, points, targets, classes)]
    tables = [
        Table("features", features.set_index("feature")),
        Table("points", points.set_index("feature")),
        Table("steps", steps.set_index("sample")),
    ]
    if phylogeny is not None:
        section, more = phylogeny_section(
            contributions, features, phylogeny, known, top, classes
        )
        sections.append(section)
        tables += more
    sections.append(_by_sample(steps, targets, classes))
    return lead, sections, tables


def _overview(features, shown, points, targets, classes) -> Section:
    text = (
        "A contribution is by how much the prediction changes where an ASV takes the "
        "abundance that it has in the sample instead of that in another sample, on "
        "average over other samples and over the orders in which ASVs do so (Shapley "
        "values). It says why the model predicts so, not what is a cause; ASVs that go "
        "together share what they say."
    )
    number = int(features["place"].max())
    title = f"The {int(shown['place'].max())} of {number:,} ASVs that matter most"
    caption = (
        "Left: mean absolute contribution over all explained samples, coloured by "
        "whether more of the ASV goes with a higher or a lower contribution (rank "
        f"correlation beyond ±{CLEAR}). Right: each point is a sample; the darker, the "
        "more of the ASV it has, grey where it has none. A point right of zero raised "
        + ("the log-odds of the class." if classes else "the prediction.")
    )
    chart = charts.overview(shown, points, targets, classes)
    return Section("Overall", text, [Figure(title, chart, caption)], _notes(points))


def _notes(points: pd.DataFrame) -> list[str]:
    ratio = points["standard_error"].mean() / max(
        points["contribution"].abs().mean(), 1e-12
    )
    note = (
        "Contributions are means over draws; the standard error of those shown is "
        f"{ratio:.0%} of their size on average."
    )
    if ratio > 0.5:
        note += " That is much: explain again with more draws before you trust ranks."
    return [note]


def _by_sample(steps, targets, classes) -> Section:
    text = (
        "From the baseline, which is the mean prediction of the samples that this one "
        "was compared with, to its own prediction. Choose a sample below the chart."
    )
    title = "From baseline to prediction"
    caption = (
        "The ASVs of the largest contributions; all others are summed up. In brackets: "
        "the relative abundance in the sample."
    )
    chart = charts.waterfall(steps, targets, classes, PREDICTED)
    return Section("Sample by sample", text, [Figure(title, chart, caption)])


def overall(contributions: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Each ASV of each target: its importance, direction, and place from 1."""
    samples = contributions["sample"].nunique()
    parts = []
    for target, rows in contributions.groupby("target", sort=False):
        by = rows.assign(size=rows["contribution"].abs()).groupby("feature")
        found = pd.DataFrame(
            {
                "importance": by["size"].sum() / samples,
                "mean": by["contribution"].sum() / samples,
                "samples": by["abundance"].agg(lambda a: int((a > 0).sum())),
            }
        )
        found = found.sort_values("importance", ascending=False, kind="stable")
        found["place"] = np.arange(1, len(found) + 1)
        found["correlation"] = _correlations(rows).reindex(found.index)
        parts.append(found.reset_index().assign(target=target))
    every = pd.concat(parts, ignore_index=True)
    every["direction"] = np.select(
        [every["correlation"] > CLEAR, every["correlation"] < -CLEAR],
        [RAISES, LOWERS],
        BOTH,
    )
    every["taxon"] = [labels.get(f, "") for f in every["feature"]]
    names = [name_of(f, labels) for f in every["feature"]]
    every["label"] = [
        f"{place}. {name}" for place, name in zip(every["place"], names, strict=True)
    ]
    return every


def _correlations(rows: pd.DataFrame) -> pd.Series:
    """Rank correlation of abundance and contribution of each ASV, over its samples."""
    by = rows.groupby("feature")
    ranks = pd.DataFrame(
        {
            "feature": rows["feature"],
            "x": by["abundance"].rank(),
            "y": by["contribution"].rank(),
        }
    )
    by = ranks.groupby("feature")
    x, y = (ranks[c] - by[c].transform("mean") for c in ("x", "y"))
    sums = pd.DataFrame({"xy": x * y, "xx": x * x, "yy": y * y})
    sums = sums.groupby(ranks["feature"]).sum()
    spread = np.sqrt(sums["xx"] * sums["yy"])
    return (sums["xy"] / spread.where(spread > 0)).fillna(0.0)


def name_of(feature: str, labels: Mapping[str, str]) -> str:
    """A short name: the last ranks of a taxon that say something, and the id."""
    short = feature if len(feature) <= 12 else f"{feature[:6]}…"
    ranks = [r.strip() for r in labels.get(feature, "").split(";")]
    ranks = [r for r in ranks if r and not r.endswith("__")]
    if not ranks:
        return feature if len(feature) <= 24 else f"{feature[:20]}…"
    last = ranks[-1]
    if last.startswith("s__") and len(ranks) > 1:
        last = f"{ranks[-2]} {last[3:]}"
    return f"{last} ({short})"


def points_of(contributions: pd.DataFrame, shown: pd.DataFrame) -> pd.DataFrame:
    """The contributions of some ASVs, with where each point is drawn in its row."""
    columns = ["target", "feature", "taxon", "label", "place"]
    points = contributions.merge(shown[columns], on=["target", "feature"])
    points = points.drop(columns=["scale", "baseline"])
    points["offset"] = 0.0
    for _, rows in points.groupby("target", sort=False):
        low, high = rows["contribution"].min(), rows["contribution"].max()
        width = (high - low) / BINS or 1.0
        bins = ((rows["contribution"] - low) // width).astype(int)
        order = rows.groupby([rows["feature"], bins], sort=False).cumcount()
        side = np.where(order % 2, 1, -1) * ((order + 1) // 2)
        points.loc[rows.index, "offset"] = np.clip(side / STACK, -1, 1)
    return points


def waterfalls(
    contributions: pd.DataFrame, labels: Mapping[str, str], top: int
) -> pd.DataFrame:
    """For each sample and target, the bars from its baseline to its prediction."""
    highest = contributions.groupby("sample")["prediction"].max()
    by = contributions.groupby(["sample", "target"], sort=False)
    parts = [
        _bars(rows, labels, top).assign(
            sample=sample,
            target=target,
            predicted=bool(rows["prediction"].iloc[0] == highest[sample]),
        )
        for (sample, target), rows in by
    ]
    return pd.concat(parts, ignore_index=True)


def _bars(rows: pd.DataFrame, labels: Mapping[str, str], top: int) -> pd.DataFrame:
    """The bars of one sample and target; what they are called is unique."""
    order = rows["contribution"].abs().sort_values(ascending=False, kind="stable")
    first = rows.loc[order.index[:top]]
    baseline, prediction = rows[["baseline", "prediction"]].iloc[0]
    pairs = zip(first["feature"], first["abundance"], strict=True)
    names = [
        f"{n}. {name_of(f, labels)} [{f'{a:.2%}' if a > 0 else 'absent'}]"
        for n, (f, a) in enumerate(pairs, start=1)
    ]
    classes = rows["scale"].iloc[0] == LOG_ODDS
    last = f"prediction of {rows['target'].iloc[0]}" if classes else "prediction"
    changes, features = first["contribution"].tolist(), first["feature"].tolist()
    if others := len(rows) - len(first):
        names.append(f"{others:,} other ASVs")
        changes.append(prediction - baseline - sum(changes))
        features.append("")
    ends = baseline + np.cumsum([0.0, *changes])
    ends[-1] = prediction
    columns = {
        "step": ["baseline", *names, last],
        "place": np.arange(len(names) + 2),
        "feature": ["", *features, ""],
        "taxon": ["", *(labels.get(f, "") for f in features), ""],
        "start": [baseline, *ends[:-1], prediction],
        "end": [baseline, *ends[1:], prediction],
        "change": [None, *changes, None],
    }
    return pd.DataFrame(columns)
