"""Samples as members read them: digests and profiles of ASVs."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from aam_core.data.sequences import tokenise
from aam_core.data.study import digest
from aam_core.ensemble import community
from aam_core.ensemble.community import PROFILE, as_array, profiles, vocabulary
from tests import generate
from tests.core.ensemble.communities import community as community_of
from tests.core.ensemble.communities import mutated, of_counts

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
    found = community._frequencies(tokens)
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
    exact = community._frequencies(tokenise(SEQUENCES, SEQUENCES, 200)[0])
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
    assert digest("ACGT").hex() == "f9f322ef1b905091d65847bc9eeec665"


def test_an_asv_is_known_by_its_whole_sequence():
    """The same in lower case and as RNA; another where it differs beyond max_bp."""
    long = SEQUENCES[0] + "A"
    samples = of_counts([[1, 2]], [long, SEQUENCES[0] + "C"])  # max_bp is 100
    assert len(set(samples.digests)) == 2
    rna = of_counts([[1]], [long.lower().replace("t", "u")])
    assert rna.digests[0] in samples.digests


def test_reads_of_a_vocabulary():
    samples = of_counts([[1, 2, 0], [0, 3, 4]], SEQUENCES[:3])
    place = {d: i for i, d in enumerate(samples.digests)}
    wanted = [digest(SEQUENCES[i]) for i in (2, 9, 0)]
    known = vocabulary(as_array(wanted))
    assert known == {d: i for i, d in enumerate(wanted)}
    found = samples.in_vocabulary(known).toarray()
    np.testing.assert_array_equal(found, [[0, 0, 1], [4, 0, 0]])
    assert samples.prevalence()[place[digest(SEQUENCES[1])]] == 2
    np.testing.assert_array_equal(samples.take(np.array([1])).depths, [7])


def test_features_of_the_same_sequence_are_one():
    first, second = SEQUENCES[:2]
    samples = of_counts([[1, 2, 4], [0, 3, 0]], [first, second, first])
    assert len(samples.digests) == 2
    place = [samples.digests.index(digest(s)) for s in (first, second)]
    np.testing.assert_array_equal(samples.counts.toarray()[:, place], [[5, 2], [0, 3]])
    found = samples.profiles_FD[place]
    expected = profile(first[:100], second[:100])  # max_bp
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_order_does_not_matter():
    made = generate.study(samples=5)
    found = community_of(made.table, made.sequences)
    turned = made.table.take_features(np.arange(made.table.shape[1])[::-1])
    again = community_of(turned, made.sequences)
    assert found.digests == again.digests
    assert (found.counts != again.counts).nnz == 0
    np.testing.assert_array_equal(found.profiles_FD, again.profiles_FD)


@pytest.mark.parametrize("length", [5, 6])
def test_a_sequence_shorter_than_a_word_has_no_profile(length):
    found = profile("A" * length)[0]
    assert np.square(found).sum() == pytest.approx(float(length == 6))
