"""Pipelines `classify-samples` and `regress-samples`."""

import biom
import pandas as pd
import qiime2
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import SamplesConfig
from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._inputs import (
    column_and_groups,
    directory,
    in_action,
    report,
    table_inputs,
)
from q2_aam._views import Predictions


def classify_samples(
    ctx,
    table,
    metadata,
    sequences=None,
    phylogeny=None,
    taxonomy=None,
    encoder=None,
    groups=None,
    test_size=SamplesConfig.test_size,
    rarefy_depth=SamplesConfig.rarefy_depth,
    effort=SamplesConfig.effort,
    seed=SamplesConfig.seed,
    device=SamplesConfig.device,
):
    """Predict classes, compare with a forest, and report."""
    config = SamplesConfig(
        test_size=test_size,
        rarefy_depth=rarefy_depth,
        effort=effort,
        seed=seed,
        device=device,
    )
    given = table, metadata, sequences, phylogeny, taxonomy, encoder, groups
    return _predict_samples(ctx, "classification", config, *given)


def regress_samples(
    ctx,
    table,
    metadata,
    sequences=None,
    phylogeny=None,
    taxonomy=None,
    encoder=None,
    groups=None,
    test_size=SamplesConfig.test_size,
    rarefy_depth=SamplesConfig.rarefy_depth,
    effort=SamplesConfig.effort,
    seed=SamplesConfig.seed,
    device=SamplesConfig.device,
):
    """Predict numbers, compare with a forest, and report."""
    config = SamplesConfig(
        test_size=test_size,
        rarefy_depth=rarefy_depth,
        effort=effort,
        seed=seed,
        device=device,
    )
    given = table, metadata, sequences, phylogeny, taxonomy, encoder, groups
    return _predict_samples(ctx, "regression", config, *given)


def _predict_samples(
    ctx,
    task,
    config,
    table,
    metadata,
    sequences,
    phylogeny,
    taxonomy,
    encoder,
    groups,
):
    """Fit a model and a forest, predict what neither was fitted to, and compare."""
    with in_action():
        from aam_core.commands.samples import (
            check_sequences,
            held_out_samples,
            labelled,
            options_of_explanation,
            options_of_training,
            without_samples,
        )
        from aam_core.report.page import javascript

        javascript()  # fails before the long work, if it does
        column, group_column = metadata.name, None if groups is None else groups.name
        every = column_and_groups(metadata, groups)
        fasta = None if sequences is None else sequences.view(DNAFASTAFormat)
        read = table_inputs(table.view(biom.Table), fasta)
        check_sequences(**read)
        ids = read["table"].sample_ids
        held_out = held_out_samples(
            config, ids, every, column, task, group_column, report
        )
        known = qiime2.Metadata(without_samples(every, held_out))
        given = options_of_training(config, column, task, group_column, encoder)
        given["metadata_column"] = list(given["metadata_column"])
        model, predictions, details = ctx.get_action("aam", "train")(
            table, known, sequences=sequences, encoder=encoder, **given
        )
        if held_out:
            new = _some_samples(ctx, table, held_out)
            predictions, details = ctx.get_action("aam", "predict")(
                new,
                model,
                sequences=sequences,
                device=config.device,
                missing_features=given["missing_features"],
            )
        forest, forest_details, _ = ctx.get_action("aam", "rf_baseline")(
            table,
            qiime2.Metadata(every),
            model=model,
            group_column=group_column,
            held_out="others" if held_out else "folds",
        )
        predicted = predictions.view(Predictions).texts.index
        folder = directory(model.view(AAMModelDirectoryFormat))
        why = options_of_explanation(config, predicted, folder)
        importance, contributions = ctx.get_action("aam", "explain")(
            _some_samples(ctx, table, labelled(every[column])),
            model,
            sequences=sequences,
            **why | {"samples": list(why["samples"])},
        )
        (page,) = ctx.get_action("aam", "evaluate")(
            predictions,
            metadata,
            details=details,
            other_predictions=forest,
            other_details=forest_details,
            contributions=contributions,
            phylogeny=phylogeny,
            taxonomy=taxonomy,
            model=model,
            groups=groups,
        )
        why = importance, contributions
        return model, predictions, details, forest, forest_details, *why, page


def _some_samples(ctx, table, ids):
    """The feature table of some samples."""
    some = qiime2.Metadata(pd.DataFrame(index=pd.Index(ids, name="id")))
    (found,) = ctx.get_action("feature_table", "filter_samples")(table, metadata=some)
    return found
