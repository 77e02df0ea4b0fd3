"""Small communities for tests of members."""

import numpy as np
from scipy import sparse

from aam_core.config import InputOptions
from aam_core.data.study import prepare_study
from aam_core.data.table import FeatureTable
from aam_core.ensemble.community import read_community
from aam_core.reporting import silent

ALL_READS = InputOptions(rarefy_depth=0)


def study(table, sequences):
    """All reads of a table."""
    options = {"max_bp": 100, "seed": 0, "report": silent}
    return prepare_study(table, sequences, ALL_READS, **options)


def community(table, sequences):
    """The same as members beside the network read it."""
    return read_community(study(table, sequences))


def table_of(counts, sequences):
    """Samples s0, s1, … of these (N, F) counts, and the sequences by id."""
    samples = np.array([f"s{i}" for i in range(len(counts))], dtype=object)
    features = np.array([f"f{i}" for i in range(len(sequences))], dtype=object)
    table = FeatureTable(sparse.csr_matrix(np.asarray(counts)), samples, features)
    return table, dict(zip(features, sequences, strict=True))


def of_counts(counts, sequences):
    """The community of these (N, F) counts."""
    return community(*table_of(counts, sequences))


def mutated(sequence, number, drawn):
    """A sequence with this many nucleotides changed."""
    letters = list(sequence)
    for place in drawn.choice(len(letters), number, replace=False):
        letters[place] = drawn.choice([n for n in "ACGT" if n != letters[place]])
    return "".join(letters)
