"""What differs between runs that train models, and what they are made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from aam_core.config import Architecture, RunConfig
from aam_core.data.inputs import Inputs
from aam_core.data.labels import Labels
from aam_core.distributed.strategy import Strategy
from aam_core.nn.encoder import Encoder
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Log, Report
from aam_core.training.session import Session
from aam_core.training.stop import StopRequest

#: Of a run that trains one model.
SIDES = ("training", "validation")


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run reads and writes; see `pretrain`."""

    output: Path
    encoder: Path | None = None
    tensorboard: Path | None = None
    state: Path | None = None
    resume_from: Path | None = None
    keep_state: bool = False  #: also of a complete run, whose caller has more to do


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One model of a run: what it learns from, and what it predicts then."""

    training: np.ndarray  #: rows of the study
    validation: np.ndarray  #: they choose the best epoch
    held_out: np.ndarray  #: of these nothing is known in training
    labels: Labels | None = None  #: fitted without `held_out`

    @property
    def fitted(self) -> np.ndarray:
        """All rows but those that are held out, ascending."""
        every = np.concatenate([self.training, self.validation])
        return np.setdiff1d(every, self.held_out)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What a run learns from, aligned and divided."""

    config: RunConfig  #: with all that the data decide
    arch: Architecture
    inputs: Inputs
    parts: tuple[Part, ...]
    trains: bool = True  #: whether a network is trained of each part
    labels: Labels | None = None  #: of the whole
    #: Whatever else the run reads, by the name that a message should give it.
    read: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    encoder: Path | None = None

    @property
    def rows(self) -> np.ndarray:
        """The rows of all parts, ascending."""
        return np.unique(np.concatenate([p.fitted for p in self.parts] + self._held))

    @property
    def _held(self) -> list[np.ndarray]:
        return [part.held_out for part in self.parts]

    @property
    def split(self) -> dict[str, Any]:
        """Ids of the samples by what they are used for, as `config.json` has them."""
        ids = self.inputs.study.table.sample_ids
        if len(self.parts) < 2:
            sides = {n: getattr(p, n) for p in self.parts for n in SIDES}
            return {name: ids[rows].tolist() for name, rows in sides.items()}
        folds = [ids[part.held_out].tolist() for part in self.parts]
        return {"training": ids[self.rows].tolist(), "validation": [], "folds": folds}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model of one part, in types that a training state may hold."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    completed: bool
    scale: float  #: what divides the distances between samples
    held_out: Tensor | None = (
        None  #: what the head returns for the part's held-out rows
    )

    @property
    def scores(self) -> dict[str, float]:
        """Those of the best epoch."""
        return self.history[self.best_epoch - 1]


class Begun:
    """What a run has before its networks: nothing, unless a program says more."""

    suffices = False  #: whether there is a model without any network
    stopped: str | None = None  #: why it ended early, if it did


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a run leaves when its weights are learned."""

    description: dict[str, Any]  #: what `config.json` says besides
    weights: dict[str, Tensor]
    found: Any = None  #: what the command returns


class Program(Protocol):
    """What runs differ in: pre-training and training."""

    config: RunConfig
    command: str
    kind: str  #: of what is written: encoder or model
    task: str | None

    def prepare(
        self, encoder: Path | None, device: torch.device, report: Report
    ) -> Prepared:
        """Align what is read, and divide the samples; the input is checked here."""

    def begin(
        self,
        prepared: Prepared,
        strategy: Strategy,
        stop: StopRequest,
        report: Report,
    ) -> Begun:
        """What is to do before networks are trained; `finish` gets it.

        `stop` is the request that came to this process.
        """

    def model(self, base: Encoder, part: Part) -> Encoder | SequencePredictor:
        """What is trained, on this encoder."""

    def session(
        self,
        model: Encoder | SequencePredictor,
        prepared: Prepared,
        part: Part,
        device: torch.device,
        report: Report,
    ) -> Session:
        """The run of a model."""

    def finish(
        self, prepared: Prepared, begun: Begun, trained: Sequence[Trained], report: Log
    ) -> Finished:
        """What is to do with the weights that were learned; in the main process."""
