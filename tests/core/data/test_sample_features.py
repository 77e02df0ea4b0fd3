"""Features of samples, which the head reads beside the transformers."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from aam_core.data.profiles import PROFILE, profiles
from aam_core.data.sample_features import (
    APART,
    BANDWIDTHS,
    blocks,
    random_features,
    sample_features,
)
from aam_core.data.sequences import tokenise
from tests import generate
from tests.core.ensemble.communities import study, table_of

DRAWN = np.random.default_rng(0)
FIRST = [1.832507, -0.534618, 0.228405]
PHASES = [5.241441, 5.049984, 4.710223]
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 90)) for _ in range(12)]


@pytest.mark.parametrize("block", range(len(BANDWIDTHS)))
def test_products_of_features_are_the_gaussian_kernel_of_scikit_learn(block):
    drawn = np.random.default_rng(1).normal(size=(20, PROFILE)) / 8
    features = 4096
    frequencies, phases = random_features(features)
    here = slice(block * features, (block + 1) * features)
    found = np.cos(drawn @ frequencies[:, here] + phases[here])
    expected = rbf_kernel(drawn, gamma=BANDWIDTHS[block] / APART)
    np.testing.assert_allclose(2 * found @ found.T / features, expected, atol=0.08)


def test_features_stay_what_they_are():
    """Models keep weights for them: other features would be another model."""
    frequencies, phases = random_features(4)
    assert frequencies.shape == (PROFILE, 12)
    np.testing.assert_allclose(frequencies[0, :3], FIRST, rtol=1e-5)
    np.testing.assert_allclose(phases[:3], PHASES, rtol=1e-5)


def test_sums_by_hand():
    counts = [[10, 0, 90], [0, 7, 0]]
    found = sample_features(study(*table_of(counts, SEQUENCES[:3])), 5)
    assert found.shape == (2, 5 * blocks(5))
    assert found.dtype == np.float32
    tokens, _ = tokenise(SEQUENCES[:3], SEQUENCES[:3], 100)
    frequencies, phases = random_features(5)
    of_asvs = np.cos(profiles(tokens) @ frequencies + phases)
    levels = np.log10(1 + 10_000 * np.array([[0.1, 0, 0.9], [0, 1, 0]]))
    present = np.array([[1, 0, 1], [0, 1, 0]])
    expected = np.concatenate([levels @ of_asvs, present @ of_asvs], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_order_does_not_matter():
    made = generate.study(samples=5)
    turned = made.table.take_features(np.arange(made.table.shape[1])[::-1])
    found, again = (
        sample_features(study(table, made.sequences), 8)
        for table in (made.table, turned)
    )
    np.testing.assert_array_equal(found, again)
