"""The page of `classify` and `regress`: predictions, features, and the model's run."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from aam_core.commands.evaluate import Evaluation
from aam_core.config import ContributionPageOptions
from aam_core.data.phylogeny import Phylogeny
from aam_core.io.strip import are_listed
from aam_core.report import charts
from aam_core.report.contributions import contribution_sections
from aam_core.report.evaluation import evaluation_page
from aam_core.report.model import model_sections
from aam_core.report.page import Figure, Page, Section, Table, unchecked

FEATURES = 20  #: that a chart shows
WHY = "Why it predicts so"


@unchecked()
def samples_page(
    found: Evaluation,
    title: str,
    *,
    model: tuple[Mapping[str, Any], pd.DataFrame] | None = None,
    contributions: pd.DataFrame | None = None,
    phylogeny: Phylogeny | None = None,
    importance: pd.Series | None = None,
    labels: Mapping[str, str] | None = None,
) -> Page:
    """The page of an evaluation, with whatever else is known.

    Parameters
    ----------
    found : Evaluation
        What `evaluate` returned.
    title : str
        Of the page.
    model : tuple, optional
        `config.json` and `history.tsv` of the model.
    contributions : pandas.DataFrame, optional
        What `explain` found.
    phylogeny : Phylogeny, optional
        Along which contributions are shown.
    importance : pandas.Series, optional
        Importance of each feature for the forest.
    labels : mapping, optional
        What a feature is called, such as its taxon.
    """
    more: list[Section] = []
    tables: list[Table] = []
    if contributions is not None:
        said, sections, more_tables = contribution_sections(
            contributions, labels or {}, phylogeny, ContributionPageOptions.top
        )
        first = sections[0]
        sections[0] = replace(first, title=WHY, text=f"{said} {first.text}")
        more += sections
        tables += more_tables
    if importance is not None:
        ordered = importance.sort_values(ascending=False, kind="stable")
        more.append(_features(ordered, labels or {}))
        tables.append(Table("importance", ordered.to_frame()))
    if model is not None:
        config, history = model
        more += model_sections(config, history)
        tables.append(Table("history", history.set_index(history.columns[0])))
    page = evaluation_page(found, title, more)
    lead = page.lead
    if model is not None:
        lead = f"{lead} {_known(found, model[0])}"
    return Page(page.title, lead, page.sections, [*page.tables, *tables])


def _known(found: Evaluation, config: Mapping[str, Any]) -> str:
    """Whether the model has seen the samples that are scored."""
    split, ids = config["split"], set(found.samples.index)
    if not are_listed(split):
        return "The model does not say whether it was fitted to any of them."
    if not (seen := ids & set(split["training"])):
        return "The model was not fitted to any of them."
    if "folds" in split and len(seen) == len(ids):
        return (
            "They are the model's own samples: out of fold, as train and the front "
            "door predict them, each by members that were fitted without its fold."
        )
    return (
        f"The model was fitted to {len(seen):,} of them, whose scores are too good "
        "unless these predictions are out of fold."
    )


def _features(importance: pd.Series, labels: Mapping[str, str]) -> Section:
    shown = importance.head(FEATURES)
    text = (
        "What the random forest reads: the mean decrease of impurity, summing to 1 "
        "over all features. It is no reason for a single prediction, says nothing of "
        "the direction, and is spread over features that go together."
    )
    chart = charts.top_features(shown.rename("importance"), labels)
    title = f"The {len(shown)} most important of {len(importance):,} features"
    return Section("Features", text, [Figure(title, chart)])
