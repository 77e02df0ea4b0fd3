"""The yardstick: folds, scores, opponents, and cells that are kept."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn import metrics
from sklearn.linear_model import RidgeCV

from aam_core.data.folds import balanced_folds
from aam_core.data.table import FeatureTable
from aam_core.errors import InputError
from benchmarks.accuracy import cells, command, opponents, ours, scores
from benchmarks.accuracy.cells import Cell
from benchmarks.accuracy.targets import Samples, read_samples, read_targets

# --- what takes part ---


def test_the_table_of_targets(targets):
    value, kind = targets
    assert (value.name, value.task, value.group, value.depth) == (
        *("one-value", "regression", "subject", 200),
    )
    assert (kind.group, kind.query, kind.tree) == (None, "site!='x'", None)


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    text = (folder / "targets.tsv").read_text().replace("table.biom", "lost.biom")
    (tmp_path / "targets.tsv").write_text(text)
    with pytest.raises(InputError, match=r"lost\.biom"):
        read_targets(tmp_path / "targets.tsv")
    (tmp_path / "targets.tsv").write_text("study\ttable\n")
    with pytest.raises(InputError, match="lacks the columns"):
        read_targets(tmp_path / "targets.tsv")


def test_samples_that_take_part(targets):
    value, kind = (read_samples(target, False) for target in targets)
    assert {"s00", "s01", "s03"} & set(value.labels.index) == set()
    assert len(value.labels) == 37
    assert value.labels.dtype == float
    assert list(value.labels.index) == list(value.table.sample_ids)
    assert "s02" not in kind.labels.index  # the only one of its class
    assert kind.groups is None
    assert value.table.shape[1] == 37  # three features have no sequence
    assert "3 features without sequence" in value.notes[0]


def test_rarefied_samples_have_one_depth(targets):
    samples = read_samples(targets[0], True)
    assert set(samples.depths) == {200}
    assert len(set(read_samples(targets[0], False).depths)) > 1


# --- folds ---


def classes_of(number, seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 12, number).astype(str)
    of_group = dict(zip(map(str, range(12)), "aaaabbbbbccc", strict=True))
    return pd.Series([of_group[g] for g in groups]), groups


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_never_divided_and_classes_are_spread(seed):
    labels, groups = classes_of(120, seed)
    folds = balanced_folds(labels, groups, 4, seed)
    held_out = np.sort(np.concatenate([h for _, h in folds]))
    assert np.array_equal(held_out, np.arange(120))
    fractions = labels.value_counts(normalize=True)
    for training, held in folds:
        assert set(groups[training]) & set(groups[held]) == set()
        assert len(training) + len(held) == 120
        here = labels.iloc[training].value_counts(normalize=True)
        assert (here - fractions).abs().max() < 0.12
    assert {tuple(h) for _, h in folds} != {
        tuple(h) for _, h in balanced_folds(labels, groups, 4, seed + 50)
    }


def test_folds_without_groups_are_stratified():
    labels = pd.Series(list("a" * 30 + "b" * 10))
    for _, held in balanced_folds(labels, None, 5, 0):
        assert labels.iloc[held].value_counts().to_dict() == {"a": 6, "b": 2}


def test_folds_of_numbers_have_all_parts_of_their_range():
    labels = pd.Series(np.random.default_rng(0).normal(size=40))
    for _, held in balanced_folds(labels, None, 5, 0):
        assert pd.qcut(labels, 4).iloc[held].value_counts().tolist() == [2] * 4


# --- scores ---


def test_scores_of_numbers():
    labels = pd.Series([1.0, 2.0, 4.0], list("abc"))
    found = pd.DataFrame({"prediction": [2.0, 2.0, 1.0]}, list("cba"))
    true, guess = [4.0, 2.0, 1.0], [2.0, 2.0, 1.0]
    assert scores.scores_of(labels, found) == {
        "R2": pytest.approx(metrics.r2_score(true, guess)),
        "MAE": pytest.approx(2 / 3),
    }


def test_scores_of_classes():
    labels = pd.Series(["x", "y", "z", "y"], list("abcd"))
    found = pd.DataFrame(
        {"x": [0.7, 0.2, 0.5, 0.1], "y": [0.3, 0.8, 0.5, 0.9]}, list("abcd")
    )
    scored = scores.scores_of(labels, found)
    assert scored["accuracy"] == 0.75
    assert scored["balanced accuracy"] == pytest.approx(2 / 3)
    full = found.assign(z=1e-3)
    full = full.div(full.sum(axis=1), axis=0)
    expected = metrics.log_loss(labels, full, labels=["x", "y", "z"])
    assert scored["log loss"] == pytest.approx(expected)
    areas = [metrics.roc_auc_score(labels == c, full[c]) for c in "xyz"]
    assert scored["ROC AUC"] == pytest.approx(np.mean(areas))


def test_a_certain_mistake_costs_no_more_than_the_clip():
    labels = pd.Series(["x"], ["a"])
    found = pd.DataFrame({"x": [0.0], "y": [1.0]}, ["a"])
    assert scores.error_of(labels, found)["a"] == pytest.approx(-np.log(1e-3 / 1.001))


# --- opponents ---


def samples_of(counts, labels, groups=None):
    ids = np.array([f"s{i:03d}" for i in range(len(labels))], dtype=object)
    frame = pd.DataFrame(counts, ids, [f"f{i}" for i in range(counts.shape[1])])
    table = FeatureTable.from_dataframe(frame)
    return Samples(table, None, pd.Series(labels, ids), groups)


@pytest.fixture(scope="module")
def halves():
    """Counts whose first feature tells the number, and whose depth tells the class."""
    generator = np.random.default_rng(1)
    counts = generator.poisson(20, (80, 12))
    counts[:, 0] = generator.integers(1, 100, 80)
    numbers = counts[:, 0] / counts.sum(axis=1)
    classes = np.where(generator.random(80) < 0.5, "deep", "shallow")
    deep = counts * np.where(classes == "deep", 5, 1)[:, None]
    counts = counts * generator.integers(1, 6, 80)[:, None]  # depth tells no number
    made = {
        "numbers": samples_of(counts, numbers),
        "classes": samples_of(deep, classes),
    }
    rows = np.arange(80)
    return {n: (s.take(rows[:60]), s.take(rows[60:])) for n, s in made.items()}


@pytest.mark.parametrize("name", opponents.OPPONENTS)
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_what_each_opponent_finds(halves, name, kind, monkeypatch):
    monkeypatch.setattr(opponents, "TREES", 30)
    training, held_out = halves[kind]
    found = opponents.OPPONENTS[name](training, held_out, 0)
    alone = opponents.mean(training, held_out, 0)
    assert list(found.index) == list(held_out.labels.index)
    ours, base = (scores.error_of(held_out.labels, f).mean() for f in (found, alone))
    finds = {"numbers": ("forest", "linear"), "classes": ("depth",)}[kind]
    if name in finds:
        assert ours < 0.6 * base
    elif name == "depth":
        assert ours > 0.8 * base
    if kind == "classes":
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert set(found) == {"deep", "shallow"}


def test_the_mean_is_that_of_the_training_samples(halves):
    training, held_out = halves["numbers"]
    assert set(opponents.mean(training, held_out, 0)["prediction"]) == {
        training.labels.mean()
    }


def test_centred_log_ratios():
    counts = np.array([[0, 3, 9]])
    logs = np.log(counts + 0.5)
    np.testing.assert_allclose(opponents.clr(counts), logs - logs.mean())


def test_the_linear_opponent_is_a_ridge_on_standardised_ratios(halves):
    training, held_out = halves["numbers"]
    found = opponents.linear(training, held_out, 3)["prediction"]
    ratios = [opponents.clr(s.table.counts.toarray()) for s in (training, held_out)]
    z = [(r - ratios[0].mean(axis=0)) / ratios[0].std(axis=0) for r in ratios]
    folds = balanced_folds(training.labels, None, 5, 4)
    model = RidgeCV(opponents.STRENGTHS, cv=folds, scoring="neg_mean_absolute_error")
    expected = model.fit(z[0], training.labels).predict(z[1])
    np.testing.assert_allclose(found, expected)


def test_a_class_of_one_group_is_no_obstacle(monkeypatch):
    """Whatever inner fold leaves that group out has not seen its class."""
    monkeypatch.setattr(opponents, "TREES", 10)
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(8), 6).astype(str)
    labels = np.where(
        groups == "0", "c", np.where(generator.random(48) < 0.5, "a", "b")
    )
    counts = generator.poisson(20, (48, 6))
    counts[labels == "a", 0] += 30
    training = samples_of(counts, labels, groups)
    for name in ("forest", "linear"):
        found = opponents.OPPONENTS[name](training, training, 0)
        assert list(found) == ["a", "b", "c"]
        chosen = found.idxmax(axis=1)[labels != "c"]
        assert (chosen == labels[labels != "c"]).mean() > 0.9


# --- cells ---


def test_cells_are_computed_once(targets, tmp_path, monkeypatch):
    cell = Cell(targets[0], "all", "mean", 0, 1, 3)
    cells.keep(cell, tmp_path)
    kept = json.loads(cell.path(tmp_path).read_text())
    samples = read_samples(targets[0], False)
    _, held_out = balanced_folds(samples.labels, samples.groups, 3, 0)[1]
    assert kept["ids"] == samples.labels.index[held_out].tolist()
    assert kept["training"] + len(kept["ids"]) == len(samples.labels)
    monkeypatch.setattr(cells, "ProcessPoolExecutor", NoProcess)
    assert list(cells.compute_all([cell], tmp_path, 1)) == []


class NoProcess:
    """A pool that may not be given work."""

    def __init__(self, *given, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def test_a_cell_that_fails_is_told_and_leaves_nothing(targets, tmp_path, monkeypatch):
    def threads(jobs, **options):
        return ThreadPoolExecutor(jobs)

    monkeypatch.setattr(cells, "ProcessPoolExecutor", threads)
    cell = Cell(targets[0], "all", "q2-aam: lr=-1", 0, 0, 2)
    ((_, error),) = cells.compute_all([cell], tmp_path, 1)
    assert "lr is -1" in error
    assert list(tmp_path.rglob("*.json")) == []


TINY = (
    "q2-aam: preset=tiny embedding_dim=8 attention_heads=2 attention_layers=1 epochs=1 "
    "rarefy_depth=330 max_bp=60 device=cpu ensemble=network cross_fit=0"
)


def test_an_encoder_is_learned_of_the_training_samples_first(targets, monkeypatch):
    """Of their Jaccard distances, as there is no tree; it stays frozen."""
    seen = {}

    def kept(name, plain):
        def run(config, path, **given):
            seen[name] = config, given
            return plain(config, path, **given)

        monkeypatch.setattr(ours, name, run)

    for name in ("pretrain", "train"):
        kept(name, getattr(ours, name))
    samples = read_samples(targets[0], False)
    training, held_out = samples.take(np.arange(25)), samples.take(np.arange(25, 32))
    small = {"embedding_dim": 8, "attention_heads": 2, "attention_layers": 1}
    small |= {"epochs": 1, "device": "cpu"}
    options = {f"pretrain_{name}": value for name, value in small.items()}
    options |= {"epochs": 2, "device": "cpu", "ensemble": "network", "cross_fit": 0}
    found, _ = ours.q2_aam(training, held_out, 3, options)
    assert list(found.index) == list(held_out.labels.index)
    config, given = seen["pretrain"]
    assert (config.epochs, config.seed, config.embedding_dim) == (1, 3, 8)
    ids, matrix = given["distances"]
    assert ids == list(training.labels.index)
    present = training.table.counts.toarray() > 0
    both = (present[2] & present[5]).sum() / (present[2] | present[5]).sum()
    assert matrix[2, 5] == pytest.approx(1 - both)
    config, given = seen["train"]
    assert config.freeze_base
    assert config.epochs == 2
    assert given["encoder"] is not None


def test_the_command(folder, tmp_path, monkeypatch, in_process):
    """All cells, in this process, and the table of what came out."""
    monkeypatch.setattr(opponents, "TREES", 10)
    words = [folder / "targets.tsv", "--folds", 2, "--seed", 0, "--seed", 1]
    for who in (TINY, "forest", "mean"):
        words += ["--contender", who]
    words += ["--results", tmp_path]
    done = CliRunner().invoke(command.main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "accuracy.json").read_text())["rows"]
    assert [(r["target"], r["contender"]) for r in rows] == [
        (target, who)
        for target in ("one-value", "one-kind")
        for who in (TINY, "forest", "mean")
    ]
    by_who = {(r["target"], r["contender"]): r for r in rows}
    assert {"R2", "MAE", "× forest"} <= set(by_who["one-value", TINY])
    assert {"log loss", "ROC AUC"} <= set(by_who["one-kind", TINY])
    assert "× forest" not in by_who["one-kind", "forest"]
    assert by_who["one-value", "mean"]["R2"].startswith("-0.")


def test_a_target_that_is_not_there(folder, tmp_path):
    words = [str(folder / "targets.tsv"), "--only", "two", "--results", str(tmp_path)]
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 2
    assert "has none of two" in done.output
