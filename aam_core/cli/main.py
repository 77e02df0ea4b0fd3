"""The command line `aam`, generated from `aam_core.config`."""

import logging
from pathlib import Path
from typing import Any

import click

import aam_core
from aam_core.cli.aliases import (
    check_sampling,
    older_spellings,
    sampling_of_a_model,
    short_strategies,
    strategy_of,
    tell_uncached,
    translated,
    uncached_sequences,
)
from aam_core.cli.cross_validation import cross_validate, evaluate_cross_validation
from aam_core.cli.explanations import explain, plot_contributions
from aam_core.cli.files import (
    DIRECTORY,
    FILE,
    NEW,
    check_new,
    read_inputs,
    read_list,
    read_metadata,
    read_table,
    write_lists,
    write_table,
)
from aam_core.cli.guide import COVARIATES
from aam_core.cli.options import (
    Flag,
    Topical,
    configured,
    given_options,
    make_config,
)
from aam_core.cli.results import classify, embed, evaluate, regress, summarize
from aam_core.cli.run_folder import messages, run_folder, state_folder
from aam_core.cli.shared import (
    classifier_option,
    clear_errors,
    distance_options,
    encoder_option,
    output_options,
    table_options,
    task_of,
)
from aam_core.config import CategoricalOptions, ForestConfig
from aam_core.distributed.launch import rank
from aam_core.errors import InputError
from aam_core.io.run_layout import BEST, LAST, model_in


def said(text: str) -> None:
    """Show what an option means here."""
    click.echo(text, err=True)


def print_guide(ctx: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the guide to covariates and end the command."""
    if asked and not ctx.resilient_parsing:
        click.echo(COVARIATES)
        ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(aam_core.__version__, prog_name="aam")
def main() -> None:
    """Deep learning for microbial communities (q2-aam)."""


@short_strategies
@uncached_sequences
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
        tell_uncached(given, said)
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
                keep_state=True,
            )
            write_lists(folder)


@short_strategies
@older_spellings
@uncached_sequences
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
        tell_uncached(given, said)
        given |= translated(given, said)
        given |= strategy_of(given) | task_of(given, metadata)
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
                keep_state=True,
            )
            write_lists(folder)
            if not rank():
                write_table(found.predictions, folder / "val_predictions.tsv")
                write_table(found.details, folder / "val_details.tsv")


@uncached_sequences
@sampling_of_a_model
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
    asv_sampling: str | None,
    **given: Any,
) -> None:
    """Predict new samples with a trained model."""
    with clear_errors():
        tell_uncached(given, said)
        config = make_config("predict", given)
        check_new([output, details], overwrite)
        if asv_sampling is not None:
            from aam_core.io.model_folder import read_config

            trained = read_config(model_in(model))["options"]
            check_sampling(asv_sampling, trained["asv_sampling"])
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
            write_table(found.with_reliability(), details)


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
        task = task_of(given, None if model else metadata)
        options = given_options("rf-baseline", given | task)
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
        config = ForestConfig(**options)
        if model is not None:
            samples = samples_of(trained["split"], config.held_out)
        elif config.held_out != "folds":
            raise InputError("held_out others needs a model: pass --model too.")
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


@main.command()
@click.argument("model", type=DIRECTORY)
@click.argument("output", type=NEW)
def strip(model: Path, output: Path) -> None:
    """Write MODEL without ids of samples to the new folder OUTPUT, to be shared.

    MODEL is what pretrain or train wrote. What is written predicts the same, and
    `qiime tools import` reads it. Names of columns, classes and categories stay.
    """
    with clear_errors():
        from aam_core.io.strip import strip as run

        run(model_in(model), output)
        click.echo(f"{output} does not say which samples it was fitted to.")


for command in (
    classify,
    regress,
    embed,
    explain,
    plot_contributions,
    evaluate,
    summarize,
    cross_validate,
    evaluate_cross_validation,
):
    main.add_command(command)
