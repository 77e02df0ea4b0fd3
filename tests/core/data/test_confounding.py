"""What predicts a target without any microbe."""

import numpy as np
import pandas as pd
import pytest

from aam_core.data.confounding import (
    alone,
    choose_depth,
    common_depth,
    tell_batches,
)
from aam_core.errors import InputError
from aam_core.reporting import silent

DRAWN = np.random.default_rng(0)
CLASSES = pd.Series(DRAWN.choice(["sick", "well"], 120), name="state")
NUMBERS = pd.Series(DRAWN.normal(50, 10, 120), name="age")
CHANCE = DRAWN.integers(5_000, 50_000, 120)
TELLING = np.where(CLASSES == "sick", 4_000, 40_000) + DRAWN.integers(0, 3_000, 120)


def choose(given, depths, target, groups=None):
    lines = []
    return choose_depth(given, depths, target, groups, 0, lines.append), lines


def test_a_depth_that_tells_nothing_leaves_all_reads():
    for target in (CLASSES, NUMBERS):
        assert choose(None, CHANCE, target) == (0, [])
        found = alone(np.log10(CHANCE), target, None, 0)
        assert found.high > 1
        assert found.low < found.ratio < found.high


def test_a_depth_that_tells_the_class_is_told_and_rarefied_away():
    depth, (line,) = choose(None, TELLING, CLASSES)
    assert "alone predicts 'state' (accuracy 1.00 in samples that were left" in line
    frequent = (CLASSES.mode()[0] == CLASSES).mean()
    assert f"most frequent class {frequent:.2f}" in line
    assert f"rarefied to {depth:,} reads" in line
    sick = TELLING[CLASSES == "sick"]
    assert depth <= np.quantile(sick, 0.1) < depth + 100
    assert f"which {(depth > TELLING).sum()} of 120 do not have" in line


def test_numbers_too():
    depths = (NUMBERS.to_numpy() * 1_000).astype(int)
    depth, (line,) = choose(None, depths, NUMBERS)
    assert depth > 0
    found = alone(np.log10(depths), NUMBERS, None, 0)
    assert f"mean error {found.score:.3g} in samples" in line
    median = np.abs(NUMBERS - NUMBERS.median()).mean()
    assert found.chance == pytest.approx(median, rel=0.05)


def test_what_the_user_chose_holds():
    assert choose(700, TELLING, CLASSES) == (700, [])
    depth, (line,) = choose(0, TELLING, CLASSES)
    assert depth == 0
    assert "may be the sequencing" in line


def test_groups_are_not_divided():
    """Subjects of one class each, and a depth of each: new ones tell nothing."""
    subject = np.repeat(np.arange(24), 5)
    classes = pd.Series(np.where(subject % 2, "sick", "well"), name="state")
    depths = DRAWN.permutation(np.arange(1, 25) * 1_000)[subject]
    groups = subject.astype(str)
    assert alone(np.log10(depths), classes, None, 0).telling
    assert not alone(np.log10(depths), classes, groups, 0).telling


def test_a_common_depth_by_hand():
    depths = np.r_[np.arange(1, 11) * 1_234, np.arange(1, 11) * 10_000]
    classes = pd.Series(["a"] * 10 + ["b"] * 10)
    # the tenth percentile of a: 1,234 + 0.9 · 1,234 = 2,344.6
    assert common_depth(depths, classes) == 2_300
    assert common_depth(np.full(20, 7), classes) == 7
    # the first quarter of the numbers: 1 to 5 times 1,234
    assert common_depth(depths, pd.Series(np.arange(20.0))) == 1_700


def test_too_few_samples_tell_nothing():
    assert alone(np.arange(12.0), CLASSES[:12], None, 0) is None
    assert alone(np.arange(120.0), pd.Series(["a"] * 120), None, 0) is None
    assert choose(None, np.arange(12), CLASSES[:12]) == (0, [])


def test_batches_are_told():
    lines = []
    ids = [f"s{i}" for i in range(120)]
    metadata = pd.DataFrame(
        {
            "run": np.where(CLASSES == "sick", "r1", "r2"),
            "plate": ["p", None, "q"] * 40,
        },
        ids,
    )
    tell_batches(("run", "plate"), metadata, ids, CLASSES, None, 0, lines.append)
    assert "Column 'run' alone predicts 'state' (accuracy 1.00" in lines[0]
    assert "Compare within batches" in lines[0]
    assert "Column 'plate' alone does not predict 'state'" in lines[1]
    with pytest.raises(InputError, match="lane"):
        tell_batches(("lane",), metadata, ids, CLASSES, None, 0, silent)
