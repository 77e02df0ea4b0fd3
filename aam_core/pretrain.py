"""Pre-training: an encoder learned without labels.

Shapes: S samples, D width.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aam_core import checkpoint
from aam_core.attention import set_attention
from aam_core.batches import Batch, BatchMaker, Masking, RowBatches, loader
from aam_core.calibrate import calibrate_asvs, calibrate_samples, first_rows
from aam_core.config import (
    Architecture,
    LossOptions,
    ModelOptions,
    PretrainConfig,
    resolve_architecture,
)
from aam_core.device import choose_device, compile_layers, tell_precision
from aam_core.distributed import Strategy
from aam_core.errors import InputError
from aam_core.inference import (
    AsvTable,
    chunk_size,
    collect,
    encode_table,
    masked_nucleotides,
    outputs,
)
from aam_core.inputs import (
    Inputs,
    Log,
    Matrix,
    Report,
    check_empty,
    logger,
    prepare_inputs,
    split_rows,
)
from aam_core.launch import on_all_devices, start_strategy
from aam_core.loading import architecture, load_encoder, read_kind
from aam_core.loop import Fit, Objective, fit
from aam_core.losses import (
    count_loss,
    pairwise_distances,
    self_supervised_losses,
    weighted_total,
)
from aam_core.memory import MemoryProfile, fit_to_memory, summary
from aam_core.model import Encoder
from aam_core.phylogeny import Phylogeny
from aam_core.resume import StateKeeper, identity_of
from aam_core.table import FeatureTable

#: Share of the ASVs whose abundance count_prediction hides and predicts.
HIDDEN_ABUNDANCES = 0.15
#: Validation samples that are compared with each other at a time.
BLOCK = 256


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
        Folder with the state of an interrupted run, which then goes on as if it had
        never been interrupted. It may be `state`.

    Raises
    ------
    InputError
        If the input or an option is wrong; before training starts.
    """
    strategy = start_strategy(config, choose_device(config))
    device = strategy.device
    log = Log(strategy.told(report))
    if strategy.main:
        check_empty(output, resume_from)
    profile = MemoryProfile(device, config.memory_profile)
    if (phylogeny is None) == (distances is None):
        both = "both were" if phylogeny is not None else "neither was"
        raise InputError(
            "Pre-training needs a phylogeny, or else a distance matrix, but "
            f"{both} given: pass one of them."
        )
    arch = resolve_from(config, encoder)
    inputs = prepare_inputs(
        config,
        table=table,
        sequences=sequences,
        phylogeny=phylogeny,
        distances=distances,
        metric=config.unifrac_metric,
        max_bp=arch.max_bp,
        seed=config.seed,
        report=log,
    )
    training, validation = split_rows(
        inputs.study, config, metadata=metadata, least=2, report=log
    )
    identity = identity_of(
        "pretrain",
        config,
        inputs,
        training,
        validation,
        encoder=None if encoder is None else encoder / checkpoint.WEIGHTS,
    )
    keeper = StateKeeper(state, resume_from, identity, strategy)
    torch.manual_seed(config.seed)
    model = Encoder(arch) if encoder is None else load_encoder(encoder, arch)
    model.to(device)
    tell_precision(config, device, log)
    set_attention(model, config, device, log)
    session = Session(config, model, inputs, training, validation, device)
    keeper.decided = fit_to_memory(
        session, model, device, log, strategy=strategy, before=keeper.decided
    )
    config = session.config
    describe(model, inputs, training, validation, device, log, config)
    if encoder is None:
        session.calibrate()
    compile_layers(model, config, device, log)
    strategy.prepare(session, model)
    result = fit(
        profile.watch(session.objective()),
        session.batches(),
        config,
        device,
        report=log,
        tensorboard=tensorboard,
        keeper=keeper,
        strategy=strategy,
    )
    description = describe_run(config, model, inputs, training, validation, result)
    description |= profile.tell(log)
    description |= {"kind": "encoder", "task": None, "report": log.lines}
    if strategy.main:
        checkpoint.save(output, description, result.best_state, result.history)
    keeper.end(result.completed, output)


def resolve_from(options: ModelOptions, encoder: Path | None) -> Architecture:
    """The architecture that the options and an earlier encoder lead to."""
    if encoder is None:
        return resolve_architecture(options)
    return resolve_architecture(options, architecture(read_kind(encoder, "encoder")))


def describe(
    model: torch.nn.Module,
    inputs: Inputs,
    training: np.ndarray,
    validation: np.ndarray,
    device: torch.device,
    report: Report,
    config: PretrainConfig,
) -> None:
    """Tell the size of the model and of the data before training starts."""
    number = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    report(
        f"{len(training):,} training and {len(validation):,} validation samples with "
        f"{inputs.study.table.shape[1]:,} distinct ASVs; a model of {number:,} "
        f"parameters ({trained:,} trained) on {device.type}."
    )
    report(summary(model, inputs.study, training, config))


def describe_run(
    config: PretrainConfig,
    encoder: Encoder,
    inputs: Inputs,
    training: np.ndarray,
    validation: np.ndarray,
    result: Fit,
) -> dict:
    """What `config.json` says of every run."""
    ids = inputs.study.table.sample_ids
    return {
        "architecture": dataclasses.asdict(encoder.arch),
        "options": config.to_dict(),
        "seed": config.seed,
        "distance": {"scale": inputs.scale(training)},
        "split": {
            "training": ids[training].tolist(),
            "validation": ids[validation].tolist(),
        },
        "best_epoch": result.best_epoch,
        "scores": result.history[result.best_epoch - 1],
        "completed": result.completed,
    }


def masking_of(options: LossOptions, encoder: Encoder) -> Masking:
    """What the options hide from the model in training."""
    hidden = 0.0
    if options.count_prediction:
        hidden = HIDDEN_ABUNDANCES if encoder.arch.count_embedding else 1.0
    ratio = options.nuc_mask_ratio if options.nuc_penalty else 0.0
    return Masking(ratio, options.nuc_mask_strategy, hidden)


class Session:
    """One run of pre-training: its batches, losses and validation."""

    def __init__(
        self,
        config: PretrainConfig,
        encoder: Encoder,
        inputs: Inputs,
        training: np.ndarray,
        validation: np.ndarray,
        device: torch.device,
    ) -> None:
        self.config = config
        self.encoder = encoder
        self.inputs = inputs
        self.training = training
        self.validation = validation
        self.device = device
        self.strategy = Strategy(device)
        self.masking = masking_of(config, encoder)
        self.scale = inputs.scale(training)
        if not (config.penalty or self.masking.ratio or self.masking.abundances):
            raise InputError(
                "There is nothing to learn: penalty, nuc_penalty and count_prediction "
                "are all off."
            )

    def calibrate(self) -> None:
        """Give the new encoder a start from which training gets going."""
        rows = first_rows(self.training, self.config.seed)
        study, config = self.inputs.study, self.config
        table = encode_table(self.encoder.eval(), study, rows, config, self.device)
        table = calibrate_asvs(self.encoder, table)
        maker = self.maker(None, tokens=False, distances=True)
        order = RowBatches(rows, config.batch_size, shuffle=False)
        batches = loader(maker, order, self.device)
        calibrate_samples(self.encoder, table, (b.to(self.device) for b in batches))

    def maker(
        self, masking: Masking | None, *, tokens: bool, distances: bool
    ) -> BatchMaker:
        """Makes batches, with what is asked for."""
        study, config = self.inputs.study, self.config
        length = study.tokens_FL.shape[1]
        return BatchMaker(
            study,
            token_limit=config.token_limit,
            asv_sampling=config.asv_sampling,
            chunk_size=chunk_size(self.encoder, length, config, self.device, True),
            distances=self.inputs.distances if distances else None,
            scale=self.scale,
            masking=masking,
            tokens=tokens,
            seed=config.seed,
        )

    def batches(self) -> torch.utils.data.DataLoader:
        """The training batches, shuffled by epoch."""
        config = self.config
        rows = RowBatches(
            self.training, config.batch_size, shuffle=True, seed=config.seed
        )
        maker = self.maker(self.masking, tokens=True, distances=True)
        return loader(maker, rows, self.device, config.num_workers)

    def objective(self) -> Objective:
        """What the training loop minimises."""
        return Objective(self.encoder, self.losses, self.validate)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch and its parts."""
        out = self.strategy.forward(self.encoder, batch)
        parts = self_supervised_losses(out, batch, self.config)
        total = weighted_total(parts, self.config)
        if out["nucleotides"] is not None:
            right = out["nucleotides"].argmax(-1) == batch.masked_truth_M
            parts["nuc_accuracy"] = right.float().mean()
        return total, parts

    def validate(self) -> dict[str, float]:
        """Scores on the validation samples, the same task at each call."""
        config, encoder = self.config, self.encoder.eval()
        table = encode_table(
            encoder,
            self.inputs.study,
            self.validation,
            config,
            self.device,
            strategy=self.strategy,
        )
        scores = {}
        if config.penalty:
            scores |= self._distance_scores(table)
        if self.masking.ratio:
            loss, accuracy = masked_nucleotides(
                encoder,
                self.inputs.study,
                self.validation,
                self.masking,
                config,
                self.device,
                strategy=self.strategy,
            )
            scores |= {"val_nuc_loss": loss, "val_nuc_accuracy": accuracy}
        if self.masking.abundances:
            scores["val_count_loss"] = self._count_score(table)
        weights = {
            "val_unifrac_loss": config.penalty,
            "val_nuc_loss": config.nuc_penalty,
            "val_count_loss": config.count_penalty,
        }
        loss = sum(weight * scores.get(name, 0.0) for name, weight in weights.items())
        return {"val_loss": loss} | scores

    def _distance_scores(self, table: AsvTable) -> dict[str, float]:
        out = collect(
            lambda batch: self.encoder(batch, table(batch)),
            self.maker(None, tokens=False, distances=False),
            self.validation,
            ("position", "value"),
            self.config,
            self.device,
        )
        return distance_scores(
            out["position"].float().cpu(),
            out["value"].float().cpu().numpy(),
            self.inputs,
            self.validation,
            self.scale,
        )

    def _count_score(self, table: AsvTable) -> float:
        masking = Masking(abundances=self.masking.abundances)
        rows = RowBatches(self.validation, self.config.batch_size, shuffle=False)
        maker = self.maker(masking, tokens=False, distances=False)
        batches = loader(maker, rows, self.device)
        found = outputs(self.encoder, batches, table, self.config, self.device)
        losses = [float(count_loss(out, batch)) for batch, out in found]
        return float(np.mean(losses))


def distance_scores(
    position_SD: Tensor,
    values: np.ndarray,
    inputs: Inputs,
    rows: np.ndarray,
    scale: float,
) -> dict[str, float]:
    """Mean squared error and correlation of the distances among samples.

    Samples are compared in blocks of `BLOCK`, so that the cost is linear.
    """
    true, predicted = [], []
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        found = np.asarray(inputs.distances(rows[block])) / scale
        if found.ndim == 1:
            true.append(found)
            predicted.append(values[block])
            continue
        pairs = np.triu_indices(len(found), k=1)
        true.append(found[pairs])
        predicted.append(pairwise_distances(position_SD[block]).numpy()[pairs])
    true, predicted = np.concatenate(true), np.concatenate(predicted)
    scores = {"val_unifrac_loss": float(np.mean((true - predicted) ** 2))}
    if len(true) > 1 and true.std() > 0 and predicted.std() > 0:
        scores["val_unifrac_r"] = float(np.corrcoef(true, predicted)[0, 1])
    return scores
