"""Ridge and logistic regression in the space of the samples.

Both need of the inputs their Gram matrix only, so that it does not matter how many
there are: one number per ASV and thousands of features besides cost no more than as
many inputs as samples.

Shapes: N fitted samples, M samples to predict, O outputs, P strengths, R dimensions.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh, solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from aam_core.data.folds import Fold, balanced_folds
from aam_core.metrics import LEAST_PROBABILITY

FOLDS = 5  #: of the fitted samples, for the strength
#: Regularisation strengths that are compared, where inputs have variance 1 in all.
STRENGTHS = np.logspace(-4, 3, 15)
#: Dimensions that a logistic regression reads: those in which samples differ most.
MOST_DIMENSIONS = 200
#: Samples by which strengths are compared; the best one holds for more samples, too.
COMPARED = 1_000
#: Logit of a class that no fitted sample has.
RARE = -20.0


@dataclass(frozen=True, eq=False)
class Target:
    """What samples are fitted to.

    Attributes
    ----------
    values : numpy.ndarray
        (N, O) numbers, or (N,) codes of classes.
    weights_N : numpy.ndarray
        Weights of the samples, 0 or more.
    classes : int
        O, if `values` are classes, not all of which need occur; else 0.
    groups : numpy.ndarray, optional
        None of which is divided when strengths are compared.
    """

    values: np.ndarray
    weights_N: np.ndarray
    classes: int = 0
    groups: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Target":
        """The target of these samples."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(
            self,
            values=self.values[rows],
            weights_N=self.weights_N[rows],
            groups=groups,
        )

    def folds(self, seed: int) -> list[Fold]:
        """Folds that look alike; none of fewer than two groups."""
        labels = self.values if self.classes else self.values[:, 0]
        if self.classes:
            labels = labels.astype(str)
        return balanced_folds(labels, self.groups, FOLDS, seed)

    def losses(self, found: np.ndarray) -> np.ndarray:
        """(N,) losses of (N, O) predictions, as they are added up.

        Squared errors, or log losses of logits; probabilities are at least
        `LEAST_PROBABILITY`.
        """
        if not self.classes:
            return self.weights_N * ((found - self.values) ** 2).sum(axis=1)
        found = np.exp(found - found.max(axis=1, keepdims=True))
        found /= found.sum(axis=1, keepdims=True)
        found = found.clip(LEAST_PROBABILITY)
        found /= found.sum(axis=1, keepdims=True)
        return -self.weights_N * np.log(found[np.arange(len(found)), self.values])


@dataclass(frozen=True, eq=False)
class Fitted:
    """Outputs = inner products with the N samples @ `dual_NO` + `bias_O`.

    All inputs are less the mean of the fitted samples, by weight.
    """

    dual_NO: np.ndarray
    bias_O: np.ndarray
    strength: float


def fit_dual(gram_NN: np.ndarray, target: Target, folds: Sequence[Fold]) -> Fitted:
    """Fit with the strength that predicts the samples left out of folds best.

    Parameters
    ----------
    gram_NN : numpy.ndarray
        Inner products of the inputs; they need not be centred.
    target : Target
        Of the same samples. One of weight 0 is as if it were not there.
    folds : sequence of tuple
        Fitted and left-out rows; without any, the strongest regularisation is taken.

    Returns
    -------
    Fitted
    """
    counts_N = target.weights_N > 0
    every = np.flatnonzero(counts_N)
    some = np.zeros(len(gram_NN), dtype=bool)
    some[
        every[np.linspace(0, len(every) - 1, min(len(every), COMPARED)).astype(int)]
    ] = 1
    errors_P = np.zeros(len(STRENGTHS))
    for fitted, left_out in folds:
        fitted, left_out = fitted[some[fitted]], left_out[some[left_out]]
        if not len(fitted):
            continue
        asked = target.take(left_out)
        cross_MN = _centred(gram_NN[np.ix_(left_out, fitted)], gram_NN, target, fitted)
        for number, model in enumerate(_path(gram_NN, target, fitted, STRENGTHS)):
            found = cross_MN @ model.dual_NO + model.bias_O
            errors_P[number] += asked.losses(found).sum()
    strength = STRENGTHS[len(errors_P) - 1 - errors_P[::-1].argmin()]
    model = next(_path(gram_NN, target, every, np.array([strength])))
    dual_NO = np.zeros((len(gram_NN), model.dual_NO.shape[1]))
    dual_NO[every] = model.dual_NO
    return replace(model, dual_NO=dual_NO)


def _centred(
    cross_MN: np.ndarray, gram_NN: np.ndarray, target: Target, fitted: np.ndarray
) -> np.ndarray:
    """Inner products with fitted samples, all inputs less the mean of these."""
    part_N = target.weights_N[fitted] / target.weights_N[fitted].sum()
    mean_N = gram_NN[np.ix_(fitted, fitted)] @ part_N
    return cross_MN - (cross_MN @ part_N)[:, None] - mean_N + part_N @ mean_N


def _path(gram_NN, target, fitted, strengths_P):
    """A model of the fitted samples for each strength, the strongest last."""
    own = gram_NN[np.ix_(fitted, fitted)]
    path = _logistic_path if target.classes else _ridge_path
    own = _centred(own, gram_NN, target, fitted)
    yield from path(own, target.take(fitted), strengths_P)


def _ridge_path(gram_NN, target, strengths_P):
    """One decomposition serves all strengths.

    Inputs without mean leave the bias to the mean of the values, all by weight.
    """
    weights_N = target.weights_N / target.weights_N.mean()
    bias_O = weights_N @ target.values / len(weights_N)
    root_N1 = np.sqrt(weights_N)[:, None]
    gram_NN = root_N1 * gram_NN * root_N1.T
    rest_NO = root_N1 * (target.values - bias_O)
    if len(strengths_P) == 1:
        gram_NN[np.diag_indices_from(gram_NN)] += strengths_P[0]
        dual_NO = solve(gram_NN, rest_NO, assume_a="pos")
        yield Fitted(root_N1 * dual_NO, bias_O, float(strengths_P[0]))
        return
    size, basis = eigh(gram_NN)
    turned = basis.T @ rest_NO
    for strength in strengths_P:
        dual_NO = basis @ (turned / (size.clip(0) + strength)[:, None])
        yield Fitted(root_N1 * dual_NO, bias_O, float(strength))


def _logistic_path(gram_NN, target, strengths_P):
    """As `_ridge_path`, of logits; a class that does not occur is improbable."""
    total = len(gram_NN)
    first = max(total - MOST_DIMENSIONS, 0)
    size, basis = eigh(gram_NN, subset_by_index=[first, total - 1])
    kept = size > 1e-8 * size.max(initial=1e-300)
    basis, root = basis[:, kept], np.sqrt(size[kept])
    known = np.unique(target.values[target.weights_N > 0])
    outputs = np.full(target.classes, RARE)
    outputs[known] = 0.0
    if len(known) < 2 or not len(root):
        for strength in strengths_P:
            nothing = np.zeros((total, target.classes))
            yield Fitted(nothing, outputs, float(strength))
        return
    model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    found = []
    for strength in strengths_P[::-1]:
        model.C = 1 / strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(basis * root, target.values, target.weights_N)
        slopes, biases = model.coef_, model.intercept_
        if len(known) == 2:  # logits of the second class against the first
            slopes, biases = np.vstack([0 * slopes, slopes]), np.r_[0.0, biases]
        dual_NO, bias_O = np.zeros((total, target.classes)), outputs.copy()
        dual_NO[:, known] = (basis / root) @ slopes.T
        bias_O[known] = biases
        found.append(Fitted(dual_NO, bias_O, float(strength)))
    yield from found[::-1]
