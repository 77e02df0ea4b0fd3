"""Visualizers: pages of predictions, folds, contributions and runs."""

from pathlib import Path

import pandas as pd
import qiime2
from q2_types.tree import NewickFormat

from aam_core.config import EvaluateConfig, PlotContributionsConfig
from q2_aam._inputs import frame, in_action, labels, report, tree
from q2_aam._views import CrossValidation, Details, Predictions, Run


def evaluate(
    output_dir: str,
    predictions: Predictions,
    truth: qiime2.MetadataColumn,
    details: Details = None,
    other_predictions: Predictions = None,
    other_details: Details = None,
    importance: pd.DataFrame = None,
    contributions: pd.DataFrame = None,
    phylogeny: NewickFormat = None,
    taxonomy: pd.Series = None,
    model: Run = None,
    groups: qiime2.MetadataColumn = None,
    metadata: qiime2.Metadata = None,
    name: str = EvaluateConfig.name,
    other_name: str = EvaluateConfig.other_name,
    missing_scheme: str = EvaluateConfig.missing_scheme,
) -> None:
    """Score predictions beside the truth and beside others."""
    with in_action():
        config = EvaluateConfig(
            name=name, other_name=other_name, missing_scheme=missing_scheme
        )

        from aam_core.commands.evaluate import Predicted, as_numbers_or_classes
        from aam_core.commands.evaluate import evaluate as run
        from aam_core.data.missing import with_missing
        from aam_core.errors import InputError
        from aam_core.report.samples import samples_page

        if other_details is not None and other_predictions is None:
            raise InputError("other_details needs other_predictions, too.")
        known = with_missing(truth.to_dataframe(), config.missing_scheme)

        def read(who: str, given: Predictions, more: Details | None) -> Predicted:
            beside = None if more is None else more.numbers
            values = as_numbers_or_classes(given.texts, known[truth.name], beside)
            return Predicted(who, values, beside)

        other = None
        if other_predictions is not None:
            other = read(config.other_name, other_predictions, other_details)
        found = run(
            read(config.name, predictions, details),
            known[truth.name],
            other=other,
            groups=None if groups is None else groups.to_series(),
            metadata=frame(metadata),
            report=report,
        )
        page = samples_page(
            found,
            f"Prediction of {truth.name}",
            model=model,
            importance=None if importance is None else importance.iloc[:, 0],
            contributions=contributions,
            phylogeny=tree(phylogeny),
            labels=labels(taxonomy),
        )
        _write(page, output_dir)


def summarize(output_dir: str, model: Run) -> None:
    """Show how a model or encoder was trained."""
    with in_action():
        from aam_core.report.model import model_page

        config, history = model
        _write(
            model_page(config, history, f"Summary of an {config['kind']}"), output_dir
        )


def plot_contributions(
    output_dir: str,
    contributions: pd.DataFrame,
    phylogeny: NewickFormat = None,
    taxonomy: pd.Series = None,
    top: int = PlotContributionsConfig.top,
) -> None:
    """Show what ASVs contribute to predictions."""
    with in_action():
        config = PlotContributionsConfig(top=top)

        from aam_core.report.contributions import contributions_page

        page = contributions_page(
            contributions,
            "What ASVs contribute to predictions",
            phylogeny=tree(phylogeny),
            labels=labels(taxonomy),
            top=config.top,
        )
        _write(page, output_dir)


def evaluate_cross_validation(
    output_dir: str, cross_validation: CrossValidation
) -> None:
    """Draw folds, repeats and learning curve of a cross-validation."""
    with in_action():
        from aam_core.io.cross_validation import CrossValidated
        from aam_core.report.cross_validation import cross_validation_page

        found = CrossValidated(cross_validation.run, cross_validation.predictions)
        _write(cross_validation_page(found), output_dir)


def _write(page, output_dir: str) -> None:
    """The page, and its tables as files beside it."""
    from aam_core.report.page import write_page, write_tables

    folder = Path(output_dir)
    write_page(page, folder / "index.html")
    write_tables(page, folder)
