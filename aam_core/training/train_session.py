"""One run of training, on one device or several."""

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from aam_core.config import TrainConfig
from aam_core.data.batches import Batch, BatchMaker, RowBatches, loader
from aam_core.data.inputs import Inputs
from aam_core.data.labels import Labels
from aam_core.data.sample_features import sample_features
from aam_core.inference.encode import (
    AsvTable,
    chunk_size,
    collect,
    encode_table,
)
from aam_core.inference.frozen_encoder import SCORES, FrozenBase
from aam_core.inference.random_draws import all_passes, average, samples_above
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.nn.fusion import MONITORED, SHAPE_OPTIONS
from aam_core.nn.head import HeadShape
from aam_core.nn.losses import (
    self_supervised_losses,
    target_loss,
    weighted_target_loss,
    weighted_total,
)
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Report, logger
from aam_core.runtime.spill import SpillBuffer
from aam_core.training.data_dependent_init import (
    first_rows,
    standardise_asvs,
    standardise_pooled,
    standardise_samples,
)
from aam_core.training.loop import Objective
from aam_core.training.pretrain_session import distance_scores, masking_of
from aam_core.training.session import Session

#: What the names of an encoder's weights start with in a model.
BASE = "base."


def head_shape(config: TrainConfig, labels: Labels) -> HeadShape:
    """The shape of the head that fits the labels."""
    covariates: dict = {}
    if labels.categories is not None:
        columns = config.categorical_columns
        covariates = {name: getattr(config, name) for name in SHAPE_OPTIONS} | {
            "cardinalities": tuple(labels.categories.get_cardinalities().values()),
            "scaled_by": tuple(map(columns.index, config.conditional_output_scaling)),
        }
    return HeadShape(
        outputs=labels.outputs,
        quantiles=len(labels.decoder.quantiles),
        median=levels.index(0.5) if (levels := labels.decoder.quantiles) else 0,
        classes=labels.decoder.classes is not None,
        target_layers=config.target_layers,
        layer_norm=config.target_layer_norm,
        hidden_dims=config.regressor_hidden_dims,
        hidden_dropout=config.regressor_dropout,
        residual=config.residual_regression_head,
        bounded=config.bounded_targets,
        activation=config.output_activation,
        output_scale=config.learnable_output_scale,
        pooled_features=config.pooled_features,
        pooled_dropout=config.pooled_dropout,
        **covariates,
    )


def set_first_guess(
    model: SequencePredictor, labels: Labels, training: np.ndarray
) -> None:
    """Let the untrained head predict the distribution of the training targets.

    Training then starts from the error of a constant prediction, whatever the scale
    of the target.
    """
    values = labels.values[training]
    zero = None
    if labels.decoder.classes is not None:
        frequencies = np.bincount(values, minlength=labels.outputs) / len(values)
        guess = np.log(frequencies.clip(1e-3))[:, None]
    else:
        levels = labels.decoder.quantiles or (0.5,)
        guess = np.quantile(values, levels, axis=0).T
        zero = torch.as_tensor(labels.decoder.scaler.zero)
    model.head.start_at(torch.as_tensor(guess), zero)


class TrainSession(Session):
    """One run of training; see `Session`."""

    config: TrainConfig
    model: SequencePredictor

    def __init__(
        self,
        config: TrainConfig,
        model: SequencePredictor,
        inputs: Inputs,
        labels: Labels,
        training: np.ndarray,
        validation: np.ndarray,
        device: torch.device,
        report: Report = logger.info,
        read: np.ndarray | None = None,
    ) -> None:
        super().__init__(config, model, inputs, training, validation, device)
        sides = np.concatenate([training, validation])
        self.read = sides if read is None else read
        self.labels = labels
        weights = labels.class_weights
        weights = None if weights is None else torch.from_numpy(weights).to(device)
        self.class_weights = weights
        self.target_loss = target_loss(config, weights)
        self.report = report
        self._frozen: FrozenBase | None = None
        self._features_NV: np.ndarray | None = None

    @property
    def features_NV(self) -> np.ndarray | None:
        """Features of all samples, computed when asked first; None without any."""
        number = self.model.shape.pooled_features
        if number and self._features_NV is None:
            self._features_NV = sample_features(self.inputs.study, number)
        return self._features_NV

    @property
    def frozen(self) -> FrozenBase | None:
        """What a frozen encoder makes of the samples, computed when asked first."""
        if self.model.frozen and self._frozen is None:
            self._frozen = self._encode_once(self.report)
        return self._frozen

    def share(self, earlier: "TrainSession") -> None:
        """Take over what does not differ between parts of a run.

        These are features of samples, and what a frozen encoder makes of them.
        """
        self._frozen = earlier._frozen
        self._features_NV = earlier._features_NV

    def _encode_once(self, report: Report) -> FrozenBase:
        """What a frozen encoder makes of all samples, for the whole run."""
        base, config, device = self.model.base, self.config, self.device
        every = self.read
        buffer = SpillBuffer.of(config, device, report)
        table = encode_table(
            base, self.inputs.study, every, config, device, buffer=buffer
        )
        maker = self.maker(training=False)
        return FrozenBase(base, table, maker, every, buffer, config, device)

    def table_of(self, rows: np.ndarray) -> AsvTable:
        """The embeddings of the ASVs of these rows, by the encoder as it is now."""
        if self.frozen is not None:
            return self.frozen.table
        return encode_table(
            self.model.base,
            self.inputs.study,
            rows,
            self.config,
            self.device,
            strategy=self.strategy,
        )

    def encode_with(self, table: AsvTable) -> Callable[[Batch], dict[str, Tensor]]:
        """The encoder on batches whose ASVs are in the table."""
        if self.frozen is not None:
            return self.frozen
        return lambda batch: self.model.base(batch, table(batch))

    def initialise(self, new_base: bool) -> None:
        """Give what is new of the model a start that depends on the data."""
        model, config = self.model.eval(), self.config
        rows = first_rows(self.training, config.seed)
        order = RowBatches(rows, config.batch_size, shuffle=False)
        maker = self.maker(training=False, distances=new_base)
        made = loader(maker, order, self.device)
        batches = [batch.to(self.device) for batch in made]
        if new_base:
            study = self.inputs.study
            table = encode_table(model.base, study, rows, config, self.device)
            table = standardise_asvs(model.base, table)
            standardise_samples(model.base, table, batches)
        standardise_pooled(model, self.encode_with(self.table_of(rows)), batches)
        if self.features_NV is not None:
            known = torch.from_numpy(self.features_NV[self.training])
            model.wide.standardise(known.to(self.device))

    def maker(self, *, training: bool, distances: bool = False) -> BatchMaker:
        """Makes the batches of training or, with known embeddings, of validation.

        Those of training have `distances` where the encoder learns, others if asked.
        """
        learn = training and not self.model.frozen
        study, config = self.inputs.study, self.config
        encoder, length = self.model.base, study.tokens_FL.shape[1]
        return BatchMaker(
            study,
            token_limit=config.token_limit,
            asv_sampling=config.asv_sampling,
            chunk_size=chunk_size(encoder, length, config, self.device, True),
            distances=self.inputs.distances if learn or distances else None,
            scale=self.scale,
            masking=masking_of(config, encoder) if learn else None,
            categories_NK=self.labels.categories_NK,
            features_NV=self.features_NV,
            targets_NT=self.labels.values,
            tokens=learn,
            seed=config.seed,
        )

    def training_maker(self) -> BatchMaker:
        """Makes the batches of training."""
        return self.maker(training=True)

    def objective(self) -> Objective:
        """What the training loop minimises."""
        label = "RL" if self.config.task == "regression" else "CL"
        return dataclasses.replace(super().objective(), labels={"target_loss": label})

    @property
    def select(self) -> str:
        """The score that selects the best epoch."""
        best = self.config.best_metric
        return best if best.startswith("val_") else f"val_{best}"

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss of a batch and its parts."""
        if self.frozen is None:
            out = self.strategy.forward(self.model, batch)
        else:
            out = self.model(batch, base=self.frozen(batch))
        loss = self.loss_of(out["target"], batch.targets_ST, batch.rows)
        parts = {"target_loss": loss}
        parts |= self_supervised_losses(out, batch, self.config)
        return weighted_total(parts, self.config), parts

    def loss_of(self, predicted: Tensor, true: Tensor, rows: np.ndarray) -> Tensor:
        """The target loss of these rows, by the weights of their categories."""
        if self.labels.loss_weights_N is None:
            return self.target_loss(predicted, true)
        weights = torch.from_numpy(self.labels.loss_weights_N[rows]).to(predicted)
        return weighted_target_loss(
            self.config, predicted, true, weights, self.class_weights
        )

    def validate(self) -> dict[str, float]:
        """Scores on the validation samples; targets in their own units."""
        out, raw = self._outputs(self.validation)
        loss, *metrics = self.scores_of(raw).items()
        scores = dict([loss])
        scores |= {name: float(out[name].mean()) for name in MONITORED if name in out}
        scores |= dict(metrics)
        if self.inputs.distances is not None and len(self.validation) > 1:
            scores |= distance_scores(
                out["distance_embedding"].float().cpu(),
                out["faith_pd"].float().cpu().numpy(),
                self.inputs,
                self.validation,
                self.scale,
            )
        return scores

    def scores_of(self, raw: Tensor) -> dict[str, float]:
        """`val_loss` and metrics of what the head returns for validation samples."""
        values = torch.as_tensor(self.labels.values[self.validation])
        loss = self.loss_of(raw, values.to(raw.device), self.validation)
        metrics = self.metrics(raw.float().cpu().numpy())
        return {"val_loss": float(loss)} | {f"val_{n}": v for n, v in metrics.items()}

    def predict(self, rows: np.ndarray) -> Tensor:
        """What the head returns for samples, on the CPU."""
        outputs = partial(self._outputs, rows)
        return self.strategy.inside(outputs)[1].float().cpu()

    def kept(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """All but those of a frozen encoder, which others have."""
        if not self.model.frozen:
            return weights
        return {n: w for n, w in weights.items() if not n.startswith(BASE)}

    def _outputs(self, rows: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
        """What is scored of the outputs, and the target averaged over passes."""
        model, config = self.model.eval(), self.config
        table = self.table_of(rows)
        encode = self.encode_with(table)
        maker = self.maker(training=False)
        names = ("target", *SCORES, *MONITORED)

        def of_batch(batch: Batch) -> dict[str, Tensor]:
            return model(batch, base=encode(batch))

        def run(rows: np.ndarray, draw: int) -> dict[str, Tensor]:
            return collect(of_batch, maker, rows, names, config, self.device, draw)

        out = run(rows, 0)
        passes = all_passes(
            out["target"],
            samples_above(self.inputs.study, rows, config.token_limit),
            config.val_prediction_passes,
            lambda above, draw: run(rows[above], draw)["target"],
        )
        return out, average(passes, config.task)

    def groups(self, rows: np.ndarray) -> list[str] | None:
        """The categories that the scale of these rows depends on."""
        groups = self.labels.groups
        return None if groups is None else [groups[row] for row in rows]

    def metrics(self, raw: np.ndarray) -> dict[str, float]:
        """Metrics of the validation samples, in original units."""
        decoder = self.labels.decoder
        point = decoder.point(raw, self.groups(self.validation))
        true = self.labels.target.iloc[self.validation].to_numpy()
        if self.config.task == "classification":
            return classification_metrics(true[:, 0], point)
        return regression_metrics(true, point, decoder.columns)
