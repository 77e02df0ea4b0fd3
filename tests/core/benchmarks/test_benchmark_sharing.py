"""Batches of a study are counted by how they are composed."""

import json

import biom
import numpy as np
from click.testing import CliRunner
from scipy import sparse
from scipy.spatial.distance import pdist, squareform

from benchmarks.__main__ import main
from benchmarks.sharing import composed, grouped, jaccard
from tests import generate


def presence(samples, features=30):
    drawn = np.random.default_rng(0).random((samples, features)) < 0.3
    return drawn, sparse.csr_matrix(drawn.astype(np.float32))


def test_jaccard_is_that_of_scipy():
    drawn, present_SF = presence(9)
    expected = squareform(pdist(drawn, "jaccard"))
    np.testing.assert_allclose(jaccard(present_SF), expected, atol=1e-6)


def test_groups_are_neighbours_and_hold_each_sample_once():
    point = np.repeat([0.0, 10.0, 20.0, 30.0], 3) + np.tile([0.0, 0.1, 0.2], 4)
    distance = np.abs(point[:, None] - point)
    order = grouped(distance, 3, np.random.default_rng(0))
    assert sorted(order) == list(range(12))
    assert all(len(set(part // 3)) == 1 for part in order.reshape(4, 3))
    rest = grouped(distance, 5, np.random.default_rng(0))
    assert sorted(rest) == list(range(12))


def test_counts_are_those_of_the_batches():
    drawn, present_SF = presence(7)
    distance = jaccard(present_SF)
    order = np.array([3, 1, 4, 0, 6, 2, 5])
    found = composed(present_SF, distance, order, 3)
    batches = [order[:3], order[3:6]]
    distinct = np.mean([drawn[rows].any(axis=0).sum() for rows in batches]) / 3
    asvs = np.mean([drawn[rows].sum() for rows in batches]) / 3
    pairs = [distance[a, b] for rows in batches for a in rows for b in rows if a < b]
    assert found["distinct ASVs a sample"] == distinct
    assert found["ASVs a sample"] == asvs
    np.testing.assert_allclose(found["mean Jaccard distance"], np.mean(pairs))


def test_the_command(tmp_path):
    made = generate.study(samples=40)
    counts = made.table.counts.T.toarray()
    table = biom.Table(counts, made.table.feature_ids, made.table.sample_ids)
    (tmp_path / "table.json").write_text(table.to_json("test"))
    path = tmp_path / "result.json"
    words = ["sharing", f"--table={tmp_path / 'table.json'}", f"--json={path}"]
    words += ["--depth=100", "--batch=4"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = json.loads(path.read_text())["rows"]
    assert [row["batch"] for row in rows] == [4, 8, 16, 4, 4, 4]
    assert all(row["distinct ASVs a sample"] <= row["ASVs a sample"] for row in rows)
