"""What `effort` means for a run, by its device and its samples.

It follows from counts, not from a clock: a run on the same data gives the same model.
"""

import dataclasses
import math
from typing import TypeVar

from aam_core.config.ensemble import MEMBERS
from aam_core.config.model import PRESETS
from aam_core.config.optimisation import OptimiserOptions

T = TypeVar("T", bound=OptimiserOptions)

#: ASVs of samples that all epochs of a run read together, on a CPU at preset tiny: two
#: cores read some 10,000 a second.
BUDGET = {"quick": 250_000, "standard": 1_000_000, "thorough": 10_000_000}
GPU = 20  #: what a GPU reads in the same time
FROZEN = 10  #: what is read in the same time where the encoder is frozen
#: Steps of a network whose encoder is frozen: most of them find the best epoch earlier.
STEPS = {"quick": 150, "standard": 400, "thorough": 1_600}
FOLDS = {"quick": 3, "standard": 5, "thorough": 5}
#: Samples that the front door explains.
EXPLAINED = {"quick": 20, "standard": 50, "thorough": 200}
EXPLAINED_IF_STOPPED = 5  #: of a run that was asked to end
FEWEST, MOST = 5, 100  #: epochs
FEWEST_QUICK = 2  #: of effort quick
#: Width of a model, and the learning rate up to it.
RATES = ((64, 1e-3), (128, 5e-4), (384, 2e-4))
LEAST_RATE = 1e-4


def default_preset(device: str) -> str:
    """The preset where none is chosen."""
    return "tiny" if device == "cpu" else "small"


def members_of(effort: str, frozen: bool) -> tuple[str, ...]:
    """The members where none are chosen."""
    if effort == "quick" and not frozen:
        return tuple(name for name in MEMBERS if name != "network")
    return MEMBERS


def with_effort(
    config: T,
    *,
    device: str,
    width: int,
    asvs: int,
    batches: int,
    models: int,
    frozen: bool,
) -> T:
    """The options, with what was left open chosen by effort.

    Parameters
    ----------
    config : PretrainConfig or TrainConfig
        What the user chose.
    device : str
        Type of the device: cpu, cuda, mps.
    width : int
        Of the embeddings.
    asvs : int
        ASVs that an epoch reads, summed over its training samples.
    batches : int
        Batches of an epoch.
    models : int
        Models that are trained one after the other.
    frozen : bool
        Whether the encoder is frozen.

    Returns
    -------
    PretrainConfig or TrainConfig
    """
    budget = BUDGET[config.effort] * (FROZEN if frozen else 1)
    if device != "cpu":
        budget *= GPU
    tiny = PRESETS["tiny"]["embedding_dim"]
    budget /= max(width / tiny, 1)
    epochs = config.epochs
    if epochs is None:
        wanted = budget / max(asvs * models, 1)
        if frozen:
            wanted = min(wanted, math.ceil(STEPS[config.effort] / batches))
        fewest = FEWEST_QUICK if config.effort == "quick" else FEWEST
        epochs = int(min(max(wanted, fewest), MOST))
    lr = config.lr
    if lr is None:
        rates = [rate for most, rate in RATES if width <= most]
        lr = RATES[0][1] if frozen else (rates or [LEAST_RATE])[0]
    patience = config.patience
    if patience is None:
        patience = max(epochs // 5, 10)
    return dataclasses.replace(config, epochs=epochs, lr=lr, patience=patience)
