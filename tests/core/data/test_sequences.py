import hashlib

import numpy as np
import pytest
import skbio

from aam_core.data import sequences
from aam_core.data.sequences import (
    match_sequences,
    read_fasta,
    reverse_complement,
    tokenise,
)
from aam_core.errors import InputError

LONG = "ACGTRYSWKMBDHVNACGTACGT"


def reference(sequence, max_bp):
    codes = {"A": 1, "C": 2, "G": 3, "T": 4, "U": 4}
    return [codes.get(letter, 5) for letter in sequence.upper()[:max_bp]]


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "sequences.fasta"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_vocabulary():
    names = ["PAD", "A", "C", "G", "T", "UNKNOWN", "MASK"]
    tokens = [getattr(sequences, name) for name in names]
    assert tokens == [0, 1, 2, 3, 4, 5, 6]
    assert sequences.VOCABULARY_SIZE == 7


def test_fasta_equals_scikit_bio(write):
    path = write(">a first one\nACGT\nACGT\n\n>b\tx\r\nTTTT\r\n>c|1;size=3\nNNNA")
    expected = {
        s.metadata["id"].split("\t")[0]: str(s) for s in skbio.read(str(path), "fasta")
    }
    assert read_fasta(path) == expected
    assert expected == {"a": "ACGTACGT", "b": "TTTT", "c|1;size=3": "NNNA"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sequences"),
        ("\n\n", "holds no sequences"),
        (">a\nAC\n>b\nGT\n>a x\nAC\n", "line 5: the id 'a' occurs for the second time"),
        ("ACGT\n>a\nACGT\n", "not FASTA: line 1"),
        (">\nACGT\n", "line 1: the header has no id"),
    ],
)
def test_fasta_errors(write, text, message):
    with pytest.raises(InputError, match=message):
        read_fasta(write(text))


def test_fasta_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        read_fasta(tmp_path / "nothing.fasta")


def test_match_by_id():
    found = match_sequences(["b", "x", "a"], {"a": "AC", "b": "GT"})
    assert found == ["GT", None, "AC"]


@pytest.mark.parametrize("ids", [[LONG], [LONG.lower()], ["ACGU" * 5]])
def test_ids_are_the_sequences(ids):
    assert match_sequences(ids, None) == ids


@pytest.mark.parametrize(
    "wrong",
    [
        hashlib.md5(b"ACGT").hexdigest(),
        "ACGT" * 4 + "ACG",  # 19 letters
        LONG + "-",
        LONG + "\n",
        "",
    ],
)
def test_other_ids_are_an_error(wrong):
    with pytest.raises(InputError, match="1 of 2 feature ids are not sequences") as e:
        match_sequences([LONG, wrong], None)
    assert repr(wrong) in str(e.value)
    assert "--i-sequences" in str(e.value)


def test_tokens_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    letters = list("ACGTUacgtu" + sequences.AMBIGUOUS + sequences.AMBIGUOUS.lower())
    texts = ["".join(rng.choice(letters, rng.integers(1, 40))) for _ in range(200)]
    ids = [str(i) for i in range(200)]
    for max_bp in (1, 17, 39, 1000):
        tokens, cut = tokenise(texts, ids, max_bp)
        longest = min(max_bp, max(map(len, texts)))
        assert tokens.shape == (200, longest)
        assert tokens.dtype == np.uint8
        assert cut == sum(len(t) > max_bp for t in texts)
        for row, text in zip(tokens, texts, strict=True):
            codes = reference(text, max_bp)
            assert row.tolist() == codes + [0] * (longest - len(codes))


@pytest.mark.parametrize("character", ["-", ".", "7", " ", "E", "*", "é", "→"])
def test_other_characters_are_an_error(character):
    texts = ["ACGT", "AC", f"ACG{character}T", "A-"]
    expected = f"feature 'c' holds {character!r} at position 4"
    for max_bp in (2, 100):  # also where the character would be cut off
        with pytest.raises(InputError) as error:
            tokenise(texts, list("abcd"), max_bp)
        assert expected in str(error.value)


def test_other_character_at_the_start_or_end():
    with pytest.raises(InputError, match=r"feature 'b' holds '-' at position 1;"):
        tokenise(["ACGT", "-CGT"], list("ab"), 10)
    with pytest.raises(InputError, match=r"feature 'a' holds '-' at position 4;"):
        tokenise(["ACG-", "ACGT"], list("ab"), 10)


def test_empty_sequence_is_an_error():
    with pytest.raises(InputError, match="have an empty sequence: 'b', 'd'"):
        tokenise(["A", "", "C", ""], list("abcd"), 10)


def test_the_other_strand_is_that_of_scikit_bio():
    texts = ["ACGGT", "TTTACNNGA", "A"]
    tokens, _ = tokenise(texts, texts, 9)
    turned = [str(skbio.DNA(text).reverse_complement()) for text in texts]
    expected, _ = tokenise(turned, texts, 9)
    assert np.array_equal(reverse_complement(tokens), expected)
    assert np.array_equal(reverse_complement(reverse_complement(tokens)), tokens)
