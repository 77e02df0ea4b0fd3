"""The kernel member: linear in what the ASVs of a sample are, at several scales.

Three views of the reads, each a ridge or logistic regression: log abundances, presence,
and log-ratios. In each an ASV counts as itself, and as one of those whose sequences are
like its own, at three bandwidths. What a bandwidth makes of an ASV follows from its
profile, in random Fourier features (Rahimi & Recht 2007), so that an ASV that was never
seen adds what those like it do. The regressions are fitted in the space of the samples,
and kept as one number per ASV and per feature: no sample can be read from them.

Shapes: N samples, F features, V ASVs of the vocabulary, D numbers of a profile,
K random features of all bandwidths, O outputs, C categories of all columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from aam_core.data.profiles import PROFILE
from aam_core.data.sample_features import levels
from aam_core.ensemble.community import (
    Community,
    as_array,
    indicators,
    is_vocabulary,
    starts,
    vocabulary,
)
from aam_core.ensemble.regression import Target, fit_dual

VIEWS = ("abundance", "presence", "log_ratio")
#: Squared distances are divided by the median of them, and multiplied by these.
BANDWIDTHS, FEATURES = (1.0, 10.0, 60.0), 1024
#: ASVs in fewer of the fitted samples are known by their like only.
FEWEST = 2
#: Added to the counts of prevalent ASVs before their logarithm.
PSEUDOCOUNT = 0.5
#: ASVs whose distances give the median.
COMPARED = 500
PIECE = 4096  #: ASVs, or samples, that are looked at together


@dataclass(frozen=True, eq=False)
class View:
    """One regression: what ASVs and categories add to the outputs."""

    identity_VO: np.ndarray
    features_KO: np.ndarray
    category_CO: np.ndarray
    bias_O: np.ndarray


@dataclass(frozen=True, eq=False)
class Kernel:
    """A fitted kernel member; `fit_kernel` makes one.

    Attributes
    ----------
    digests_VB : numpy.ndarray
        (V, 16) uint8, the ASVs that are known.
    prevalent_V : numpy.ndarray
        Bool, those of log-ratios.
    frequencies_DK, phases_K : numpy.ndarray
        Of the random features.
    views : mapping
        By name.
    cardinalities : tuple of int
        Categories of each column, unknown included.
    """

    digests_VB: np.ndarray
    prevalent_V: np.ndarray
    frequencies_DK: np.ndarray
    phases_K: np.ndarray
    views: Mapping[str, View]
    cardinalities: tuple[int, ...] = ()
    strengths: Mapping[str, float] = field(default_factory=dict)

    def predict(
        self, samples: Community, added: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """(N, O) scaled values or logits of each view.

        Parameters
        ----------
        samples : Community
            N samples.
        added : mapping, optional
            What `added` returned for the same ASVs, where that is known already.
        """
        added = self.added(samples) if added is None else added
        found = {}
        for name, view in self.views.items():
            if name == "log_ratio":
                outputs = self._of_log_ratios(samples, view)
            else:
                outputs = levels(samples.counts, name) @ added[name]
            if self.cardinalities:
                shown = indicators(samples.categories_NK, self.cardinalities)
                outputs = outputs + shown @ view.category_CO
            found[name] = outputs + view.bias_O
        return found

    def added(self, samples: Community) -> dict[str, np.ndarray]:
        """By view, (F, O) what each ASV that occurs adds per unit of its level."""
        return {
            name: self._added(samples, view)
            for name, view in self.views.items()
            if name != "log_ratio"
        }

    def _added(self, samples: Community, view: View) -> np.ndarray:
        """(F, O) what each ASV adds per unit of its level."""
        place_F = samples.places(vocabulary(self.digests_VB))
        known = np.flatnonzero(place_F >= 0)
        added_FO = np.zeros((len(place_F), len(view.bias_O)))
        for rows in _pieces(np.unique(samples.counts.indices)):
            added_FO[rows] = self.features(samples, rows) @ view.features_KO
        added_FO[known] += view.identity_VO[place_F[known]]
        return added_FO

    def _of_log_ratios(self, samples: Community, view: View) -> np.ndarray:
        """(N, O) what the ASVs of log-ratios add."""
        kept = self.prevalent_V
        reads_NV = samples.in_vocabulary(vocabulary(self.digests_VB[kept]))
        parts = [
            log_ratios(reads_NV[rows]) @ view.identity_VO[kept]
            for rows in _pieces(np.arange(reads_NV.shape[0]))
        ]
        return np.concatenate(parts)

    def features(self, samples: Community, rows: np.ndarray) -> np.ndarray:
        """Random features (…, K) of some ASVs."""
        return np.cos(samples.profiles_FD[rows] @ self.frequencies_DK + self.phases_K)

    def summed(self, samples: Community, inputs_NF) -> np.ndarray:
        """(N, K): what (N, F) inputs sum up of the features of the ASVs."""
        columns = np.unique(samples.counts.indices)
        total_NK = np.zeros((inputs_NF.shape[0], len(self.phases_K)))
        for some in _pieces(columns):
            total_NK += inputs_NF[:, some] @ self.features(samples, some)
        return total_NK

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has to be kept, by name; see `read_kernel`."""
        found = {
            "digests": self.digests_VB,
            "prevalent": self.prevalent_V.astype(np.uint8),
            "frequencies": self.frequencies_DK,
            "phases": self.phases_K,
        }
        for name, view in self.views.items():
            for part, value in vars(view).items():
                key = f"{name}.{part.rsplit('_', 1)[0]}"
                found[key] = np.asarray(value, dtype=np.float32)
        return found


def read_kernel(
    arrays: Mapping[str, np.ndarray], cardinalities: Sequence[int]
) -> Kernel:
    """The member of which `Kernel.arrays` made these.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    views = {}
    for name in VIEWS:
        parts = {
            n: arrays[f"{name}.{n.rsplit('_', 1)[0]}"] for n in View.__annotations__
        }
        views[name] = View(**parts)
    digests_VB, frequencies_DK = arrays["digests"], arrays["frequencies"]
    kernel = Kernel(
        digests_VB,
        arrays["prevalent"].astype(bool),
        frequencies_DK,
        arrays["phases"],
        views,
        tuple(cardinalities),
    )
    outputs = views["presence"].bias_O.shape
    sizes = {
        "identity_VO": (len(digests_VB), *outputs),
        "features_KO": (*frequencies_DK.shape[1:], *outputs),
        "category_CO": (sum(cardinalities), *outputs),
        "bias_O": outputs,
    }
    fit = (
        is_vocabulary(digests_VB)
        and frequencies_DK.shape[0] == PROFILE
        and kernel.phases_K.shape == frequencies_DK.shape[1:]
        and kernel.prevalent_V.shape == digests_VB.shape[:1]
        and all(
            vars(view)[n].shape == s
            for view in views.values()
            for n, s in sizes.items()
        )
    )
    if not fit:
        raise ValueError("the arrays of the kernel do not fit each other")
    return kernel


def fit_kernel(
    samples: Community, target: Target, cardinalities: Sequence[int], seed: int
) -> Kernel:
    """Fit the three views; vocabulary and bandwidths are those of these samples.

    Parameters
    ----------
    samples : Community
        N samples.
    target : Target
        Of the same samples.
    cardinalities : sequence of int
        Categories of each column of `samples.categories_NK`, unknown included.
    seed : int
        Of the random features and the folds.

    Returns
    -------
    Kernel
    """
    prevalence_F = samples.prevalence()
    read = np.flatnonzero(prevalence_F)
    known = np.flatnonzero(prevalence_F >= min(FEWEST, len(samples.counts.indptr) - 1))
    digests_VB = as_array([samples.digests[f] for f in known])
    prevalent_V = samples.prevalent()[known]
    frequencies_DK, phases_K = draw_features(samples.profiles_FD[read], seed)
    kernel = Kernel(
        digests_VB, prevalent_V, frequencies_DK, phases_K, {}, tuple(cardinalities)
    )
    shown = None
    if cardinalities:
        shown = indicators(samples.categories_NK, cardinalities)
        shown[:, starts(cardinalities)] = 0  # an unknown category is in none
    folds = target.folds(seed)
    views, strengths = {}, {}
    for name in VIEWS:
        columns = known[prevalent_V] if name == "log_ratio" else known
        if name == "log_ratio":
            inputs = log_ratios(samples.counts[:, columns])
            features = kernel.features(samples, columns)
            of_asvs = [inputs, inputs @ features]
        else:
            inputs = levels(samples.counts, name)
            of_asvs = [inputs[:, columns], kernel.summed(samples, inputs)]
        view, strengths[name] = _fit_view(of_asvs, shown, cardinalities, target, folds)
        if name == "log_ratio":
            identity_VO = np.zeros((len(known), len(view.bias_O)))
            identity_VO[prevalent_V] = view.identity_VO + features @ view.features_KO
            nothing = np.zeros_like(view.features_KO)  # of no other ASV is it asked
            view = View(identity_VO, nothing, view.category_CO, view.bias_O)
        views[name] = view
    return Kernel(
        digests_VB,
        prevalent_V,
        frequencies_DK,
        phases_K,
        views,
        tuple(cardinalities),
        strengths,
    )


def _fit_view(of_asvs, shown, cardinalities, target, folds):
    """One regression; its inputs are blocks of equal variance."""
    identity, features_NK = of_asvs
    size = features_NK.shape[1] // len(BANDWIDTHS)
    blocks = [identity]
    blocks += [
        features_NK[:, b * size : (b + 1) * size] for b in range(len(BANDWIDTHS))
    ]
    if shown is not None:
        blocks.append(shown)
    scales = [_scale(block, target) for block in blocks]
    factor = 1 / len(blocks)
    gram_NN = sum(
        factor * s * _dense(b @ b.T) for b, s in zip(blocks, scales, strict=True)
    )
    found = fit_dual(gram_NN, target, folds)
    bias_O = found.bias_O.copy()
    parts = []
    for block, scale in zip(blocks, scales, strict=True):
        mean = _mean(block, target)
        dual = found.dual_NO
        weights = _dense(block.T @ dual) - np.outer(mean, dual.sum(axis=0))
        weights *= factor * scale
        bias_O -= mean @ weights
        parts.append(weights)
    category_CO = np.zeros((0, len(bias_O)))
    if shown is not None:
        category_CO = _with_unknown(parts.pop(), _mean(shown, target), cardinalities)
    view = View(parts[0], np.vstack(parts[1:]), category_CO, bias_O)
    return view, found.strength


def _with_unknown(of_categories, frequencies, cardinalities) -> np.ndarray:
    """What categories add; an unknown one the mean of those of its column."""
    found = of_categories.copy()
    for start, size in zip(starts(cardinalities), cardinalities, strict=True):
        here = slice(start, start + size)
        found[start] = frequencies[here] @ of_categories[here]
    return found


def _mean(block, target: Target) -> np.ndarray:
    """The mean of each input, by weight."""
    weights_N = target.weights_N / target.weights_N.sum()
    return np.asarray(weights_N @ block).ravel()


def _scale(block, target: Target) -> float:
    """What the squares of the inputs are multiplied by, for a variance of 1 in all."""
    weights_N = target.weights_N / target.weights_N.sum()
    squares = block.multiply(block) if sparse.issparse(block) else block * block
    total = float(np.asarray(weights_N @ squares).sum())
    variance = total - float(np.square(_mean(block, target)).sum())
    return 1 / variance if variance > 1e-9 * max(total, 1e-300) else 0.0


def _dense(matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def draw_features(profiles_FD: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (D, K) and phases (K,) for ASVs with profiles like these."""
    generator = np.random.default_rng(seed)
    some = generator.permutation(len(profiles_FD))[:COMPARED]
    part = profiles_FD[some].astype(np.float64)
    squares = (part**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * part @ part.T
    others = apart[np.triu_indices(len(part), 1)]
    median = float(np.median(others)) if len(others) else 1.0
    drawn = generator.normal(size=(PROFILE, FEATURES * len(BANDWIDTHS)))
    scale = np.sqrt(2 * np.repeat(BANDWIDTHS, FEATURES) / max(median, 1e-6))
    phases_K = generator.uniform(0, 2 * np.pi, drawn.shape[1])
    return (drawn * scale).astype(np.float32), phases_K.astype(np.float32)


def log_ratios(reads_NV: sparse.csr_matrix) -> np.ndarray:
    """(N, V) centred log-ratios (Aitchison 1982)."""
    logs = np.log(reads_NV.toarray() + PSEUDOCOUNT)
    return logs - logs.mean(axis=1, keepdims=True) if logs.shape[1] else logs


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    """Some at a time, so that memory does not grow with all; one if there are none."""
    return np.split(rows, range(PIECE, len(rows), PIECE))
