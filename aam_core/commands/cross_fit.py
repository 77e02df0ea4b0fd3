"""Members that were fitted without a fold, what they predict of it, and their weights.

Shapes: N samples of the study, O outputs, Q quantiles.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from aam_core.bootstrap import FEW
from aam_core.config import TrainConfig
from aam_core.data.intervals import (
    COVERAGE,
    FEWEST,
    interval_half_widths,
    spread_of,
    widening_of,
)
from aam_core.data.labels import Labels
from aam_core.data.target_decoder import (
    Decoder,
    Predictions,
    calibrating_temperature,
)
from aam_core.ensemble.classical import Classical, fit_classical
from aam_core.ensemble.community import Community, read_community, reference
from aam_core.ensemble.mixture import NETWORK, loss_of_mix, space_of
from aam_core.ensemble.saved import PROFILES
from aam_core.ensemble.weights import convex_weights
from aam_core.inference.finite import check_finite
from aam_core.io.load import network_prefix
from aam_core.io.model_folder import WEIGHTS
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.reporting import Log, Report, progress
from aam_core.training.program import Begun, Finished, Part, Prepared, Trained
from aam_core.training.run import outcome
from aam_core.training.stop import Interrupted, StopRequest
from aam_core.training.train_session import BASE, head_shape

#: Samples whose members take long enough to be told.
MANY = 500


class CrossFit(Begun):
    """The ensemble of one run, from its folds to its model.

    Parameters
    ----------
    config : TrainConfig
        All options.
    prepared : Prepared
        Samples, folds and labels.
    groups_N : numpy.ndarray, optional
        Group of each sample.
    report : callable
        Takes sentences for the user.
    """

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared,
        groups_N: np.ndarray | None,
        report: Report,
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.groups_N = groups_N
        self.report = report
        self.labels: Labels = prepared.labels
        self.space = space_of(config, self.labels, self._rows_of_all)
        self.classical: Classical | None = None
        #: by member, (N, O) or (N, O, Q) in `space`; NaN of what is not predicted
        self.found: dict[str, np.ndarray] = {}

    @cached_property
    def samples(self) -> Community:
        """All samples of the study, as members beside the network read them."""
        return read_community(self.prepared.inputs.study)

    @property
    def _rows_of_all(self) -> np.ndarray:
        """The rows that `labels` were fitted to."""
        parts = self.prepared.parts
        return self.prepared.rows if len(parts) > 1 else parts[0].training

    @property
    def _members(self) -> tuple[str, ...]:
        """Those beside the network that can follow the options."""
        config = self.config
        beside = tuple(name for name in config.ensemble if name != NETWORK)
        if beside and config.over_penalty != config.under_penalty:
            self.report(
                f"{' and '.join(beside)} are left out: they predict means, and "
                "loss_type asymmetric asks for more or less than that."
            )
            return ()
        return beside

    def fit_classical(self, stop: StopRequest) -> None:
        """Fit kernel and trees, to all samples and without each fold.

        When the first fold is predicted there is a model; a request to end is heeded
        from then on.
        """
        if not (members := self._members):
            return
        total, parts = len(self.prepared.rows), self.prepared.parts
        verb = "are" if len(members) > 1 else "is"
        self.report(
            f"{' and '.join(members)} {verb} fitted to {total:,} samples"
            + (f", in {len(parts)} folds" if len(parts) > 1 else "")
            + (", which may take minutes." if total > MANY else ".")
        )
        fits = len(parts) + (len(parts) > 1)  # of the folds, and of all samples
        with progress(None, total=fits, desc=" and ".join(members), unit="fit") as bar:
            if len(parts) > 1:
                every = self.prepared.rows
                self.classical, _ = self._fitted(
                    members, self.samples, self.labels, every
                )
                bar.update()
            for number, part in enumerate(parts):
                try:
                    with stop.interruptible() if number else nullcontext():
                        self._fit_without(part, members)
                except Interrupted:
                    if not number:
                        raise
                    self._tell_cut(number, stop.reason)
                    return
                bar.update()
                self.suffices = not self.labels.decoder.quantiles  # the network's
                if self.suffices:
                    stop.learned()

    def _fit_without(self, part: Part, members: tuple[str, ...]) -> None:
        """Fit members without a fold, and keep what they predict of it."""
        classical, own = self._fitted(members, self.samples, part.labels, part.fitted)
        if self.classical is None:  # the only fit
            self.classical = classical
        ids = self.prepared.inputs.study.table.sample_ids[part.held_out]
        for name, raw in classical.predict(own.take(part.held_out)).items():
            check_finite(raw, ids, f"What the member {name} learns", "samples")
            self._take(name, raw, part.labels, part.held_out)

    def _tell_cut(self, number: int, reason: str) -> None:
        """Say that some folds are not predicted."""
        self.stopped = reason
        self.report(
            f"The fitting stopped after fold {number} of {len(self.prepared.parts)} "
            f"because {reason}; weights and scores are by those folds, and the model "
            "is marked as not completed."
        )

    def _fitted(self, members, samples, labels, rows):
        """Members fitted to these rows, and the samples with their categories."""
        samples = samples.with_categories(labels.categories_NK)
        jobs = torch.get_num_threads()
        seed = self.config.seed
        classical = fit_classical(
            members, samples, labels, rows, self.groups_N, seed, jobs
        )
        return classical, samples

    def _take(self, name: str, raw: np.ndarray, own: Labels, rows: np.ndarray) -> None:
        """Keep what a member predicts of the rows of a fold."""
        groups = None if own.groups is None else [own.groups[row] for row in rows]
        value = self.space.taken(raw, own.decoder, groups)
        if name not in self.found:
            shape = (len(self.labels.target), *value.shape[1:])
            self.found[name] = np.full(shape, np.nan)
        self.found[name][rows] = value

    def finish(self, trained: Sequence[Trained], report: Log) -> Finished:
        """Weigh the members by what they predicted, and describe the model."""
        parts = self.prepared.parts
        for part, model in zip(parts, trained, strict=False):
            self._take(NETWORK, model.held_out.numpy(), part.labels, part.held_out)
        if NETWORK in self.found:  # named first
            self.found = {NETWORK: self.found.pop(NETWORK)} | self.found
        folds = self._predicted_folds()
        rows = np.sort(np.concatenate(folds))
        loss = loss_of_mix(self.config, self.labels)
        points = {n: self.space.points(v) for n, v in self.found.items()}
        weights = convex_weights(points, rows, loss)
        raw, apart = self._mixed(folds, points, weights, loss)
        alone = {name: self._alone(value, rows) for name, value in points.items()}
        report(_told(weights, alone))
        found = self._predictions(raw, apart, folds)
        scores = self._scores(found, rows)
        kind = "Out of fold" if len(parts) > 1 else "Validation"
        report(f"{kind} ({len(rows):,} samples): {_sentence(scores)}.")
        self._tell_if_few(folds, report)
        mix = torch.from_numpy(self.space.mixable(raw[rows]))
        scores = {"loss": float(loss(mix, rows))} | scores
        description = self._description(trained) | {
            "target": self._decoder(raw, apart, rows).to_dict(),
            "categories": self.labels.categories and self.labels.categories.to_dict(),
            "scores": {f"val_{name}": value for name, value in scores.items()},
        }
        description["ensemble"] |= {
            "weights": weights,
            "scores": alone,
            "frequencies": self.space.frequencies,
        }
        return Finished(description, self._tensors(trained), found)

    def _tell_if_few(self, folds: list[np.ndarray], report: Report) -> None:
        """Say what few samples, or groups, prove, and who has no interval."""
        kind = "samples" if self.groups_N is None else "groups"
        rows = np.concatenate(folds)
        number = self._independent(rows)
        if number < FEW:
            report(
                f"Scores of {number} {kind} prove little: other {kind} may give quite "
                "other ones. See how far they change with the seed."
            )
        if self.config.task == "classification":
            return
        if number < FEWEST:
            report(
                f"There are no prediction intervals: of {number} {kind} nobody knows "
                f"what {100 * COVERAGE:.0f} % of others hold; {FEWEST} are the fewest."
            )
            return
        without = [
            fold
            for place, fold in enumerate(folds)
            if self._independent(_beside(folds, place)) < FEWEST
        ]
        if without:
            report(
                f"{sum(map(len, without)):,} of {len(rows):,} samples have no interval "
                f"out of fold, since the other folds have fewer than {FEWEST} {kind}. "
                "Predictions of new samples have one."
            )

    def _independent(self, rows: np.ndarray) -> int:
        """How many groups, or samples, there are."""
        return len(rows if self.groups_N is None else set(self.groups_N[rows]))

    def _predicted_folds(self) -> list[np.ndarray]:
        """The rows of each fold that all members predict."""
        known_N = np.ones(len(self.labels.target), dtype=bool)
        for value in self.found.values():
            known_N &= np.isfinite(value).reshape(len(value), -1).all(axis=1)
        folds = [part.held_out[known_N[part.held_out]] for part in self.prepared.parts]
        return [rows for rows in folds if len(rows)]

    def _mixed(self, folds, points, weights, loss):
        """What the head would return for all rows: each by weights of other folds.

        With numbers also (N, T) how far the members disagree.
        """
        raw = apart = None
        for number, rows in enumerate(folds):
            own = weights
            if len(folds) > 1:
                others = np.sort(_beside(folds, number))
                own = convex_weights(points, others, loss)
            found = {n: v[rows] for n, v in self.found.items()}
            value = self.space.raw(found, own)
            if raw is None:
                raw = np.zeros((len(self.labels.target), *value.shape[1:]))
                if self.config.task == "regression":
                    apart = np.zeros(raw.shape[:2])
            raw[rows] = value
            if apart is not None:
                apart[rows] = self.space.disagreement(found, own, self._groups(rows))
        return raw, apart

    def _groups(self, rows: np.ndarray) -> list[str] | None:
        groups = self.labels.groups
        return None if groups is None else [groups[row] for row in rows]

    def _predictions(
        self, raw: np.ndarray, apart: np.ndarray | None, folds: list[np.ndarray]
    ) -> Predictions:
        """Of each fold, calibrated by the others; in the order of the study."""
        parts = []
        for number, rows in enumerate(folds):
            decoder = self._decoder(raw, apart, _beside(folds, number))
            ids = self.prepared.inputs.study.table.sample_ids[rows]
            given = (raw[rows], ids, self._groups(rows))
            here = None if apart is None else apart[rows]
            parts.append((decoder.predictions(*given), decoder.details(*given, here)))
        return Predictions(
            *(pd.concat(tables).sort_index() for tables in zip(*parts, strict=True))
        )

    def _decoder(
        self, raw: np.ndarray, apart: np.ndarray | None, rows: np.ndarray
    ) -> Decoder:
        """The decoder with intervals, or probabilities, by these samples."""
        decoder = self.labels.decoder
        if self.config.task == "classification":
            codes = self.labels.values[rows]
            temperature = calibrating_temperature(raw[rows], codes)
            return replace(decoder, temperature=temperature)
        true = self.labels.target.iloc[rows].to_numpy()
        point = decoder.point(raw[rows], self._groups(rows))
        groups = None if self.groups_N is None else self.groups_N[rows]
        widening = widening_of(true, point, apart[rows], groups)
        spread = spread_of(widening, apart[rows], point)
        widths = interval_half_widths(true, point, groups, spread)
        return replace(decoder, half_widths=widths, widening=widening)

    def _alone(self, points: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Scores of one member."""
        if self.config.loss_type == "quantile":
            points = np.repeat(points[..., None], len(self.config.quantiles), axis=-1)
        raw = self.space.raw({NETWORK: points[rows]}, {NETWORK: 1.0})
        ids = self.prepared.inputs.study.table.sample_ids[rows]
        given, decoder = (raw, ids, self._groups(rows)), self.labels.decoder
        found = Predictions(decoder.predictions(*given), decoder.details(*given))
        return self._scores(found, rows)

    def _scores(self, found: Predictions, rows: np.ndarray) -> dict[str, float]:
        """Metrics in original units, of predictions of these rows in their order."""
        true = self.labels.target.iloc[rows].to_numpy()
        predicted = found.predictions.to_numpy()
        if self.config.task == "regression":
            columns = self.labels.decoder.columns
            return regression_metrics(true, predicted.astype(float), columns)
        chances = found.details
        return classification_metrics(
            true[:, 0], predicted[:, 0], chances.to_numpy(), list(chances.columns)
        )

    def _description(self, trained: Sequence[Trained]) -> dict[str, Any]:
        """What `config.json` says of the members."""
        found: dict[str, Any] = {"ensemble": {}, "labels": self._divided()}
        if trained:
            found["ensemble"][NETWORK] = [
                {
                    "head": asdict(head_shape(self.config, part.labels)),
                    "target": part.labels.decoder.to_dict(),
                    "categories": part.labels.categories
                    and part.labels.categories.to_dict(),
                }
                | outcome(model)
                for part, model in zip(self.prepared.parts, trained, strict=False)
            ]
        if len(self.prepared.parts) == 1:
            found |= {n: v for model in trained for n, v in outcome(model).items()}
        if self.classical is not None:
            found["ensemble"] |= self.classical.description()
        return found

    def _divided(self) -> list[dict[str, Any]]:
        """What the targets of both sides of each part are: counts, or quartiles."""
        return [
            {
                side: [
                    {"samples": len(rows)} | labels_summary(self.labels.target[c], rows)
                    for c in self.labels.target
                ]
                for side, rows in {
                    "fitted": part.fitted,
                    "held_out": part.held_out,
                }.items()
            }
            for part in self.prepared.parts
        ]

    def _tensors(self, trained: Sequence[Trained]) -> dict[str, Tensor]:
        """All weights, those of a frozen encoder once."""
        found: dict[str, Tensor] = {}
        if trained and self.config.freeze_base:
            base = load_file(self.prepared.encoder / WEIGHTS)
            found |= {f"{BASE}{name}": value for name, value in base.items()}
        for number, model in enumerate(trained):
            prefix = network_prefix(number, len(trained))
            found |= {f"{prefix}{name}": w for name, w in model.weights.items()}
        if self.classical is not None:
            arrays = self.classical.arrays().items()
            found |= {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in arrays}
        known = reference(self.samples.take(self._rows_of_all))
        return found | {PROFILES: torch.from_numpy(known)}


def labels_summary(target: pd.Series, rows: np.ndarray) -> dict[str, Any]:
    """Samples of each class, or quartiles of the numbers, of some samples."""
    some = target.iloc[rows]
    if pd.api.types.is_numeric_dtype(some):
        return {"quartiles": [float(q) for q in some.quantile(np.linspace(0, 1, 5))]}
    return {"classes": {str(c): int(n) for c, n in some.value_counts().items()}}


def _beside(folds: list[np.ndarray], number: int) -> np.ndarray:
    """The rows of all other folds; of an only one its own."""
    return np.concatenate(folds[:number] + folds[number + 1 :] or folds)


def _told(
    weights: Mapping[str, float], scores: Mapping[str, Mapping[str, float]]
) -> str:
    """The members, with their weights and what each reaches alone."""
    each = [
        f"{name} {weight:.2f} ({_sentence(_headline(scores[name]))})"
        for name, weight in weights.items()
    ]
    return f"Weights of the members (and what each reaches alone): {', '.join(each)}."


def _headline(scores: Mapping[str, float]) -> dict[str, float]:
    return {
        n: scores[n] for n in ("mae", "balanced_accuracy", "log_loss") if n in scores
    }


def _sentence(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
