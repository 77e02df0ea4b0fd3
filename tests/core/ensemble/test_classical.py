"""The members beside the network together: what they fit to, return and keep."""

from types import SimpleNamespace

import numpy as np
import pytest

from aam_core.data.target_decoder import Decoder
from aam_core.data.target_scaling import Classes
from aam_core.ensemble import classical, kernel, trees
from aam_core.ensemble.classical import (
    Classical,
    drawn,
    fit_classical,
    read_classical,
    target_of,
)
from tests.core.ensemble.communities import of_counts

DRAWN = np.random.default_rng(0)
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 60)) for _ in range(8)]
COUNTS = DRAWN.poisson(3, (12, 8)) + np.eye(12, 8, dtype=int)
CODES = np.arange(12) % 3
GROUPS = np.array([f"g{i // 2}" for i in range(12)])


def labels_of(classes=0, **more):
    """What of `Labels` is read here: numbers, or three classes."""
    known = Classes(("a", "b", "c")) if classes else None
    given = {"categories": None, "class_weights": None, "loss_weights_N": None} | more
    return SimpleNamespace(
        decoder=Decoder(
            "classification" if classes else "regression", ("x",), None, known
        ),
        values=CODES if classes else np.float32(COUNTS[:, :1]),
        outputs=classes or 1,
        **given,
    )


@pytest.fixture(scope="module")
def samples():
    return of_counts(COUNTS, SEQUENCES)


@pytest.fixture(scope="module")
def fitted(samples):
    """By number of classes; few features and trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "FEATURES", 8)
        patch.setattr(trees, "TREES", 3)
        patch.setattr(trees, "FEWEST_TREES", 2)
        both = ("kernel", "trees")
        rows = np.arange(12)
        return {
            classes: fit_classical(both, samples, labels_of(classes), rows, None, 0, 1)
            for classes in (0, 3)
        }


def test_rows_are_drawn_where_there_are_too_many():
    rows = np.arange(10, 30)
    assert drawn(rows, 20, 0) is rows
    some = drawn(rows, 19, 0)
    assert len(some) == 19
    assert (np.diff(some) > 0).all()
    assert set(some) < set(rows)
    assert drawn(rows, 5, 0).tolist() == drawn(rows, 5, 0).tolist()
    assert drawn(rows, 5, 0).tolist() != drawn(rows, 5, 1).tolist()


ROWS = np.array([1, 4, 5])


def test_weights_of_samples_and_classes_multiply():
    target = target_of(labels_of(), ROWS, None)
    assert target.values.tolist() == COUNTS[ROWS, :1].tolist()
    assert target.values.dtype == np.float64
    assert target.weights_N.tolist() == [1, 1, 1]
    assert (target.classes, target.groups) == (0, None)
    own = np.arange(12.0)
    target = target_of(labels_of(loss_weights_N=own), ROWS, GROUPS)
    assert target.weights_N.tolist() == [1, 4, 5]
    assert target.groups.tolist() == ["g0", "g2", "g2"]
    by_class = {"class_weights": np.array([1.0, 10.0, 100.0])}
    target = target_of(labels_of(3, **by_class), ROWS, None)
    assert target.values.tolist() == [1, 1, 2]
    assert target.values.dtype == CODES.dtype
    assert target.weights_N.tolist() == [10, 10, 100]
    assert target.classes == 3
    target = target_of(labels_of(3, loss_weights_N=own, **by_class), ROWS, None)
    assert target.weights_N.tolist() == [10, 40, 500]


def test_each_member_is_fitted_to_its_rows(samples, monkeypatch):
    asked = {}

    def fit(name):
        def one(some, target, cardinalities, *given):
            asked[name] = some.counts.toarray(), target, cardinalities, given
            return name

        return one

    monkeypatch.setattr(classical, "fit_kernel", fit("kernel"))
    monkeypatch.setattr(classical, "fit_trees", fit("trees"))
    monkeypatch.setattr(classical, "MOST", 4)
    rows = np.array([0, 2, 3, 5, 7, 8])
    categories = SimpleNamespace(get_cardinalities=lambda: {"site": 3, "sex": 4})
    labels = labels_of(categories=categories)
    found = fit_classical(("kernel", "trees"), samples, labels, rows, GROUPS, 5, 2)
    assert (found.kernel, found.trees) == ("kernel", "trees")
    every = samples.counts.toarray()
    for name, own in (("kernel", drawn(rows, 4, 5)), ("trees", rows)):
        counts, target, cardinalities, _ = asked[name]
        assert counts.tolist() == every[own].tolist()
        assert target.values.tolist() == labels.values[own].tolist()
        assert target.groups.tolist() == GROUPS[own].tolist()
        assert cardinalities == (3, 4)
    assert asked["kernel"][3] == (5,)
    assert asked["trees"][3] == (5, 2)
    monkeypatch.setattr(classical, "MOST_OF_TREES", 3)
    fit_classical(("trees",), samples, labels_of(), rows, None, 5, 2)
    assert asked["trees"][0].tolist() == every[drawn(rows, 3, 5)].tolist()
    assert asked["trees"][2] == ()
    one = fit_classical(("kernel",), samples, labels_of(), rows, None, 5, 2)
    assert (one.kernel, one.trees) == ("kernel", None)


def test_names_and_outputs_of_what_there_is(fitted):
    both = fitted[3]
    kernels = ["kernel-abundance", "kernel-presence", "kernel-log_ratio"]
    forests = ["trees-abundance", "trees-presence"]
    assert both.names == kernels + forests
    assert Classical(both.kernel).names == kernels
    assert Classical(trees=both.trees).names == forests
    assert Classical().names == []
    for part in (both, Classical(both.kernel), Classical(trees=both.trees)):
        assert part.outputs == {3}
        assert not part.empty
    assert Classical().outputs == set()
    assert Classical().empty
    assert Classical(both.kernel, fitted[0].trees).outputs == {1, 3}


@pytest.mark.parametrize("classes", [0, 3])
def test_predictions_are_those_of_the_members(fitted, samples, classes):
    both = fitted[classes]
    found = both.predict(samples)
    assert list(found) == both.names
    for name, value in both.kernel.predict(samples).items():
        np.testing.assert_array_equal(found[f"kernel-{name}"], value)
    for name, value in both.trees.predict(samples).items():
        wanted = np.log(np.maximum(value, 1e-9)) if classes else value
        np.testing.assert_allclose(found[f"trees-{name}"], wanted)
    known = both.known(samples)
    assert set(known) == {"kernel", "trees"}
    again = both.predict(samples, known)
    for name, value in found.items():
        np.testing.assert_array_equal(again[name], value)
    # what is known already is not computed again
    nothing = {"kernel": {n: 0 * v for n, v in known["kernel"].items()}}
    nothing["trees"] = 0 * known["trees"]
    other = both.predict(samples, nothing)
    for name in ("kernel-abundance", "trees-abundance"):
        assert not np.allclose(other[name], found[name])
    assert Classical(trees=both.trees).known(samples).keys() == {"trees"}
    assert Classical(both.kernel).known(samples).keys() == {"kernel"}


def test_what_is_kept_is_read_back(fitted, samples):
    both = fitted[3]
    arrays, described = both.arrays(), both.description()
    assert {name.partition(".")[0] for name in arrays} == {"kernel", "trees"}
    assert set(described["kernel"]["strengths"]) == set(both.kernel.views)
    assert described["trees"] == {"clades": list(both.trees.sizes)}
    before = both.predict(samples)
    read = read_classical(arrays, described, (), 3)
    for name, value in read.predict(samples).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-3, atol=1e-3)
    for name in ("kernel", "trees"):
        one = read_classical(arrays, {name: described[name]}, (), 3)
        assert (one.kernel is None) == (name == "trees")
        assert (one.trees is None) == (name == "kernel")
        assert {n.partition(".")[0] for n in one.arrays()} == {name}
        assert set(one.description()) == {name}
    assert read_classical(arrays, {}, (), 3).empty
