"""How much of a linear model a trained network's prediction takes.

Shapes: N samples, K features of the linear model, C categorical columns, O outputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aam_core.batches import Batch, RowBatches, loader
from aam_core.inference import AsvTable, collect
from aam_core.inputs import Report
from aam_core.linear import SHARES, LinearPart, fit, fit_rows
from aam_core.loop import LOWER_IS_BETTER

BATCH = 8  #: samples whose features are computed at a time


def mix_linear(
    session: Any, groups_N: list | None, report: Report
) -> dict[str, Tensor]:
    """Fit a linear model, and mix it into the predictions of a session's model.

    It is fitted on the training samples. The share that it gets is the one by which the
    validation samples are predicted best, in the score that selected the epoch; with
    share 0 the model stays as it is.

    Parameters
    ----------
    session : TrainSession
        Its model is trained.
    groups_N : list, optional
        Groups of all samples of the study, none of which is divided when penalties are
        compared.
    report : callable
        Takes sentences for the user.

    Returns
    -------
    dict
        What the model's weights have more than before, by name.
    """
    model = session.model.eval()
    table = session.table_of(np.concatenate([session.training, session.validation]))
    strategy = session.strategy
    linear = _fitted(session, table, groups_N).cpu() if strategy.main else None
    linear = strategy.same(linear).to(session.device)
    scores = _scores(session, table, linear)
    best = lowest(scores)
    name = session.select
    sign = 1 if name in LOWER_IS_BETTER else -1
    if not SHARES[best]:
        report(
            "A linear model of the community would not improve the network's "
            f"{name} of {sign * scores[0]:.4f}, and is left out."
        )
        return {}
    linear.share.fill_(SHARES[best])
    model.linear = linear
    model.shape = replace(model.shape, linear=len(linear.phase_K))
    report(
        f"A linear model of the community has a share of {SHARES[best]:.1f} in the "
        f"predictions (linear_part): {name} {sign * scores[best]:.4f}, of the network "
        f"alone {sign * scores[0]:.4f}, of the linear model alone "
        f"{sign * scores[-1]:.4f}."
    )
    return {f"linear.{n}": value.cpu() for n, value in linear.state_dict().items()}


def _fitted(session: Any, table: AsvTable, groups_N: list | None) -> LinearPart:
    """The linear model of the training samples."""
    labels, shape, study = session.labels, session.model.shape, session.inputs.study
    rows = fit_rows(session.training, session.config.seed)
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
    session: Any, table: AsvTable, linear: LinearPart, rows: np.ndarray
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


def _scores(session: Any, table: AsvTable, linear: LinearPart) -> list[float]:
    """The score with each of the shares; lower is better."""
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
    sign = 1 if session.select in LOWER_IS_BETTER else -1
    scores = []
    for share in SHARES:
        raw = out["network"]
        if share:
            linear.share.fill_(share)
            raw = model.head.within(linear.mixed(raw, out["linear"]))
        scores.append(sign * session.scores_of(raw)[session.select])
    return scores


def lowest(scores: Sequence[float]) -> int:
    """Where the lowest score is; the first where none is a number."""
    return int(np.argmin(np.nan_to_num(scores, nan=np.inf)))
