"""What commands of `aam` share: common options, and errors without a traceback."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from aam_core.cli.files import DIRECTORY, FILE, NEW, read_metadata
from aam_core.cli.options import Flag
from aam_core.config import ColumnOptions, MetadataOptions
from aam_core.distributed.launch import rank
from aam_core.errors import InputError, RunError, system_errors_told
from aam_core.training.stop import Action


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Show what a user can mend as one message, without a traceback.

    That is an `InputError`, a `RunError`, or an error of the operating system.

    Requests to end are heeded from the first line of the command to its last.

    Processes of torchrun mostly find the same error; the others say who they are.
    """
    try:
        with system_errors_told(), Action():
            yield
    except (InputError, RunError) as error:
        raise click.ClickException(f"{_who()}{error}") from None


def _who() -> str:
    """Which process says so, if it is not the first one."""
    return f"(process {rank()}) " * bool(rank())


def table_options(function: Callable) -> Callable:
    """Table and sequences."""
    function = click.option(
        "--sequences",
        type=FILE,
        help="FASTA of the features; needed where their ids are not sequences.",
    )(function)
    return click.option(
        "--table", required=True, type=FILE, help="Feature table (BIOM, or TSV)."
    )(function)


def distance_options(function: Callable) -> Callable:
    """Phylogeny or distance matrix."""
    function = click.option(
        "--unifrac-matrix",
        type=FILE,
        help="Distances between the samples (.npy, .h5, .csv, .tsv).",
    )(function)
    return click.option(
        "--tree", type=FILE, help="Rooted phylogeny of the features (Newick)."
    )(function)


taxonomy_option = click.option(
    "--taxonomy",
    type=FILE,
    help="Taxon of each feature (TSV), to name features in the report.",
)
drawn_tree_option = click.option(
    "--tree",
    type=FILE,
    help="Rooted phylogeny of the features (Newick), along which the report shows what "
    "they contribute. It changes no prediction.",
)


def encoder_option(function: Callable) -> Callable:
    """A pre-trained encoder to start from."""
    return click.option(
        "--pretrained-encoder",
        type=DIRECTORY,
        help="Encoder to start from: what pretrain wrote.",
    )(function)


def classifier_option(function: Callable) -> Callable:
    """A flag for the task, which `task_of` understands."""
    return click.option(
        "--classifier",
        cls=Flag,
        topic=ColumnOptions.topic,
        help="Short for --task classification.",
    )(function)


def output_options(function: Callable) -> Callable:
    """Where a run writes, and which one it resumes."""
    function = click.option(
        "--resume-from",
        type=DIRECTORY,
        help="Resume an interrupted run: its --output-dir. All other options as "
        "they were.",
    )(function)
    function = click.option(
        "--overwrite", is_flag=True, help="Replace what an earlier run wrote there."
    )(function)
    return click.option(
        "--output-dir", required=True, type=NEW, help="Folder for all results."
    )(function)


def task_of(given: dict[str, Any], metadata: Path | None) -> dict[str, Any]:
    """The task that `--classifier` stands for, or that the column shows.

    A column that holds numbers is a regression, any other a classification, unless
    `--task` says otherwise. Without metadata the column is not looked at.
    """
    if given["classifier"]:
        if given["task"] == "regression":
            raise InputError(
                "--classifier and --task regression contradict each other: choose one."
            )
        return {"task": "classification"}
    columns = [c for text in given["metadata_column"] for c in text.split(",")]
    if metadata is None or given["task"] is not None or len(columns) != 1:
        return {}
    from aam_core.data.targets import task_of_column

    scheme = given["missing_scheme"] or MetadataOptions.missing_scheme
    task = task_of_column(read_metadata(metadata), columns[0], scheme)
    if task == "classification" and not rank():
        click.echo(
            f"{columns[0]!r} does not hold numbers, so its classes are predicted "
            "(--task).",
            err=True,
        )
    return {"task": task}
