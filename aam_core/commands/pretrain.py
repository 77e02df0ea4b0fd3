"""Pre-training: an encoder learned without labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from aam_core.config import PretrainConfig
from aam_core.data.inputs import Matrix, Sources, prepare_inputs, split_rows
from aam_core.data.missing import with_missing
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.table import FeatureTable
from aam_core.distributed.launch import on_all_devices
from aam_core.distributed.strategy import Strategy
from aam_core.errors import InputError
from aam_core.nn.encoder import Encoder
from aam_core.reporting import Log, Report, logger
from aam_core.training.pretrain_session import PretrainSession
from aam_core.training.program import (
    Begun,
    Finished,
    Part,
    Prepared,
    RunFiles,
    Trained,
)
from aam_core.training.run import (
    outcome,
    resolve_from,
    run_training,
    with_effort_of,
    with_preset,
)
from aam_core.training.stop import StopRequest


@on_all_devices
def pretrain(
    config: PretrainConfig,
    output: Path,
    *,
    table: FeatureTable,
    sequences: Mapping[str, str] | None = None,
    phylogeny: Phylogeny | None = None,
    distances: Matrix | None = None,
    metadata: pd.DataFrame | None = None,
    encoder: Path | None = None,
    report: Report = logger.info,
    tensorboard: Path | None = None,
    state: Path | None = None,
    resume_from: Path | None = None,
    keep_state: bool = False,
) -> None:
    """Learn an encoder from samples without labels.

    Parameters
    ----------
    config : PretrainConfig
        All options.
    output : Path
        Directory for the encoder; it must be empty or not exist.
    table : FeatureTable
        Counts.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    phylogeny : Phylogeny, optional
        Tree of the features, for UniFrac; or else
    distances : tuple, optional
        Sample ids and the square matrix of the distances between them.
    metadata : pandas.DataFrame, optional
        Sample metadata, for `group_column`.
    encoder : Path, optional
        An earlier encoder whose weights are the start.
    report : callable
        Takes sentences for the user.
    tensorboard : Path, optional
        Folder for event files.
    state : Path, optional
        Folder for the state of training, written after each epoch and removed when
        the model is complete. It may be `output`: a stopped run then leaves its state
        beside its model.
    resume_from : Path, optional
        Folder with the state of an interrupted run, which then resumes as if it had
        never been interrupted. It may be `state`.
    keep_state : bool
        Leave the state of a complete run to the caller, who has more to write.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    RunError
        If training cannot go on, and there is no model yet.
    """
    sources = Sources(table, sequences, phylogeny, distances)
    metadata = with_missing(metadata, config.missing_scheme)
    program = Pretraining(config, sources, metadata)
    files = RunFiles(output, encoder, tensorboard, state, resume_from, keep_state)
    run_training(program, files, report)


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What `run_training` asks of pre-training; see `pretrain`."""

    config: PretrainConfig
    sources: Sources
    metadata: pd.DataFrame | None

    command = "pretrain"
    kind = "encoder"
    task = None

    def prepare(
        self, encoder: Path | None, device: torch.device, report: Report
    ) -> Prepared:
        """Align what is read, and divide the samples."""
        config, sources = self.config, self.sources
        if (sources.phylogeny is None) == (sources.distances is None):
            both = "both were" if sources.phylogeny is not None else "neither was"
            raise InputError(
                "Pre-training needs a phylogeny, or else a distance matrix, but "
                f"{both} given: pass one of them."
            )
        config = with_preset(config, encoder, device)
        arch = resolve_from(config, encoder, sources)
        config = replace(config, rarefy_depth=config.rarefy_depth or 0)
        inputs = prepare_inputs(config, sources, max_bp=arch.max_bp, report=report)
        training, validation = split_rows(
            inputs.study, config, metadata=self.metadata, least=2, report=report
        )
        parts = (Part(training, validation, validation),)
        config = with_effort_of(config, arch, inputs, parts, device)
        return Prepared(config, arch, inputs, parts)

    def begin(
        self,
        prepared: Prepared,
        strategy: Strategy,
        stop: StopRequest,
        report: Report,
    ) -> Begun:
        """Nothing is to do before."""
        return Begun()

    def model(self, base: Encoder, part: Part) -> Encoder:
        """The encoder itself is trained."""
        return base

    def session(
        self,
        model: Encoder,
        prepared: Prepared,
        part: Part,
        device: torch.device,
        report: Report,
    ) -> PretrainSession:
        """The run of a model."""
        sides = (part.training, part.validation)
        return PretrainSession(prepared.config, model, prepared.inputs, *sides, device)

    def finish(
        self, prepared: Prepared, begun: Begun, trained: Sequence[Trained], report: Log
    ) -> Finished:
        """Nothing is left to do."""
        (only,) = trained
        return Finished(outcome(only), only.weights)
