"""The last layers: from the sample embedding to scaled predictions of the target.

A head without options is one linear layer. A constraint is a monotone function of
what would be predicted without it, so that quantiles that rise before it do so after
it. `TargetHead.start_at` inverts it: an untrained head predicts what it is told to.

Shapes: S samples, D width, T target columns (or classes), Q quantiles, H hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aam_core.nn.fusion import FusionShape

#: The least distance of a first guess from the limit of a constraint, on the scale of
#: the target: nearer to it there is next to no gradient.
MARGIN = 1e-3
#: exp beyond this is not worth its overflow.
LARGEST_EXPONENT = 40.0


@dataclass(frozen=True, kw_only=True)
class HeadShape(FusionShape):
    """What the head of one model predicts, as `config.json` keeps it."""

    outputs: int  #: target columns, or classes
    quantiles: int = 0  #: quantiles per target column; 0 for a point prediction
    target_layers: int = 1
    layer_norm: bool = True  #: whether the head reads a normalised embedding
    hidden_dims: tuple[int, ...] = ()  #: hidden layers of the head
    hidden_dropout: float = 0.0
    residual: bool = False  #: hidden layers beside a linear head
    bounded: bool = False  #: scaled predictions within [0, 1]
    activation: str = "none"  #: keeps predictions at 0 or more in original units
    output_scale: bool = False  #: one learned factor per target
    classes: bool = False  #: whether outputs are classes
    median: int = 0  #: which of the quantiles is the median
    pooled_features: int = 0  #: numbers of each block of a sample's features
    pooled_dropout: float = 0.0
    linear: int = 0  #: features of the linear model that is mixed in; 0 for none


class TargetHead(nn.Linear):
    """Predict scaled targets, or the logits of classes.

    Parameters
    ----------
    width : int
        D.
    shape : HeadShape
        Outputs, hidden layers and constraints.

    Notes
    -----
    The linear layer itself is this module, so that its weights have the same names
    with and without hidden layers.
    """

    def __init__(self, width: int, shape: HeadShape) -> None:
        hidden = shape.hidden_dims
        read = hidden[-1] if hidden and not shape.residual else width
        super().__init__(read, shape.outputs * max(shape.quantiles, 1))
        self.shape = shape
        self.hidden = self.correction = self.scale = None
        if hidden:
            self.hidden = hidden_layers(width, hidden, shape.hidden_dropout)
        if shape.residual:
            self.correction = nn.Linear(hidden[-1], self.out_features, bias=False)
            nn.init.normal_(self.correction.weight, std=0.01)
        if shape.output_scale:
            self.scale = nn.Parameter(torch.ones(shape.outputs))
        if shape.activation != "none":
            # Where 0 in the original units lies on the scale of the target.
            self.register_buffer("zero_T", torch.zeros(shape.outputs))
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    def forward(
        self, sample_SD: Tensor, adjust: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return (S, T), or (S, T, Q) that rise with Q.

        `adjust` changes, in a monotone way, what would be predicted without a
        constraint, so that the constraint holds all the same.
        """
        deviation = self._deviation(sample_SD).float()
        deviation_STQ = deviation.unflatten(-1, (self.shape.outputs, -1))
        if self.scale is not None:
            deviation_STQ = deviation_STQ * self.scale[:, None]
        raw_STQ = deviation_STQ + self.bias.unflatten(0, (self.shape.outputs, -1))
        if self.shape.quantiles:
            first, steps = raw_STQ.tensor_split([1], dim=-1)
            raw_STQ = torch.cat([first, F.softplus(steps)], dim=-1).cumsum(dim=-1)
        if adjust is not None:
            raw_STQ = adjust(raw_STQ)
        scaled_STQ = self._constrain(raw_STQ)
        if self.shape.quantiles:
            # where a constraint is nearly flat, rounding could turn two around
            return scaled_STQ.cummax(dim=-1).values
        return scaled_STQ.squeeze(-1)

    def _deviation(self, sample_SD: Tensor) -> Tensor:
        """What a sample adds to the bias, (S, T · Q)."""
        if self.hidden is None:
            return F.linear(sample_SD, self.weight)
        hidden_SH = self.hidden(sample_SD)
        if self.correction is None:
            return F.linear(hidden_SH, self.weight)
        return F.linear(sample_SD, self.weight) + self.correction(hidden_SH)

    def _constrain(self, raw_STQ: Tensor) -> Tensor:
        if self.shape.bounded:
            return raw_STQ.sigmoid()
        if self.shape.activation == "none":
            return raw_STQ
        return self.zero_T[:, None] + ACTIVATIONS[self.shape.activation](raw_STQ)

    def within(self, scaled: Tensor) -> Tensor:
        """Predictions, (S, T) or (S, T, Q), brought into what the head may predict."""
        if self.shape.bounded:
            return scaled.clamp(0, 1)
        if self.shape.activation == "none":
            return scaled
        zero_T = self.zero_T[:, None] if self.shape.quantiles else self.zero_T
        return scaled.maximum(zero_T)

    def _release(self, scaled_TQ: Tensor) -> Tensor:
        """The inverse of `_constrain`."""
        if self.shape.bounded:
            return scaled_TQ.clamp(MARGIN, 1 - MARGIN).logit()
        if self.shape.activation == "none":
            return scaled_TQ
        above_TQ = (scaled_TQ - self.zero_T[:, None]).clamp_min(MARGIN)
        return INVERSES[self.shape.activation](above_TQ)

    @torch.no_grad()
    def start_at(self, scaled_TQ: Tensor, zero_T: Tensor | None = None) -> None:
        """Predict this, but for what the weights of the untrained head add.

        Parameters
        ----------
        scaled_TQ : Tensor
            (T, Q) scaled quantiles, or (T, 1).
        zero_T : Tensor, optional
            For an activation: where 0 in the original units lies on the scale.
        """
        if self.shape.activation != "none":
            assert zero_T is not None
            self.zero_T.copy_(zero_T)
        bias_TQ = self._release(scaled_TQ.double())
        steps = bias_TQ.diff(dim=-1).clamp_min(MARGIN)
        bias_TQ = torch.cat([bias_TQ[:, :1], inverse_softplus(steps)], dim=-1)
        self.bias.copy_(bias_TQ.flatten())


def hidden_layers(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear layers of these widths, each with GELU and dropout."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((width, *hidden), hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def bounded_exp(raw: Tensor) -> Tensor:
    """Exponential function that does not overflow."""
    return raw.clamp_max(LARGEST_EXPONENT).exp()


def inverse_softplus(value: Tensor) -> Tensor:
    """Solve log(1 + exp(x)) = value for x, also where value is large."""
    return value + (-torch.expm1(-value)).log()


ACTIVATIONS = {"relu": F.relu, "softplus": F.softplus, "exp": bounded_exp}
INVERSES = {"relu": torch.clone, "softplus": inverse_softplus, "exp": torch.log}
