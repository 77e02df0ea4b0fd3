"""What commands of `aam` share: common options, and errors without a traceback."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import click

from aam_core.cli.files import DIRECTORY, FILE, NEW
from aam_core.cli.options import Flag
from aam_core.config import ColumnOptions
from aam_core.distributed.launch import rank
from aam_core.errors import InputError


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Show an `InputError` as one message, without a traceback.

    Processes of torchrun mostly find the same error; the others say who they are.
    """
    try:
        yield
    except InputError as error:
        who = f"(process {rank()}) " * bool(rank())
        raise click.ClickException(f"{who}{error}") from None


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


def task_of(given: dict[str, Any]) -> dict[str, Any]:
    """The task that `--classifier` stands for, if it is given."""
    if not given["classifier"]:
        return {}
    if given["task"] == "regression":
        raise InputError(
            "--classifier and --task regression contradict each other: choose one."
        )
    return {"task": "classification"}
