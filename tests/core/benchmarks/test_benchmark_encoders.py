"""Settings of the encoder are compared on samples that they have not seen."""

import itertools
import json

import biom
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, r2_score

from benchmarks import encoders, studies
from benchmarks.__main__ import main
from tests import generate

SMALL = "embedding_dim=16 attention_heads=2 attention_layers=1 max_bp=60"
QUICK = ["--epochs=1", "--head-epochs=1", "--depth=100", "--folds=3"]


@pytest.fixture(scope="module")
def unordered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    made = generate.study(samples=18)
    counts = made.table.counts.T.toarray()
    table = biom.Table(counts, made.table.feature_ids, made.table.sample_ids)
    # Not in the order of the metadata, and one sample without a value.
    table = table.sort_order(made.table.sample_ids[::-1])
    (folder / "table.json").write_text(table.to_json("test"))
    fasta = "".join(f">{name}\n{text}\n" for name, text in made.sequences.items())
    (folder / "sequences.fasta").write_text(fasta)
    made.tree.write(str(folder / "tree.nwk"))
    metadata = made.metadata.copy()
    metadata.loc["s17", "value"] = np.nan
    metadata.to_csv(folder / "metadata.tsv", sep="\t")
    names = {"table": "table.json", "sequences": "sequences.fasta"}
    names |= {"tree": "tree.nwk", "metadata": "metadata.tsv"}
    return {kind: folder / name for kind, name in names.items()}


def read(files, column="value"):
    return studies.read(**files, column=column, group="subject")


@pytest.mark.parametrize(
    ("column", "scores"),
    [("value", ("r2", "mae")), ("kind", ("accuracy", "f1"))],
)
def test_settings_are_measured(unordered, tmp_path, column, scores):
    path = tmp_path / "result.json"
    words = ["encoders", *(f"--{kind}={file}" for kind, file in unordered.items())]
    settings = [f"{SMALL} nucleotide_patch={patch}" for patch in (4, 10)]
    words += [*QUICK, f"--column={column}", "--group=subject", f"--json={path}"]
    words += [f"--setting={text}" for text in settings]
    words += ["--head=", "--head=ensemble=network,kernel"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(path.read_text())
    runs = [row for row in result["rows"] if row["seed"] is not None]
    found = [(row["fold"], row["setting"]) for row in runs]
    assert found == list(itertools.product((1, 2), settings))
    heads = ("model", "model ensemble=network,kernel", "ridge")
    names = {f"{who} {name}" for who in heads for name in scores}
    names |= {"pretrain CPU s", "val_nuc_accuracy", "val_unifrac_r", "step CPU s"}
    for row in runs:
        assert names <= set(row)
        assert all(np.isfinite(row[name]) for name in names)
        assert row["pretrain CPU s"] > row["step CPU s"] > 0
    assert runs[0]["val_nuc_loss"] != runs[1]["val_nuc_loss"]
    assert result["sizes"]["samples"] == (17 if column == "value" else 18)
    assert len(result["rows"]) == len(runs) + 2 * 3
    assert "val_nuc_accuracy" in done.output


def test_no_fold_times_steps_only(unordered, tmp_path):
    path = tmp_path / "result.json"
    words = ["encoders", *(f"--{kind}={file}" for kind, file in unordered.items())]
    words += ["--column=value", *QUICK, "--folds-run=0", f"--json={path}"]
    words += [f"--setting={SMALL} nucleotide_patch={patch}" for patch in (1, 20)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = json.loads(path.read_text())["rows"]
    assert [set(row) for row in rows] == [{"setting", "step CPU s"}] * 2
    slow, fast = (row["step CPU s"] for row in rows)
    assert slow > fast > 0


def test_study_is_read_in_one_order_and_groups_are_not_divided(unordered):
    data = read(unordered)
    made = generate.study(samples=18)
    assert list(data.metadata.index) == list(data.table.sample_ids)
    assert "s17" not in data.metadata.index
    row = list(made.table.sample_ids).index("s03")
    here = list(data.table.sample_ids).index("s03")
    counts = pd.Series(data.table.counts[here].toarray()[0], data.table.feature_ids)
    assert (counts[made.table.feature_ids] == made.table.counts[row].toarray()[0]).all()
    seen = []
    for training, held_out in studies.folds(data.metadata, "subject", 3):
        subjects = data.metadata["subject"].to_numpy()
        assert not set(subjects[training]) & set(subjects[held_out])
        seen += list(held_out)
    assert sorted(seen) == list(range(17))


@pytest.mark.parametrize("column", ["value", "kind"])
def test_ridge_is_fitted_on_the_training_samples_only(unordered, monkeypatch, column):
    """With one penalty it is scikit-learn's, on standardised embeddings."""
    data = read(unordered, column)
    generator = np.random.default_rng(0)
    ids = data.metadata.index
    made = pd.DataFrame(generator.normal(size=(len(ids), 3)), index=ids)
    # A rarefied study may lack samples, and has its own order.
    left_out = ["s00", "s01", "s16"]
    embedding = made.drop(index=left_out).iloc[::-1]
    monkeypatch.setattr(encoders, "embed", lambda data, folder: embedding)
    monkeypatch.setattr(encoders, "STRENGTHS", np.array([2.0]))
    training, held_out = list(studies.folds(data.metadata, "subject", 4))[-1]
    found = encoders.probed(data, training, held_out, None)

    seen, unseen = (
        [i for i in ids[rows] if i not in left_out] for rows in (training, held_out)
    )
    mean, spread = made.loc[seen].mean(), made.loc[seen].std(ddof=0)
    x = ((made - mean) / spread).to_numpy()
    x = pd.DataFrame(x, index=ids)
    true = data.metadata[column]
    y = true if column == "value" else (true == "low") * 2.0 - 1
    expected = Ridge(alpha=2.0).fit(x.loc[seen], y[seen]).predict(x.loc[unseen])
    if column == "value":
        assert found["r2"] == pytest.approx(r2_score(true[unseen], expected))
    else:
        expected = np.where(expected > 0, "low", "high")
        assert found["accuracy"] == accuracy_score(true[unseen], expected)


def test_embedding_is_that_of_each_sample(unordered, tmp_path):
    """Of one sample alone as among the others."""
    data = read(unordered)
    options = encoders.parse_setting(f"{SMALL} nucleotide_patch=4")
    options |= {"epochs": 1, "rarefy_depth": 100}
    inputs, labels = encoders.inputs_of(data)
    encoders.pretrain(
        encoders.PretrainConfig(**options),
        tmp_path / "encoder",
        **inputs,
        **labels,
        phylogeny=data.phylogeny,
    )
    every = encoders.embed(data, tmp_path / "encoder")
    assert every.shape == (17, 16)
    one = encoders.embed(data.take(np.array([4])), tmp_path / "encoder")
    assert list(one.index) == ["s04"]
    np.testing.assert_allclose(every.loc["s04"], one.loc["s04"], atol=1e-5)
    assert every.std().min() > 1e-3


def test_differences_are_between_runs_of_the_same_fold_and_seed():
    rows = [
        {"setting": name, "fold": fold, "seed": seed, "score": score}
        for (name, fold, seed), score in {
            ("a", 1, 0): 1.0,
            ("b", 1, 0): 2.0,
            ("b", 2, 0): 14.0,  # in another order than those of a
            ("a", 2, 0): 10.0,
        }.items()
    ]
    found = {(r["setting"], r["fold"]): r["score"] for r in encoders.summarise(rows)}
    assert found == pytest.approx(
        {
            ("a", "mean"): 5.5,
            ("a", "SD"): 9 / 2**0.5,
            ("b", "mean"): 8.0,
            ("b", "SD"): 12 / 2**0.5,
            ("b − a", "mean"): 2.5,
            ("b − a", "SD"): 3 / 2**0.5,
        }
    )


def test_setting_takes_numbers_words_and_switches():
    text = "nucleotide_patch=3 optimizer=sgd count_prediction=true dropout=0.2"
    expected = {"nucleotide_patch": 3, "optimizer": "sgd"}
    expected |= {"count_prediction": True, "dropout": 0.2}
    assert encoders.parse_setting(text) == expected
