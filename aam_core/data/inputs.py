"""Table, sequences and distances, checked and aligned before any long work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from aam_core.config import RunConfig, SplitOptions
from aam_core.config.option import Options, option_specs
from aam_core.data import splits
from aam_core.data.distance_matrix import MatrixDistances, missing_from
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.study import Study, prepare_study
from aam_core.data.table import FeatureTable
from aam_core.data.unifrac import BatchUniFrac
from aam_core.errors import InputError, some
from aam_core.reporting import Report

Matrix = tuple[Sequence[str], Any]  #: sample ids, and the square matrix


@dataclass(frozen=True, eq=False)
class Sources:
    """What a run reads, as it is in the files."""

    table: FeatureTable
    sequences: Mapping[str, str] | None = None  #: by feature id
    phylogeny: Phylogeny | None = None
    distances: Matrix | None = None


@dataclass(frozen=True)
class Inputs:
    """Samples of a run and, where there is one, the distance between them."""

    study: Study
    distances: BatchUniFrac | MatrixDistances | None = None

    def scale(self, rows: np.ndarray) -> float:
        """What divides the distances so that those of `rows` are within [0, 1]."""
        return 1.0 if self.distances is None else self.distances.scale(rows)


def prepare_inputs(
    options: RunConfig, sources: Sources, *, max_bp: int, report: Report
) -> Inputs:
    """Align what a run reads; see `prepare_study`.

    Parameters
    ----------
    options : PretrainConfig or TrainConfig
        Depth, what becomes of missing features and samples, metric and seed.
    sources : Sources
        As it was read.
    max_bp : int
        Nucleotides read of a sequence.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    Inputs

    Raises
    ------
    InputError
        If both a phylogeny and distances are given, or something is missing from
        the sequences, the phylogeny or the distances.
    """
    phylogeny, distances = sources.phylogeny, sources.distances
    if phylogeny is not None and distances is not None:
        raise InputError(
            "Both a phylogeny and a distance matrix were given: choose one. With a "
            "phylogeny, UniFrac is computed during training."
        )
    _check_sources(options, phylogeny, distances)
    _check_pairs(options, phylogeny, distances)
    tips = None if phylogeny is None else set(phylogeny.tip_names)
    study = prepare_study(
        sources.table,
        sources.sequences,
        options,
        max_bp=max_bp,
        seed=options.seed,
        report=report,
        keep_features=tips,
    )
    if phylogeny is not None:
        if phylogeny.looks_unrooted:
            report(
                "The root of the phylogeny has more than two branches, as unrooted "
                "trees are written; UniFrac depends on where the root is. Root the "
                "tree, as by qiime phylogeny midpoint-root, or know that it is rooted."
            )
        sheared = phylogeny.shear(study.table.feature_ids)
        return Inputs(study, BatchUniFrac(sheared, study.table, options.unifrac_metric))
    if distances is None:
        return Inputs(study)
    ids, matrix = distances
    study = _with_distances(study, ids, options.missing_samples, report)
    return Inputs(study, MatrixDistances(ids, matrix, study.table.sample_ids))


def _with_distances(
    study: Study, ids: Sequence[str], missing_samples: str, report: Report
) -> Study:
    lacking = missing_from(ids, study.table.sample_ids)
    if not lacking or missing_samples == "error":
        return study  # MatrixDistances names what is missing
    report(
        f"{len(lacking):,} samples are not in the distance matrix and are left out: "
        f"{some(lacking)}."
    )
    keep = np.flatnonzero(~np.isin(study.table.sample_ids, list(lacking)))
    if not len(keep):
        raise InputError(
            "No sample of the table is in the distance matrix: check that both use the "
            f"same ids (table: {some(study.table.sample_ids)}; matrix: {some(ids)})."
        )
    taken = {"samples without distances": len(lacking), "samples": len(keep)}
    return replace(study.take_samples(keep), taken=study.taken | taken)


def _check_sources(
    options: Options, phylogeny: Phylogeny | None, distances: Matrix | None
) -> None:
    """Refuse options that would be ignored for want of a phylogeny or a matrix."""
    idle = {}
    if distances is None:
        idle["missing_samples"] = "without a distance matrix"
    elif phylogeny is None:
        idle["unifrac_metric"] = "beside a distance matrix, which has its own metric"
    if phylogeny is None and distances is None:
        idle["unifrac_metric"] = "without a phylogeny"
        idle["penalty"] = "without a phylogeny or a distance matrix"
    for spec in option_specs(type(options)):
        if spec.name in idle and getattr(options, spec.name) != spec.default:
            raise InputError(
                f"{spec.name} has no effect {idle[spec.name]}: leave it out, or give "
                "what it needs."
            )


def _check_pairs(
    options: RunConfig, phylogeny: Phylogeny | None, distances: Matrix | None
) -> None:
    """Refuse batches that have no pair of samples to learn a distance from."""
    of_tree = phylogeny is not None and options.unifrac_metric != "faith_pd"
    learned = options.penalty and not getattr(options, "freeze_base", False)
    one = options.batch_size == 1 and not options.auto_batch_size
    if one and learned and (of_tree or distances is not None):
        raise InputError(
            "batch_size 1 learns no distances, which are between the samples of a "
            "batch: choose batch_size 2 or more (less memory is taken with a smaller "
            "token_limit), or penalty 0 to leave distances out."
        )


def split_rows(
    study: Study,
    options: SplitOptions,
    *,
    metadata: pd.DataFrame | None,
    labels: Sequence[str] | None = None,
    least: int = 1,
    report: Report,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and of the validation samples; see `splits.split`."""
    ids = study.table.sample_ids
    if options.group_column is not None and metadata is None:
        raise InputError(
            f"group_column {options.group_column!r} needs the sample metadata."
        )
    groups = splits.read_groups(metadata, options.group_column, ids, report)
    return splits.split(
        ids,
        options.test_size,
        options.seed,
        labels=labels,
        groups=groups,
        least=least,
        report=report,
    )
