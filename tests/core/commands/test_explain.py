"""Explanations of a whole ensemble: complete, exact where that is known, and stable."""

import json
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aam_core.commands.explain import (
    Backgrounds,
    Explanation,
    explain,
    of_sample,
)
from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import ExplainConfig, PredictConfig, TrainConfig
from aam_core.data.contributions import COLUMNS
from aam_core.data.table import FeatureTable
from aam_core.ensemble import kernel, trees
from aam_core.ensemble.community import read_community
from aam_core.ensemble.many import ManyCommunities, log_odds, weights_of
from aam_core.ensemble.saved import load_ensemble
from aam_core.errors import InputError
from aam_core.inference.reading import read_as_trained
from aam_core.reporting import silent
from aam_core.runtime.device import choose_device
from tests import generate
from tests.runs import SMALL, shared, turned

CLASSICAL = ("kernel", "trees")


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "FEATURES", 32)
        patch.setattr(trees, "TREES", 20)
        patch.setattr(trees, "FEWEST_TREES", 5)
        yield


def fitted(made, path, column="value", **options):
    """A model whose members have equal weights, so that each of them matters."""
    given = {"cross_fit": 2, "rarefy_depth": 0, "metadata_column": (column,)}
    if column == "kind":
        given["task"] = "classification"
    config = TrainConfig(**SMALL | given | options)
    train(config, path, **shared(made), metadata=made.metadata, report=silent)
    described = json.loads((path / "config.json").read_text())
    weights = described["ensemble"]["weights"]
    described["ensemble"]["weights"] = {n: 1 / len(weights) for n in weights}
    (path / "config.json").write_text(json.dumps(described))
    return path


def explained(made, model, table=None, metadata=None, report=silent, **options):
    config = ExplainConfig(**{"device": "cpu", "draws": 3} | options)
    given = shared(made) | ({} if table is None else {"table": table})
    return explain(config, model, **given, metadata=metadata, report=report)


def predicted(made, model, **given):
    config = PredictConfig(device="cpu")
    return predict(config, model, **shared(made), **given, report=silent)


@pytest.fixture(scope="module")
def made():
    return generate.planted(samples=40, features=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def numbers(made, folder):
    """Of all members."""
    return fitted(made, folder / "numbers")


@pytest.fixture(scope="module")
def classes(made, folder):
    return fitted(made, folder / "classes", "kind")


def many_of(model, made, table=None, weights=None, **options):
    """What `explain` reads communities with, and its config."""
    config = ExplainConfig(device="cpu", missing_features="drop", **options)
    ensemble = load_ensemble(model)
    table = made.table if table is None else table
    reads = (ensemble.saved, table, made.sequences, config, silent)
    study = read_as_trained(*reads, keep_shallow=True)
    weights = weights or weights_of(ensemble, config.members)
    given = (weights, None, None, config, choose_device(config), silent)
    return ManyCommunities(ensemble, study, *given), config


def sums(found: Explanation) -> pd.DataFrame:
    by = found.contributions.groupby(["sample", "target"])
    total = by["contribution"].sum() + by["baseline"].first()
    return pd.DataFrame({"total": total, "prediction": by["prediction"].first()})


def test_contributions_and_baseline_are_the_prediction_of_the_ensemble(made, numbers):
    found = explained(made, numbers, max_samples=5)
    assert tuple(found.contributions) == COLUMNS
    assert set(found.contributions["scale"]) == {"units"}
    both = sums(found)
    np.testing.assert_allclose(both["total"], both["prediction"], atol=1e-9)
    ids = both.index.get_level_values("sample")
    assert len(ids) == 5
    expected = predicted(made, numbers).predictions.loc[ids, "value"]
    np.testing.assert_allclose(both["prediction"], expected, rtol=1e-4, atol=1e-3)


def test_of_classes_the_log_odds_are_explained(made, classes):
    found = explained(made, classes, max_samples=4)
    assert set(found.contributions["scale"]) == {"log-odds"}
    both = sums(found)
    np.testing.assert_allclose(both["total"], both["prediction"], atol=1e-9)
    ids = both.index.get_level_values("sample")
    chances = predicted(made, classes).details
    for name in ("high", "low"):
        expected = log_odds(chances.loc[ids.unique(), name].to_numpy())
        found_here = both.xs(name, level="target")["prediction"].loc[ids.unique()]
        np.testing.assert_allclose(found_here, expected, atol=2e-3)


def test_backgrounds_are_other_samples_and_their_mean_is_the_baseline(made, numbers):
    many, config = many_of(numbers, made, draws=3)
    found = of_sample(many, 4, [1, 7, 9], config)
    every = many.predict(many.study.table.counts, np.arange(40))
    np.testing.assert_allclose(found.baseline_O, every[[1, 7, 9]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.prediction_O, every[4], rtol=1e-5)


def test_no_sample_is_its_own_background_and_the_drawn_ones_are_like_all(made, numbers):
    many, _ = many_of(numbers, made, members=CLASSICAL)
    pool = Backgrounds(many, seed=0)
    every = many.predict(many.study.table.counts, np.arange(40))[:, 0]
    means = []
    for row in range(40):
        assert sorted(pool.drawn(row, 39)) == [i for i in range(40) if i != row]
        assert row not in pool.drawn(row, 100)
        drawn = pool.drawn(row, 8)
        assert len(set(drawn)) == 8
        means.append(every[drawn].mean())
    by_chance = every.std() / np.sqrt(8)
    assert np.sqrt(np.mean((means - every.mean()) ** 2)) < 0.5 * by_chance


def test_contributions_follow_from_a_sample_and_its_backgrounds_alone(made, numbers):
    whole, config = many_of(numbers, made, members=CLASSICAL)
    some = made.table.take_samples(np.array([5, 6, 20]))
    part, _ = many_of(numbers, made, some, members=CLASSICAL)
    one = of_sample(whole, 6, [5, 20], config)
    other = of_sample(part, 1, [0, 2], config)
    names = whole.study.table.feature_ids[one.features]
    assert names.tolist() == part.study.table.feature_ids[other.features].tolist()
    np.testing.assert_allclose(one.values, other.values, atol=1e-9)


def by_subsets(many, row, other):
    """Exact Shapley values of a sample against one other, by all subsets."""
    counts = many.study.table.counts[[row, other]].toarray().astype(float)
    end, start = counts / counts.sum(axis=1, keepdims=True)
    depths = counts.sum(axis=1)
    players = np.flatnonzero(counts.sum(axis=0))

    def community(subset):
        inside = np.isin(np.arange(len(end)), list(subset))
        mix = np.where(inside, end, start)
        share = end[inside].sum() / mix.sum()
        return mix / mix.sum() * (share * depths[0] + (1 - share) * depths[1])

    subsets = [
        frozenset(s)
        for size in range(len(players) + 1)
        for s in combinations(players, size)
    ]
    rows = np.stack([community(s) for s in subsets])
    made = many.study.table.counts[:1].__class__(rows)
    values = many.predict(made, np.full(len(rows), row))
    of = dict(zip(subsets, values, strict=True))
    n, found = len(players), {}
    for player in players:
        found[player] = sum(
            factorial(len(s))
            * factorial(n - 1 - len(s))
            / factorial(n)
            * (of[s | {player}] - of[s])
            for s in subsets
            if player not in s
        )
    return players, np.stack([found[p] for p in players])


@pytest.mark.parametrize("column", ["value", "kind"])
def test_sampled_values_are_near_to_exact_ones(folder, column):
    """Six ASVs, all members; walks are drawn until the standard errors are small."""
    made = generate.planted(samples=30, features=6, seed=3)
    model = fitted(made, folder / f"six-{column}", column)
    many, config = many_of(model, made, network_steps=0)
    here = many.study.table.counts.toarray() > 0
    row, other = next(
        (i, j) for i, j in combinations(range(30), 2) if (here[i] | here[j]).all()
    )
    players, exact = by_subsets(many, row, other)
    assert len(players) == 6
    found = of_sample(many, row, [other] * 60, config)
    assert found.features.tolist() == players.tolist()
    apart = np.abs(found.values - exact)
    assert (apart <= 4 * found.errors + 1e-4).all()
    assert apart.max() < 0.1 * np.abs(exact).max()
    np.testing.assert_allclose(found.values.sum(0), exact.sum(0), atol=1e-4)


def test_a_linear_view_of_the_kernel_has_its_closed_form(made, numbers):
    """Presence is additive: an ASV adds its weight, less that of its backgrounds."""
    many, config = many_of(numbers, made, weights={"kernel-presence": 1.0})
    row, backgrounds = 3, [0, 8, 21, 30]
    found = of_sample(many, row, backgrounds, config)
    samples = read_community(many.study)
    kernel_member = many.ensemble.classical.kernel
    added = kernel_member.added(samples)["presence"][:, 0]
    here = (many.study.table.counts.toarray() > 0).astype(float)
    scale = many.ensemble.space.decoder.scaler.scale[0]
    expected = scale * added * (here[row] - here[backgrounds].mean(axis=0))
    np.testing.assert_allclose(found.values[:, 0], expected[found.features], atol=1e-9)
    assert np.abs(expected).max() > 0.05


def direction(found: Explanation, feature: str, target: str) -> float:
    """Rank correlation of abundance and contribution over samples."""
    part = found.contributions.query("feature == @feature and target == @target")
    return spearmanr(part["abundance"], part["contribution"])[0]


@pytest.mark.parametrize("column", ["value", "kind"])
def test_planted_asvs_come_first_with_the_right_sign(folder, column):
    made = generate.planted(samples=90, features=30, seed=1)
    model = fitted(made, folder / f"planted-{column}", column, ensemble=CLASSICAL)
    found = explained(made, model, draws=6)
    chosen = {*made.raising, *made.lowering}
    assert set(found.importance.index[:4]) == chosen
    target = "value" if column == "value" else "high"
    for name in made.raising:
        assert direction(found, name, target) > 0.5
    for name in made.lowering:
        assert direction(found, name, target) < -0.5


@pytest.mark.behaviour("seed", "draws", command="explain")
def test_draws_change_with_the_seed_and_more_of_them_agree_better(made, numbers):
    def importance(seed, draws):
        options = {"members": CLASSICAL, "max_samples": 40}
        found = explained(made, numbers, seed=seed, draws=draws, **options)
        errors = found.contributions["standard_error"].mean()
        return found.importance["importance"], errors

    one, other = importance(0, 2), importance(1, 2)
    assert not one[0].equals(other[0])
    more = importance(0, 8), importance(1, 8)
    assert more[0][1] < 0.8 * one[1]
    first, second = (found.sort_index() for found, _ in more)
    assert spearmanr(first, second)[0] > 0.9


@pytest.mark.parametrize("column", ["value", "kind"])
def test_the_order_of_the_table_changes_nothing(made, numbers, classes, column):
    model = numbers if column == "value" else classes
    names = ("s003", "s011", "s030")
    one = explained(made, model, samples=names, members=CLASSICAL)
    other = explained(
        made, model, table=turned(made.table), samples=names[::-1], members=CLASSICAL
    )
    pd.testing.assert_frame_equal(one.contributions, other.contributions)
    pd.testing.assert_frame_equal(one.importance, other.importance)


def test_batches_and_company_change_nothing(made, numbers, monkeypatch):
    alone = explained(made, numbers, samples=("s005",), batch_size=3)
    company = explained(made, numbers, samples=("s005", "s006"), batch_size=16)
    company = company.contributions.query("sample == 's005'")
    pd.testing.assert_frame_equal(
        alone.contributions, company.reset_index(drop=True), rtol=1e-3, atol=1e-4
    )
    from aam_core.commands import explain as module

    monkeypatch.setattr(module, "PIECE", 7)
    pieces = explained(made, numbers, samples=("s005",), batch_size=3)
    pd.testing.assert_frame_equal(alone.contributions, pieces.contributions)


def test_features_of_one_sequence_are_read_as_one(made, numbers):
    """Half of the reads of an ASV under another id change no prediction."""
    counts = made.table.counts.toarray()
    half = counts[:, :1] // 2
    split = np.hstack([counts[:, :1] - half, counts[:, 1:], half])
    ids = np.array([*made.table.feature_ids, "twin"], dtype=object)
    table = FeatureTable(made.table.counts.__class__(split), made.table.sample_ids, ids)
    sequences = made.sequences | {"twin": made.sequences[ids[0]]}
    config = ExplainConfig(device="cpu", draws=3, members=CLASSICAL, max_samples=3)
    one = explain(config, numbers, table=table, sequences=sequences, report=silent)
    both = sums(one)
    other = sums(explained(made, numbers, members=CLASSICAL, max_samples=3))
    np.testing.assert_allclose(both["prediction"], other["prediction"], atol=1e-6)
    assert "twin" in set(one.contributions["feature"])


@pytest.mark.behaviour("samples", "max_samples", command="explain")
def test_which_samples_are_explained(made, numbers):
    lines = []
    options = {"members": CLASSICAL, "draws": 2}
    drawn = explained(made, numbers, max_samples=2, report=lines.append, **options)
    assert drawn.contributions["sample"].nunique() == 2
    assert any("2 of 40 samples are explained" in line for line in lines)
    named = explained(made, numbers, samples=("s001",), **options)
    assert set(named.contributions["sample"]) == {"s001"}
    with pytest.raises(InputError, match=r"no sample 'x', 'y' \(samples\)"):
        explained(made, numbers, samples=("x", "s001", "y"))
    with pytest.raises(InputError, match="leave one of the two out"):
        ExplainConfig(samples=("a",), max_samples=3)


@pytest.mark.behaviour("classes", command="explain")
def test_which_classes_are_explained(made, numbers, classes):
    options = {"members": CLASSICAL, "max_samples": 2, "draws": 2}
    both = explained(made, classes, **options).contributions
    one = explained(made, classes, classes=("low",), **options).contributions
    assert set(one["target"]) == {"low"}
    expected = both[both["target"] == "low"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, expected)
    with pytest.raises(InputError, match=r"no class 'mid' \(classes\).*'high', 'low'"):
        explained(made, classes, classes=("mid",))
    with pytest.raises(InputError, match="predicts the numbers 'value'"):
        explained(made, numbers, classes=("low",))


@pytest.mark.behaviour("network_steps", command="explain")
def test_steps_of_the_network(made, numbers):
    """With as many steps as ASVs nothing is shared; with few, sums stay the same."""
    given = {"members": ("network",), "samples": ("s002", "s009")}
    exact = explained(made, numbers, network_steps=0, **given)
    same = explained(made, numbers, network_steps=100, **given)
    pd.testing.assert_frame_equal(exact.contributions, same.contributions)
    few = explained(made, numbers, network_steps=4, **given)
    assert not few.contributions.equals(exact.contributions)
    np.testing.assert_allclose(sums(few)["total"], sums(exact)["total"], atol=1e-4)


@pytest.mark.behaviour("members", command="explain")
def test_which_members_are_explained(made, numbers):
    whole, part = (
        explained(made, numbers, samples=("s002",), members=members)
        for members in ((), ("trees",))
    )
    assert not whole.contributions.equals(part.contributions)
    weights = weights_of(load_ensemble(numbers), ("trees",))
    assert sum(weights.values()) == pytest.approx(1)
    assert all(name.startswith("trees") for name in weights)


def test_members_that_are_not_there_are_told(made, folder):
    model = fitted(made, folder / "trees", ensemble=("trees",))
    with pytest.raises(InputError, match=r"no member network \(members\): it has tre"):
        explained(made, model, members=("network",))


def test_a_single_sample_cannot_be_explained(made, numbers):
    table = made.table.take_samples(np.array([0]))
    with pytest.raises(InputError, match="give a table with more samples"):
        explained(made, numbers, table=table)


@pytest.mark.behaviour("unknown_categories", command="explain")
def test_covariates_and_rarefaction_are_those_of_the_model(folder):
    made = generate.study(samples=30)
    options = {
        "categorical_columns": ("site",),
        "target_transform": "zscore-category",
        "normalize_by": ("site",),
        "rarefy_depth": 300,
    }
    model = fitted(made, folder / "covariates", **options)
    with pytest.raises(InputError, match="conditioned on the metadata columns 'site'"):
        explained(made, model)
    found = explained(made, model, metadata=made.metadata, max_samples=3, draws=2)
    both = sums(found)
    np.testing.assert_allclose(both["total"], both["prediction"], atol=1e-9)
    expected = predicted(made, model, metadata=made.metadata).predictions["value"]
    ids = both.index.get_level_values("sample")
    np.testing.assert_allclose(both["prediction"], expected[ids], rtol=1e-3)
    new = made.metadata.assign(site="moon")
    with pytest.raises(InputError, match="'moon'"):
        explained(made, model, metadata=new)
    options = {"unknown_categories": "ignore", "max_samples": 1, "draws": 2}
    assert len(explained(made, model, metadata=new, **options).contributions)


def test_quantiles_and_logarithms_keep_to_the_targets_units(made, folder):
    shifted = made.metadata.assign(value=made.metadata["value"] + 20)
    made = generate.Planted(
        made.table, made.sequences, shifted, made.raising, made.lowering
    )
    options = {
        "loss_type": "quantile",
        "quantiles": (0.1, 0.5, 0.9),
        "target_transform": "log-zscore",
    }
    model = fitted(made, folder / "quantiles", **options)
    found = explained(made, model, max_samples=3, draws=2)
    both = sums(found)
    np.testing.assert_allclose(both["total"], both["prediction"], atol=1e-9)
    ids = both.index.get_level_values("sample")
    expected = predicted(made, model).predictions["value"][ids]
    np.testing.assert_allclose(both["prediction"], expected, rtol=1e-3)
