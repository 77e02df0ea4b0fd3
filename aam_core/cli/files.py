"""Files that the command line reads and writes."""

import os
import shutil
from pathlib import Path
from typing import Any

import click
import pandas as pd

from aam_core.distributed.launch import rank
from aam_core.errors import InputError
from aam_core.io.run_layout import BEST

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)


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

    return read_table(table, sequences) | {
        "phylogeny": read_tree(tree),
        "distances": read_distance_matrix(matrix) if matrix else None,
    }


def read_tree(path: Path | None) -> Any:
    """The phylogeny, where there is any."""
    from aam_core.data.phylogeny import Phylogeny

    return None if path is None else Phylogeny.read(path)


def read_taxonomy(path: Path | None) -> dict[str, str]:
    """Taxon of each feature id: the first column of a table."""
    if path is None:
        return {}
    from aam_core.data.categories import label_texts

    return label_texts(read_results(path).iloc[:, 0]).dropna().to_dict()


def read_metadata(path: Path | None) -> pd.DataFrame | None:
    """Sample metadata, where there is any."""
    from aam_core.data import metadata

    return None if path is None else metadata.read_metadata(path)


def read_results(path: Path) -> pd.DataFrame:
    """A table by id that a command wrote, in which `#` starts no comment."""
    from aam_core.data import metadata

    found = metadata.read_metadata(path, comments=False)
    if not found.shape[1]:
        raise InputError(f"{path} holds no column beside the ids.")
    return found


def read_details(path: Path | None) -> pd.DataFrame | None:
    """Numbers beside predictions, where there are any."""
    from aam_core.data.spelled_numbers import plain_numbers

    return None if path is None else plain_numbers(read_results(path))


def read_predictions(path: Path, column: str) -> pd.Series:
    """The predictions of a column, as they are spelled."""
    from aam_core.data.categories import label_texts

    frame = read_results(path)
    if frame.shape[1] > 1 and column not in frame:
        raise InputError(
            f"{path} has the columns {', '.join(map(repr, frame))}, of which none is "
            f"{column!r}: name one of them as --metadata-column."
        )
    return label_texts(frame[column] if column in frame else frame.iloc[:, 0])


def read_list(path: Path | None) -> list[str] | None:
    """Ids, one a line."""
    from aam_core.data.file_kinds import check_kind

    if path is None:
        return None
    check_kind(path, "a list of ids")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not UTF-8 text: save it as such, with one id a line."
        ) from None
    return [line.strip() for line in lines if line.strip()]


def check_new(paths: list[Path | None], overwrite: bool) -> None:
    """Refuse to overwrite files."""
    for path in paths:
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} exists already: choose another, or --overwrite.")
        if path is not None and not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} for {path.name} is not there.")
        if path is not None and not os.access(path.parent, os.W_OK):
            raise InputError(
                f"Nothing can be written into the folder {path.parent}, where "
                f"{path.name} should be: name another place."
            )


def write_lists(folder: Path) -> None:
    """Write the split and the history beside the model, from one process."""
    if rank():
        return
    from aam_core.io.model_folder import HISTORY, read_config

    split = read_config(folder / BEST)["split"]
    for name, side in (("train", "training"), ("val", "validation")):
        text = "".join(f"{i}\n" for i in split[side])
        (folder / f"{name}_samples.txt").write_text(text, encoding="utf-8")
    if "folds" in split:
        rows = [f"{i}\t{n}\n" for n, fold in enumerate(split["folds"], 1) for i in fold]
        (folder / "folds.tsv").write_text(
            "".join(["id\tfold\n", *rows]), encoding="utf-8"
        )
    shutil.copyfile(folder / BEST / HISTORY, folder / HISTORY)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, whole or not at all."""
    from aam_core.io.model_folder import write_atomically

    write_atomically(path, table.to_csv(sep="\t").encode())
