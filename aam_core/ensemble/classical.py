"""The members beside the network, which are fitted at once.

Shapes: N samples, O outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aam_core.data.labels import Labels
from aam_core.ensemble.community import Community
from aam_core.ensemble.kernel import Kernel, fit_kernel, read_kernel
from aam_core.ensemble.regression import Target
from aam_core.ensemble.trees import Trees, fit_trees, read_trees

KERNEL, TREES = "kernel", "trees"
#: Most samples that the kernel, and the trees, are fitted to.
MOST, MOST_OF_TREES = 5_000, 20_000


@dataclass(frozen=True, eq=False)
class Classical:
    """Kernel and trees, or one of them."""

    kernel: Kernel | None = None
    trees: Trees | None = None

    @property
    def names(self) -> list[str]:
        """Of what `predict` returns: each view is a member."""
        found = []
        if self.kernel is not None:
            found += [f"{KERNEL}-{view}" for view in self.kernel.views]
        if self.trees is not None:
            found += [f"{TREES}-{view}" for view in self.trees.forests]
        return found

    @property
    def outputs(self) -> set[int]:
        """How many numbers the members return of a sample."""
        found = set()
        if self.kernel is not None:
            found |= {len(view.bias_O) for view in self.kernel.views.values()}
        if self.trees is not None:
            forests = self.trees.forests.values()
            found |= {forest.value_LO.shape[1] for forest in forests}
        return found

    @property
    def empty(self) -> bool:
        """Whether there is none."""
        return self.kernel is None and self.trees is None

    def known(self, samples: Community) -> dict[str, Any]:
        """What the members make of ASVs alone, which is the same in all samples."""
        found: dict[str, Any] = {}
        if self.kernel is not None:
            found[KERNEL] = self.kernel.added(samples)
        if self.trees is not None:
            found[TREES] = self.trees.columns_of(samples)
        return found

    def predict(
        self, samples: Community, known: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """(N, O) logits or scaled values; each view is a member of its own.

        Parameters
        ----------
        samples : Community
            N samples.
        known : mapping, optional
            What `known` returned for samples with the same ASVs and more.
        """
        known = known or {}
        found = {}
        if self.kernel is not None:
            views = self.kernel.predict(samples, known.get(KERNEL))
            found |= {f"{KERNEL}-{name}": value for name, value in views.items()}
        if self.trees is not None:
            for name, value in self.trees.predict(samples, known.get(TREES)).items():
                value = np.log(value.clip(1e-9)) if self.trees.classes else value
                found[f"{TREES}-{name}"] = value
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """All that has to be kept, by member and name; see `read_classical`."""
        members = {KERNEL: self.kernel, TREES: self.trees}
        return {
            f"{name}.{part}": value
            for name, member in members.items()
            if member is not None
            for part, value in member.arrays().items()
        }

    def description(self) -> dict[str, Any]:
        """What else has to be kept, as `config.json` has it."""
        found: dict[str, Any] = {}
        if self.kernel is not None:
            found[KERNEL] = {"strengths": dict(self.kernel.strengths)}
        if self.trees is not None:
            found[TREES] = {"clades": list(self.trees.sizes)}
        return found


def read_classical(
    arrays: Mapping[str, np.ndarray],
    described: Mapping[str, Any],
    cardinalities: Sequence[int],
    classes: int,
) -> Classical:
    """The members of which `Classical.arrays` made these.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    of = {
        member: {
            name.partition(".")[2]: value
            for name, value in arrays.items()
            if name.startswith(f"{member}.")
        }
        for member in described
    }
    kernel = trees = None
    if KERNEL in described:
        kernel = read_kernel(of[KERNEL], cardinalities)
    if TREES in described:
        sizes = described[TREES]["clades"]
        trees = read_trees(of[TREES], sizes, cardinalities, classes)
    return Classical(kernel, trees)


def fit_classical(
    members: Sequence[str],
    samples: Community,
    labels: Labels,
    rows: np.ndarray,
    groups_N: np.ndarray | None,
    seed: int,
    jobs: int,
) -> Classical:
    """Fit those of the members that there are.

    Parameters
    ----------
    members : sequence of str
        `kernel`, `trees`.
    samples : Community
        All samples of the study.
    labels : Labels
        Fitted to `rows`.
    rows : numpy.ndarray
        Samples to fit to.
    groups_N : numpy.ndarray, optional
        Group of each sample of the study.
    seed : int
        Of all draws.
    jobs : int
        Threads of the trees.
    """
    cardinalities: tuple[int, ...] = ()
    if labels.categories is not None:
        cardinalities = tuple(labels.categories.get_cardinalities().values())
    kernel = trees = None
    if KERNEL in members:
        some = drawn(rows, MOST, seed)
        target = target_of(labels, some, groups_N)
        kernel = fit_kernel(samples.take(some), target, cardinalities, seed)
    if TREES in members:
        some = drawn(rows, MOST_OF_TREES, seed)
        target = target_of(labels, some, groups_N)
        trees = fit_trees(samples.take(some), target, cardinalities, seed, jobs)
    return Classical(kernel, trees)


def drawn(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many of the rows, ascending."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def target_of(labels: Labels, rows: np.ndarray, groups_N: np.ndarray | None) -> Target:
    """What samples are fitted to; weights of classes and categories multiply."""
    weights_N = np.ones(len(rows))
    if labels.loss_weights_N is not None:
        weights_N = weights_N * labels.loss_weights_N[rows]
    if labels.class_weights is not None:
        weights_N = weights_N * labels.class_weights[labels.values[rows]]
    classes = labels.outputs if labels.decoder.classes is not None else 0
    values = labels.values[rows]
    groups = None if groups_N is None else groups_N[rows]
    return Target(
        values if classes else values.astype(float), weights_N, classes, groups
    )
