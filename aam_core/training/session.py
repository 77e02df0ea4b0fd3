"""What a training run is, for all that serve it.

`run` builds a session and takes it through its life. The loop, the estimate of memory,
the strategies and the ensemble ask of it what stands here, and change nothing in it.
"""

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from aam_core.config import RunConfig
from aam_core.data.batches import Batch, BatchMaker, RowBatches, loader
from aam_core.data.inputs import Inputs
from aam_core.distributed.strategy import Strategy
from aam_core.nn.encoder import Encoder
from aam_core.nn.predictor import SequencePredictor
from aam_core.training.loop import Objective

S = TypeVar("S", bound="Session")


class Session(ABC):
    """One run: its model, samples, losses and validation.

    Parameters
    ----------
    config : PretrainConfig or TrainConfig
        All options.
    model : Encoder or SequencePredictor
        What is trained.
    inputs : Inputs
        Samples and distances.
    training, validation : numpy.ndarray
        Rows of the study.
    device : torch.device
        Where the model is.

    Attributes
    ----------
    strategy : Strategy
        How devices share the work; that of one device, if not `with_strategy`.
    scale : float
        What divides the distances between samples.
    select : str
        The score that selects the best epoch.
    """

    select = "val_loss"

    def __init__(
        self,
        config: RunConfig,
        model: Encoder | SequencePredictor,
        inputs: Inputs,
        training: np.ndarray,
        validation: np.ndarray,
        device: torch.device,
    ) -> None:
        self.config = config
        self.model = model
        self.inputs = inputs
        self.training = training
        self.validation = validation
        self.device = device
        self.strategy = Strategy(device)
        self.scale = inputs.scale(training)

    @abstractmethod
    def training_maker(self) -> BatchMaker:
        """Makes the batches of training."""

    @abstractmethod
    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch and its parts, unweighted."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Scores on the validation samples, with `val_loss`."""

    @abstractmethod
    def initialise(self, new_base: bool) -> None:
        """Give what is new of the model a start that depends on the data.

        Parameters
        ----------
        new_base : bool
            Whether the encoder is new, too.
        """

    def predict(self, rows: np.ndarray) -> Tensor | None:
        """What a trained model returns for samples; None if it predicts nothing."""
        return None

    def kept(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of a model's weights that other parts of the run do not have."""
        return weights

    def share(self, earlier: "Session") -> None:
        """Take over what an earlier part of the run has computed and is the same."""
        return

    def batches(self) -> DataLoader:
        """The training batches, shuffled by epoch."""
        config = self.config
        rows = RowBatches(
            self.training, config.batch_size, shuffle=True, seed=config.seed
        )
        return loader(self.training_maker(), rows, self.device, config.num_workers)

    def first_loss(self) -> Tensor:
        """The total loss of two training samples."""
        batch = self.training_maker()[0, self.training[:2]]
        return self.losses(batch.to(self.device))[0]

    def objective(self) -> Objective:
        """What the training loop minimises."""
        ids = self.inputs.study.table.sample_ids
        return Objective(
            self.model,
            self.losses,
            self.validate,
            self.select,
            samples=lambda batch: ids[batch.rows],
        )

    def with_config(self: S, config: RunConfig) -> S:
        """The session with other options of batches and memory."""
        return self._with("config", config)

    def with_strategy(self: S, strategy: Strategy) -> S:
        """The session with its work shared among devices."""
        return self._with("strategy", strategy)

    def _with(self: S, name: str, value: object) -> S:
        other = copy.copy(self)
        setattr(other, name, value)
        return other
