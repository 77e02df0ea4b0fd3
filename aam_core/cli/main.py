"""The command line `aam`, generated from `aam_core.config`."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pandas as pd

import aam_core
from aam_core.cli.aliases import (
    older_spellings,
    short_strategies,
    strategy_of,
    translated,
)
from aam_core.cli.guide import COVARIATES
from aam_core.cli.options import (
    Flag,
    Topical,
    configured,
    given_options,
    make_config,
)
from aam_core.cli.run_folder import messages, run_folder, state_folder
from aam_core.config import CategoricalOptions, ColumnOptions, ForestConfig
from aam_core.distributed.launch import rank
from aam_core.errors import InputError
from aam_core.io.run_layout import BEST, LAST, model_in

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)


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


def print_guide(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the guide to covariates and end the command."""
    if asked and not ctx.resilient_parsing:
        click.echo(COVARIATES)
        ctx.exit()


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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(aam_core.__version__, prog_name="aam")
def main() -> None:
    """Deep learning for microbial communities (q2-aam)."""


@short_strategies
@configured("pretrain")
@main.command(cls=Topical)
@table_options
@distance_options
@click.option("--metadata", type=FILE, help="Sample metadata, for --group-column.")
@encoder_option
@output_options
def pretrain(
    table: Path, sequences: Path | None, metadata: Path | None, **given: Any
) -> None:
    """Learn an encoder from samples without labels."""
    with clear_errors():
        given |= strategy_of(given)
        config = make_config("pretrain", given)
        earlier = state_folder(given["resume_from"])
        with run_folder(given["output_dir"], given["overwrite"], earlier) as folder:
            from aam_core.commands.pretrain import pretrain as run

            run(
                config,
                folder / BEST,
                **read_inputs(table, sequences, given["tree"], given["unifrac_matrix"]),
                metadata=read_metadata(metadata),
                encoder=model_in(given["pretrained_encoder"]),
                tensorboard=folder / "tensorboard",
                state=folder / LAST,
                resume_from=earlier,
            )
            write_lists(folder)


@short_strategies
@older_spellings
@configured("train")
@main.command(cls=Topical)
@table_options
@click.option("--metadata", required=True, type=FILE, help="Sample metadata (TSV).")
@distance_options
@encoder_option
@output_options
@classifier_option
@click.option(
    "--categorical-help",
    cls=Flag,
    topic=CategoricalOptions.topic,
    is_eager=True,
    expose_value=False,
    callback=print_guide,
    help="Show how to choose among the options for covariates, and exit.",
)
def train(table: Path, sequences: Path | None, metadata: Path, **given: Any) -> None:
    """Learn to predict a column of the sample metadata."""
    with clear_errors():
        given |= translated(given, lambda text: click.echo(text, err=True))
        given |= strategy_of(given) | task_of(given)
        config = make_config("train", given)
        earlier = state_folder(given["resume_from"])
        with run_folder(given["output_dir"], given["overwrite"], earlier) as folder:
            from aam_core.commands.train import train as run

            found = run(
                config,
                folder / BEST,
                **read_inputs(table, sequences, given["tree"], given["unifrac_matrix"]),
                metadata=read_metadata(metadata),
                encoder=model_in(given["pretrained_encoder"]),
                tensorboard=folder / "tensorboard",
                state=folder / LAST,
                resume_from=earlier,
            )
            write_lists(folder)
            if not rank():
                write_table(found.predictions, folder / "val_predictions.tsv")
                write_table(found.details, folder / "val_details.tsv")


@configured("predict")
@main.command(cls=Topical)
@table_options
@click.option(
    "--model",
    required=True,
    type=DIRECTORY,
    help="What train wrote (its checkpoints/best_model).",
)
@click.option("--metadata", type=FILE, help="Sample metadata, for covariates.")
@click.option("--output", required=True, type=NEW, help="Predictions (TSV).")
@click.option(
    "--details", type=NEW, help="Probabilities, or quantiles and intervals (TSV)."
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def predict(
    table: Path,
    sequences: Path | None,
    model: Path,
    metadata: Path | None,
    output: Path,
    details: Path | None,
    overwrite: bool,
    **given: Any,
) -> None:
    """Predict new samples with a trained model."""
    with clear_errors():
        config = make_config("predict", given)
        check_new([output, details], overwrite)
        from aam_core.commands.predict import predict as run

        with messages():
            found = run(
                config,
                model_in(model),
                **read_table(table, sequences),
                metadata=read_metadata(metadata),
            )
        write_table(found.predictions, output)
        if details is not None:
            write_table(found.details.join(found.reliability), details)


@configured("rf-baseline")
@main.command("rf-baseline", cls=Topical)
@click.option("--table", required=True, type=FILE, help="Feature table (BIOM, or TSV).")
@click.option("--metadata", required=True, type=FILE, help="Sample metadata (TSV).")
@click.option(
    "--train-samples",
    type=FILE,
    help="Ids of training samples, one a line; without, all but --val-samples.",
)
@click.option(
    "--val-samples",
    type=FILE,
    help="Ids of the samples to predict; without, all but --train-samples.",
)
@click.option(
    "--model",
    type=DIRECTORY,
    help="What train wrote: target, samples and folds are the model's.",
)
@click.option("--output", required=True, type=NEW, help="Predictions (TSV).")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@classifier_option
def rf_baseline(
    table: Path,
    metadata: Path,
    model: Path | None,
    train_samples: Path | None,
    val_samples: Path | None,
    output: Path,
    overwrite: bool,
    **given: Any,
) -> None:
    """Predict with a random forest, on the same split as a model."""
    with clear_errors():
        options = given_options("rf-baseline", given | task_of(given))
        samples: dict[str, Any] = {
            "training": read_list(train_samples),
            "validation": read_list(val_samples),
        }
        check_new([output], overwrite)
        from aam_core.commands.rf_baseline import as_trained, samples_of
        from aam_core.commands.rf_baseline import rf_baseline as run
        from aam_core.io.model_folder import read_config

        if model is not None:
            if any(samples.values()):
                raise InputError(
                    "--model brings its own samples: leave --train-samples and "
                    "--val-samples out, or --model."
                )
            trained = read_config(model_in(model))
            options = as_trained(options, trained["options"])
            samples = samples_of(trained["split"])
        config = ForestConfig(**options)
        with messages():
            found = run(
                config,
                table=read_table(table, None)["table"],
                metadata=read_metadata(metadata),
                **samples,
                report=logging.getLogger("aam_core").info,
            )
        write_table(found.predictions, output)
        for name, value in found.metrics.items():
            click.echo(f"{name}\t{value:.4f}")


def task_of(given: dict[str, Any]) -> dict[str, Any]:
    """The task that `--classifier` stands for, if it is given."""
    if not given["classifier"]:
        return {}
    if given["task"] == "regression":
        raise InputError(
            "--classifier and --task regression contradict each other: choose one."
        )
    return {"task": "classification"}


def read_table(table: Path, sequences: Path | None) -> dict[str, Any]:
    """Table and sequences as the engine takes them."""
    from aam_core.data.sequences import read_fasta
    from aam_core.data.table import FeatureTable

    return {
        "table": FeatureTable.read(table),
        "sequences": read_fasta(sequences) if sequences else None,
    }


def read_inputs(
    table: Path, sequences: Path | None, tree: Path | None, matrix: Path | None
) -> dict[str, Any]:
    """Everything that a training run reads but metadata."""
    from aam_core.data.distance_matrix import read_distance_matrix
    from aam_core.data.phylogeny import Phylogeny

    return read_table(table, sequences) | {
        "phylogeny": Phylogeny.read(tree) if tree else None,
        "distances": read_distance_matrix(matrix) if matrix else None,
    }


def read_metadata(path: Path | None) -> pd.DataFrame | None:
    """Sample metadata, where there is any."""
    from aam_core.data import metadata

    return None if path is None else metadata.read_metadata(path)


def read_list(path: Path | None) -> list[str] | None:
    """Ids, one a line."""
    if path is None:
        return None
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def check_new(paths: list[Path | None], overwrite: bool) -> None:
    """Refuse to overwrite files."""
    for path in paths:
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} exists already: choose another, or --overwrite.")
        if path is not None and not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} for {path.name} is not there.")


def write_lists(folder: Path) -> None:
    """Write the split and the history beside the model, from one process."""
    if rank():
        return
    from aam_core.io.model_folder import HISTORY, read_config

    split = read_config(folder / BEST)["split"]
    for name, side in (("train", "training"), ("val", "validation")):
        text = "".join(f"{i}\n" for i in split[side])
        (folder / f"{name}_samples.txt").write_text(text)
    if "folds" in split:
        rows = [f"{i}\t{n}\n" for n, fold in enumerate(split["folds"], 1) for i in fold]
        (folder / "folds.tsv").write_text("".join(["id\tfold\n", *rows]))
    shutil.copyfile(folder / BEST / HISTORY, folder / HISTORY)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, whole or not at all."""
    from aam_core.io.model_folder import write_atomically

    write_atomically(path, table.to_csv(sep="\t").encode())
