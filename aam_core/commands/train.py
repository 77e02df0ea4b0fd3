"""Training: a predictor of sample metadata."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aam_core.commands.cross_fit import CrossFit
from aam_core.commands.general_encoder import tell_of, with_general_encoder
from aam_core.config import TrainConfig
from aam_core.config.effort import FOLDS, members_of
from aam_core.data.confounding import choose_depth, tell_batches
from aam_core.data.folds import balanced_folds
from aam_core.data.inputs import Inputs, Matrix, Sources, prepare_inputs, split_rows
from aam_core.data.labels import fit_labels, without_new_classes
from aam_core.data.missing import with_missing
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.splits import LEAST_TRAINING, group_names, read_groups, split
from aam_core.data.table import FeatureTable
from aam_core.data.target_decoder import Predictions
from aam_core.data.targets import check_learnable, read_target
from aam_core.distributed.launch import on_all_devices
from aam_core.distributed.strategy import Strategy
from aam_core.ensemble.mixture import NETWORK
from aam_core.errors import InputError, some
from aam_core.nn.encoder import Encoder
from aam_core.nn.fusion import check_heads
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Log, Report, logger, silent
from aam_core.training.program import Finished, Part, Prepared, RunFiles, Trained
from aam_core.training.run import (
    resolve_from,
    run_training,
    with_effort_of,
    with_preset,
)
from aam_core.training.stop import StopRequest
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
    keep_state: bool = False,
) -> Predictions:
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
        Folder for event files; with folds one folder for each in it.
    state : Path, optional
        Folder for the state of training, written after each epoch and removed when
        the model is complete. It may be `output`: a stopped run then leaves its state
        beside its model.
    resume_from : Path, optional
        Folder with the state of an interrupted run, which then resumes as if it had
        never been interrupted. It may be `state`.
    keep_state : bool
        Leave the state of a complete run to the caller, who has more to write.

    Returns
    -------
    Predictions
        Of samples by members that were not fitted to them: of all labelled samples,
        each by those without its fold; of the validation samples, where there are no
        folds.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    RunError
        If training cannot go on, and there is no model yet.
    """
    sources = Sources(table, sequences, phylogeny, distances)
    metadata = with_missing(metadata, config.missing_scheme)
    if config.cross_fit is None:
        config = dataclasses.replace(config, cross_fit=FOLDS[config.effort])
    config, encoder = with_general_encoder(config, encoder, sources)
    files = RunFiles(output, encoder, tensorboard, state, resume_from, keep_state)
    return run_training(Training(config, sources, metadata), files, report)


def check_best_metric(config: TrainConfig, parts: Sequence[Part]) -> None:
    """Refuse a score that is not defined on the samples that choose the best epoch.

    Raises
    ------
    InputError
        If r2 or pearson are to choose by one sample, or by samples that are all alike.
    """
    if config.best_metric not in ("r2", "pearson"):
        return
    for part in parts:
        true = part.labels.target.iloc[part.validation]
        if (true.nunique() < 2).any():
            raise InputError(
                f"best_metric {config.best_metric} is not defined on validation "
                f"samples of a single value: {some(true.index)}. Choose best_metric "
                "mae or val_loss, or raise test_size."
            )


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

    def prepare(
        self, encoder: Path | None, device: torch.device, report: Report
    ) -> Prepared:
        """Align samples and labels, divide them, and fit scales and categories."""
        config = self.config
        members = config.ensemble or members_of(config.effort, config.freeze_base)
        network = NETWORK in members
        if config.freeze_base and encoder is None:
            raise InputError(
                "freeze_base needs a pre-trained encoder: pass one, or leave "
                "freeze_base out."
            )
        if encoder is not None and not (network or config.ensemble):
            raise InputError(
                f"effort {config.effort} trains no network unless the encoder is "
                "frozen: add freeze_base, choose effort standard, or leave the encoder "
                "out."
            )
        if encoder is not None and not network:
            raise InputError(
                "A pre-trained encoder has no effect where ensemble has no network: "
                "leave it out, or add network to ensemble."
            )
        if network:
            tell_of(config, encoder, self.sources, report)
        config = with_preset(config, encoder, device)
        arch = resolve_from(config, encoder, self.sources)
        check_heads(config, arch.embedding_dim)
        sources = self._labelled(report)
        depth = self._depth(sources.table, report)
        config = dataclasses.replace(config, rarefy_depth=depth, ensemble=members)
        inputs = prepare_inputs(config, sources, max_bp=arch.max_bp, report=report)
        target = self._target(inputs.study.table.sample_ids, silent)
        if config.cross_fit:
            parts = self._folds(inputs, target, network, report)
        else:
            parts = self._split(inputs, target, report)
        if network:
            check_best_metric(config, parts)
        labels = parts[0].labels
        if config.cross_fit:
            every = np.arange(len(target))
            labels = fit_labels(config, self.metadata, target, every, report)
        read = {"target": target.to_numpy(), "categories": labels.categories_NK}
        inputs = self._counted(inputs, sources)
        config = with_effort_of(config, arch, inputs, parts, device)
        return Prepared(config, arch, inputs, parts, network, labels, read, encoder)

    def _counted(self, inputs: Inputs, labelled: Sources) -> Inputs:
        """What is read, with the samples counted that have no target."""
        total, known = self.sources.table.shape[0], labelled.table.shape[0]
        counts = {"samples in table": total, "samples without target": total - known}
        study = inputs.study
        study = dataclasses.replace(study, taken=study.taken | counts)
        return dataclasses.replace(inputs, study=study)

    def _depth(self, table: FeatureTable, report: Report) -> int:
        """The rarefaction depth that suits the target."""
        config, ids = self.config, table.sample_ids
        target = self._target(ids, silent).iloc[:, 0]
        groups = self.groups(ids)
        depth = choose_depth(
            config.rarefy_depth, table.depths, target, groups, config.seed, report
        )
        tell_batches(
            config.batch_columns,
            self.metadata,
            ids,
            target,
            groups,
            config.seed,
            report,
        )
        return depth

    def _target(self, ids: np.ndarray, report: Report) -> pd.DataFrame:
        config = self.config
        return read_target(
            self.metadata, config.metadata_column, config.task, ids, report
        )

    def _labelled(self, report: Report) -> Sources:
        """The samples that have a target."""
        table = self.sources.table
        target = self._target(table.sample_ids, report)
        check_learnable(target.iloc[:, 0], self.groups(target.index.to_numpy()))
        labelled = np.flatnonzero(np.isin(table.sample_ids, target.index))
        return dataclasses.replace(self.sources, table=table.take_samples(labelled))

    def _split(
        self, inputs: Inputs, target: pd.DataFrame, report: Report
    ) -> tuple[Part, ...]:
        """One part, whose validation samples are held out."""
        config, metadata = self.config, self.metadata
        classes = target.iloc[:, 0].tolist() if self.task == "classification" else None
        training, validation = split_rows(
            inputs.study, config, metadata=metadata, labels=classes, report=report
        )
        if classes:
            validation = without_new_classes(target, training, validation, report)
        labels = fit_labels(config, metadata, target, training, report)
        return (Part(training, validation, validation, labels),)

    def _folds(
        self, inputs: Inputs, target: pd.DataFrame, network: bool, report: Report
    ) -> tuple[Part, ...]:
        """A part for each fold; its best epoch is chosen without the fold."""
        config, ids = self.config, inputs.study.table.sample_ids
        groups = self.groups(ids, report)
        first = target.iloc[:, 0]
        folds = balanced_folds(first, groups, config.cross_fit, config.seed)
        if len(folds) < 2:
            raise InputError(
                f"There are {len(ids):,} samples with a label"
                + (f" in {len(set(groups)):,} group" if groups is not None else "")
                + ", which makes no two folds (cross_fit): add samples or groups."
            )
        if len(folds) < config.cross_fit:
            report(
                f"{len(folds)} folds are made instead of {config.cross_fit} "
                "(cross_fit): there are no more groups or samples."
            )
        least = min(len(fitted) for fitted, _ in folds)
        if network and least <= LEAST_TRAINING:
            raise InputError(
                f"{len(ids)} samples have a label, of which {least} are left where one "
                f"of {len(folds)} folds is held out (cross_fit), but at least "
                f"{LEAST_TRAINING + 1} are needed: {LEAST_TRAINING} for training and "
                "1 for validation. Label more samples."
            )
        classes = first.to_numpy() if self.task == "classification" else None
        parts = []
        for number, (fitted, held_out) in enumerate(folds):
            sides = fitted, fitted[:0]
            if network:
                sides = self._sides(fitted, ids, classes, groups)
            told = silent if number else report
            labels = fit_labels(config, self.metadata, target, fitted, told)
            parts.append(Part(*sides, held_out, labels))
        return tuple(parts)

    def _sides(
        self,
        fitted: np.ndarray,
        ids: np.ndarray,
        classes: np.ndarray | None,
        groups: np.ndarray | None,
    ) -> list[np.ndarray]:
        """The rows that a network learns from, and those that choose its best epoch."""
        if groups is not None and len(set(groups[fitted])) == 1:
            groups = None  # one group cannot be divided, and there is no other
        sides = split(
            ids[fitted],
            self.config.test_size,
            self.config.seed,
            labels=None if classes is None else classes[fitted].tolist(),
            groups=None if groups is None else groups[fitted].tolist(),
            report=silent,
        )
        return [fitted[side] for side in sides]

    def groups(self, ids: np.ndarray, report: Report = silent) -> np.ndarray | None:
        """The group of each sample, if there are any."""
        found = read_groups(self.metadata, self.config.group_column, ids, report)
        return None if found is None else group_names(ids, found)

    def begin(
        self,
        prepared: Prepared,
        strategy: Strategy,
        stop: StopRequest,
        report: Report,
    ) -> CrossFit:
        """Fit kernel and trees without each of the folds."""
        groups_N = self.groups(prepared.inputs.study.table.sample_ids)
        cross_fit = CrossFit(prepared.config, prepared, groups_N, report)
        if strategy.main:
            cross_fit.fit_classical(stop)
        strategy.wait_for_main()
        cross_fit.suffices = strategy.broadcast(cross_fit.suffices)
        cross_fit.stopped = strategy.broadcast(cross_fit.stopped)
        return cross_fit

    def model(self, base: Encoder, part: Part) -> SequencePredictor:
        """A head on the encoder, which predicts a constant at first."""
        config, labels = self.config, part.labels
        model = SequencePredictor(base, head_shape(config, labels), config.freeze_base)
        set_first_guess(model, labels, part.training)
        return model

    def session(
        self,
        model: SequencePredictor,
        prepared: Prepared,
        part: Part,
        device: torch.device,
        report: Report,
    ) -> TrainSession:
        """The run of a model."""
        return TrainSession(
            prepared.config,
            model,
            prepared.inputs,
            part.labels,
            part.training,
            part.validation,
            device,
            report,
            prepared.rows,
        )

    def finish(
        self,
        prepared: Prepared,
        begun: CrossFit,
        trained: Sequence[Trained],
        report: Log,
    ) -> Finished:
        """Weigh the members, and fit those that are to be fitted to all samples."""
        return begun.finish(trained, report)
