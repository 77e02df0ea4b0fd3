"""Prediction of new samples, whose ASVs the model need not have seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core.config import PredictConfig
from aam_core.data.batches import Batch
from aam_core.data.categories import CategoricalEncoder, category_labels
from aam_core.data.table import FeatureTable
from aam_core.data.target_decoder import Decoder
from aam_core.errors import InputError, some
from aam_core.inference.encode import collect, contributions_of, encode_table
from aam_core.inference.random_draws import (
    all_passes,
    average,
    number_of_passes,
    samples_above,
)
from aam_core.inference.reading import (
    batches_as_trained,
    in_table_order,
    made_ready,
    read_as_trained,
)
from aam_core.io.load import load_model, read_kind
from aam_core.reporting import Report, logger
from aam_core.runtime.device import choose_device
from aam_core.runtime.spill import SpillBuffer
from aam_core.training.memory import MemoryProfile


@dataclass(frozen=True)
class Predictions:
    """Predictions of one table, in its order of samples."""

    predictions: pd.DataFrame  #: one column per target
    details: pd.DataFrame  #: probabilities, or quantiles and intervals


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

    Raises
    ------
    InputError
        If the input or an option is wrong.
    """
    device = choose_device(config)
    profile = MemoryProfile(device, config.memory_profile)
    saved = read_kind(model, "model")
    decoder = Decoder.from_dict(saved["task"], saved["target"])
    options = saved["options"]
    number = number_of_passes(config, options)
    study = read_as_trained(saved, table, sequences, config, report)
    ids = study.table.sample_ids
    categories_NK, groups = _covariates(saved, config, metadata, ids, report)
    maker = batches_as_trained(saved, study, categories_NK)
    every = np.arange(len(ids))
    network = made_ready(load_model(model), config, device, report)
    report(
        f"Predicting {len(ids):,} samples with {study.table.shape[1]:,} distinct ASVs "
        f"on {device.type}."
    )
    profile.mark("preparation")
    buffer = SpillBuffer.of(config, device, report)
    asvs = encode_table(network.base, study, every, config, device, buffer=buffer)
    added = contributions_of(network, asvs)
    profile.mark("encoding of ASVs")

    def of_batch(batch: Batch) -> dict[str, torch.Tensor]:
        return network(batch, asvs(batch), added_UO=added(batch))

    def run(rows: np.ndarray, draw: int) -> torch.Tensor:
        names = ("target",)
        return collect(of_batch, maker, rows, names, config, device, draw)["target"]

    above = samples_above(study, every, options["token_limit"])
    if number > 1:
        report(
            f"{len(above):,} of {len(ids):,} samples have more than "
            f"{options['token_limit']:,} ASVs: their predictions are means over "
            f"{number:,} random draws."
        )
    passes = all_passes(run(every, 0), above, number, run)
    raw = average(passes, decoder.task).float().cpu().numpy()
    details = decoder.details(raw, ids, groups)
    if config.output_variance:
        spread = decoder.spread(passes.float().cpu().numpy(), ids, groups)
        details = details.join(spread)
    profile.mark("prediction")
    profile.tell(report)
    predictions = decoder.predictions(raw, ids, groups)
    order = table.sample_ids
    return Predictions(
        in_table_order(predictions, order), in_table_order(details, order)
    )


def _covariates(
    saved: Mapping,
    config: PredictConfig,
    metadata: pd.DataFrame | None,
    ids: np.ndarray,
    report: Report,
) -> tuple[np.ndarray | None, list[str] | None]:
    """Covariates (n, K) and the categories that the target's scale depends on."""
    by_scale = saved["target"]["normalize_by"]
    covariates = saved["categories"]["columns"] if saved["categories"] else []
    names = by_scale + [column["name"] for column in covariates]
    if not names:
        return None, None
    if metadata is None:
        raise InputError(
            f"The model is conditioned on the metadata columns {some(names)}: pass the "
            "sample metadata."
        )
    categories_NK = groups = None
    if covariates:
        categories_NK = CategoricalEncoder.from_dict(saved["categories"]).transform(
            metadata, ids, config.unknown_categories, report
        )
    if by_scale:
        groups = category_labels(metadata, by_scale, ids, report)
        scaler = Decoder.from_dict(saved["task"], saved["target"]).scaler
        if unseen := scaler.unseen(groups):
            report(
                "Categories that training did not see take the scale of all samples: "
                f"{some(unseen)}."
            )
    return categories_NK, groups
