"""A linear model of the community, which is mixed with the network's prediction.

Each ASV adds its contribution times the log of its abundance. The contribution is a
smooth function of the ASV's embedding, in random Fourier features (Rahimi & Recht
2007), so that ASVs of like sequences add alike, and new ones have a contribution, too.
It is fitted at once, with a penalty, on the training samples; how much of it is mixed
in is chosen by the validation samples (beside a deep network, as in Cheng et al. 2016,
arXiv:1606.07792, but fitted apart from it).

Shapes: N samples, S of a batch, A ASVs of the largest, U distinct ASVs, D width, K
features, O outputs, C categorical columns.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from torch import Tensor, nn

from aam_core.batches import Batch
from aam_core.head import HeadShape

#: Spreads of the frequencies, for embeddings of variance 1, and features of each.
SPREADS, FEATURES = (1.0, 2.0), 1024
#: Abundances are counted as if of so many reads: log10(1 + READS · abundance).
READS = 10_000
#: Most training samples that are fitted.
MOST = 5_000
FOLDS = 5  #: of the training samples, for the penalty
#: Penalties that are compared, where inputs have variance 1 / K.
PENALTIES = np.logspace(-3, 3, 13)
#: Logit of a class that no fitted sample has.
RARE = -20.0
#: Shares of the linear model that are tried.
SHARES = np.linspace(0, 1, 11)


def level(abundance: Tensor) -> Tensor:
    """By how much an ASV of this relative abundance counts; 0 where it is not."""
    return (1 + READS * abundance).log10()


class LinearPart(nn.Module):
    """The model itself; nothing of it is trained by gradients.

    Parameters
    ----------
    width : int
        D.
    shape : HeadShape
        What is predicted, and from which covariates; K is its `linear`, if not 0.
    weighted : bool
        Whether abundances count; else only which ASVs there are.
    """

    def __init__(self, width: int, shape: HeadShape, weighted: bool) -> None:
        super().__init__()
        self.shape = shape
        self.weighted = weighted
        features = shape.linear or FEATURES * len(SPREADS)
        sizes = {
            "frequency_DK": (width, features),
            "phase_K": (features,),
            "weight_KO": (features, shape.outputs),
            "category_CO": (sum(shape.cardinalities), shape.outputs),
            "bias_O": (shape.outputs,),
            "share": (),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))

    @torch.no_grad()
    def draw(self, asv_UD: Tensor, seed: int) -> None:
        """Draw the features, for ASVs that are embedded like these."""
        generator = torch.Generator().manual_seed(seed)
        spread_D, mean_D = torch.std_mean(asv_UD.float().cpu(), dim=0, unbiased=False)
        spread_D = spread_D.clamp_min(1e-6)
        width, features = self.frequency_DK.shape
        drawn = torch.randn(width, features, generator=generator) / math.sqrt(width)
        drawn *= torch.tensor(SPREADS).repeat(features // len(SPREADS))
        phase_K = 2 * math.pi * torch.rand(features, generator=generator)
        self.frequency_DK.copy_(drawn / spread_D[:, None])
        self.phase_K.copy_(phase_K - (mean_D / spread_D) @ drawn)

    def features(self, asv_UD: Tensor) -> Tensor:
        """(U, K) of ASV embeddings."""
        return (asv_UD.float() @ self.frequency_DK + self.phase_K).cos()

    def sums(self, batch: Batch, of_asvs: Tensor) -> Tensor:
        """(S, …): what the ASVs of each sample add, of (U, …)."""
        counted_SA = batch.present_SA.float()
        if self.weighted:
            counted_SA = level(batch.abundance_SA)
        counted_SU = counted_SA.new_zeros(len(counted_SA), len(of_asvs))
        counted_SU.scatter_add_(1, batch.index_SA, counted_SA)
        return counted_SU @ of_asvs

    def contributions(self, asv_UD: Tensor) -> Tensor:
        """What each ASV adds per unit of `level`, (U, O)."""
        with torch.autocast(asv_UD.device.type, enabled=False):
            return self.features(asv_UD) @ self.weight_KO

    def forward(self, batch: Batch, added_UO: Tensor) -> Tensor:
        """Return (S, O), scaled targets or logits, by the ASVs' `contributions`."""
        with torch.autocast(added_UO.device.type, enabled=False):
            out_SO = self.sums(batch, added_UO)
            if batch.categories_SK is not None and len(self.category_CO):
                starts = torch.from_numpy(self._starts()).to(batch.categories_SK)
                out_SO += self.category_CO[batch.categories_SK + starts].sum(dim=1)
            return out_SO + self.bias_O

    def _starts(self) -> np.ndarray:
        """Where the categories of each column start among all."""
        return np.cumsum([0, *self.shape.cardinalities])[:-1]

    def indicators(self, categories_NC: np.ndarray) -> np.ndarray:
        """One column for each category, unknown included, which is in none."""
        found = np.zeros((len(categories_NC), len(self.category_CO)))
        rows, columns = np.nonzero(categories_NC)
        found[rows, (categories_NC + self._starts())[rows, columns]] = 1
        return found

    @torch.no_grad()
    def take(self, found: "Fitted", shares: np.ndarray) -> None:
        """Take what was fitted to the features and to `indicators`.

        A sample of unknown category is predicted as the mean over the categories, whose
        `shares` among the samples are given.
        """
        weights = torch.from_numpy(found.weights_KO).float()
        self.weight_KO.copy_(weights[: len(self.weight_KO)])
        self.bias_O.copy_(torch.from_numpy(found.bias_O))
        of_categories = weights[len(self.weight_KO) :]
        mean = torch.from_numpy(shares).float()[:, None] * of_categories
        for start, size in zip(self._starts(), self.shape.cardinalities, strict=True):
            here = slice(start, start + size)
            self.category_CO[here] = of_categories[here]
            self.category_CO[start] = mean[here].sum(dim=0)

    def mixed(self, target: Tensor, linear_SO: Tensor) -> Tensor:
        """The network's output, mixed with the linear model's.

        Parameters
        ----------
        target : Tensor
            (S, O) logits, (S, O) scaled predictions, or (S, O, Q) scaled quantiles.
        linear_SO : Tensor
            What `forward` returns.

        Returns
        -------
        Tensor
            Of the shape of `target`. Classes are mixed by their probabilities;
            quantiles are all moved by as much as their median.
        """
        target, share = target.float(), self.share
        if self.shape.classes:
            network, linear = target.log_softmax(-1), linear_SO.log_softmax(-1)
            return torch.logaddexp(network + (1 - share).log(), linear + share.log())
        if self.shape.quantiles:
            moved_SO = share * (linear_SO - target[..., self.shape.median])
            return target + moved_SO[..., None]
        return torch.lerp(target, linear_SO, share)


@dataclass(frozen=True)
class Fitted:
    """A model in closed form: outputs = inputs @ weights + bias."""

    weights_KO: np.ndarray
    bias_O: np.ndarray
    penalty: float


def fit_rows(training: np.ndarray, seed: int) -> np.ndarray:
    """The training samples that are fitted, at most `MOST`."""
    if len(training) <= MOST:
        return training
    return np.sort(np.random.default_rng(seed).permutation(training)[:MOST])


def fit(
    inputs_NK: np.ndarray,
    values: np.ndarray,
    groups: np.ndarray | None = None,
    weights_N: np.ndarray | None = None,
    classes: int = 0,
) -> Fitted:
    """A ridge, or logistic, regression with the penalty that predicts best.

    Parameters
    ----------
    inputs_NK : numpy.ndarray
        Inputs; they are standardised here.
    values : numpy.ndarray
        (N, O) numbers, or (N,) codes of classes.
    groups : numpy.ndarray, optional
        Of the samples: none is divided when penalties are compared.
    weights_N : numpy.ndarray, optional
        Of the samples; without weight, one is as if it were not there.
    classes : int
        How many classes there are, if `values` are classes; not all need occur.
    """
    if weights_N is None:
        weights_N = np.ones(len(values))
    counts_N = weights_N > 0
    inputs_NK, values = inputs_NK[counts_N], values[counts_N]
    weights_N = weights_N[counts_N]
    groups = None if groups is None else groups[counts_N]
    mean_K, spread_K = inputs_NK.mean(axis=0), inputs_NK.std(axis=0)
    constant_K = spread_K <= 1e-6 * np.abs(inputs_NK).max(axis=0, initial=1)
    scale_K = np.where(constant_K, np.inf, spread_K) * math.sqrt(len(spread_K))
    z_NK = (inputs_NK - mean_K) / scale_K
    basis_KR = None
    if len(z_NK) < z_NK.shape[1]:  # the same in as many dimensions as there are samples
        basis_KR = np.linalg.svd(z_NK, full_matrices=False)[2].T
        z_NK = z_NK @ basis_KR
    path = partial(_logistic_path, total=classes) if classes else _ridge_path
    score = _log_losses if classes else _squared_errors
    errors_P = np.zeros(len(PENALTIES))
    for fitted, held_out in _folds(len(z_NK), groups):
        of_penalties = path(z_NK[fitted], values[fitted], weights_N[fitted], PENALTIES)
        found = [z_NK[held_out] @ w + b for w, b in of_penalties]
        errors_P += score(values, fitted, held_out, found, weights_N)
    penalty = PENALTIES[len(errors_P) - 1 - errors_P[::-1].argmin()]
    (weights, bias_O), *_ = path(z_NK, values, weights_N, np.array([penalty]))
    if basis_KR is not None:
        weights = basis_KR @ weights
    weights_KO = weights / scale_K[:, None]
    return Fitted(weights_KO, bias_O - mean_K @ weights_KO, float(penalty))


def _folds(
    total: int, groups: np.ndarray | None
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Rows that are fitted, and that are predicted; none if there are too few."""
    number = min(FOLDS, total if groups is None else len(np.unique(groups)))
    if number < 2:
        return []
    if groups is None:
        return KFold(number, shuffle=True, random_state=0).split(np.zeros(total))
    return GroupKFold(number).split(np.zeros(total), groups=groups)


def _ridge_path(z_NK, values_NO, weights_N, penalties_P):
    """Weights and bias for each penalty; one decomposition serves all."""
    outputs = values_NO.shape[1]
    model = Ridge(np.repeat(penalties_P, outputs), solver="svd")
    model.fit(z_NK, np.tile(values_NO, len(penalties_P)), weights_N)
    coefficients = model.coef_.reshape(len(penalties_P), outputs, -1)
    biases = model.intercept_.reshape(len(penalties_P), outputs)
    return [(w.T, b) for w, b in zip(coefficients, biases, strict=True)]


def _logistic_path(z_NK, codes_N, weights_N, penalties_P, total):
    """As `_ridge_path`, of logits; a class that does not occur is improbable."""
    known = np.unique(codes_N)
    found = []
    if len(known) > 1:
        model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    for penalty in penalties_P:
        weights, bias = np.zeros((z_NK.shape[1], total)), np.full(total, RARE)
        bias[known] = 0.0
        if len(known) > 1:
            model.C = 1 / penalty
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(z_NK, codes_N, weights_N)
            of_known, bias_of_known = model.coef_, model.intercept_
            if len(known) == 2:  # logits of the second class against the first
                of_known = np.stack([0 * of_known[0], of_known[0]])
                bias_of_known = np.array([0.0, bias_of_known[0]])
            weights[:, known], bias[known] = of_known.T, bias_of_known
        found.append((weights, bias))
    return found


def _squared_errors(values_NO, fitted, held_out, found, weights_N):
    """Of each penalty, summed over the held-out samples."""
    errors = [(values_NO[held_out] - found_NO) ** 2 for found_NO in found]
    return np.array([(weights_N[held_out] @ e).sum() for e in errors])


def _log_losses(codes_N, fitted, held_out, found, weights_N):
    """As `_squared_errors`; of classes that were fitted."""
    known = np.isin(codes_N[held_out], codes_N[fitted])
    rows, codes = np.flatnonzero(known), codes_N[held_out][known]
    losses = [-log_softmax(f, axis=1)[rows, codes] for f in found]
    return np.array([weights_N[held_out][known] @ loss for loss in losses])
