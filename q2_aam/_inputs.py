"""What the actions share: views of artifacts become inputs of the engine."""

import atexit
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import biom
import click
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat
from qiime2.plugin.model import DirectoryFormat

from aam_core.errors import InputError, system_errors_told
from aam_core.io.model_folder import check_entries, read_config
from aam_core.io.training_state import STATE
from aam_core.reporting import closing_lines
from aam_core.training.stop import Action


def report(message: str) -> None:
    """Print what the engine has to say; `--verbose` shows it as it comes."""
    print(message, flush=True)


@contextlib.contextmanager
def in_action() -> Iterator[None]:
    """An action from its first line to its last.

    A request to end loses nothing, in the command `qiime` until the process ends: it
    saves what the action returned. Errors of the system say what to do.
    """
    in_qiime = "q2cli" in sys.modules and click.get_current_context(silent=True)
    with system_errors_told(), Action(stays=bool(in_qiime)):
        yield


def table_inputs(table: biom.Table, sequences: DNAFASTAFormat | None) -> dict[str, Any]:
    """The feature table and its sequences, as every engine function takes them."""
    from aam_core.data.sequences import read_fasta
    from aam_core.data.table import FeatureTable

    return {
        "table": FeatureTable.from_biom(table),
        "sequences": None if sequences is None else read_fasta(str(sequences)),
    }


def distance_inputs(
    phylogeny: NewickFormat | None, distance_matrix: skbio.DistanceMatrix | None
) -> dict[str, Any]:
    """Where distances between samples come from."""
    distances = None
    if distance_matrix is not None:
        distances = (distance_matrix.ids, distance_matrix.data)
    return {"phylogeny": tree(phylogeny), "distances": distances}


def tree(phylogeny: NewickFormat | None) -> Any:
    """The phylogeny as the engine takes it."""
    if phylogeny is None:
        return None
    from aam_core.data.phylogeny import Phylogeny

    return Phylogeny.read(str(phylogeny))


def labels(taxonomy: pd.Series | None) -> dict[str, str]:
    """Taxon of each feature id."""
    return {} if taxonomy is None else dict(taxonomy.dropna())


def frame(metadata: qiime2.Metadata | None) -> pd.DataFrame | None:
    """Sample metadata by sample id; numeric columns are float64."""
    return None if metadata is None else metadata.to_dataframe()


def column_and_groups(
    metadata: qiime2.MetadataColumn, groups: qiime2.MetadataColumn | None
) -> pd.DataFrame:
    """The column that is predicted, and the groups."""
    from aam_core.data.splits import check_groups

    check_groups(metadata.name, None if groups is None else groups.name)
    columns = [metadata.to_series()]
    if groups is not None:
        columns.append(groups.to_series())
    return pd.concat(columns, axis=1).rename_axis("id")


def directory(artifact: DirectoryFormat | None) -> Path | None:
    """Where the files of an artifact lie.

    Raises
    ------
    InputError
        If it holds others than an encoder or model has.
    """
    if artifact is None:
        return None
    check_entries(str(artifact))
    return Path(str(artifact))


def state_folder(artifact: DirectoryFormat | None) -> Path | None:
    """Where the training state of a run that was stopped lies.

    Raises
    ------
    InputError
        If the artifact carries none.
    """
    folder = directory(artifact)
    if folder is not None and not (folder / STATE).is_file():
        raise InputError(
            "The artifact resume_from carries no training state: its run reached its "
            "end. Leave resume_from out; to train further from its weights, pass it "
            "as the encoder to start from."
        )
    return folder


def tell_at_end(artifact: DirectoryFormat) -> None:
    """Say once more what a run left out, and that it did not reach its end."""
    config = read_config(str(artifact))
    lines = closing_lines(config)
    if not config.get("completed", True):
        stopped = (
            "The run was stopped before its end: the result is the best model so far, "
            "marked as not completed."
        )
        if (Path(str(artifact)) / STATE).is_file():
            stopped += " To resume, repeat the command with this result as resume_from."
        report(stopped)
        lines.append(stopped)
    repeat_at_end(lines)


def repeat_at_end(lines: Sequence[str]) -> None:
    """Say what must not be missed when the command ends.

    q2cli shows what an action prints with `--verbose` only; elsewhere that is enough.
    """
    if lines and "q2cli" in sys.modules:
        atexit.register(click.echo, "\n".join(lines), err=True)


def as_predictions(predictions: pd.DataFrame) -> pd.Series:
    """The first (mostly the only) target, in the form of q2-sample-classifier."""
    first = predictions.iloc[:, 0].rename("prediction")
    return first.rename_axis("SampleID")


def as_details(details: pd.DataFrame) -> pd.DataFrame:
    """Numbers by sample id, in the form of q2-sample-classifier."""
    return details.rename_axis(index="SampleID", columns=None)
