"""Training: a predictor of sample metadata."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core.config import TrainConfig
from aam_core.data.inputs import Matrix, Sources, prepare_inputs, split_rows
from aam_core.data.labels import fit_labels, without_new_classes
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.splits import read_groups
from aam_core.data.table import FeatureTable
from aam_core.data.targets import read_target
from aam_core.distributed.launch import on_all_devices
from aam_core.ensemble.mixing import mix_linear
from aam_core.errors import InputError
from aam_core.nn.encoder import Encoder
from aam_core.nn.fusion import check_heads
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Log, Report, logger
from aam_core.training.loop import Fit
from aam_core.training.run import (
    Finished,
    Prepared,
    RunFiles,
    resolve_from,
    run_training,
)
from aam_core.training.train_session import TrainSession, head_shape, set_first_guess


@on_all_devices
def train(
    config: TrainConfig,
    output: Path,
    *,
    table: FeatureTable,
    metadata: pd.DataFrame,
    sequences: Mapping[str, str] | None = None,
    phylogeny: Phylogeny | None = None,
    distances: Matrix | None = None,
    encoder: Path | None = None,
    report: Report = logger.info,
    tensorboard: Path | None = None,
    state: Path | None = None,
    resume_from: Path | None = None,
) -> pd.DataFrame:
    """Learn to predict sample metadata, with or without a pre-trained encoder.

    Parameters
    ----------
    config : TrainConfig
        All options.
    output : Path
        Directory for the model; it must be empty or not exist.
    table : FeatureTable
        Counts.
    metadata : pandas.DataFrame
        Sample metadata, indexed by sample id.
    sequences : mapping, optional
        Sequence of each feature id; without it the ids are the sequences.
    phylogeny, distances : optional
        As for `pretrain`; with one of them the distances between samples are
        learned beside the target.
    encoder : Path, optional
        What `pretrain` wrote.
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

    Returns
    -------
    pandas.DataFrame
        Predictions of the validation samples, one column per target.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    """
    sources = Sources(table, sequences, phylogeny, distances)
    files = RunFiles(output, encoder, tensorboard, state, resume_from)
    return run_training(Training(config, sources, metadata), files, report)


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """What `run_training` asks of training; see `train`."""

    config: TrainConfig
    sources: Sources
    metadata: pd.DataFrame

    command = "train"
    kind = "model"

    @property
    def task(self) -> str:
        """Regression or classification."""
        return self.config.task

    def prepare(self, encoder: Path | None, report: Report) -> Prepared:
        """Align samples and labels, divide them, and fit scales and categories."""
        config, metadata = self.config, self.metadata
        if config.freeze_base and encoder is None:
            raise InputError(
                "freeze_base needs a pre-trained encoder: pass one, or leave "
                "freeze_base out."
            )
        arch = resolve_from(config, encoder)
        check_heads(config, arch.embedding_dim)
        sources = self._labelled(report)
        inputs = prepare_inputs(config, sources, max_bp=arch.max_bp, report=report)
        target = self._target(inputs.study.table.sample_ids, report)
        classes = target.iloc[:, 0].tolist() if self.task == "classification" else None
        training, validation = split_rows(
            inputs.study, config, metadata=metadata, labels=classes, report=report
        )
        if classes:
            validation = without_new_classes(target, training, validation, report)
        labels = fit_labels(config, metadata, target, training, report)
        read = {"target": target.to_numpy(), "categories": labels.categories_NK}
        return Prepared(arch, inputs, training, validation, labels, read)

    def _target(self, ids: np.ndarray, report: Report) -> pd.DataFrame:
        config = self.config
        return read_target(
            self.metadata, config.metadata_column, config.task, ids, report
        )

    def _labelled(self, report: Report) -> Sources:
        """The samples that have a target."""
        table = self.sources.table
        target = self._target(table.sample_ids, report)
        labelled = np.flatnonzero(np.isin(table.sample_ids, target.index))
        return dataclasses.replace(self.sources, table=table.take_samples(labelled))

    def model(self, base: Encoder, prepared: Prepared) -> SequencePredictor:
        """A head on the encoder, which predicts a constant at first."""
        config, labels = self.config, prepared.labels
        model = SequencePredictor(base, head_shape(config, labels), config.freeze_base)
        set_first_guess(model, labels, prepared.training)
        return model

    def session(
        self,
        model: SequencePredictor,
        prepared: Prepared,
        device: torch.device,
        report: Report,
    ) -> TrainSession:
        """The run of a model."""
        inputs, training, validation = prepared.samples
        return TrainSession(
            self.config,
            model,
            inputs,
            prepared.labels,
            training,
            validation,
            device,
            report,
        )

    def finish(self, session: TrainSession, result: Fit, report: Log) -> Finished:
        """Mix in the linear part; predict the validation samples."""
        strategy, model = session.strategy, session.model
        strategy.load(model, result.best_state)
        linear = self._add_linear(session, result, report)
        raw = strategy.inside(session.raw_predictions)
        labels = session.with_intervals(raw)
        report(f"Validation: {_sentence(session.metrics(raw))}.")
        description: dict[str, Any] = {
            "head": dataclasses.asdict(model.shape),
            "target": labels.decoder.to_dict(),
            "categories": labels.categories and labels.categories.to_dict(),
        }
        if linear:
            best = result.history[result.best_epoch - 1]
            found = session.scores_of(torch.from_numpy(raw).to(session.device))
            description["scores"] = best | found
        ids = session.inputs.study.table.sample_ids[session.validation]
        groups = session.groups(session.validation)
        predictions = labels.decoder.predictions(raw, ids, groups)
        return Finished(description, result.best_state | linear, predictions)

    def _add_linear(
        self, session: TrainSession, result: Fit, report: Report
    ) -> dict[str, Tensor]:
        """Add a linear part to the model, if it helps; its weights by name."""
        config, model = self.config, session.model
        if not config.linear_part:
            return {}
        if not result.completed:
            report("linear_part is left out, since training was stopped.")
            return {}
        ids = session.inputs.study.table.sample_ids
        groups_N = read_groups(self.metadata, config.group_column, ids)
        linear = session.strategy.inside(partial(mix_linear, session, groups_N, report))
        if linear is None:
            return {}
        model.add_linear(linear)
        return {f"linear.{n}": value.cpu() for n, value in linear.state_dict().items()}


def _sentence(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
