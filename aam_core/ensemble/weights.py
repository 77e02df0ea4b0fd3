"""How much of each member the prediction takes.

Shapes: N samples, M members, O outputs.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from aam_core.metrics import LEAST_PROBABILITY

#: Pulls the weights towards equal ones, beside a loss that is 1 for the mean member.
SHRINKAGE = 0.1

Loss = Callable[[Tensor, np.ndarray], Tensor]


def convex_weights(
    found: Mapping[str, np.ndarray], rows: np.ndarray, loss: Loss
) -> dict[str, float]:
    """Weights, 0 or more and 1 in all, whose mix predicts samples best.

    Parameters
    ----------
    found : mapping
        By member, (N, O) predictions of samples that it was not fitted to.
    rows : numpy.ndarray
        Samples that count.
    loss : callable
        Takes (rows, O) predictions, which gradients reach, and the rows.

    Returns
    -------
    dict
        Weights by member.

    Notes
    -----
    A stack of members (Wolpert 1992; convex weights as in Breiman 1996). The loss,
    divided by the mean of the members', is minimised with `SHRINKAGE` times the
    squared distance of the weights from equal ones: members that predict alike share.
    """
    names = list(found)
    every = torch.from_numpy(np.stack([found[n][rows] for n in names]))
    number = len(names)
    if number == 1 or not len(rows):
        return dict.fromkeys(names, 1 / number)
    scale = float(np.mean([float(loss(part, rows)) for part in every]))
    if not np.isfinite(scale) or scale <= 0:
        return dict.fromkeys(names, 1 / number)

    def value_and_gradient(weights: np.ndarray) -> tuple[float, np.ndarray]:
        tensor = torch.tensor(weights, requires_grad=True)
        value = loss(torch.tensordot(tensor, every, 1), rows) / scale
        value = value + SHRINKAGE * ((tensor - 1 / number) ** 2).sum()
        value.backward()
        return float(value.detach()), tensor.grad.numpy()

    best = minimize(
        value_and_gradient,
        np.full(number, 1 / number),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * number,
        constraints={
            "type": "eq",
            "fun": lambda w: w.sum() - 1,
            "jac": lambda w: np.ones(number),
        },
    )
    weights = best.x.clip(0)
    return dict(zip(names, (weights / weights.sum()).tolist(), strict=True))


def mixed(found: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The members' predictions, each by its weight."""
    return sum(weights[name] * found[name] for name in weights)


def logarithms(probabilities: Tensor) -> Tensor:
    """Of probabilities of at least `LEAST_PROBABILITY`."""
    kept = probabilities.clamp_min(LEAST_PROBABILITY)
    return (kept / kept.sum(-1, keepdim=True)).log()
