"""What a person or another plugin reads of the artifacts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import qiime2
from q2_sample_classifier import PredictionsFormat, ProbabilitiesFormat
from qiime2.plugin import ValidationError

from q2_aam._formats import (
    AAMConfigFormat,
    AAMContributionsFormat,
    AAMCrossValidationDirectoryFormat,
    AAMEmbeddingFormat,
    AAMEncoderDirectoryFormat,
    AAMHistoryFormat,
    AAMModelDirectoryFormat,
    RegressionDetailsFormat,
    _LayoutFormat,
    as_validation,
)
from q2_aam._views import CrossValidation, Details, Predictions, Run
from q2_aam.plugin_setup import plugin


def _history_metadata(history: pd.DataFrame) -> qiime2.Metadata:
    width = len(f"{history['epoch'].max():.0f}")  # so that ids sort like numbers
    ids = [f"epoch {epoch:0{width}.0f}" for epoch in history["epoch"]]
    if "fold" in history:
        ids = [f"fold {f:.0f} {i}" for f, i in zip(history["fold"], ids, strict=True)]
    numbers = history.astype(float).replace([np.inf, -np.inf], np.nan)
    return _metadata(numbers.set_axis(pd.Index(ids, name="id"), axis=0))


def _metadata(table: pd.DataFrame) -> qiime2.Metadata:
    """The table, unless QIIME 2 allows no such ids or columns."""
    try:
        return qiime2.Metadata(table)
    except (ValueError, TypeError) as error:
        raise ValidationError(f"This cannot be read as metadata: {error}") from error


def _settings(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings, by dotted name."""
    if not isinstance(value, dict):
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value
        return
    for key, inner in value.items():
        yield from _settings(inner, f"{name}.{key}" if name else key)


@plugin.register_transformer
def _config_to_dict(fmt: AAMConfigFormat) -> dict:
    from aam_core.io.json_file import read_json

    with as_validation():
        return read_json(str(fmt))


@plugin.register_transformer
def _config_to_metadata(fmt: AAMConfigFormat) -> qiime2.Metadata:
    rows = dict(_settings(_config_to_dict(fmt)))
    text = [None if v is None else str(v).strip() or None for v in rows.values()]
    index = pd.Index(list(rows), name="id")
    return _metadata(pd.DataFrame({"value": text}, index, dtype=object))


@plugin.register_transformer
def _history_to_frame(fmt: AAMHistoryFormat) -> pd.DataFrame:
    from aam_core.io.model_folder import read_history_file

    with as_validation():
        return read_history_file(str(fmt))


@plugin.register_transformer
def _history_to_metadata(fmt: AAMHistoryFormat) -> qiime2.Metadata:
    return _history_metadata(_history_to_frame(fmt))


@plugin.register_transformer
def _encoder_to_dict(fmt: AAMEncoderDirectoryFormat) -> dict:
    return fmt.config.view(dict)


@plugin.register_transformer
def _model_to_dict(fmt: AAMModelDirectoryFormat) -> dict:
    return fmt.config.view(dict)


@plugin.register_transformer
def _encoder_to_run(fmt: AAMEncoderDirectoryFormat) -> Run:
    return Run(fmt.config.view(dict), fmt.history.view(pd.DataFrame))


@plugin.register_transformer
def _model_to_run(fmt: AAMModelDirectoryFormat) -> Run:
    return Run(fmt.config.view(dict), fmt.history.view(pd.DataFrame))


def _run_metadata(fmt: _LayoutFormat) -> qiime2.Metadata:
    """The history, and whether the run reached its end."""
    epochs = _history_metadata(fmt.history.view(pd.DataFrame)).to_dataframe()
    completed = fmt.config.view(dict).get("completed", True)
    return _metadata(epochs.assign(completed=str(completed).lower()))


@plugin.register_transformer
def _encoder_to_metadata(fmt: AAMEncoderDirectoryFormat) -> qiime2.Metadata:
    return _run_metadata(fmt)


@plugin.register_transformer
def _model_to_metadata(fmt: AAMModelDirectoryFormat) -> qiime2.Metadata:
    return _run_metadata(fmt)


def _write_numbers(numbers: pd.DataFrame, fmt: Any) -> Any:
    with fmt.open() as handle:
        numbers.to_csv(handle, sep="\t", index_label="id")
    return fmt


def _read_texts(fmt: Any) -> pd.DataFrame:
    """A table by the ids of its first column, in which no text is a missing value."""
    found = pd.read_csv(str(fmt), sep="\t", dtype=str, keep_default_na=False)
    return found.set_index(found.columns[0]).rename_axis("id")


def _read_numbers(fmt: Any) -> pd.DataFrame:
    fmt.validate()
    texts = _read_texts(fmt)
    return texts.where(texts != "", np.nan).astype(float)


@plugin.register_transformer
def _predictions_to_view(fmt: PredictionsFormat) -> Predictions:
    return Predictions(_read_texts(fmt).iloc[:, 0])


@plugin.register_transformer
def _probabilities_to_view(fmt: ProbabilitiesFormat) -> Details:
    return Details(_read_numbers(fmt))


@plugin.register_transformer
def _details_to_view(fmt: RegressionDetailsFormat) -> Details:
    return Details(_read_numbers(fmt))


@plugin.register_transformer
def _frame_to_details(details: pd.DataFrame) -> RegressionDetailsFormat:
    return _write_numbers(details, RegressionDetailsFormat())


@plugin.register_transformer
def _details_to_frame(fmt: RegressionDetailsFormat) -> pd.DataFrame:
    return _read_numbers(fmt)


@plugin.register_transformer
def _details_to_metadata(fmt: RegressionDetailsFormat) -> qiime2.Metadata:
    return _metadata(_read_numbers(fmt))


@plugin.register_transformer
def _frame_to_embedding(embedding: pd.DataFrame) -> AAMEmbeddingFormat:
    return _write_numbers(embedding, AAMEmbeddingFormat())


@plugin.register_transformer
def _embedding_to_frame(fmt: AAMEmbeddingFormat) -> pd.DataFrame:
    return _read_numbers(fmt)


@plugin.register_transformer
def _embedding_to_metadata(fmt: AAMEmbeddingFormat) -> qiime2.Metadata:
    return _metadata(_read_numbers(fmt))


@plugin.register_transformer
def _frame_to_contributions(rows: pd.DataFrame) -> AAMContributionsFormat:
    fmt = AAMContributionsFormat()
    with fmt.open() as handle:
        rows.to_csv(handle, sep="\t", index=False)
    return fmt


@plugin.register_transformer
def _contributions_to_frame(fmt: AAMContributionsFormat) -> pd.DataFrame:
    from aam_core.data.contributions import read_contributions

    with as_validation():
        return read_contributions(str(fmt))


@plugin.register_transformer
def _contributions_to_metadata(fmt: AAMContributionsFormat) -> qiime2.Metadata:
    rows = _contributions_to_frame(fmt)
    width = len(str(len(rows)))  # so that ids sort like numbers
    ids = [f"row {number:0{width}}" for number in range(1, len(rows) + 1)]
    return _metadata(rows.set_axis(pd.Index(ids, name="id"), axis=0))


@plugin.register_transformer
def _cross_validation_to_view(
    fmt: AAMCrossValidationDirectoryFormat,
) -> CrossValidation:
    from aam_core.io.cross_validation import read_cross_validation

    with as_validation():
        found = read_cross_validation(str(fmt))
    return CrossValidation(found.run, found.predictions)


@plugin.register_transformer
def _cross_validation_to_frame(fmt: AAMCrossValidationDirectoryFormat) -> pd.DataFrame:
    return _cross_validation_to_view(fmt).predictions


@plugin.register_transformer
def _cross_validation_to_dict(fmt: AAMCrossValidationDirectoryFormat) -> dict:
    return _cross_validation_to_view(fmt).run


@plugin.register_transformer
def _cross_validation_to_metadata(
    fmt: AAMCrossValidationDirectoryFormat,
) -> qiime2.Metadata:
    """A row a prediction: sample, repeat and number of labels name it."""
    found = _cross_validation_to_view(fmt)
    table = found.predictions.rename(columns={"id": "sample"})
    names = table["sample"] + " repeat " + table["repeat"].astype(str)
    part = table["labels"] != "all"
    names = names.where(~part, names + " labels " + table["labels"])
    numbers = table.select_dtypes("number").astype(float)
    texts = table.drop(columns=list(numbers)).astype(object)
    texts = texts.apply(lambda column: column.str.strip())
    whole = str(found.run["completed"]).lower()
    table = pd.concat([texts, numbers], axis=1)[list(table)].assign(completed=whole)
    return _metadata(table.set_axis(pd.Index(names, name="id"), axis=0))
