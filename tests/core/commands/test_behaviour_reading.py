"""What options change in what a whole run reads, by independent expectations."""

import dataclasses
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from skbio.diversity.alpha import faith_pd
from skbio.diversity.beta import weighted_unifrac
from sklearn.model_selection import train_test_split

import aam_core.commands.pretrain
import aam_core.commands.train
from aam_core.commands.cross_validate import cross_validate
from aam_core.config import CrossValidateConfig
from aam_core.data.sequences import MASK
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.nn.encoder import Encoder
from aam_core.reporting import silent
from tests.runs import forest, go, shared

trained = pytest.mark.parametrize("command", ["pretrain", "train"])


@pytest.fixture
def batches(monkeypatch):
    """The batches that the encoder reads, as they come: (in training, batch)."""
    seen = []
    plain = Encoder.forward

    def forward(self, batch, asv_UD=None):
        seen.append((self.training, batch))
        return plain(self, batch, asv_UD)

    monkeypatch.setattr(Encoder, "forward", forward)
    return seen


def of_training(batches):
    return [batch for training, batch in batches if training]


def reads_of(made):
    """Counts in the canonical order of features and samples."""
    frame = pd.DataFrame(
        made.table.counts.toarray(), made.table.sample_ids, made.table.feature_ids
    )
    observed = frame.columns[frame.sum() > 0]
    return frame[sorted(observed, key=lambda n: (made.sequences[n], n))].sort_index()


def asvs(batch):
    """The columns that each row of a batch has, and their abundances."""
    for s, row in enumerate(batch.rows):
        here = batch.present_SA[s]
        columns = batch.features[batch.index_SA[s][here].numpy()]
        yield row, columns, batch.abundance_SA[s][here].numpy()


# --- samples and ASVs ---


@pytest.mark.behaviour("token_limit", "asv_sampling")
@trained
@pytest.mark.parametrize("sampling", ["first", "abundance", "random"])
def test_which_asvs_are_read(made, batches, tmp_path, command, sampling):
    options = {"token_limit": 5, "asv_sampling": sampling, "rarefy_depth": 0}
    go(command, made, tmp_path / "m", **options, epochs=2)
    reads = reads_of(made)
    in_file = {name: i for i, name in enumerate(made.table.feature_ids)}
    read = {}
    for batch in of_training(batches):
        for row, columns, _ in asvs(batch):
            counts = reads.iloc[row]
            present = counts.index[counts > 0]
            names = counts.index[columns]
            assert len(names) == min(5, len(present))
            if sampling == "first":
                assert set(names) == set(sorted(present, key=in_file.get)[:5])
            if sampling == "abundance":
                assert sorted(counts[names]) == sorted(counts)[-5:]
            read.setdefault(row, []).append(set(names))
    differ = [first != second for first, second in read.values()]
    assert np.mean(differ) > 0.9 if sampling == "random" else not any(differ)


@pytest.mark.behaviour("rarefy_depth")
@trained
@pytest.mark.parametrize("depth", [0, 200])
def test_reads_of_a_sample(made, batches, tmp_path, command, depth):
    counts = made.table.counts.copy()
    counts[3] = (counts[3] > 0).astype(np.int64)  # fewer than 200 reads
    table = dataclasses.replace(made.table, counts=counts)
    go(command, made, tmp_path / "m", {"table": table}, rarefy_depth=depth)
    split = model_folder.read_config(tmp_path / "m")["split"]
    assert ("s03" in split["training"] + split["validation"]) == (depth == 0)
    reads = reads_of(dataclasses.replace(made, table=table))
    reads = reads if depth == 0 else reads.drop("s03")
    for _, batch in batches:
        for row, columns, abundance in asvs(batch):
            whole = reads.iloc[row, columns]
            if depth == 0:
                np.testing.assert_allclose(abundance, whole / whole.sum(), rtol=1e-6)
            else:
                drawn = abundance * depth
                np.testing.assert_allclose(drawn, drawn.round(), atol=1e-4)
                assert drawn.sum() == pytest.approx(depth)
                assert (drawn.round() <= whole).all()


def weights(path):
    return (path / model_folder.WEIGHTS).read_bytes()


@pytest.mark.behaviour("missing_features")
@trained
def test_dropped_features_are_as_if_never_there(made, tmp_path, command):
    fewer = {k: v for k, v in made.sequences.items() if k not in ("asv003", "asv020")}
    go(
        command,
        made,
        tmp_path / "a",
        {"sequences": fewer},
        missing_features="drop",
        rarefy_depth=100,
    )
    keep = np.flatnonzero([name in fewer for name in made.table.feature_ids])
    table = {"table": made.table.take_features(keep)}
    go(command, made, tmp_path / "b", table, rarefy_depth=100)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.behaviour("missing_features", command="predict")
def test_features_dropped_in_prediction(made, saved_model):
    counts = sparse.hstack([made.table.counts, np.full((32, 1), 50)]).tocsr()
    names = np.append(made.table.feature_ids, "strange")
    given = {"table": FeatureTable(counts, made.table.sample_ids, names)}
    found = go("predict", made, saved_model, given, missing_features="drop")
    plain = go("predict", made, saved_model)
    pd.testing.assert_frame_equal(found.predictions, plain.predictions)


@pytest.mark.behaviour("missing_samples")
@trained
def test_samples_without_distances_are_as_if_never_there(made, tmp_path, command):
    ids = list(made.table.sample_ids)[2:]
    points = np.random.default_rng(0).random((len(ids), 2))
    square = np.linalg.norm(points[:, None] - points, axis=-1) / 2
    given = {"phylogeny": None, "distances": (ids, square)}
    go(command, made, tmp_path / "a", given, missing_samples="ignore")
    table = made.table.take_samples(np.arange(2, 32))
    go(command, made, tmp_path / "b", given | {"table": table})
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


# --- training and validation ---


@pytest.mark.behaviour("test_size", "seed")
@pytest.mark.parametrize("command", ["pretrain", "train", "rf-baseline"])
@pytest.mark.parametrize(("share", "seed"), [(0.5, 42), (0.3, 7)])
def test_the_split_is_that_of_scikit_learn(made, tmp_path, command, share, seed):
    options = {"test_size": share, "seed": seed}
    if command == "rf-baseline":
        validation = forest(made, **options).validation
    else:
        go(command, made, tmp_path / "m", **options)
        validation = model_folder.read_config(tmp_path / "m")["split"]["validation"]
    kept = math.ceil(share * 32)
    _, expected = train_test_split(
        sorted(made.table.sample_ids), test_size=kept, random_state=seed
    )
    assert sorted(validation) == sorted(expected)


@pytest.mark.behaviour("seed", command="pretrain")
@pytest.mark.behaviour("seed", command="train")
@trained
def test_the_seed_sets_order_and_weights(made, batches, tmp_path, monkeypatch, command):
    sides = np.arange(24), np.arange(24, 32)  # whatever the seed
    for module in (aam_core.commands.pretrain, aam_core.commands.train):
        monkeypatch.setattr(module, "split_rows", lambda *args, **options: sides)
    first, found = [], []
    plain = Encoder.__init__

    def init(self, arch):
        plain(self, arch)
        if not self.distance_head.weight.is_meta:  # counted only, before it is built
            first.append(float(self.distance_head.weight.detach().sum()))

    monkeypatch.setattr(Encoder, "__init__", init)
    for seed in (1, 1, 2):
        batches.clear()
        path = go(command, made, tmp_path / str(len(found)), seed=seed, rarefy_depth=0)
        order = [tuple(batch.rows) for batch in of_training(batches)]
        found.append((order, weights(path)))
    assert found[0] == found[1]
    assert found[2][0] != found[0][0]
    assert first[0] == first[1] != first[2]


@pytest.mark.behaviour("seed", "rarefy_depth")
@pytest.mark.parametrize("command", ["pretrain", "train", "rf-baseline"])
def test_the_seed_draws_the_reads(made, batches, tmp_path, command):
    if command == "rf-baseline":
        drawn = made.table.rarefy(100, 7, silent)
        found = forest(made, rarefy_depth=100, seed=7)
        table = dataclasses.replace(made, table=drawn)
        expected = forest(table, rarefy_depth=0, seed=7)
        pd.testing.assert_series_equal(found.importance, expected.importance)
        return
    go(command, made, tmp_path / "m", rarefy_depth=100, seed=7)
    keys = [made.sequences[name] for name in made.table.feature_ids]
    drawn = made.table.rarefy(100, 7, silent, keys)
    expected = reads_of(dataclasses.replace(made, table=drawn))
    observed = reads_of(made).columns  # the columns that a batch counts
    expected = expected.reindex(columns=observed, fill_value=0)
    for _, batch in batches:
        for row, columns, abundance in asvs(batch):
            reads = expected.iloc[row]
            assert sorted(columns) == np.flatnonzero(reads).tolist()
            np.testing.assert_allclose(100 * abundance, reads.iloc[columns], rtol=1e-5)


@pytest.mark.behaviour("group_column")
@pytest.mark.parametrize("command", ["pretrain", "train", "rf-baseline"])
def test_groups_are_on_one_side(made, tmp_path, command):
    options = {"group_column": "subject", "test_size": 0.4}
    if command == "rf-baseline":
        found = forest(made, **options)
        split = {"training": found.training, "validation": found.validation}
    else:
        go(command, made, tmp_path / "m", **options)
        split = model_folder.read_config(tmp_path / "m")["split"]
    training, validation = (
        set(made.metadata.loc[split[side], "subject"])
        for side in ("training", "validation")
    )
    assert not training & validation
    assert len(validation) == math.ceil(0.4 * 16)


WORD = "not applicable"


def folds(made, path, group_column, **options):
    return cross_validate(
        CrossValidateConfig(**options),
        **shared(made),
        metadata=made.metadata,
        task="regression",
        column="value",
        group_column=group_column,
        report=silent,
    )


@pytest.mark.behaviour("missing_scheme")
@pytest.mark.parametrize(
    "run",
    [partial(go, "pretrain"), partial(go, "train"), folds],
    ids=["pretrain", "train", "cross-validate"],
)
def test_words_that_mean_missing_are_no_group(made, tmp_path, run):
    made = dataclasses.replace(made, metadata=made.metadata.copy())
    made.metadata.iloc[:2, made.metadata.columns.get_loc("subject")] = WORD
    options = {"group_column": "subject", "missing_scheme": "INSDC:missing"}
    with pytest.raises(InputError, match="2 samples have no value in the group_column"):
        run(made, tmp_path / "m", **options)


@pytest.mark.behaviour("missing_scheme", command="rf-baseline")
def test_words_that_mean_missing_are_no_class(made):
    made = dataclasses.replace(made, metadata=made.metadata.copy())
    made.metadata.loc[made.metadata.index[:4], "kind"] = WORD
    options = {"task": "classification", "metadata_column": ("kind",)}
    assert WORD in forest(made, **options).probabilities
    found = forest(made, missing_scheme="INSDC:missing", **options)
    assert WORD not in found.probabilities
    assert not set(made.metadata.index[:4]) & {*found.training, *found.validation}


# --- self-supervision ---


@pytest.mark.behaviour("unifrac_metric")
@trained
@pytest.mark.parametrize("metric", ["weighted", "faith_pd"])
def test_distances_are_those_of_scikit_bio(made, batches, tmp_path, command, metric):
    path = go(command, made, tmp_path / "m", rarefy_depth=0, unifrac_metric=metric)
    reads = reads_of(made)
    names = list(reads.columns)
    tree = made.tree.shear(names)
    scale = 1.0
    if metric == "faith_pd":
        split = model_folder.read_config(path)["split"]
        values = reads.apply(lambda row: faith_pd(row.to_numpy(), names, tree), axis=1)
        scale = values[split["training"]].max()
    for batch in of_training(batches):
        rows = reads.iloc[batch.rows].to_numpy()
        if metric == "faith_pd":
            expected = [faith_pd(row, names, tree) / scale for row in rows]
        else:
            expected = [
                [weighted_unifrac(u, v, names, tree, normalized=True) for v in rows]
                for u in rows
            ]
        np.testing.assert_allclose(batch.distances, expected, atol=1e-5)


@pytest.mark.behaviour("nuc_mask_ratio", "nuc_mask_strategy", "nuc_penalty")
@trained
@pytest.mark.parametrize("strategy", ["random", "span"])
def test_hidden_nucleotides(made, batches, tmp_path, command, strategy):
    options = {"nuc_mask_ratio": 0.4, "nuc_mask_strategy": strategy}
    go(command, made, tmp_path / "m", **options)
    hidden = np.vstack([b.tokens_UL.numpy() == MASK for b in of_training(batches)])
    inside = hidden[:, 10:]  # spans grow from the start
    assert inside.mean() == pytest.approx(0.4, abs=0.05)
    both = (inside[:, 1:] & inside[:, :-1]).mean()
    assert both == pytest.approx(0.16 if strategy == "random" else 0.38, abs=0.05)
    batches.clear()
    for off in ({"nuc_mask_ratio": 0}, {"nuc_penalty": 0}):
        path = go(command, made, tmp_path / next(iter(off)), **off)
        assert "train_nuc_loss" not in model_folder.read_history(path)
    assert not any((b.tokens_UL == MASK).any() for b in of_training(batches))


@pytest.mark.behaviour("count_prediction")
@trained
def test_hidden_abundances(made, batches, tmp_path, command):
    go(command, made, tmp_path / "off")
    assert all(batch.masked_SA is None for _, batch in batches)
    batches.clear()
    path = go(command, made, tmp_path / "on", count_prediction=True)
    shares = [
        float(batch.masked_SA[batch.present_SA].float().mean())
        for batch in of_training(batches)
    ]
    assert 0.05 < np.mean(shares) < 0.3
    assert (model_folder.read_history(path)["train_count_loss"] > 0).all()


@pytest.mark.behaviour("penalty", "nuc_penalty", "count_penalty", "target_penalty")
@trained
def test_the_total_is_the_weighted_sum(made, tmp_path, command):
    options = {"penalty": 0.5, "nuc_penalty": 3.0, "count_penalty": 7.0}
    weight = {"unifrac_loss": 0.5, "nuc_loss": 3.0, "count_loss": 7.0}
    if command == "train":
        options |= {"target_penalty": 11.0}
        weight |= {"target_loss": 11.0}
    path = go(command, made, tmp_path / "m", **options, count_prediction=True)
    row = model_folder.read_history(path).iloc[0]
    expected = sum(w * row[f"train_{name}"] for name, w in weight.items())
    assert row["train_total_loss"] == pytest.approx(expected, rel=1e-5)
    if command == "pretrain":
        expected = sum(w * row[f"val_{name}"] for name, w in weight.items())
        assert row["val_loss"] == pytest.approx(expected, rel=1e-5)
