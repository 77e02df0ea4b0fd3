"""Commands `explain` and `plot-contributions`."""

import logging
from pathlib import Path
from typing import Any

import click
import pandas as pd

from aam_core.cli.files import (
    DIRECTORY,
    FILE,
    NEW,
    check_new,
    read_metadata,
    read_table,
    read_taxonomy,
    read_tree,
    write_table,
)
from aam_core.cli.options import Topical, configured, make_config
from aam_core.cli.results import REPORT
from aam_core.cli.run_folder import run_folder
from aam_core.cli.shared import (
    clear_errors,
    drawn_tree_option,
    table_options,
    taxonomy_option,
)
from aam_core.io.run_layout import model_in


@configured("explain")
@click.command(cls=Topical)
@table_options
@click.option(
    "--model",
    required=True,
    type=DIRECTORY,
    help="What train, classify or regress wrote.",
)
@click.option("--metadata", type=FILE, help="Sample metadata, for covariates.")
@taxonomy_option
@drawn_tree_option
@click.option("--output-dir", required=True, type=NEW, help="Folder for all results.")
@click.option(
    "--overwrite", is_flag=True, help="Replace what an earlier run wrote there."
)
def explain(
    table: Path,
    sequences: Path | None,
    model: Path,
    metadata: Path | None,
    taxonomy: Path | None,
    tree: Path | None,
    output_dir: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Say what each ASV contributes to predictions, with a report."""
    with clear_errors():
        config = make_config("explain", given)
        shown = {"labels": read_taxonomy(taxonomy), "phylogeny": read_tree(tree)}
        with run_folder(output_dir, overwrite) as folder:
            from aam_core.commands.explain import explain as run
            from aam_core.report.page import javascript

            javascript()  # fails before the long work, if it does
            found = run(
                config,
                model_in(model),
                **read_table(table, sequences),
                metadata=read_metadata(metadata),
            )
            rows = found.contributions.set_index("sample")
            write_table(rows, folder / "contributions.tsv")
            write_table(found.importance, folder / "importance.tsv")
            _write_contributions(found.contributions, folder / REPORT, **shown)
            logging.getLogger("aam_core").info(f"The report is {folder / REPORT}.")


def _write_contributions(
    contributions: pd.DataFrame, path: Path, **options: Any
) -> None:
    from aam_core.report.contributions import contributions_page
    from aam_core.report.page import write_page

    title = "What ASVs contribute to predictions"
    page = contributions_page(contributions, title, **options)
    write_page(page, path)


@configured("plot-contributions")
@click.command("plot-contributions", cls=Topical)
@click.option(
    "--contributions", required=True, type=FILE, help="What explain wrote (TSV)."
)
@taxonomy_option
@drawn_tree_option
@click.option("--output", required=True, type=NEW, help="Report (HTML).")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def plot_contributions(
    contributions: Path,
    taxonomy: Path | None,
    tree: Path | None,
    output: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Show what ASVs contribute to predictions, as a report."""
    with clear_errors():
        config = make_config("plot-contributions", given)
        check_new([output], overwrite)
        from aam_core.data.contributions import read_contributions

        shown = {"labels": read_taxonomy(taxonomy), "phylogeny": read_tree(tree)}
        found = read_contributions(contributions)
        _write_contributions(found, output, top=config.top, **shown)
