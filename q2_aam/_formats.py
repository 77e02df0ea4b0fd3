"""Formats: the engine's directory layout, and tables of results.

What the files of a model must hold is `aam_core.io.model_folder`'s to say; its
`InputError` becomes the `ValidationError` of QIIME 2 here.
"""

import contextlib
import csv
import math
from collections.abc import Iterator
from pathlib import Path

from qiime2.plugin import ValidationError
from qiime2.plugin.model import (
    BinaryFileFormat,
    DirectoryFormat,
    File,
    SingleFileDirectoryFormat,
    TextFileFormat,
)

from aam_core.errors import InputError

#: Rows that a validation at level `min` reads.
FEW_ROWS = 5


@contextlib.contextmanager
def as_validation() -> Iterator[None]:
    """Turn the engine's error into that of QIIME 2."""
    try:
        yield
    except InputError as error:
        raise ValidationError(str(error)) from error


def _check_table(path: str, level: str) -> None:
    """Raise unless a TSV has ids, each once, and numbers beside them."""
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            _check_rows(csv.reader(handle, delimiter="\t"), level)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValidationError(f"This is not a table: {error}.") from error


def _check_rows(rows: Iterator[list[str]], level: str) -> None:
    header = next(rows, [])
    if len(header) < 2 or header[0] != "id":
        raise ValidationError(
            "The first line must be a header of 'id' and at least one more column; it "
            f"is {header[:FEW_ROWS]!r}."
        )
    if len({*map(str.strip, header), ""}) <= len(header):
        raise ValidationError("Columns of the header are empty, or there twice.")
    number, seen = 0, set()
    for number, cells in enumerate(rows, start=1):
        if level == "min" and number > FEW_ROWS:
            return
        if len(cells) != len(header):
            raise ValidationError(
                f"Line {number + 1} has {len(cells)} fields, not {len(header)}."
            )
        if not cells[0] or cells[0] in seen:
            raise ValidationError(
                f"Line {number + 1}: the id {cells[0]!r} is empty, or there twice."
            )
        seen.add(cells[0])
        for cell in filter(None, cells[1:]):
            _check_number(cell, number + 1)
    if not number:
        raise ValidationError("There are no rows below the header.")


def _check_number(cell: str, line: int) -> None:
    try:
        fits = "_" not in cell and math.isfinite(float(cell))
    except ValueError:
        fits = False
    if not fits:
        raise ValidationError(f"Line {line} holds {cell!r}, not a number.")


class AAMConfigFormat(TextFileFormat):
    """`config.json`: what a model is, and how it came to be."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.json_file import read_json
        from aam_core.io.model_folder import check_config

        with as_validation():
            check_config(read_json(str(self)), str(self))


class SafetensorsFormat(BinaryFileFormat):
    """`model.safetensors`: weights, without any code."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import read_shapes

        with as_validation():
            read_shapes(self.path)


class AAMHistoryFormat(TextFileFormat):
    """`history.tsv`: losses and scores, one row per epoch."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import read_history_file

        with as_validation():
            read_history_file(str(self))


class AAMTrainingStateFormat(BinaryFileFormat):
    """`state.pt`: what a run that was stopped needs to resume. No code in it is run."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.training_state import check_state

        with as_validation():
            check_state(str(self.path), level)


class _LayoutFormat(DirectoryFormat):
    """What `model_folder.save` writes, and the state of a run that was stopped."""

    kind = ""
    config = File("config.json", format=AAMConfigFormat)
    weights = File("model.safetensors", format=SafetensorsFormat)
    history = File("history.tsv", format=AAMHistoryFormat)
    training_state = File("state.pt", format=AAMTrainingStateFormat, optional=True)

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import check_entries, check_layout, read_config

        with as_validation():
            check_entries(str(self))
            kind = read_config(str(self))["kind"]
            if kind != self.kind:
                raise ValidationError(f"This is of kind {kind!r}, not {self.kind!r}.")
            check_layout(str(self), level)
            if level == "max":
                self._check_loads(Path(str(self)))

    def _check_loads(self, path: Path) -> None:
        """Raise `InputError` unless all parts fit each other, as where it is used."""
        raise NotImplementedError


class AAMEncoderDirectoryFormat(_LayoutFormat):
    """A pre-trained encoder."""

    kind = "encoder"

    def _check_loads(self, path: Path) -> None:
        from aam_core.io.load import load_encoder

        load_encoder(path)


class AAMModelDirectoryFormat(_LayoutFormat):
    """A model that predicts sample metadata."""

    kind = "model"

    def _check_loads(self, path: Path) -> None:
        from aam_core.ensemble.saved import load_ensemble

        load_ensemble(path)


class RegressionDetailsFormat(TextFileFormat):
    """Predictions, quantiles and intervals: numbers by sample id."""

    def _validate_(self, level: str) -> None:
        _check_table(str(self), level)


RegressionDetailsDirectoryFormat = SingleFileDirectoryFormat(
    "RegressionDetailsDirectoryFormat", "details.tsv", RegressionDetailsFormat
)


class AAMEmbeddingFormat(TextFileFormat):
    """Coordinates of samples or features: numbers by id."""

    def _validate_(self, level: str) -> None:
        _check_table(str(self), level)


AAMEmbeddingDirectoryFormat = SingleFileDirectoryFormat(
    "AAMEmbeddingDirectoryFormat", "embedding.tsv", AAMEmbeddingFormat
)


class AAMContributionsFormat(TextFileFormat):
    """What ASVs contribute to predictions: a row for each sample, target and ASV."""

    def _validate_(self, level: str) -> None:
        from aam_core.data.contributions import read_contributions

        with as_validation():
            read_contributions(str(self), FEW_ROWS if level == "min" else None)


AAMContributionsDirectoryFormat = SingleFileDirectoryFormat(
    "AAMContributionsDirectoryFormat", "contributions.tsv", AAMContributionsFormat
)


class AAMCrossValidationFormat(TextFileFormat):
    """Predictions out of fold by q2-aam and a forest: a row a sample and repeat."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.cross_validation import check_predictions

        with as_validation():
            check_predictions(str(self), level)


class AAMCrossValidationRunFormat(TextFileFormat):
    """`run.json`: what was predicted, by which options, and whether all is done."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.cross_validation import read_run

        with as_validation():
            read_run(str(self))


class AAMCrossValidationDirectoryFormat(DirectoryFormat):
    """What `cross-validate` writes."""

    predictions = File("predictions.tsv", format=AAMCrossValidationFormat)
    run = File("run.json", format=AAMCrossValidationRunFormat)
