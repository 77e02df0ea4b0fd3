"""How much of a linear model a trained network's prediction takes.

Shapes: N samples, K features of the linear model, C categorical columns, O outputs.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from aam_core.config import TrainConfig
from aam_core.data.batches import Batch, BatchMaker, RowBatches, loader
from aam_core.data.inputs import Inputs
from aam_core.data.labels import Labels
from aam_core.distributed.strategy import Strategy
from aam_core.ensemble.linear_fit import fit, fit_rows
from aam_core.inference.encode import AsvTable, collect
from aam_core.metrics import sign_of
from aam_core.nn.linear_part import LinearPart
from aam_core.nn.predictor import SequencePredictor
from aam_core.reporting import Report

#: Mixing weights of the linear model that are tried.
MIXING_WEIGHTS = np.linspace(0, 1, 11)
MANY = 1_000  #: samples whose fit takes long enough to be told
BATCH = 8  #: samples whose features are computed at a time


class TrainedNetwork(Protocol):
    """A session whose network is trained, as the ensemble sees it."""

    config: TrainConfig
    model: SequencePredictor
    inputs: Inputs
    labels: Labels
    training: np.ndarray
    validation: np.ndarray
    device: torch.device
    strategy: Strategy
    select: str  #: the score that selects

    def table_of(self, rows: np.ndarray) -> AsvTable:
        """The embeddings of the ASVs of these rows."""

    def encode_with(self, table: AsvTable) -> Callable[[Batch], dict[str, Tensor]]:
        """The encoder on batches whose ASVs are in the table."""

    def maker(self, *, training: bool) -> BatchMaker:
        """Makes batches."""

    def scores_of(self, raw: Tensor) -> dict[str, float]:
        """Scores of what a head returns for the validation samples."""


def mix_linear(
    session: TrainedNetwork, groups_N: list | None, report: Report
) -> LinearPart | None:
    """Fit a linear model, and find how much of it the prediction should take.

    It is fitted on the training samples. Its mixing weight is the one by which the
    validation samples are predicted best, in the score that selected the epoch.

    Parameters
    ----------
    session : TrainedNetwork
        Its model stays as it is.
    groups_N : list, optional
        Groups of all samples of the study, none of which is divided when strengths are
        compared.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    LinearPart or None
        For `SequencePredictor.add_linear`; None where its weight is 0.
    """
    session.model.eval()
    table = session.table_of(np.concatenate([session.training, session.validation]))
    strategy = session.strategy
    linear = None
    if strategy.main:
        linear = _fitted(session, table, groups_N, report).cpu()
    linear = strategy.broadcast(linear).to(session.device)
    scores = _scores(session, table, linear)
    best = lowest(scores)
    name = session.select
    sign = sign_of(name)
    if not MIXING_WEIGHTS[best]:
        report(
            "A linear model of the community would not improve the network's "
            f"{name} of {sign * scores[0]:.4f}, and is left out."
        )
        return None
    weight = MIXING_WEIGHTS[best]
    linear.mixing_weight.fill_(weight)
    report(
        f"A linear model of the community has a weight of {weight:.1f} in the "
        f"predictions (linear_part): {name} {sign * scores[best]:.4f}, of the network "
        f"alone {sign * scores[0]:.4f}, of the linear model alone "
        f"{sign * scores[-1]:.4f}."
    )
    return linear


def _fitted(
    session: TrainedNetwork,
    table: AsvTable,
    groups_N: list | None,
    report: Report,
) -> LinearPart:
    """The linear model of the training samples."""
    labels, shape, study = session.labels, session.model.shape, session.inputs.study
    rows = fit_rows(session.training, session.config.seed)
    if len(rows) > MANY:
        report(
            f"A linear model of the community (linear_part) is fitted to {len(rows):,} "
            "samples, which may take minutes."
        )
    arch = session.model.base.arch
    linear = LinearPart(arch.embedding_dim, shape, arch.count_embedding)
    linear.to(session.device)
    present = np.unique(study.table.counts[rows].indices)
    place = table.place[present]
    known = torch.from_numpy(place[place >= 0]).to(table.vectors_FD.device)
    linear.draw(table.vectors_FD.index_select(0, known), session.config.seed)
    inputs_NK = _inputs(session, table, linear, rows)
    of_asvs = inputs_NK.shape[1]
    if labels.categories_NK is not None:
        inputs_NK = np.hstack(
            [inputs_NK, linear.indicators(labels.categories_NK[rows])]
        )
    weights_N = np.ones(len(rows))
    if labels.loss_weights_N is not None:
        weights_N = weights_N * labels.loss_weights_N[rows]
    if labels.class_weights is not None:
        weights_N = weights_N * labels.class_weights[labels.values[rows]]
    groups = None if groups_N is None else np.array([str(groups_N[r]) for r in rows])
    classes = shape.outputs if shape.classes else 0
    found = fit(inputs_NK, labels.values[rows], groups, weights_N, classes)
    linear.take(found, inputs_NK[:, of_asvs:].mean(axis=0))
    return linear


def _inputs(
    session: TrainedNetwork, table: AsvTable, linear: LinearPart, rows: np.ndarray
) -> np.ndarray:
    """The sums of the features over the ASVs of samples, (N, K) in float64."""
    order = RowBatches(rows, BATCH, shuffle=False)
    batches = loader(session.maker(training=False), order, session.device)
    found = []
    with torch.inference_mode():
        for batch in batches:
            moved = batch.to(session.device)
            found.append(linear.sums(moved, linear.features(table(moved))).cpu())
    return torch.cat(found).double().numpy()


def _scores(
    session: TrainedNetwork, table: AsvTable, linear: LinearPart
) -> list[float]:
    """The score with each of the weights; lower is better."""
    model, rows = session.model, session.validation
    encode = session.encode_with(table)
    added = table.mapped(linear.contributions)

    def of_batch(batch: Batch) -> dict[str, Tensor]:
        alone = model(batch, base=encode(batch))["target"]
        return {"network": alone, "linear": linear(batch, added(batch))}

    out = collect(
        of_batch,
        session.maker(training=False),
        rows,
        ("network", "linear"),
        session.config,
        session.device,
    )
    sign = sign_of(session.select)
    scores = []
    for weight in MIXING_WEIGHTS:
        raw = out["network"]
        if weight:
            linear.mixing_weight.fill_(weight)
            raw = model.head.within(linear.mixed(raw, out["linear"]))
        scores.append(sign * session.scores_of(raw)[session.select])
    return scores


def lowest(scores: Sequence[float]) -> int:
    """Where the lowest score is; the first where none is a number."""
    return int(np.argmin(np.nan_to_num(scores, nan=np.inf)))
