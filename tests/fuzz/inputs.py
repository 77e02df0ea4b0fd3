"""Damaged inputs: tables, sequences, trees, distances and metadata, read and used."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import biom
import h5py
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from aam_core.cli.files import read_predictions, read_taxonomy
from aam_core.data.categories import category_labels
from aam_core.data.distance_matrix import MatrixDistances, read_distance_matrix
from aam_core.data.metadata import read_metadata
from aam_core.data.missing import with_missing
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import match_sequences, read_fasta
from aam_core.data.splits import read_groups
from aam_core.data.table import FeatureTable
from aam_core.data.targets import read_target, task_of_column
from aam_core.data.unifrac import BatchUniFrac
from aam_core.reporting import silent
from tests.fuzz.harness import Limits, Target
from tests.fuzz.mutations import (
    apply_bytes,
    apply_cells,
    apply_json,
    byte_changes,
    cell_changes,
    json_changes,
)

SAMPLES = [f"s{number}" for number in range(6)]
FEATURES = [f"f{number}" for number in range(8)]
TREE = "(((f0:1,f1:2):0.5,(f2:1,'f3':1)0.98:1)x:1,((f4:1,f5:1):1,(f6:2,f7:1):1):0.1)r;"
#: What is put into a text.
PIECES = [
    "(", ")", ",", ":", ";", "'", '"', "[", "]", "\t", "\n", "\r", " ", "\0", ">", "#",
    "(" * 3000, "-1", "1e400", "nan", "é", "\ufeff", "A" * 100_000, "_", "\\", "=",
]  # fmt: skip


class TextChange(NamedTuple):
    """Something put into a text in place of some of it."""

    at: float  #: fraction of the length
    length: int
    piece: str


class Damage(NamedTuple):
    """What is changed in a file, and how."""

    how: str
    what: tuple[Any, ...]


def text_changes() -> st.SearchStrategy:
    """Of one to three places."""
    one = st.builds(
        TextChange, st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES)
    )
    return st.lists(one, min_size=1, max_size=3).map(tuple)


def apply_text(raw: bytes, changes: tuple[TextChange, ...]) -> bytes:
    """A text with these changes."""
    text = raw.decode()
    for fraction, length, piece in changes:
        at = int(fraction * len(text))
        text = text[:at] + piece + text[at + length :]
    return text.encode()


APPLY = {
    "bytes": (byte_changes, apply_bytes),
    "text": (text_changes, apply_text),
    "cells": (cell_changes, apply_cells),
    "json": (json_changes, apply_json),
}


def of_table(path: Path) -> Any:
    """A feature table, rarefied."""
    table = FeatureTable.read(path)
    drawn = table.rarefy(1, 0, silent, keep_shallow=True)
    return drawn.depths, len(table.sample_ids)


def of_sequences(path: Path) -> Any:
    """Sequences, matched with features."""
    return len(match_sequences(np.array(FEATURES, dtype=object), read_fasta(path)))


def of_tree(path: Path) -> Any:
    """A phylogeny, and UniFrac along it."""
    tree = Phylogeny.read(path)
    names = sorted(set(tree.tip_names))[:8]
    counts = pd.DataFrame(np.eye(4, len(names), dtype=int) + 1, columns=names)
    table = FeatureTable.from_dataframe(counts.rename(index=str))
    distances = BatchUniFrac(tree.shear(table.feature_ids), table, "weighted")
    return distances(np.arange(4)).tolist()


def of_matrix(path: Path) -> Any:
    """Distances between all samples."""
    ids, matrix = read_distance_matrix(path)
    return MatrixDistances(ids, matrix, list(ids)[:6])(np.arange(min(len(ids), 6)))


def of_metadata(path: Path) -> Any:
    """Metadata, with each column as target and as categories."""
    known = with_missing(read_metadata(path), "INSDC:missing")
    ids = list(known.index)
    for column in known:
        read_groups(known, column, ids)
        category_labels(known, [column], ids, silent)
        read_target(known, [column], task_of_column(known, column), ids, silent)
    return len(known)


def of_predictions(path: Path) -> Any:
    """A table that a command wrote, as predictions and as a taxonomy."""
    read_taxonomy(path)
    return len(read_predictions(path, "site"))


def _counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(2.0, (8, 6)).astype(float) + 1


def _distances() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(6, 2))
    return np.linalg.norm(points[:, None] - points, axis=-1)


def _biom() -> biom.Table:
    return biom.Table(_counts(), FEATURES, SAMPLES)


def _hdf5_table(path: Path) -> None:
    with h5py.File(path, "w") as file:
        _biom().to_hdf5(file, "fuzz")


def _hdf5_matrix(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["order"], file["matrix"] = SAMPLES, _distances()


def _npy_matrix(path: Path) -> None:
    np.save(path, _distances())
    path.with_suffix(".ids.txt").write_text("\n".join(SAMPLES))


def _text_matrix(path: Path) -> None:
    separator = "," if path.suffix == ".csv" else "\t"
    pd.DataFrame(_distances(), SAMPLES, SAMPLES).to_csv(path, sep=separator)


def _metadata(path: Path) -> None:
    rows = [
        "sample-id\tage\tsite\tplate\tsubject",
        "#q2:types\tnumeric\tcategorical\t\t",
        "#q2:missing\t\tINSDC:missing\t\t",
    ]
    sites = ["gut", "skin", "not applicable"]
    for number, name in enumerate(SAMPLES):
        cells = [name, f"{number}.5", sites[number % 3], f"0{number}", f"p{number % 2}"]
        rows.append("\t".join(cells))
    path.write_text("\n".join(rows) + "\n")


def _sequences(path: Path) -> None:
    bases = np.random.default_rng(0).choice(list("ACGT"), (8, 40))
    lines = [f">{n}\n{''.join(b)}\n" for n, b in zip(FEATURES, bases, strict=True)]
    path.write_text("".join(lines))


def _predictions(path: Path) -> None:
    path.write_text("id\tsite\nNA\tgut\n#b\t01\n1e5\tnull\n")


#: By name of the file: how it is made, read and damaged.
KINDS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], tuple]] = {
    "table.tsv": (
        lambda path: path.write_text(_biom().to_tsv()),
        of_table,
        ("cells", "text", "bytes"),
    ),
    "table.json": (
        lambda path: path.write_text(_biom().to_json("fuzz")),
        of_table,
        ("json", "bytes"),
    ),
    "table.biom": (_hdf5_table, of_table, ("bytes",)),
    "sequences.fasta": (_sequences, of_sequences, ("text", "bytes")),
    "tree.nwk": (lambda path: path.write_text(TREE), of_tree, ("text", "bytes")),
    "matrix.tsv": (_text_matrix, of_matrix, ("cells", "text", "bytes")),
    "matrix.csv": (_text_matrix, of_matrix, ("text", "bytes")),
    "matrix.npy": (_npy_matrix, of_matrix, ("bytes",)),
    "matrix.h5": (_hdf5_matrix, of_matrix, ("bytes",)),
    "metadata.tsv": (_metadata, of_metadata, ("cells", "text", "bytes")),
    "predictions.tsv": (_predictions, of_predictions, ("cells", "text", "bytes")),
}


def write(made: Path, name: str, damage: Damage, folder: Path) -> None:
    """Lay down a file with this damage, and what lies beside it."""
    for path in made.iterdir():
        raw = path.read_bytes()
        if path.name == name:
            raw = APPLY[damage.how][1](raw, damage.what)
        (folder / path.name).write_bytes(raw)


def read(name: str, folder: Path) -> Any:
    """Read and use the file."""
    return KINDS[name][1](folder / name)


def targets(work: Path) -> list[Target]:
    """One of each kind of file."""
    found = []
    for name, (make, _, ways) in KINDS.items():
        made = work / name.replace(".", "-")
        made.mkdir(exist_ok=True)
        make(made / name)
        cases = [st.builds(Damage, st.just(way), APPLY[way][0]()) for way in ways]
        found.append(
            Target(
                name,
                st.one_of(cases),
                functools.partial(write, made, name),
                functools.partial(read, name),
                number=10 if name.endswith((".biom", ".h5")) else 40,
                limits=Limits(seconds=60.0),
            )
        )
    return found
