"""The networks of an ensemble, ready to read the samples of a study.

What a network makes of an ASV alone is computed once.

Shapes: N samples, F features, K categorical columns.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.config import CacheOptions
from aam_core.data.batches import Batch
from aam_core.data.study import Study
from aam_core.ensemble.saved import Ensemble, Network, indices_of
from aam_core.inference.encode import AsvTable, contributions_of, encode_table
from aam_core.inference.reading import made_ready
from aam_core.reporting import Report, silent
from aam_core.runtime.spill import SpillBuffer


@dataclass(frozen=True, eq=False)
class ReadyNetwork:
    """A network with all that it knows of a study's ASVs and covariates.

    Attributes
    ----------
    network : Network
        On its device.
    asvs : AsvTable
        Embeddings of the study's ASVs; networks with one encoder share it.
    added : callable
        What the ASVs of a batch add; see `contributions_of`.
    categories_NK : numpy.ndarray or None
        Covariates of the samples, as this network numbers them.
    """

    network: Network
    asvs: AsvTable
    added: Callable[[Batch], Tensor | None]
    categories_NK: np.ndarray | None


def ready_networks(
    ensemble: Ensemble,
    study: Study,
    options: CacheOptions,
    device: torch.device,
    metadata: pd.DataFrame | None,
    report: Report,
) -> Iterator[ReadyNetwork]:
    """Make one network after the other ready; see `ReadyNetwork`.

    Parameters
    ----------
    ensemble : Ensemble
        A model.
    study : Study
        Its N samples are to be read.
    options : CacheOptions
        Device, batches and caches, as of a command that reads samples.
    device : torch.device
        Where networks run.
    metadata : pandas.DataFrame, optional
        For models with covariates.
    report : callable
        Is told of the device once.
    """
    ids = study.table.sample_ids
    every = np.arange(len(ids))
    base = asvs = None
    hears = report
    for network in ensemble.networks:
        model = made_ready(network.model, options, device, hears)
        hears = silent
        if model.base is not base:
            base = model.base
            buffer = SpillBuffer.of(options, device, report)
            asvs = encode_table(base, study, every, options, device, buffer=buffer)
        yield ReadyNetwork(
            replace(network, model=model),
            asvs,
            contributions_of(model, asvs),
            indices_of(network.categories, metadata, ids),
        )
