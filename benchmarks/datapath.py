"""Measured without a model: distances, batches, and the way of the data to them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aam_core.batches import BatchMaker, Masking, RowBatches
from aam_core.config import PretrainConfig
from aam_core.inputs import prepare_inputs
from aam_core.phylogeny import Phylogeny
from aam_core.resident import peak_resident
from aam_core.sequences import read_fasta
from aam_core.table import FeatureTable
from aam_core.unifrac import BatchUniFrac
from benchmarks.contenders import Sizes, silent


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


class DataPath:
    """All that pre-training does with the data, from the files to the batches."""

    def __init__(self, folder: str, depth: int, batch: int, calls: int) -> None:
        self.folder, self.calls = Path(folder), calls
        self.config = PretrainConfig(
            rarefy_depth=depth, batch_size=batch, missing_features="drop"
        )
        self.facts: dict[str, Any] = {"phases": []}

    def __call__(self) -> None:
        """Read, prepare, and make batches."""
        config = self.config
        table = self._timed(
            "read the BIOM table", lambda: FeatureTable.read(self.folder / "table.biom")
        )
        sequences = self._timed(
            "read the FASTA", lambda: read_fasta(self.folder / "sequences.fasta")
        )
        tree = self._timed(
            "read the tree", lambda: Phylogeny.read(self.folder / "tree.nwk")
        )
        inputs = self._timed(
            "align, rarefy, sort, tokenise",
            lambda: prepare_inputs(
                config,
                table=table,
                sequences=sequences,
                phylogeny=tree,
                distances=None,
                metric=config.unifrac_metric,
                max_bp=150,
                seed=config.seed,
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
        self._timed(name, lambda: [maker[key] and None for key in keys])
        self.facts["samples"], self.facts["features"] = study.table.shape
        self.facts["batches"] = len(keys)

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start, worked = time.perf_counter(), time.process_time()
        result = work()
        phase = {"phase": name, "seconds": time.perf_counter() - start}
        phase["CPU seconds"] = time.process_time() - worked
        self.facts["phases"].append(phase | {"memory so far": peak_resident()})
        return result
