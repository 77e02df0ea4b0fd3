"""Small generated data, and artifacts made of it by the real actions."""

import hashlib
import io
import warnings

import biom
import numpy as np
import pandas as pd
import pytest
import skbio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of QIIME 2 and other plugins, when imported
    import qiime2
    from qiime2.plugins import aam

#: The command `qiime`, as code of a process of its own.
QIIME = "import sys; from q2cli.__main__ import qiime; sys.exit(qiime())"
SAMPLES, FEATURES = 24, 10
TINY = {
    "preset": "tiny",
    "embedding_dim": 8,
    "attention_heads": 2,
    "attention_layers": 1,
    "epochs": 2,
    "rarefy_depth": 50,
    "device": "cpu",
}
#: A training of one network on a single split, which is quick.
ONE_NETWORK = {"ensemble": ["network"], "cross_fit": 0}


#: Actions that are not called as the commands of `aam` are.
ACTIONS = {"classify": "classify_samples", "regress": "regress_samples"}


def action_of(command):
    """The action that a command is in QIIME 2."""
    return ACTIONS.get(command, command.replace("-", "_"))


def import_(semantic_type, data):
    return qiime2.Artifact.import_data(semantic_type, data)


def hashed(sequence):
    return hashlib.md5(sequence.encode()).hexdigest()


@pytest.fixture(scope="session")
def reads():
    """DNA of each feature."""
    rng = np.random.default_rng(7)
    return ["".join(rng.choice(list("ACGT"), 24)) for _ in range(FEATURES)]


@pytest.fixture(scope="session")
def counts():
    rng = np.random.default_rng(8)
    return rng.poisson(rng.gamma(1.0, 30.0, (FEATURES, SAMPLES))) + 5.0


@pytest.fixture(scope="session")
def sample_ids():
    return [f"S{i:02}" for i in range(SAMPLES)]


@pytest.fixture(scope="session")
def table(reads, counts, sample_ids):
    return import_("FeatureTable[Frequency]", biom.Table(counts, reads, sample_ids))


@pytest.fixture(scope="session")
def hashed_table(reads, counts, sample_ids):
    ids = [hashed(read) for read in reads]
    return import_("FeatureTable[Frequency]", biom.Table(counts, ids, sample_ids))


@pytest.fixture(scope="session")
def sequences(reads, tmp_path_factory):
    path = tmp_path_factory.mktemp("sequences") / "dna-sequences.fasta"
    path.write_text("".join(f">{hashed(read)}\n{read}\n" for read in reads))
    return import_("FeatureData[Sequence]", str(path.parent))


def rooted_tree(tips):
    newick = f"{tips[0]}:1"
    for tip in tips[1:]:
        newick = f"({newick},{tip}:0.5):0.25"
    tree = skbio.TreeNode.read(io.StringIO(newick + ";"))
    return import_("Phylogeny[Rooted]", tree)


@pytest.fixture(scope="session")
def tree(reads):
    return rooted_tree(reads)


@pytest.fixture(scope="session")
def taxonomy(reads):
    ids = pd.Index(reads, name="Feature ID")
    taxa = pd.DataFrame({"Taxon": [f"g__Genus{i}" for i in range(len(reads))]}, ids)
    return import_("FeatureData[Taxonomy]", taxa)


@pytest.fixture(scope="session")
def matrix(sample_ids):
    points = np.random.default_rng(9).random((SAMPLES, 3))
    between = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return import_("DistanceMatrix", skbio.DistanceMatrix(between, sample_ids))


@pytest.fixture(scope="session")
def metadata(sample_ids):
    rng = np.random.default_rng(10)
    columns = {
        "ph": rng.normal(7, 1, SAMPLES),
        "depth": rng.normal(50, 10, SAMPLES),
        "habitat": [["soil", "water"][i % 2] for i in range(SAMPLES)],
        "site": [f"site {i // 4}" for i in range(SAMPLES)],
    }
    return qiime2.Metadata(pd.DataFrame(columns, pd.Index(sample_ids, name="id")))


@pytest.fixture(scope="session")
def encoder(table, tree):
    return aam.actions.pretrain(table, phylogeny=tree, **TINY).encoder


@pytest.fixture(scope="session")
def regression(table, metadata, encoder):
    """Results of a regression of two targets, from the encoder; by two folds."""
    options = TINY | {"cross_fit": 2}
    return aam.actions.train(
        table, metadata, metadata_column=["ph", "depth"], encoder=encoder, **options
    )


@pytest.fixture(scope="session")
def classification(table, metadata):
    """Results of a classification from scratch."""
    return aam.actions.train(
        table,
        metadata,
        metadata_column=["habitat"],
        task="classification",
        cross_fit=0,
        **TINY,
    )
