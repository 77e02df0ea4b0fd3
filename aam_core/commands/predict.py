"""Prediction of new samples, whose ASVs the model need not have seen."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core.config import PredictConfig
from aam_core.data.batches import Batch, BatchMaker
from aam_core.data.missing import tell_misread
from aam_core.data.sample_features import sample_features
from aam_core.data.sequences import reverse_complement
from aam_core.data.study import Study
from aam_core.data.table import FeatureTable
from aam_core.data.target_decoder import Predictions
from aam_core.ensemble.community import Community, far_fraction, read_community
from aam_core.ensemble.mixture import NETWORK
from aam_core.ensemble.networks import ReadyNetwork, ready_networks
from aam_core.ensemble.saved import (
    Ensemble,
    check_covariates,
    indices_of,
    load_ensemble,
)
from aam_core.errors import some
from aam_core.inference.encode import collect
from aam_core.inference.finite import check_finite
from aam_core.inference.random_draws import (
    all_passes,
    number_of_passes,
    samples_above,
)
from aam_core.inference.reading import (
    batches_as_trained,
    in_table_order,
    metadata_as_trained,
    read_as_trained,
)
from aam_core.reporting import Log, Report, logger
from aam_core.runtime.device import choose_device
from aam_core.training.memory import MemoryProfile

#: Fraction of a sample's reads in far ASVs from which its prediction is doubted.
MUCH = 0.5


def predict(
    config: PredictConfig,
    model: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    metadata: pd.DataFrame | None = None,
    report: Report = logger.info,
) -> Predictions:
    """Predict the target of samples; each distinct ASV is encoded once.

    Parameters
    ----------
    config : PredictConfig
        All options.
    model : Path
        What `train` wrote. Rarefaction depth, longest sequence and ASVs per sample
        are the model's.
    table : FeatureTable
        Counts; features may be others than those of training.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    metadata : pandas.DataFrame, optional
        Sample metadata, for models with covariates.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    Predictions
        In the order of the table.

    Raises
    ------
    InputError
        If the input or an option is wrong.
    """
    device = choose_device(config)
    profile = MemoryProfile(device, config.memory_profile)
    ensemble = load_ensemble(model)
    saved = ensemble.saved
    number = number_of_passes(config, saved["options"])
    notes = Log(report)
    study = read_as_trained(saved, table, sequences, config, notes, keep_shallow=True)
    ids = study.table.sample_ids
    metadata = metadata_as_trained(saved, metadata)
    groups = check_covariates(ensemble, config, metadata, ids, notes)
    tell_misread("Sample ids", ids, notes)
    report(
        f"Predicting {len(ids):,} samples with {study.table.shape[1]:,} distinct ASVs "
        f"on {device.type}."
    )
    profile.mark("preparation")
    samples = read_community(study)
    reliability = _reliability(ensemble, samples, ids, notes)
    if ensemble.profiles_VD is not None:
        _tell_if_reversed(ensemble.profiles_VD, study, samples, reliability, notes)
    found = _classical(ensemble, samples, ids, metadata, groups)
    passes = [found]
    if ensemble.networks:
        of_networks = _network_passes(
            ensemble, study, config, metadata, groups, device, number, report
        )
        passes = [{NETWORK: value} | found for value in of_networks]
    space, decoder = ensemble.space, ensemble.space.decoder
    mean = {n: np.mean([p[n] for p in passes], axis=0) for n in passes[0]}
    for name, values in mean.items():
        check_finite(values, ids, f"What the member {name} returns", "samples")
    raw = space.raw(mean, ensemble.weights)
    apart = None
    if decoder.classes is None:
        apart = space.disagreement(mean, ensemble.weights, groups)
    details = decoder.details(raw, ids, groups, apart)
    if config.output_variance:
        each = np.stack([space.raw(p, ensemble.weights) for p in passes])
        details = details.join(decoder.spread(each, ids, groups))
    profile.mark("prediction")
    profile.tell(report)
    predictions = decoder.predictions(raw, ids, groups)
    for numbers in (details, predictions):
        check_finite(numbers, ids, "Predictions", "samples")
    order = table.sample_ids
    tables = (in_table_order(t, order) for t in (predictions, details, reliability))
    return Predictions(*tables, tuple(notes.lines))


def _reliability(
    ensemble: Ensemble, samples: Community, ids: np.ndarray, report: Report
) -> pd.DataFrame:
    """How far each sample is like those of training; what is not is told."""
    depth = ensemble.saved["options"]["rarefy_depth"]
    found = pd.DataFrame(
        {"reads": samples.depths, "few_reads": (samples.depths < depth).astype(int)},
        pd.Index(ids, name="id"),
    )
    if ensemble.profiles_VD is None:
        return found
    found["far_fraction"] = far_fraction(samples, ensemble.profiles_VD)
    far = found.index[found["far_fraction"] > MUCH]
    if len(far):
        report(
            f"{len(far):,} of {len(ids):,} samples have more than half of their reads "
            "in ASVs that are far from all of training, so that their predictions "
            f"prove nothing: {some(far)}."
        )
    return found


def _tell_if_reversed(
    known_VD: np.ndarray,
    study: Study,
    samples: Community,
    reliability: pd.DataFrame,
    report: Report,
) -> None:
    """Say that sequences look like the other strand of those of training."""
    far = reliability["far_fraction"] @ samples.depths / samples.depths.sum()
    if far <= MUCH:
        return
    turned = replace(study, tokens_FL=reverse_complement(study.tokens_FL))
    there_N = far_fraction(read_community(turned), known_VD)
    there = there_N @ samples.depths / samples.depths.sum()
    if there < MUCH * far:
        report(
            f"Warning: {far:.0%} of the reads are far from all ASVs of training, but "
            f"only {there:.0%} of their reverse complements: the sequences seem to be "
            "those of the other strand. Reverse-complement them, and predict again."
        )


def _classical(
    ensemble: Ensemble,
    samples: Community,
    ids: np.ndarray,
    metadata: pd.DataFrame | None,
    groups: list[str] | None,
) -> dict[str, np.ndarray]:
    """What the members beside the network predict, by member."""
    if ensemble.classical.empty:
        return {}
    categories_NK = indices_of(ensemble.categories, metadata, ids)
    samples = samples.with_categories(categories_NK)
    space = ensemble.space
    return {
        name: space.taken(raw, space.decoder, groups)
        for name, raw in ensemble.classical.predict(samples).items()
    }


def _network_passes(
    ensemble: Ensemble,
    study: Study,
    config: PredictConfig,
    metadata: pd.DataFrame | None,
    groups: list[str] | None,
    device: torch.device,
    number: int,
    report: Report,
) -> list[np.ndarray]:
    """The mean of the networks at each pass, as members are mixed."""
    ids, options = study.table.sample_ids, ensemble.saved["options"]
    every = np.arange(len(ids))
    above = samples_above(study, every, options["token_limit"])
    if number > 1:
        report(
            f"{len(above):,} of {len(ids):,} samples have more than "
            f"{options['token_limit']:,} ASVs: their predictions are means over "
            f"{number:,} random draws."
        )
    features_NV = None
    found = []
    for ready in ready_networks(ensemble, study, config, device, metadata, report):
        wide = ready.network.model.shape.pooled_features
        if wide and features_NV is None:
            features_NV = sample_features(study, wide)
        given = (ready.categories_NK, features_NV)
        maker = batches_as_trained(ensemble.saved, study, *given)
        passes = _passes(ready, maker, above, config, device, number)
        passes = passes.float().cpu().numpy()
        found.append(
            [ensemble.space.taken(raw, ready.network.decoder, groups) for raw in passes]
        )
    return list(np.mean(found, axis=0))


def _passes(
    ready: ReadyNetwork,
    maker: BatchMaker,
    above: np.ndarray,
    config: PredictConfig,
    device: torch.device,
    number: int,
) -> torch.Tensor:
    """(P, N, …) what one network returns."""

    def of_batch(batch: Batch) -> dict[str, torch.Tensor]:
        added_UO = ready.added(batch)
        return ready.network.model(batch, ready.asvs(batch), added_UO=added_UO)

    def run(rows: np.ndarray, draw: int) -> torch.Tensor:
        names = ("target",)
        return collect(of_batch, maker, rows, names, config, device, draw)["target"]

    every = np.arange(len(maker.sizes))
    return all_passes(run(every, 0), above, number, run)
