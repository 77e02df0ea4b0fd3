"""Samples as members read them: digests and profiles of ASVs."""

import numpy as np

from aam_core.data.profiles import profiles
from aam_core.data.sequences import tokenise
from aam_core.data.study import digest
from aam_core.ensemble import community
from aam_core.ensemble.community import as_array, far_fraction, reference, vocabulary
from tests import generate
from tests.core.ensemble.communities import community as community_of
from tests.core.ensemble.communities import mutated, of_counts

DRAWN = np.random.default_rng(0)
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 120)) for _ in range(30)]


def profile(*sequences):
    tokens, _ = tokenise(list(sequences), [str(i) for i in sequences], 200)
    return profiles(tokens)


def test_digests_stay_what_they_are():
    """Models keep them: another digest would be another ASV."""
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


def test_the_reference_is_that_of_the_most_prevalent(monkeypatch):
    counts = [[1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    samples = of_counts(counts, SEQUENCES[:4]).take(np.arange(3))  # none of the last
    order = [samples.digests.index(digest(s)) for s in SEQUENCES[:4]]
    known = reference(samples)
    assert known.dtype == np.float16
    there = samples.profiles_FD[sorted(order[:3])].astype(np.float16)
    np.testing.assert_array_equal(known, there)
    monkeypatch.setattr(community, "MOST_KNOWN", 2)
    both = samples.profiles_FD[sorted([order[0], order[2]])].astype(np.float16)
    np.testing.assert_array_equal(reference(samples), both)


def test_reads_far_from_the_reference_by_hand(monkeypatch):
    """A few nucleotides are near, another sequence is far."""
    sequences = [s[:100] for s in SEQUENCES[:2]]
    known = profile(*sequences).astype(np.float16)
    near = mutated(sequences[0], 3, np.random.default_rng(1))
    counts = [[3, 1, 0], [0, 0, 5], [2, 0, 2]]
    samples = of_counts(counts, [near, SEQUENCES[5], sequences[1]])
    for piece in (1024, 1):
        monkeypatch.setattr(community, "PIECE", piece)
        np.testing.assert_allclose(far_fraction(samples, known), [0.25, 0.0, 0.0])
    nothing = known[:0]
    np.testing.assert_allclose(far_fraction(samples, nothing), [1.0, 1.0, 1.0])
