"""Linear models, with the regularisation strength that predicts best.

Shapes: N samples, K features, O outputs, P strengths, R dimensions of the inputs.
"""

import math
import warnings
from collections.abc import Iterable
from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold

from aam_core.nn.linear_part import Fitted

#: Most training samples that are fitted.
MOST = 5_000
FOLDS = 5  #: of the training samples, for the strength
#: Regularisation strengths that are compared, where inputs have variance 1 / K.
STRENGTHS = np.logspace(-3, 3, 13)
#: Logit of a class that no fitted sample has.
RARE = -20.0


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
    """A ridge, or logistic, regression with the strength that predicts best.

    Parameters
    ----------
    inputs_NK : numpy.ndarray
        Inputs; they are standardised here.
    values : numpy.ndarray
        (N, O) numbers, or (N,) codes of classes.
    groups : numpy.ndarray, optional
        Of the samples: none is divided when strengths are compared.
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
    mean_K, sd_K = inputs_NK.mean(axis=0), inputs_NK.std(axis=0)
    constant_K = sd_K <= 1e-6 * np.abs(inputs_NK).max(axis=0, initial=1)
    scale_K = np.where(constant_K, np.inf, sd_K) * math.sqrt(len(sd_K))
    z_NK = (inputs_NK - mean_K) / scale_K
    basis_KR = None
    if len(z_NK) < z_NK.shape[1]:  # the same in as many dimensions as there are samples
        basis_KR = np.linalg.svd(z_NK, full_matrices=False)[2].T
        z_NK = z_NK @ basis_KR
    path = partial(_logistic_path, total=classes) if classes else _ridge_path
    score = _log_losses if classes else _squared_errors
    errors_P = np.zeros(len(STRENGTHS))
    for fitted, held_out in _folds(len(z_NK), groups):
        of_strengths = path(z_NK[fitted], values[fitted], weights_N[fitted], STRENGTHS)
        found = [z_NK[held_out] @ w + b for w, b in of_strengths]
        errors_P += score(values, fitted, held_out, found, weights_N)
    strength = STRENGTHS[len(errors_P) - 1 - errors_P[::-1].argmin()]
    (weights, bias_O), *_ = path(z_NK, values, weights_N, np.array([strength]))
    if basis_KR is not None:
        weights = basis_KR @ weights
    weights_KO = weights / scale_K[:, None]
    return Fitted(weights_KO, bias_O - mean_K @ weights_KO, float(strength))


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


def _ridge_path(z_NK, values_NO, weights_N, strengths_P):
    """Weights and bias for each strength; one decomposition serves all."""
    outputs = values_NO.shape[1]
    model = Ridge(np.repeat(strengths_P, outputs), solver="svd")
    model.fit(z_NK, np.tile(values_NO, len(strengths_P)), weights_N)
    coefficients = model.coef_.reshape(len(strengths_P), outputs, -1)
    biases = model.intercept_.reshape(len(strengths_P), outputs)
    return [(w.T, b) for w, b in zip(coefficients, biases, strict=True)]


def _logistic_path(z_NK, codes_N, weights_N, strengths_P, total):
    """As `_ridge_path`, of logits; a class that does not occur is improbable."""
    known = np.unique(codes_N)
    found = []
    if len(known) > 1:
        model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    for strength in strengths_P:
        weights, bias = np.zeros((z_NK.shape[1], total)), np.full(total, RARE)
        bias[known] = 0.0
        if len(known) > 1:
            model.C = 1 / strength
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
    """Of each strength, summed over the held-out samples."""
    errors = [(values_NO[held_out] - found_NO) ** 2 for found_NO in found]
    return np.array([(weights_N[held_out] @ e).sum() for e in errors])


def _log_losses(codes_N, fitted, held_out, found, weights_N):
    """As `_squared_errors`; of classes that were fitted."""
    known = np.isin(codes_N[held_out], codes_N[fitted])
    rows, codes = np.flatnonzero(known), codes_N[held_out][known]
    losses = [-log_softmax(f, axis=1)[rows, codes] for f in found]
    return np.array([weights_N[held_out][known] @ loss for loss in losses])
