"""Measured without a model: distances, batches, and the way of the data to them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aam_core.cli.files import write_table
from aam_core.commands.predict import predict
from aam_core.config import PredictConfig, PretrainConfig
from aam_core.data.batches import BatchMaker, RowBatches
from aam_core.data.inputs import Sources, prepare_inputs
from aam_core.data.masking import Masking
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.data.table import FeatureTable
from aam_core.data.unifrac import BatchUniFrac
from aam_core.runtime.process_memory import peak_resident
from benchmarks.contenders import Sizes, silent, small_model


class UniFrac:
    """UniFrac within batches."""

    def __init__(self, metric: str, batch: int, calls: int, **sizes: Any) -> None:
        made = Sizes(**sizes).made
        self.distances = BatchUniFrac(made.phylogeny, made.table, metric)
        self.rows = row_lists(made.table.shape[0], batch, calls)
        self.facts = {"calls": calls}

    def __call__(self) -> None:
        """The distances of each batch."""
        for rows in self.rows:
            self.distances(rows)


def row_lists(samples: int, batch: int, number: int) -> list[np.ndarray]:
    """Random samples for batches."""
    generator = np.random.default_rng(0)
    return [generator.choice(samples, batch, replace=False) for _ in range(number)]


class Batches:
    """Batches of pre-training, with or without UniFrac."""

    def __init__(self, unifrac: bool, calls: int, **sizes: Any) -> None:
        sizes = Sizes(**sizes)
        config = PretrainConfig(**sizes.options)
        inputs = sizes.inputs(config, unifrac)
        self.maker = BatchMaker(
            inputs.study,
            token_limit=config.token_limit,
            asv_sampling=config.asv_sampling,
            chunk_size=config.asv_chunk_size,
            distances=inputs.distances,
            masking=Masking(config.nuc_mask_ratio, config.nuc_mask_strategy),
        )
        self.rows = row_lists(sizes.samples, sizes.batch, calls)
        self.facts = {"calls": calls}

    def __call__(self) -> None:
        """Make each batch."""
        for rows in self.rows:
            self.maker[0, rows]


class Phases:
    """Work in several parts, each measured."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"phases": []}

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a part of the work; returns its result."""
        start, worked = time.perf_counter(), time.process_time()
        result = work()
        phase = {"phase": name, "seconds": time.perf_counter() - start}
        phase["CPU seconds"] = time.process_time() - worked
        self.facts["phases"].append(phase | {"memory so far": peak_resident()})
        return result

    def read(self, folder: Path) -> dict[str, Any]:
        """The table and the sequences of a folder, as `pretrain` and `predict` ask."""
        table, fasta = folder / "table.biom", folder / "sequences.fasta"
        return {
            "table": self.timed(
                "read the BIOM table", lambda: FeatureTable.read(table)
            ),
            "sequences": self.timed("read the FASTA", lambda: read_fasta(fasta)),
        }


class DataPath(Phases):
    """All that pre-training does with the data, from the files to the batches."""

    def __init__(self, folder: str, depth: int, batch: int, calls: int) -> None:
        super().__init__()
        self.folder, self.calls = Path(folder), calls
        self.config = PretrainConfig(
            rarefy_depth=depth, batch_size=batch, missing_features="drop"
        )

    def __call__(self) -> None:
        """Read, prepare, and make batches."""
        config = self.config
        given = self.read(self.folder)
        tree = self.timed(
            "read the tree", lambda: Phylogeny.read(self.folder / "tree.nwk")
        )
        inputs = self.timed(
            "align, rarefy, sort, tokenise",
            lambda: prepare_inputs(
                config,
                Sources(**given, phylogeny=tree),
                max_bp=150,
                report=silent,
            ),
        )
        study = inputs.study
        maker = BatchMaker(
            study,
            token_limit=config.token_limit,
            asv_sampling=config.asv_sampling,
            chunk_size=config.asv_chunk_size,
            distances=inputs.distances,
            masking=Masking(config.nuc_mask_ratio, config.nuc_mask_strategy),
        )
        order = RowBatches(
            np.arange(len(study.depths)), config.batch_size, shuffle=True
        )
        keys = [key for key, _ in zip(order, range(self.calls), strict=False)]
        name = f"{len(keys):,} batches of {config.batch_size} samples"
        distinct = self.timed(name, lambda: [len(maker[key].features) for key in keys])
        self.facts["distinct ASVs of a batch"] = float(np.mean(distinct))
        self.facts["ASVs of a sample"] = study.table.counts.nnz / len(study.depths)
        self.facts["samples"], self.facts["features"] = study.table.shape
        self.facts["batches"] = len(keys)


class PredictPath(Phases):
    """All that `aam predict` does, from the files to the file.

    The model is written into the `folder`; small as it may be, it is a whole one.
    """

    def __init__(
        self, folder: str, depth: int, batch: int, length: int, **model: int
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.config = PredictConfig(batch_size=batch, device="cpu")
        options = model | {"rarefy_depth": depth, "max_bp": length, "device": "cpu"}
        self.model = small_model(self.folder, **options)

    def __call__(self) -> None:
        """Read, predict, and write."""
        given = self.read(self.folder)

        def work() -> pd.DataFrame:
            return predict(self.config, self.model, **given, report=silent).predictions

        found = self.timed("predict", work)
        output = self.folder / "predictions.tsv"
        self.timed("write the predictions", lambda: write_table(found, output))
        self.facts["samples"] = len(found)
