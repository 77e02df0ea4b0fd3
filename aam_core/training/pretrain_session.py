"""One run of pre-training, on one device or several.

Shapes: S samples, D width.
"""

import numpy as np
import torch
from torch import Tensor

from aam_core.config import LossOptions, PretrainConfig
from aam_core.data.batches import Batch, BatchMaker, RowBatches, loader
from aam_core.data.inputs import Inputs
from aam_core.data.masking import Masking
from aam_core.errors import InputError
from aam_core.inference.encode import (
    AsvTable,
    chunk_size,
    collect,
    encode_table,
    masked_nucleotides,
    outputs,
)
from aam_core.nn.encoder import Encoder
from aam_core.nn.losses import (
    count_loss,
    pairwise_distances,
    self_supervised_losses,
    weighted_total,
)
from aam_core.training.data_dependent_init import (
    first_rows,
    standardise_asvs,
    standardise_samples,
)
from aam_core.training.session import Session

#: Fraction of the ASVs whose abundance count_prediction masks and predicts.
MASKED_ABUNDANCES = 0.15
#: Validation samples that are compared with each other at a time.
BLOCK = 256


def masking_of(options: LossOptions, encoder: Encoder) -> Masking:
    """What the options mask in training."""
    abundances = 0.0
    if options.count_prediction:
        abundances = MASKED_ABUNDANCES if encoder.arch.count_embedding else 1.0
    ratio = options.nuc_mask_ratio if options.nuc_penalty else 0.0
    return Masking(ratio, options.nuc_mask_strategy, abundances)


class PretrainSession(Session):
    """One run of pre-training; see `Session`."""

    config: PretrainConfig
    model: Encoder

    def __init__(
        self,
        config: PretrainConfig,
        model: Encoder,
        inputs: Inputs,
        training: np.ndarray,
        validation: np.ndarray,
        device: torch.device,
    ) -> None:
        super().__init__(config, model, inputs, training, validation, device)
        self.masking = masking_of(config, model)
        if not (config.penalty or self.masking.ratio or self.masking.abundances):
            raise InputError(
                "There is nothing to learn: penalty, nuc_penalty and count_prediction "
                "are all off."
            )

    def initialise(self, new_base: bool) -> None:
        """Give a new encoder a start that depends on the data."""
        if not new_base:
            return
        rows = first_rows(self.training, self.config.seed)
        study, config = self.inputs.study, self.config
        table = encode_table(self.model.eval(), study, rows, config, self.device)
        table = standardise_asvs(self.model, table)
        maker = self.maker(None, tokens=False, distances=True)
        order = RowBatches(rows, config.batch_size, shuffle=False)
        batches = loader(maker, order, self.device)
        standardise_samples(self.model, table, (b.to(self.device) for b in batches))

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
            chunk_size=chunk_size(self.model, length, config, self.device, True),
            distances=self.inputs.distances if distances else None,
            scale=self.scale,
            masking=masking,
            tokens=tokens,
            seed=config.seed,
        )

    def training_maker(self) -> BatchMaker:
        """Makes the batches of training."""
        return self.maker(self.masking, tokens=True, distances=True)

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch and its parts."""
        out = self.strategy.forward(self.model, batch)
        parts = self_supervised_losses(out, batch, self.config)
        total = weighted_total(parts, self.config)
        if out["nucleotides"] is not None:
            right = out["nucleotides"].argmax(-1) == batch.masked_truth_M
            parts["nuc_accuracy"] = right.float().mean()
        return total, parts

    def validate(self) -> dict[str, float]:
        """Scores on the validation samples, the same task at each call."""
        config, encoder = self.config, self.model.eval()
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
            lambda batch: self.model(batch, table(batch)),
            self.maker(None, tokens=False, distances=False),
            self.validation,
            ("distance_embedding", "faith_pd"),
            self.config,
            self.device,
        )
        return distance_scores(
            out["distance_embedding"].float().cpu(),
            out["faith_pd"].float().cpu().numpy(),
            self.inputs,
            self.validation,
            self.scale,
        )

    def _count_score(self, table: AsvTable) -> float:
        masking = Masking(abundances=self.masking.abundances)
        rows = RowBatches(self.validation, self.config.batch_size, shuffle=False)
        maker = self.maker(masking, tokens=False, distances=False)
        batches = loader(maker, rows, self.device)
        found = outputs(self.model, batches, table, self.config, self.device)
        losses = [float(count_loss(out, batch)) for batch, out in found]
        return float(np.mean(losses))


def distance_scores(
    embedding_SD: Tensor,
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
        predicted.append(pairwise_distances(embedding_SD[block]).numpy()[pairs])
    true, predicted = np.concatenate(true), np.concatenate(predicted)
    scores = {"val_unifrac_loss": float(np.mean((true - predicted) ** 2))}
    if len(true) > 1 and true.std() > 0 and predicted.std() > 0:
        scores["val_unifrac_r"] = float(np.corrcoef(true, predicted)[0, 1])
    return scores
