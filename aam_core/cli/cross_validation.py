"""`aam cross-validate`, and the report of its folder."""

import logging
from pathlib import Path
from typing import Any

import click

from aam_core.cli.files import (
    DIRECTORY,
    NEW,
    check_new,
    read_metadata,
    read_table,
    write_table,
)
from aam_core.cli.options import Flag, Topical, configured, make_config
from aam_core.cli.results import REPORT, column_options
from aam_core.cli.run_folder import run_folder
from aam_core.cli.shared import (
    clear_errors,
    encoder_option,
    table_options,
)
from aam_core.config import ColumnOptions
from aam_core.errors import InputError
from aam_core.io.cross_validation import RUN
from aam_core.io.run_layout import CELLS, model_in


@configured("cross-validate")
@click.command("cross-validate", cls=Topical)
@table_options
@column_options
@encoder_option
@click.option(
    "--classifier",
    cls=Flag,
    topic=ColumnOptions.topic,
    help="Predict classes, even though they look like numbers.",
)
@click.option("--output-dir", required=True, type=NEW, help="Folder for all results.")
@click.option(
    "--resume",
    is_flag=True,
    help="Resume the run in --output-dir after the folds that are done. All other "
    "options as they were; --repeats may grow.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace what an earlier run wrote there."
)
def cross_validate(
    table: Path,
    sequences: Path | None,
    metadata: Path,
    metadata_column: str,
    group_column: str | None,
    pretrained_encoder: Path | None,
    classifier: bool,
    output_dir: Path,
    resume: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Compare with a forest by repeated folds, with all predictions and a report."""
    with clear_errors():
        config = make_config("cross-validate", given)
        earlier = cells_of(output_dir, resume, overwrite)
        with run_folder(output_dir, overwrite, earlier) as folder:
            from aam_core.commands.cross_validate import cross_validate as run
            from aam_core.data.targets import task_of_column
            from aam_core.io.cross_validation import write_cross_validation
            from aam_core.report.page import javascript

            javascript()  # fails before the long work, if it does
            known = read_metadata(metadata)
            task = "classification"
            if not classifier:
                task = task_of_column(known, metadata_column, config.missing_scheme)
            found = run(
                config,
                task=task,
                column=metadata_column,
                **read_table(table, sequences),
                metadata=known,
                group_column=group_column,
                encoder=model_in(pretrained_encoder),
                cells=folder / CELLS,
            )
            write_cross_validation(found, folder)
            _write_report(found, folder)


def cells_of(folder: Path, resume: bool, overwrite: bool) -> Path | None:
    """The cells of the run that is to resume.

    Raises
    ------
    InputError
        If there are none, or there are some and nobody said what to do with them.
    """
    cells = folder / CELLS
    if resume:
        if not cells.is_dir():
            raise InputError(
                f"There is no cross-validation in {folder} that could resume: leave "
                "--resume out."
            )
        return cells
    if cells.is_dir() and not overwrite:
        raise InputError(
            f"{folder} holds a cross-validation: --resume goes on with it, --overwrite "
            "begins anew; or choose another --output-dir."
        )
    return None


def _write_report(found: Any, folder: Path) -> None:
    from aam_core.commands.cross_validation_scores import compare
    from aam_core.report.cross_validation import cross_validation_page, words_of
    from aam_core.report.page import write_page

    compared = compare(found)
    page = cross_validation_page(found, compared)
    for table in page.tables:
        if table.name in ("folds", "repeats", "comparison", "curve"):
            write_table(table.frame, folder / f"{table.name}.tsv")
    write_page(page, folder / REPORT)
    logging.getLogger("aam_core").info(words_of(compared))
    logging.getLogger("aam_core").info(f"The report is {folder / REPORT}.")


@configured("evaluate-cross-validation")
@click.command("evaluate-cross-validation", cls=Topical)
@click.option(
    "--cross-validation",
    required=True,
    type=DIRECTORY,
    help=f"Folder that cross-validate wrote, or an exported artifact (with its {RUN}).",
)
@click.option("--output", required=True, type=NEW, help="Report (HTML).")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def evaluate_cross_validation(
    cross_validation: Path, output: Path, overwrite: bool
) -> None:
    """Draw the report of a cross-validation."""
    with clear_errors():
        check_new([output], overwrite)
        from aam_core.io.cross_validation import read_cross_validation
        from aam_core.report.cross_validation import cross_validation_page
        from aam_core.report.page import write_page

        found = read_cross_validation(cross_validation)
        write_page(cross_validation_page(found), output)
