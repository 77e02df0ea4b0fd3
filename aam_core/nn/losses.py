"""Losses of self-supervision and of the target.

Shapes: S samples, D width, M masked nucleotides, T target columns, Q quantiles,
C classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from aam_core.config import LossOptions, TargetOptions
from aam_core.data.batches import Batch
from aam_core.nn.encoder import log_abundance

SIMPLE_LOSSES = {"huber": F.smooth_l1_loss, "mse": F.mse_loss, "mae": F.l1_loss}


def pairwise_distances(embedding_SD: Tensor) -> Tensor:
    """Predicted distances between samples, in [0, 1).

    Parameters
    ----------
    embedding_SD : Tensor
        Where the encoder puts the samples.

    Returns
    -------
    Tensor
        (S, S): 1 - exp(-u), with u the Euclidean distance of the positions.
    """
    difference = embedding_SD.float()[:, None] - embedding_SD.float()[None]
    # The root has no gradient at 0, where the diagonal lies.
    squares = difference.square().sum(-1)
    return 1 - torch.exp(-(squares + 1e-8).sqrt() + 1e-4)


def unifrac_loss(out: dict[str, Tensor], distances: Tensor) -> Tensor:
    """Mean squared error over the pairs, or over samples for Faith's PD.

    Parameters
    ----------
    out : dict
        What the encoder returns.
    distances : Tensor
        (S, S) distances scaled to [0, 1], or (S,) values.
    """
    if distances.dim() == 1:
        return F.mse_loss(out["faith_pd"].float(), distances)
    size = len(distances)
    error = (pairwise_distances(out["distance_embedding"]) - distances).square()
    return error.triu(diagonal=1).sum() / max(size * (size - 1) // 2, 1)


def nucleotide_loss(logits_M4: Tensor, truth_M: Tensor) -> Tensor:
    """Cross-entropy of the masked nucleotides, in nats."""
    if not len(truth_M):
        return logits_M4.sum() * 0.0
    return F.cross_entropy(logits_M4.float(), truth_M)


def count_loss(out: dict[str, Tensor], batch: Batch) -> Tensor:
    """Mean squared error of `log_abundance` of the ASVs whose abundance is masked."""
    masked = batch.masked_SA
    error = (out["counts"].float() - log_abundance(batch.abundance_SA)).square()
    return (error * masked).sum() / masked.sum().clamp_min(1)


def self_supervised_losses(
    out: dict[str, Tensor], batch: Batch, options: LossOptions
) -> dict[str, Tensor]:
    """The unweighted losses that this batch has the data for."""
    losses = {}
    if batch.distances is not None and options.penalty:
        losses["unifrac_loss"] = unifrac_loss(out, batch.distances)
    if out["nucleotides"] is not None and options.nuc_penalty:
        losses["nuc_loss"] = nucleotide_loss(out["nucleotides"], batch.masked_truth_M)
    if batch.masked_SA is not None and options.count_penalty:
        losses["count_loss"] = count_loss(out, batch)
    return losses


def weighted_total(losses: dict[str, Tensor], options: LossOptions) -> Tensor:
    """The sum of the losses, each times its option."""
    weights = {
        "unifrac_loss": options.penalty,
        "nuc_loss": options.nuc_penalty,
        "count_loss": options.count_penalty,
        "target_loss": getattr(options, "target_penalty", 0.0),
    }
    return sum(weights[name] * loss for name, loss in losses.items())


def target_loss(
    options: TargetOptions, class_weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss between a prediction and the scaled target.

    Parameters
    ----------
    options : TargetOptions
        Task and loss.
    class_weights : Tensor, optional
        (C,) weights of a classification.

    Returns
    -------
    callable
        Takes the prediction, (S, C), (S, T) or (S, T, Q), and the target, (S,)
        classes or (S, T) scaled values.
    """
    if options.task == "classification":
        return lambda logits, classes: F.cross_entropy(
            logits, classes, weight=class_weights
        )
    if options.loss_type == "quantile":
        levels = torch.tensor(options.quantiles)
        return lambda predicted, true: pinball_loss(predicted, true, levels)
    if options.loss_type == "asymmetric":
        over, under = options.over_penalty, options.under_penalty
        return lambda predicted, true: asymmetric_loss(predicted, true, over, under)
    each = [SIMPLE_LOSSES[name] for name in options.target_losses()]
    if len(set(each)) == 1:
        return each[0]
    return lambda predicted, true: mean_over_targets(each, predicted, true)


def mean_over_targets(
    losses: Sequence[Callable[[Tensor, Tensor], Tensor]],
    predicted_ST: Tensor,
    true_ST: Tensor,
) -> Tensor:
    """The mean of the targets' losses, each of its own kind."""
    columns = zip(losses, predicted_ST.T, true_ST.T, strict=True)
    return torch.stack([loss(guess, true) for loss, guess, true in columns]).mean()


def weighted_target_loss(
    options: TargetOptions,
    predicted: Tensor,
    true: Tensor,
    weights_S: Tensor,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The loss of `target_loss`, each sample times its weight.

    The mean over samples, not the mean by weight: a sample then counts the same
    whatever the others of its batch. Weights of classes average as they do without
    weights of samples.
    """
    loss_of_one = target_loss(options)
    losses_S = torch.vmap(loss_of_one)(predicted[:, None], true[:, None])
    if class_weights is None:
        return (weights_S * losses_S).mean()
    by_class = class_weights[true]
    return (weights_S * by_class * losses_S).sum() / by_class.sum()


def pinball_loss(predicted_STQ: Tensor, true_ST: Tensor, levels_Q: Tensor) -> Tensor:
    """Quantile loss (Koenker & Bassett 1978), averaged over all quantiles."""
    error = true_ST[..., None] - predicted_STQ
    levels = levels_Q.to(error)
    return torch.maximum(levels * error, (levels - 1) * error).mean()


def asymmetric_loss(
    predicted: Tensor, true: Tensor, over: float, under: float
) -> Tensor:
    """Absolute error, times `over` above the target and `under` below it."""
    error = predicted - true
    return torch.where(error > 0, over * error, -under * error).mean()
