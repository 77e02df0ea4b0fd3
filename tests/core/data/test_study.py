import numpy as np
import pandas as pd
import pytest

from aam_core.config import InputOptions
from aam_core.data.study import prepare_study
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError

N, F = 10, 40
CODES = {"A": 1, "C": 2, "G": 3, "T": 4}


@pytest.fixture
def data():
    """Counts (samples × hashed features) and the sequences."""
    rng = np.random.default_rng(2)
    counts = rng.poisson(rng.gamma(0.5, 20, size=(N, F))) + (rng.random((N, F)) < 0.1)
    ids = [f"{i:03x}" for i in rng.permutation(F)]
    texts = {i: "".join(rng.choice(list("ACGT"), rng.integers(20, 31))) for i in ids}
    texts[ids[0]] = texts[ids[1]]  # the order then follows the ids
    return pd.DataFrame(counts, [f"s{i}" for i in range(N)], ids), texts


def prepare(
    df, sequences, report=pytest.fail, tips=None, max_bp=150, seed=1, **options
):
    return prepare_study(
        FeatureTable.from_dataframe(df),
        sequences,
        InputOptions(**({"rarefy_depth": 50} | options)),
        max_bp=max_bp,
        seed=seed,
        report=report,
        keep_features=tips,
    )


def shuffled(df, seed):
    rng = np.random.default_rng(seed)
    return df.iloc[rng.permutation(len(df)), rng.permutation(df.shape[1])]


def test_canonical_order_and_tokens(data):
    df, texts = data
    study = prepare(shuffled(df, 0), texts)
    ids = study.table.feature_ids.tolist()
    assert ids == sorted(ids, key=lambda i: (texts[i], i))
    assert study.table.sample_ids.tolist() == sorted(df.index)
    for row, name in zip(study.tokens_FL, ids, strict=True):
        assert row[row > 0].tolist() == [CODES[letter] for letter in texts[name]]
    assert (study.depths == 50).all()


def test_order_of_the_input_never_matters(data):
    df, texts = data
    expected = prepare(df, texts)
    for seed in range(3):
        mixed = shuffled(df, seed)
        study = prepare(mixed, dict(sorted(texts.items(), key=lambda item: item[1])))
        np.testing.assert_array_equal(study.tokens_FL, expected.tokens_FL)
        np.testing.assert_array_equal(
            study.table.counts.toarray(), expected.table.counts.toarray()
        )
        assert study.table.sample_ids.tolist() == expected.table.sample_ids.tolist()
        assert study.table.feature_ids.tolist() == expected.table.feature_ids.tolist()
        named = [mixed.columns[i] for i in study.file_rank_F]
        assert named == study.table.feature_ids.tolist()
        for row in range(N):
            for sampling in ("abundance", "random"):
                ours, theirs = (
                    s.sample(row, 7, sampling, np.random.default_rng(row))
                    for s in (study, expected)
                )
                np.testing.assert_array_equal(ours, theirs)


def test_hashed_ids_and_sequences_as_ids_read_the_same(data):
    df, texts = data
    texts = {name: f"{text}{i:02}" for i, (name, text) in enumerate(texts.items())}
    digits = str.maketrans("0123456789", "ACGTRYSWKM")  # now all differ
    texts = {name: text.translate(digits) for name, text in texts.items()}
    hashed = prepare(df, texts, rarefy_depth=0)
    named = prepare(df.rename(columns=texts), None, rarefy_depth=0)
    np.testing.assert_array_equal(hashed.tokens_FL, named.tokens_FL)
    np.testing.assert_array_equal(
        hashed.table.counts.toarray(), named.table.counts.toarray()
    )


def test_hashed_ids_without_sequences_are_an_error(data):
    with pytest.raises(InputError, match=f"{F} of {F} feature ids are not sequences"):
        prepare(data[0], None)


def test_lower_case_and_u_sort_as_their_letters():
    df = pd.DataFrame([[5, 6, 7]], ["s"], ["a", "b", "c"])
    study = prepare(df, {"a": "uC", "b": "Ta", "c": "TT"}, rarefy_depth=0)
    assert study.table.feature_ids.tolist() == ["b", "a", "c"]
    assert study.tokens_FL.tolist() == [[4, 1], [4, 2], [4, 4]]


def test_sequences_that_are_cut_are_counted(data):
    df, texts = data
    lines = []
    study = prepare(df, texts, lines.append, max_bp=25)
    longer = sum(len(texts[i]) > 25 for i in study.table.feature_ids)
    assert study.tokens_FL.shape[1] == 25
    assert 0 < longer < len(study.tokens_FL)
    assert len(lines) == 1
    assert (
        f"{longer} of {len(study.tokens_FL)} sequences are longer than 25" in lines[0]
    )


@pytest.mark.parametrize("what", ["sequence", "tip in the phylogeny"])
def test_missing_features(data, what):
    df, texts = data
    lacking = df.columns[[3, 5, 8, 13, 21, 34]]
    kept = {name: text for name, text in texts.items() if name not in lacking}
    given = (kept, None) if what == "sequence" else (texts, set(kept))
    share = df[lacking].to_numpy().sum() / df.to_numpy().sum()
    fact = f"6 of 40 features ({share:.2%} of the reads) have no {what}"
    named = ", ".join(map(repr, lacking[:5])) + " and 1 more"

    with pytest.raises(InputError) as error:
        prepare(df, given[0], tips=given[1])
    assert f"{fact}: {named}." in str(error.value)
    assert f"Give each feature a {what}" in str(error.value)
    assert "missing_features drop" in str(error.value)

    lines = []
    study = prepare(
        df,
        given[0],
        lines.append,
        given[1],
        missing_features="drop",
        rarefy_depth=0,
    )
    assert lines == [f"{fact} and are left out: {named}."]
    pd.testing.assert_frame_equal(
        pd.DataFrame(
            study.table.counts.toarray(),
            study.table.sample_ids,
            study.table.feature_ids,
        )[list(kept)],
        df[list(kept)],
        check_names=False,
        check_index_type=False,
        check_column_type=False,
    )


@pytest.mark.parametrize("what", ["sequence", "tip in the phylogeny"])
@pytest.mark.parametrize("missing_features", ["error", "drop"])
def test_ids_that_never_match(data, what, missing_features):
    df, texts = data
    other = {"x": "ACGT", "y": "ACGT"}
    given = (other, None) if what == "sequence" else (texts, list(other))
    with pytest.raises(InputError, match=f"No feature of the table has a {what}") as e:
        prepare(df, given[0], tips=given[1], missing_features=missing_features)
    assert "other: 'x', 'y'" in str(e.value)


def test_features_without_reads_need_no_sequence(data):
    df, texts = data
    df = df.assign(unseen=0)
    study = prepare(df, texts, rarefy_depth=0)
    assert "unseen" not in study.table.feature_ids
    assert study.table.shape == (N, F)


def test_samples_without_reads_are_left_out(data):
    df, texts = data
    df.loc["s4"] = 0
    df.loc["s4", df.columns[9]] = 80
    known = {name: text for name, text in texts.items() if name != df.columns[9]}
    lines = []
    study = prepare(df, known, lines.append, rarefy_depth=0, missing_features="drop")
    assert "s4" not in study.table.sample_ids
    assert len(lines) == 2
    assert lines[1] == "1 of 10 samples have no reads and are left out: 's4'."


def test_no_reads_at_all(data):
    df, texts = data
    with pytest.raises(InputError, match="holds no reads"):
        prepare(df * 0, texts)


def test_take_samples(data):
    study = prepare(*data)
    rows = np.array([7, 2])
    taken = study.take_samples(rows)
    assert taken.table.sample_ids.tolist() == ["s7", "s2"]
    assert taken.table.feature_ids.tolist() == study.table.feature_ids.tolist()
    assert taken.tokens_FL is study.tokens_FL
    for new, old in enumerate(rows):
        np.testing.assert_array_equal(
            taken.sample(new, 5, "first"), study.sample(old, 5, "first")
        )


@pytest.fixture
def one_sample():
    """Features a … f in canonical order; the file has them as d a f b e c."""
    reads = {"d": 4, "a": 9, "f": 0, "b": 4, "e": 4, "c": 1}
    texts = dict(zip("abcdef", "ACGTYN", strict=True))
    texts["e"], texts["f"] = "TA", "TC"
    return prepare(pd.DataFrame(reads, index=["s"]), texts, rarefy_depth=0)


@pytest.mark.parametrize(
    ("limit", "sampling", "expected"),
    [
        (5, "first", {"a": 9, "b": 4, "c": 1, "d": 4, "e": 4}),
        (9, "abundance", {"a": 9, "b": 4, "c": 1, "d": 4, "e": 4}),
        (2, "first", {"a": 9, "d": 4}),
        (3, "first", {"a": 9, "b": 4, "d": 4}),
        (1, "abundance", {"a": 9}),
        (2, "abundance", {"a": 9, "b": 4}),  # b, d and e are as abundant
        (4, "abundance", {"a": 9, "b": 4, "d": 4, "e": 4}),
    ],
)
def test_which_asvs_are_read(one_sample, limit, sampling, expected):
    columns, counts = one_sample.sample(0, limit, sampling)
    names = one_sample.table.feature_ids[columns]
    assert dict(zip(names, counts, strict=True)) == expected
    assert (np.diff(columns) > 0).all()
    assert columns.dtype == counts.dtype == np.int64
    assert one_sample.depths.tolist() == [22]  # of all ASVs, read or not


def test_ties_are_broken_by_the_canonical_order():
    rng = np.random.default_rng(3)
    texts = {f"{i}": "".join(rng.choice(list("ACGT"), 20)) for i in range(200)}
    df = pd.DataFrame([rng.permutation([1, 2] * 100)], ["s"], list(texts))
    study = prepare(df, texts, rarefy_depth=0)
    columns, counts = study.sample(0, 150, "abundance")
    names = study.table.feature_ids[columns[counts == 1]]
    single = sorted((i for i in texts if df.loc["s", i] == 1), key=texts.get)
    assert names.tolist() == single[:50]


def test_random_asvs_are_uniform(one_sample):
    rng = np.random.default_rng(0)
    seen = np.zeros(5)
    for _ in range(2000):
        columns, counts = one_sample.sample(0, 2, "random", rng)
        assert len(columns) == 2
        assert (np.diff(columns) > 0).all()
        np.testing.assert_array_equal(
            counts, one_sample.table.counts.toarray()[0, columns]
        )
        seen[columns] += 1
    # Binomial(2000, 2/5): standard deviation 22.
    assert (np.abs(seen - 800) < 110).all()
