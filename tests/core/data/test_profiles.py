"""Profiles of sequences."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from aam_core.data import profiles as module
from aam_core.data.profiles import PROFILE, profiles
from aam_core.data.sequences import tokenise
from tests.core.ensemble.communities import mutated

DRAWN = np.random.default_rng(0)
EXPECTED = [-0.130861, -0.138819, -0.289575, -0.130861]
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 120)) for _ in range(30)]


def profile(*sequences):
    tokens, _ = tokenise(list(sequences), [str(i) for i in sequences], 200)
    return profiles(tokens)


def test_frequencies_of_words_are_those_of_scikit_learn():
    """With an ambiguous nucleotide, and of unequal length."""
    sequences = [SEQUENCES[0], SEQUENCES[1][:50] + "N" + SEQUENCES[2][:9], "ACGTA"]
    tokens, _ = tokenise(sequences, list("abc"), 200)
    found = module._frequencies(tokens)
    counter = CountVectorizer(analyzer="char", ngram_range=(6, 6), lowercase=False)
    counts = counter.fit_transform(sequences).toarray()
    for word, column in counter.vocabulary_.items():
        if "N" in word:
            counts[:, column] = 0
            continue
        code = sum(4**i * "ACGT".index(n) for i, n in enumerate(reversed(word)))
        totals = np.array([115, 49, 1])  # of words without an N
        np.testing.assert_allclose(
            found[:, code] ** 2, counts[:, column] / totals, rtol=1e-5
        )
    assert (found[2] == 0).all()  # shorter than a word
    assert (found > 0).sum() == (counts > 0).sum()


def test_profiles_keep_distances_and_do_not_depend_on_each_other():
    exact = module._frequencies(tokenise(SEQUENCES, SEQUENCES, 200)[0])
    found = profile(*SEQUENCES)
    assert found.shape == (30, PROFILE)
    apart = ((found[:, None] - found) ** 2).sum(-1)[np.triu_indices(30, 1)]
    true = ((exact[:, None] - exact) ** 2).sum(-1)[np.triu_indices(30, 1)]
    assert np.abs(apart / true - 1).mean() < 0.2
    np.testing.assert_allclose(profile(SEQUENCES[7])[0], found[7], atol=1e-5)
    one = [mutated(SEQUENCES[0], n, np.random.default_rng(1)) for n in (1, 5, 25)]
    near = ((profile(*one) - found[0]) ** 2).sum(1)
    assert near[0] < near[1] < near[2] < np.median(apart)


def test_profiles_stay_what_they_are():
    """Models keep what was fitted to them: another hash would be another model."""
    found = profile("ACGTACGTTGCA" * 5)[0]
    np.testing.assert_allclose(
        found[:4], EXPECTED, atol=1e-5, err_msg="old models would read nonsense"
    )


@pytest.mark.parametrize("length", [5, 6])
def test_a_sequence_shorter_than_a_word_has_no_profile(length):
    found = profile("A" * length)[0]
    assert np.square(found).sum() == pytest.approx(float(length == 6))
