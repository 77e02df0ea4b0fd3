"""Commands whose result is to be looked at: `classify`, `regress`, and reports."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd

from aam_core.cli.files import (
    DIRECTORY,
    FILE,
    NEW,
    check_new,
    read_details,
    read_metadata,
    read_predictions,
    read_table,
    read_taxonomy,
    read_tree,
    write_lists,
    write_table,
)
from aam_core.cli.options import Topical, configured, make_config
from aam_core.cli.run_folder import messages, run_folder, state_folder
from aam_core.cli.shared import (
    clear_errors,
    drawn_tree_option,
    encoder_option,
    output_options,
    table_options,
    taxonomy_option,
)
from aam_core.errors import InputError
from aam_core.io.run_layout import BEST, LAST, model_in

REPORT = "report.html"


def column_options(function: Callable) -> Callable:
    """The metadata, what is predicted, and the groups."""
    function = click.option(
        "--group-column",
        help="Column of the metadata whose groups (subjects, sites) are never divided.",
    )(function)
    function = click.option(
        "--metadata-column", required=True, help="Column of the metadata to predict."
    )(function)
    return click.option(
        "--metadata", required=True, type=FILE, help="Sample metadata (TSV)."
    )(function)


def front_door(name: str, task: str, help: str) -> click.Command:
    """The command that fits, compares and reports."""

    @configured(name)
    @click.command(name, cls=Topical, help=help)
    @table_options
    @column_options
    @encoder_option
    @taxonomy_option
    @drawn_tree_option
    @output_options
    def command(**given: Any) -> None:
        with clear_errors():
            run_front_door(name, task, **given)

    return command


classify = front_door(
    "classify",
    "classification",
    "Predict classes of the metadata, compare with a forest, write a report.",
)
regress = front_door(
    "regress",
    "regression",
    "Predict numbers of the metadata, compare with a forest, write a report.",
)


def run_front_door(
    name: str,
    task: str,
    *,
    table: Path,
    sequences: Path | None,
    metadata: Path,
    metadata_column: str,
    group_column: str | None,
    pretrained_encoder: Path | None,
    taxonomy: Path | None,
    tree: Path | None,
    output_dir: Path,
    overwrite: bool,
    resume_from: Path | None,
    **given: Any,
) -> None:
    """Run `predict_samples` in a folder, and write all that it found."""
    config = make_config(name, given)
    labels, phylogeny = read_taxonomy(taxonomy), read_tree(tree)
    earlier = state_folder(resume_from)
    with run_folder(output_dir, overwrite, earlier) as folder:
        from aam_core.commands.samples import predict_samples
        from aam_core.report.page import javascript

        javascript()  # fails before the long work, if it does
        found = predict_samples(
            config,
            folder / BEST,
            task=task,
            column=metadata_column,
            **read_table(table, sequences),
            metadata=read_metadata(metadata),
            group_column=group_column,
            encoder=model_in(pretrained_encoder),
            state=folder / LAST,
            resume_from=earlier,
            keep_state=True,
        )
        write_lists(folder)
        for stem, frame in {
            "predictions": found.ours.predictions,
            "details": found.ours.details,
            "forest_predictions": found.forest.predictions,
            "forest_details": found.forest.probabilities,
            "importance": found.explanation.importance,
            "contributions": found.explanation.contributions.set_index("sample"),
        }.items():
            if frame is not None:
                write_table(frame, folder / f"{stem}.tsv")
        _write_report(found, folder, metadata_column, labels, phylogeny)


def _write_report(
    found: Any, folder: Path, column: str, labels: dict[str, str], phylogeny: Any
) -> None:
    from aam_core.io.model_folder import read_config, read_history
    from aam_core.report.evaluation import verdict
    from aam_core.report.page import write_page
    from aam_core.report.samples import samples_page

    page = samples_page(
        found.evaluation,
        f"Prediction of {column}",
        model=(read_config(folder / BEST), read_history(folder / BEST)),
        contributions=found.explanation.contributions,
        phylogeny=phylogeny,
        labels=labels,
    )
    write_page(page, folder / REPORT)
    logging.getLogger("aam_core").info(verdict(found.evaluation))
    logging.getLogger("aam_core").info(f"The report is {folder / REPORT}.")


@configured("evaluate")
@click.command(cls=Topical)
@click.option(
    "--predictions",
    required=True,
    type=FILE,
    help="Predictions of samples (TSV), as classify, regress, train and predict write "
    "them.",
)
@column_options
@click.option(
    "--details", type=FILE, help="Probabilities, or intervals, of the same (TSV)."
)
@click.option(
    "--other-predictions",
    type=FILE,
    help="Predictions of the same samples to compare with, such as a forest's (TSV).",
)
@click.option("--other-details", type=FILE, help="Probabilities of those (TSV).")
@click.option(
    "--classes",
    is_flag=True,
    help="The predictions are classes, even though they look like numbers.",
)
@click.option("--output", required=True, type=NEW, help="Report (HTML).")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def evaluate(
    predictions: Path,
    metadata: Path,
    metadata_column: str,
    group_column: str | None,
    details: Path | None,
    other_predictions: Path | None,
    other_details: Path | None,
    classes: bool,
    output: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Score predictions beside the truth and beside others, as a report."""
    with clear_errors():
        config = make_config("evaluate", given)
        check_new([output], overwrite)
        if other_details is not None and other_predictions is None:
            raise InputError("--other-details needs --other-predictions, too.")
        from aam_core.commands.evaluate import Predicted, as_numbers_or_classes
        from aam_core.commands.evaluate import evaluate as run
        from aam_core.data.missing import with_missing
        from aam_core.report.evaluation import evaluation_page
        from aam_core.report.page import write_page

        known = with_missing(read_metadata(metadata), config.missing_scheme)
        column_of(known, metadata_column)

        def read(name: str, path: Path, more: Path | None) -> Predicted:
            found, beside = read_predictions(path, metadata_column), read_details(more)
            if not classes:
                found = as_numbers_or_classes(found, known[metadata_column], beside)
            return Predicted(name, found, beside)

        other = None
        if other_predictions is not None:
            other = read(config.other_name, other_predictions, other_details)
        with messages():
            found = run(
                read(config.name, predictions, details),
                known[metadata_column],
                other=other,
                groups=column_of(known, group_column),
                metadata=known.drop(columns=[metadata_column]),
            )
        write_page(evaluation_page(found, f"Prediction of {metadata_column}"), output)


def column_of(metadata: pd.DataFrame, name: str | None) -> pd.Series | None:
    """A column of the metadata, or a clear error."""
    from aam_core.data.categories import require_columns

    if name is None:
        return None
    require_columns(metadata, [name])
    return metadata[name]


@configured("embed")
@click.command(cls=Topical)
@table_options
@click.option(
    "--encoder",
    type=DIRECTORY,
    help="What pretrain wrote; without, the general encoder of the package.",
)
@click.option(
    "--model",
    type=DIRECTORY,
    help="What train, classify or regress wrote, in place of an encoder.",
)
@click.option("--metadata", type=FILE, help="Sample metadata, for covariates.")
@click.option("--output-dir", required=True, type=NEW, help="Folder for all results.")
@click.option(
    "--overwrite", is_flag=True, help="Replace what an earlier run wrote there."
)
def embed(
    table: Path,
    sequences: Path | None,
    encoder: Path | None,
    model: Path | None,
    metadata: Path | None,
    output_dir: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Embed samples and ASVs; distances and their ordination without a tree."""
    with clear_errors():
        config = make_config("embed", given)
        with run_folder(output_dir, overwrite) as folder:
            from aam_core.commands.embed import embed as run

            found = run(
                config,
                model_in(encoder),
                **read_table(table, sequences),
                model=model_in(model),
                metadata=read_metadata(metadata),
            )
            write_table(found.samples, folder / "embedding.tsv")
            write_table(found.asvs, folder / "asv_embedding.tsv")
            write_table(found.distances.to_data_frame(), folder / "distances.tsv")
            found.pcoa.write(str(folder / "pcoa.txt"))


@configured("summarize")
@click.command(cls=Topical)
@click.option(
    "--model",
    required=True,
    type=DIRECTORY,
    help="What pretrain, train, classify or regress wrote.",
)
@click.option("--output", required=True, type=NEW, help="Report (HTML).")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def summarize(model: Path, output: Path, overwrite: bool) -> None:
    """Show how a model or encoder was trained, as a report."""
    with clear_errors():
        check_new([output], overwrite)
        from aam_core.io.model_folder import read_config, read_history
        from aam_core.report.model import model_page
        from aam_core.report.page import write_page

        folder = model_in(model)
        config = read_config(folder)
        page = model_page(config, read_history(folder), f"Summary of {model.name}")
        write_page(page, output)
