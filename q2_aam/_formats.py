"""Formats: the engine's directory layout, and tables of results.

What the files of a model must hold is `aam_core.io.model_folder`'s to say; its
`InputError` becomes the `ValidationError` of QIIME 2 here.
"""

import contextlib
import json
from collections.abc import Iterator

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
def _as_validation() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise ValidationError(str(error)) from error


def _check_table(handle, level: str, first: str) -> None:
    """Raise unless a TSV has the header it should, and numbers below it."""
    header = handle.readline().rstrip("\n").split("\t")
    if len(header) < 2 or header[0] != first:
        raise ValidationError(
            f"The first line must be a header of {first!r} and at least one more "
            f"column; it is {header!r}."
        )
    number = 0
    for number, line in enumerate(handle, start=1):
        if level == "min" and number > FEW_ROWS:
            return
        cells = line.rstrip("\n").split("\t")
        if len(cells) != len(header):
            raise ValidationError(
                f"Line {number + 1} has {len(cells)} fields, not {len(header)}."
            )
        for cell in filter(None, cells[1:]):
            _check_number(cell, number + 1)
    if not number:
        raise ValidationError("There are no rows below the header.")


def _check_number(cell: str, line: int) -> None:
    try:
        float(cell)
    except ValueError:
        raise ValidationError(f"Line {line} holds {cell!r}, not a number.") from None


class AAMConfigFormat(TextFileFormat):
    """`config.json`: what a model is, and how it came to be."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import CONFIG, check_config

        with self.open() as handle:
            try:
                config = json.load(handle)
            except ValueError as error:
                raise ValidationError(f"This is not JSON: {error}.") from error
        with _as_validation():
            check_config(config, CONFIG)


class SafetensorsFormat(BinaryFileFormat):
    """`model.safetensors`: weights, without any code."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import read_shapes

        with _as_validation():
            read_shapes(self.path)


class AAMHistoryFormat(TextFileFormat):
    """`history.tsv`: losses and scores, one row per epoch."""

    def _validate_(self, level: str) -> None:
        with self.open() as handle:
            _check_table(handle, level, first="epoch")


class AAMTrainingStateFormat(BinaryFileFormat):
    """`state.pt`: what a run that was stopped needs to resume. No code in it is run."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.model_folder import check_state

        with _as_validation():
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

        with _as_validation():
            check_entries(str(self))
            kind = read_config(str(self))["kind"]
            if kind != self.kind:
                raise ValidationError(f"This is of kind {kind!r}, not {self.kind!r}.")
            check_layout(str(self), level)


class AAMEncoderDirectoryFormat(_LayoutFormat):
    """A pre-trained encoder."""

    kind = "encoder"


class AAMModelDirectoryFormat(_LayoutFormat):
    """A model that predicts sample metadata."""

    kind = "model"


class RegressionDetailsFormat(TextFileFormat):
    """Predictions, quantiles and intervals: numbers by sample id."""

    def _validate_(self, level: str) -> None:
        with self.open() as handle:
            _check_table(handle, level, first="id")


RegressionDetailsDirectoryFormat = SingleFileDirectoryFormat(
    "RegressionDetailsDirectoryFormat", "details.tsv", RegressionDetailsFormat
)


class AAMEmbeddingFormat(TextFileFormat):
    """Coordinates of samples or features: numbers by id."""

    def _validate_(self, level: str) -> None:
        with self.open() as handle:
            _check_table(handle, level, first="id")


AAMEmbeddingDirectoryFormat = SingleFileDirectoryFormat(
    "AAMEmbeddingDirectoryFormat", "embedding.tsv", AAMEmbeddingFormat
)


class AAMContributionsFormat(TextFileFormat):
    """What ASVs contribute to predictions: a row for each sample, target and ASV."""

    def _validate_(self, level: str) -> None:
        from aam_core.data.contributions import read_contributions

        with _as_validation():
            read_contributions(str(self), FEW_ROWS if level == "min" else None)


AAMContributionsDirectoryFormat = SingleFileDirectoryFormat(
    "AAMContributionsDirectoryFormat", "contributions.tsv", AAMContributionsFormat
)


class AAMCrossValidationFormat(TextFileFormat):
    """Predictions out of fold by q2-aam and a forest: a row a sample and repeat."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.cross_validation import check_predictions

        with _as_validation():
            check_predictions(str(self), level)


class AAMCrossValidationRunFormat(TextFileFormat):
    """`run.json`: what was predicted, by which options, and whether all is done."""

    def _validate_(self, level: str) -> None:
        from aam_core.io.cross_validation import read_run

        with _as_validation():
            read_run(str(self))


class AAMCrossValidationDirectoryFormat(DirectoryFormat):
    """What `cross-validate` writes."""

    predictions = File("predictions.tsv", format=AAMCrossValidationFormat)
    run = File("run.json", format=AAMCrossValidationRunFormat)
