"""New samples, read by a saved model as its training read samples.

Depth, longest sequence, ASVs per sample and seed are the model's own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from aam_core.config import DeviceOptions, FeatureOptions, InputOptions
from aam_core.data.batches import BatchMaker
from aam_core.data.missing import with_missing
from aam_core.data.study import Study, prepare_study
from aam_core.data.table import FeatureTable
from aam_core.io.load import architecture
from aam_core.nn.attention import set_attention
from aam_core.reporting import Report
from aam_core.runtime.device import tell_precision


def read_as_trained(
    saved: Mapping[str, Any],
    table: FeatureTable,
    sequences: Mapping[str, str] | None,
    options: FeatureOptions,
    report: Report,
    *,
    rarefied: bool = True,
    keep_shallow: bool = False,
) -> Study:
    """Align a table with its sequences, and rarefy it to the model's depth.

    Parameters
    ----------
    saved : mapping
        The model's `config.json`.
    table : FeatureTable
        Counts.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    options : FeatureOptions
        What becomes of features without a sequence.
    report : callable
        Is told what was left out or cut.
    rarefied : bool
        False reads all samples and features, where counts do not matter.
    keep_shallow : bool
        Whether samples of fewer reads than the model's depth stay.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        As `prepare_study` raises it.
    """
    trained = saved["options"]
    reading = InputOptions(
        rarefy_depth=trained["rarefy_depth"] if rarefied else 0,
        token_limit=trained["token_limit"],
        asv_sampling=trained["asv_sampling"],
        missing_features=options.missing_features,
    )
    return prepare_study(
        table,
        sequences,
        reading,
        max_bp=architecture(saved).max_bp,
        seed=trained["seed"],
        report=report,
        keep_shallow=keep_shallow,
    )


def metadata_as_trained(
    saved: Mapping[str, Any], metadata: pd.DataFrame | None
) -> pd.DataFrame | None:
    """Sample metadata whose missing values are those that training took as missing."""
    return with_missing(metadata, saved["options"].get("missing_scheme", "blank"))


def batches_as_trained(
    saved: Mapping[str, Any],
    study: Study,
    categories_NK: np.ndarray | None = None,
    features_NV: np.ndarray | None = None,
) -> BatchMaker:
    """Batches of a study whose ASVs are encoded already; see `encode_table`."""
    trained = saved["options"]
    return BatchMaker(
        study,
        token_limit=trained["token_limit"],
        asv_sampling=trained["asv_sampling"],
        categories_NK=categories_NK,
        features_NV=features_NV,
        tokens=False,
        seed=trained["seed"],
    )


def made_ready(
    network: nn.Module, options: DeviceOptions, device: torch.device, report: Report
) -> nn.Module:
    """A loaded network on its device, with the attention that the options choose."""
    network = network.to(device)
    tell_precision(options, device, report)
    set_attention(network, options, device, report)
    return network


def in_table_order(found: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    """Rows in the order that the user's table has; what was left out stays out."""
    kept = set(found.index)
    return found.loc[[i for i in ids if i in kept]]
