"""Averages over several random draws of the ASVs of large samples.

Shapes: P passes, N samples; further dimensions are the model's.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aam_core.config import PredictConfig
from aam_core.data.study import Study
from aam_core.errors import InputError


def number_of_passes(config: PredictConfig, trained: Mapping[str, Any]) -> int:
    """How often the samples are read.

    Parameters
    ----------
    config : PredictConfig
        What the user chose.
    trained : mapping
        Options of the model's training.

    Raises
    ------
    InputError
        If several passes would read the same ASVs, or if there is no spread to
        report of a single pass.
    """
    number = config.prediction_passes or trained.get("val_prediction_passes", 1)
    sampling = trained["asv_sampling"]
    if number > 1 and sampling != "random":
        raise InputError(
            f"prediction_passes is {number}, but the model was trained with "
            f"asv_sampling {sampling!r}, so that each pass would read the same ASVs: "
            "leave prediction_passes out, or train with asv_sampling random."
        )
    if config.output_variance and number < 2:
        raise InputError(
            "output_variance needs at least two prediction_passes, of a model that "
            "was trained with asv_sampling random: choose more, or leave "
            "output_variance out."
        )
    return number


def samples_above(study: Study, rows: np.ndarray, token_limit: int) -> np.ndarray:
    """Positions in `rows` of the samples that have more ASVs than are read."""
    return np.flatnonzero(study.table.richness[rows] > token_limit)


def all_passes(
    first: Tensor,
    above: np.ndarray,
    passes: int,
    run: Callable[[np.ndarray, int], Tensor],
) -> Tensor:
    """What the model returns for N samples at each of P passes.

    Parameters
    ----------
    first : Tensor
        (N, …) what it returned at pass 0.
    above : numpy.ndarray
        Positions of the samples whose ASVs differ between passes; the others are
        read once.
    passes : int
        P.
    run : callable
        Takes `above` and the number of a pass, and returns the output for these.

    Returns
    -------
    Tensor
        (P, N, …).
    """
    repeated = first.expand(passes, *first.shape).clone()
    if len(above):
        for number in range(1, passes):
            repeated[number, torch.from_numpy(above)] = run(above, number)
    return repeated


def average(outputs_PN: Tensor, task: str) -> Tensor:
    """The mean over passes, in the form of one pass.

    The mean of the scaled predictions and quantiles of a regression. Of a
    classification the logarithm of the mean probabilities, which are logits too.
    """
    if len(outputs_PN) == 1:
        return outputs_PN[0]
    if task == "classification":
        log_probabilities = outputs_PN.float().log_softmax(dim=-1)
        return log_probabilities.logsumexp(dim=0) - math.log(len(outputs_PN))
    return outputs_PN.mean(dim=0)
