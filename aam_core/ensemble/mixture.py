"""From what the members predict to one prediction.

Members that were fitted without a fold have scales and classes of their own. They are
mixed on the scale, or by the classes, of the whole model.

Shapes: N samples, T target columns, Q quantiles, C classes, O outputs (T or C).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from aam_core.config import TrainConfig
from aam_core.data.labels import Labels
from aam_core.data.target_decoder import Decoder
from aam_core.ensemble.weights import logarithms, mixed
from aam_core.nn.losses import target_loss, weighted_target_loss

NETWORK = "network"


@dataclass(frozen=True)
class Space:
    """What predictions are mixed in: probabilities of classes, or scaled values.

    Attributes
    ----------
    decoder : Decoder
        Of the whole model.
    frequencies : tuple of float
        Of the classes among its samples; a member that was fitted without a class
        gives it this probability.
    bounded : bool
        Whether scaled values are within 0 and 1.
    """

    decoder: Decoder
    frequencies: tuple[float, ...] = ()
    bounded: bool = False

    def taken(
        self, raw: np.ndarray, own: Decoder, groups: Sequence[str] | None = None
    ) -> np.ndarray:
        """Logits or scaled values of a member, as they are mixed.

        Parameters
        ----------
        raw : numpy.ndarray
            (N, C') logits of the member's classes, or (N, T) or (N, T, Q) values on
            its scale.
        own : Decoder
            The member's classes or scale.
        groups : sequence of str, optional
            Categories of the samples, where the scale depends on them.
        """
        raw = np.asarray(raw, dtype=np.float64)
        if self.decoder.classes is None:
            return self.decoder.scaler.from_other(raw, own.scaler, groups)
        return self.with_all_classes(softmax(raw, axis=1), own)

    def with_all_classes(self, probabilities: np.ndarray, own: Decoder) -> np.ndarray:
        """(N, C) probabilities, of (N, C') of the classes that a member knows."""
        labels, known = self.decoder.classes.labels, own.classes.labels
        if labels == known:
            return np.asarray(probabilities, dtype=np.float64)
        found = np.tile(np.array(self.frequencies), (len(probabilities), 1))
        place = [labels.index(label) for label in known]
        left = 1 - np.delete(found, place, axis=1).sum(axis=1, keepdims=True)
        found[:, place] = probabilities * left
        return found

    def points(self, found: np.ndarray) -> np.ndarray:
        """(N, O) of what `taken` returned: medians, if there are quantiles."""
        if found.ndim == 3:
            return found[..., self.decoder.quantiles.index(0.5)]
        return found

    def mixable(self, raw: np.ndarray) -> np.ndarray:
        """(N, O) points of what `raw` returned, as members are compared."""
        return np.exp(raw) if self.decoder.classes is not None else self.points(raw)

    def raw(
        self, found: Mapping[str, np.ndarray], weights: Mapping[str, float]
    ) -> np.ndarray:
        """The mix as a head returns it: logits, scaled values or quantiles.

        All quantiles of the network are moved by as much as their median.
        """
        points = {name: self.points(values) for name, values in found.items()}
        mix = mixed(points, weights)
        if self.decoder.classes is not None:
            return np.log(mix.clip(1e-12))
        if self.decoder.quantiles:
            network = found[NETWORK]
            mix = network + (mix - self.points(network))[..., None]
        return self._within(mix)

    def point(
        self, found: Mapping[str, np.ndarray], weights: Mapping[str, float]
    ) -> np.ndarray:
        """(N, O) the mix without quantiles: logits, scaled values or medians."""
        points = {name: self.points(values) for name, values in found.items()}
        mix = mixed(points, weights)
        if self.decoder.classes is not None:
            return np.log(mix.clip(1e-12))
        return self._within(mix)

    def disagreement(
        self,
        found: Mapping[str, np.ndarray],
        weights: Mapping[str, float],
        groups: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(N, T) weighted standard deviation of the members' points, in original units.

        Parameters
        ----------
        found : mapping
            By member, what `taken` returned; of a regression.
        weights : mapping
            Of the members, which sum to 1.
        groups : sequence of str, optional
            Categories of the samples, where the scale depends on them.
        """
        points = {
            name: self.decoder.scaler.inverse(self._within(self.points(value)), groups)
            for name, value in found.items()
        }
        mean = mixed(points, weights)
        squares = {name: (value - mean) ** 2 for name, value in points.items()}
        return np.sqrt(mixed(squares, weights))

    def _within(self, scaled: np.ndarray) -> np.ndarray:
        """Values brought into what the model may predict."""
        if self.bounded:
            return scaled.clip(0, 1)
        if self.decoder.non_negative:
            zero_T = self.decoder.scaler.zero
            return np.maximum(scaled, zero_T[:, None] if scaled.ndim == 3 else zero_T)
        return scaled


def space_of(config: TrainConfig, labels: Labels, rows: np.ndarray) -> Space:
    """The space of a model that all of `rows` are used for."""
    frequencies: tuple[float, ...] = ()
    if labels.decoder.classes is not None:
        counts = np.bincount(labels.values[rows], minlength=labels.outputs)
        frequencies = tuple((counts / counts.sum()).tolist())
    return Space(labels.decoder, frequencies, config.bounded_targets)


def loss_of_mix(
    config: TrainConfig, labels: Labels
) -> Callable[[Tensor, np.ndarray], Tensor]:
    """The loss by which members are weighed: that of the network, of points.

    Of quantiles the median counts.
    """
    weights = labels.class_weights
    weights = None if weights is None else torch.from_numpy(weights).double()
    values = torch.from_numpy(labels.values)
    if values.is_floating_point():
        values = values.double()
    simple = target_loss(config, weights)

    def loss(found: Tensor, rows: np.ndarray) -> Tensor:
        true = values[torch.from_numpy(rows)]
        if config.task == "classification":
            found = logarithms(found)
        elif config.loss_type == "quantile":
            found = found[..., None]
        if labels.loss_weights_N is None:
            return simple(found, true)
        own = torch.from_numpy(labels.loss_weights_N[rows]).to(found)
        return weighted_target_loss(config, found, true, own, weights)

    return loss
