"""Where the head of a predictor starts.

Without a pre-trained encoder at the distribution of the training targets, so that
training starts from the error of a constant prediction, whatever the scale of the
target.

On top of a pre-trained encoder its last layer is fitted to the training samples:
training then starts from what the encoder knows, instead of first unlearning it for a
head that knows nothing (linear probing before fine-tuning, Kumar et al. 2022,
arXiv:2202.10054).

Shapes: N training samples, H inputs of the last layer, T target columns, Q quantiles,
C classes.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from aam_core.head import TargetHead
from aam_core.labels import Labels

#: Penalties on the squared weights of inputs of variance 1, of which the validation
#: samples choose one.
PENALTIES = np.logspace(5, -1, 13)
#: Training samples that the layer is fitted to, at most.
SAMPLES = 5000
ITERATIONS = 300


def set_first_guess(head: TargetHead, labels: Labels, training: np.ndarray) -> None:
    """Let an untrained head predict the distribution of the training targets."""
    values = labels.values[training]
    zero = None
    if labels.decoder.classes is not None:
        shares = np.bincount(values, minlength=labels.outputs) / len(values)
        guess = np.log(shares.clip(1e-3))[:, None]
    else:
        guess = np.quantile(values, levels_of(labels), axis=0).T
        zero = torch.as_tensor(labels.decoder.scaler.zero)
    head.start_at(torch.as_tensor(guess), zero)


def levels_of(labels: Labels) -> tuple[float, ...]:
    """The quantiles that a head predicts; of a point prediction the median."""
    return labels.decoder.quantiles or (0.5,)


@torch.no_grad()
def fit_last_layer(
    head: TargetHead,
    labels: Labels,
    rows: np.ndarray,
    read: Tensor,
    loss: Callable[[], float],
) -> str:
    """Set the last layer to the linear prediction that suits new samples best.

    Ridge regression of the target (before the head's constraint), or logistic
    regression of the classes, with the weights that the samples have in the loss. Of
    several penalties the one with the least loss on validation samples is taken, and
    none if the head is better as it is.

    Parameters
    ----------
    head : TargetHead
        As `set_first_guess` leaves it.
    labels : Labels
        Targets of the study.
    rows : numpy.ndarray
        N training samples.
    read : Tensor
        (N, D), what the head reads of them.
    loss : callable
        The loss of the head, as it is, on the validation samples.

    Returns
    -------
    str
        What was done, for the user.
    """
    inputs_NH = head.inputs(read).double().cpu().numpy()
    fits = _logistic if labels.decoder.classes is not None else _ridge
    first = least = loss()
    best = {name: value.clone() for name, value in head.state_dict().items()}
    for weight, bias in fits(head, labels, rows, inputs_NH):
        head.set_last_layer(weight, bias)
        value = loss()
        if value < least:
            least = value
            best = {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best)
    if least == first:
        return "The head starts from a constant prediction: no linear one is better."
    return (
        "The head starts from a linear prediction by the encoder's embedding of "
        f"{len(rows):,} training samples (val_loss {least:.4g}; of a constant "
        f"prediction {first:.4g})."
    )


def _ridge(
    head: TargetHead, labels: Labels, rows: np.ndarray, inputs_NH: np.ndarray
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights (T, H) and, with the quantiles of what they leave, biases (T, Q)."""
    values = torch.from_numpy(labels.values[rows]).to(head.bias)
    aim_NT = head.release(values[..., None]).squeeze(-1).double().cpu().numpy()
    weights = None if labels.loss_weights_N is None else labels.loss_weights_N[rows]
    for penalty in PENALTIES * inputs_NH.var(axis=0).mean():
        ridge = Ridge(alpha=penalty).fit(inputs_NH, aim_NT, sample_weight=weights)
        left_NT = aim_NT - ridge.predict(inputs_NH).reshape(aim_NT.shape)
        bias_TQ = np.reshape(ridge.intercept_, (-1, 1)).repeat(
            len(levels_of(labels)), 1
        )
        if labels.decoder.quantiles:
            bias_TQ = bias_TQ + np.quantile(left_NT, levels_of(labels), axis=0).T
        weight_TH = np.reshape(ridge.coef_, (-1, inputs_NH.shape[1]))
        yield torch.from_numpy(weight_TH), torch.from_numpy(bias_TQ)


def _logistic(
    head: TargetHead, labels: Labels, rows: np.ndarray, inputs_NH: np.ndarray
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights (C, H) and biases (C, 1)."""
    classes = labels.values[rows]
    if len(np.unique(classes)) < head.shape.outputs:
        return  # a class that these samples lack would never be predicted
    weights = np.ones(len(rows))
    if labels.class_weights is not None:
        weights = weights * labels.class_weights[classes]
    if labels.loss_weights_N is not None:
        weights = weights * labels.loss_weights_N[rows]
    model = LogisticRegression(max_iter=ITERATIONS, warm_start=True)
    for penalty in PENALTIES * inputs_NH.var(axis=0).mean():
        model.C = 1 / penalty
        model.fit(inputs_NH, classes, sample_weight=weights)
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # of the second class against the first
            weight, bias = np.vstack([-weight, weight]) / 2, np.r_[-bias, bias] / 2
        yield torch.from_numpy(weight), torch.from_numpy(bias)[:, None]
