"""Many communities of a study's ASVs: predicted as its samples are."""

from types import SimpleNamespace

import numpy as np
import pytest

from aam_core.config import ExplainConfig
from aam_core.data.table import FeatureTable
from aam_core.ensemble.many import ManyCommunities, log_odds, weights_of
from aam_core.ensemble.saved import load_ensemble
from aam_core.errors import InputError
from aam_core.inference.reading import read_as_trained
from aam_core.reporting import silent
from aam_core.runtime.device import choose_device
from tests.runs import go

WEIGHTS = {"network": 0.5, "kernel-abundance": 0.2, "kernel-presence": 0.0}
WEIGHTS |= {"trees-abundance": 0.3, "trees-presence": 5e-5}
MODEL = SimpleNamespace(weights=WEIGHTS)


def test_members_of_some_weight_sum_to_one():
    found = weights_of(MODEL, ())
    assert list(found) == ["network", "kernel-abundance", "trees-abundance"]
    assert found == pytest.approx({n: WEIGHTS[n] for n in found})
    found = weights_of(MODEL, ("trees", "network"))
    assert found == pytest.approx({"network": 0.625, "trees-abundance": 0.375})
    assert weights_of(MODEL, ("kernel",)) == {"kernel-abundance": 1.0}
    least = SimpleNamespace(weights={"network": 1 - 1e-4, "trees-presence": 1e-4})
    assert list(weights_of(least, ())) == ["network", "trees-presence"]


def test_members_that_are_not_there_or_have_no_weight_are_named():
    with pytest.raises(InputError, match=r"no member forest, x .*: it has kernel, net"):
        weights_of(MODEL, ("forest", "trees", "x"))
    without = SimpleNamespace(weights={"network": 1.0, "kernel-presence": 0.0})
    with pytest.raises(InputError, match=r"weight of kernel \(members\) is 0"):
        weights_of(without, ("kernel",))


def test_log_odds_have_an_end():
    found = log_odds(np.array([0.5, 0.8, 0.0, 1.0]))
    far = np.log(1e6 - 1)
    np.testing.assert_allclose(found, [0, np.log(4), -far, far], rtol=1e-6)


CONFIG = ExplainConfig(device="cpu")


def many_of(model, made, weights=None, table=None, sequences=None):
    """Of all samples of a study, or of those of another table."""
    ensemble = load_ensemble(model)
    study = read_as_trained(
        ensemble.saved,
        made.table if table is None else table,
        made.sequences if sequences is None else sequences,
        CONFIG,
        silent,
        rarefied=False,
    )
    weights = ensemble.weights if weights is None else weights
    given = (CONFIG, choose_device(CONFIG), silent)
    return ManyCommunities(ensemble, study, weights, made.metadata, None, *given)


@pytest.mark.parametrize("name", ["regression", "classes", "quantiles"])
def test_communities_are_predicted_as_samples_are(models, made, name, monkeypatch):
    model = models[name][1]
    many = many_of(model, made)
    counts, ids = many.study.table.counts, many.study.table.sample_ids
    rows = np.array([3, 0, 17])
    found = many.predict(counts[rows], rows)
    assert many.names == (["high", "low"] if name == "classes" else ["value"])
    # `predict` rarefies to the depth of training, which explanations do not
    read = read_as_trained

    def whole(*given, **options):
        return read(*given, **options | {"rarefied": False})

    monkeypatch.setattr("aam_core.commands.predict.read_as_trained", whole)
    wanted = go("predict", made, model)
    if name == "classes":
        chances = wanted.details.loc[ids[rows], many.names].to_numpy()
        np.testing.assert_allclose(found, log_odds(chances), rtol=1e-3, atol=1e-3)
    else:
        expected = wanted.predictions.loc[ids[rows]]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_community_has_the_covariates_of_its_sample(models, made):
    many = many_of(models["regression"][1], made)
    counts = many.study.table.counts
    sites = made.metadata.loc[many.study.table.sample_ids, "site"].to_numpy()
    same = np.flatnonzero(sites == sites[0])[:2]
    other = np.flatnonzero(sites != sites[0])[:1]
    rows = np.r_[same, other]
    found = many.predict(counts[np.zeros(3, dtype=int)], rows)[:, 0]
    assert found[0] == pytest.approx(found[1])
    assert found[0] != pytest.approx(found[2])
    for parts in (many.classical_of, many.networks_of):
        values = parts(counts[np.zeros(3, dtype=int)], rows)
        for value in values.values() if isinstance(values, dict) else [values]:
            assert value[0] == pytest.approx(value[1])


def test_members_without_weight_are_not_read(models, made):
    model = models["regression"][1]
    every = many_of(model, made)
    counts, rows = every.study.table.counts[:4], np.arange(4)
    parts = every.classical_of(counts, rows)
    parts["network"] = every.networks_of(counts, rows)
    assert set(parts) == set(every.weights)
    for name, expected in parts.items():
        one = many_of(model, made, {name: 1.0})
        assert one.classical.empty == (name == "network")
        assert bool(one.networks) == (name == "network")
        if not one.classical.empty:
            assert {n.partition("-")[0] for n in one.classical.names} == {
                name.partition("-")[0]
            }
            assert list(one.classical_of(counts, rows)) == [name]
        else:
            assert one.classical_of(counts, rows) == {}
        scale = one.ensemble.space.decoder.point(expected, None)
        np.testing.assert_allclose(one.predict(counts, rows), scale, rtol=1e-5)


def test_two_ids_of_one_sequence_are_one_asv(models, made):
    """Half of the reads of an ASV under another id change nothing."""
    table = made.table
    counts = table.counts.toarray() * 2
    half = counts[:, :1] // 2
    counts = np.hstack([counts, half])
    counts[:, :1] -= half
    ids = np.append(table.feature_ids, "again").astype(object)
    twice = FeatureTable(
        type(table.counts)(counts.astype(np.int64)), table.sample_ids, ids
    )
    sequences = made.sequences | {"again": made.sequences[table.feature_ids[0]]}
    classical = {"kernel-abundance": 0.5, "trees-presence": 0.5}
    model = models["regression"][1]
    one = many_of(model, made, classical)
    other = many_of(model, made, classical, twice, sequences)
    rows = np.arange(len(one.study.table.sample_ids))
    assert one.study.table.sample_ids.tolist() == other.study.table.sample_ids.tolist()
    expected = one.predict(one.study.table.counts * 2, rows)
    found = other.predict(other.study.table.counts, rows)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_networks_of_one_encoder_are_read_together():
    """Where they number categories alike, too; in their order."""

    def ready(base, codes):
        network = SimpleNamespace(model=SimpleNamespace(base=base))
        codes = None if codes is None else np.array(codes)
        return SimpleNamespace(network=network, categories_NK=codes)

    first, second = object(), object()
    every = [ready(first, [1, 2]), ready(first, [1, 2]), ready(first, [2, 1])]
    every += [ready(second, [2, 1]), ready(second, None), ready(second, None)]
    every.append(ready(second, None))
    found = ManyCommunities._alike(SimpleNamespace(networks=every))
    assert [len(some) for some in found] == [2, 1, 1, 3]
    assert [one for some in found for one in some] == every
