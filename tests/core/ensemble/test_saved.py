"""The ensemble of a model's folder: read, ready, and embedding samples."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.config import EmbedConfig, PredictConfig
from aam_core.ensemble import embedding
from aam_core.ensemble.embedding import embed_by_model
from aam_core.ensemble.networks import ready_networks
from aam_core.ensemble.saved import check_covariates, load_ensemble
from aam_core.errors import InputError
from aam_core.inference.reading import read_as_trained
from aam_core.io.model_folder import CONFIG, read_config
from aam_core.reporting import silent
from aam_core.runtime.device import choose_device
from tests.runs import go, shared, turned

EMBED = EmbedConfig(device="cpu")
PREDICT = PredictConfig(device="cpu")


@pytest.fixture(scope="module")
def ensembles(models):
    """By name, of the models of all sorts."""
    names = ("regression", "classes", "quantiles")
    return {name: load_ensemble(models[name][1]) for name in names}


def test_all_that_the_folder_says_is_read(models, ensembles):
    for name, ensemble in ensembles.items():
        saved = read_config(models[name][1])
        assert ensemble.saved == saved
        assert ensemble.weights == saved["ensemble"]["weights"]
        space = ensemble.space
        assert space.decoder.to_dict() == saved["target"]
        assert len(ensemble.networks) == len(saved["ensemble"]["network"])
        assert ensemble.profiles_VD.ndim == 2
        for one, described in zip(
            ensemble.networks, saved["ensemble"]["network"], strict=True
        ):
            assert one.decoder.to_dict() == described["target"]
            assert (one.categories is None) == (described["categories"] is None)
            assert not one.model.training
    classes = ensembles["classes"]
    frequencies = classes.saved["ensemble"]["frequencies"]
    assert classes.space.frequencies == tuple(frequencies)
    assert classes.categories is None
    assert list(ensembles["regression"].categories.get_cardinalities()) == ["site"]
    assert (
        ensembles["regression"].classical.names
        == list(ensembles["regression"].weights)[1:]
    )
    assert ensembles["quantiles"].classical.empty
    assert not any(e.space.bounded for e in ensembles.values())


def test_covariates_are_asked_for(ensembles, made):
    ids = made.table.sample_ids
    regression = ensembles["regression"]
    assert check_covariates(ensembles["classes"], PREDICT, None, ids, silent) is None
    assert check_covariates(regression, PREDICT, made.metadata, ids, silent) is None
    with pytest.raises(InputError, match="conditioned on the metadata columns 'site'"):
        check_covariates(regression, PREDICT, None, ids, silent)
    moon = made.metadata.assign(site="moon")
    with pytest.raises(InputError, match="'moon'"):
        check_covariates(regression, PREDICT, moon, ids, silent)
    ignoring = PredictConfig(device="cpu", unknown_categories="ignore")
    assert check_covariates(regression, ignoring, moon, ids, silent) is None


def test_categories_of_the_scale_are_returned(ensembles, made):
    """Those that training did not see are told."""
    regression = ensembles["regression"]
    scaler = regression.space.decoder.scaler
    own = {"east": (scaler.shift, scaler.scale)}
    scaler = dataclasses.replace(
        scaler, transform_name="zscore-category", categories=own
    )
    decoder = dataclasses.replace(
        regression.space.decoder, scaler=scaler, normalize_by=("place",)
    )
    space = dataclasses.replace(regression.space, decoder=decoder)
    scaled = dataclasses.replace(regression, space=space, categories=None)
    ids = made.table.sample_ids[:3]
    metadata = pd.DataFrame({"place": ["east", "moon", "east"]}, index=ids)
    lines = []
    found = check_covariates(scaled, PREDICT, metadata, ids, lines.append)
    assert found == ["east", "moon", "east"]
    assert lines == [
        "Categories that training did not see take the scale of all samples: 'moon'."
    ]
    with pytest.raises(InputError, match="metadata columns 'place'"):
        check_covariates(scaled, PREDICT, None, ids, silent)
    both = dataclasses.replace(regression, space=space)
    with pytest.raises(InputError, match="metadata columns 'place', 'site'"):
        check_covariates(both, PREDICT, None, ids, silent)


def test_networks_are_made_ready_one_after_the_other(ensembles, made):
    ensemble, lines = ensembles["regression"], []
    study = read_as_trained(
        ensemble.saved, made.table, made.sequences, PREDICT, silent, keep_shallow=True
    )
    given = (PREDICT, choose_device(PREDICT), made.metadata, lines.append)
    ready = list(ready_networks(ensemble, study, *given))
    assert [one.network.decoder for one in ready] == [
        one.decoder for one in ensemble.networks
    ]
    assert len({id(one.asvs) for one in ready}) == len(ready) == 2
    for one, network in zip(ready, ensemble.networks, strict=True):
        assert one.network.model is network.model
        sites = made.metadata.loc[study.table.sample_ids, "site"]
        codes = one.categories_NK[:, 0]
        assert len(set(zip(sites, codes, strict=True))) == sites.nunique()
        assert (codes > 0).all()
    shared_base = dataclasses.replace(
        ensemble, networks=(ensemble.networks[0], ensemble.networks[0])
    )
    ready = list(ready_networks(shared_base, study, *given))
    assert ready[0].asvs is ready[1].asvs  # encoded once


def of_networks_alone(model, path):
    """A copy of a model, whose networks have all the weight."""
    folder = shutil.copytree(model, path / "networks")
    config = json.loads((folder / CONFIG).read_text())
    config["ensemble"]["weights"] = {"network": 1.0}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_the_embedding_of_a_model_is_what_its_heads_read(
    models, ensembles, made, tmp_path
):
    """Side by side, so that a squared distance is the mean of the networks'."""
    model, ensemble = models["regression"][1], ensembles["regression"]
    given = shared(made) | {"metadata": made.metadata, "report": silent}
    samples, asvs = embed_by_model(EMBED, model, **given)
    assert samples.index.tolist() == made.table.sample_ids.tolist()
    assert asvs.index.tolist() == made.table.feature_ids.tolist()
    width = ensemble.saved["architecture"]["embedding_dim"]
    assert samples.shape == (32, 2 * width)
    assert asvs.shape == (len(made.table.feature_ids), 2 * width)
    parts = np.split(samples.to_numpy(), 2, axis=1)
    total = 0
    for one, part in zip(ensemble.networks, parts, strict=True):
        raw = one.model.head(torch.from_numpy(part * np.sqrt(2)).float())
        total = total + ensemble.space.taken(raw.detach().numpy(), one.decoder)
    expected = ensemble.space.decoder.point(total / 2, None)
    folder = of_networks_alone(model, tmp_path)
    found = go("predict", made, folder).predictions
    np.testing.assert_allclose(found["value"], expected[:, 0], rtol=1e-4)
    other = turned(made.table)
    again = embed_by_model(EMBED, model, **given | {"table": other})
    pd.testing.assert_frame_equal(again[0].loc[samples.index], samples, rtol=1e-4)
    assert again[0].index.tolist() == other.sample_ids.tolist()
    assert again[1].index.tolist() == other.feature_ids.tolist()
    pd.testing.assert_frame_equal(again[1].loc[asvs.index], asvs, rtol=1e-4)


def test_asvs_are_embedded_once_by_networks_of_one_encoder(
    models, ensembles, made, monkeypatch
):
    ensemble = ensembles["classes"]
    same = (ensemble.networks[0], ensemble.networks[0])
    frozen = dataclasses.replace(ensemble, networks=same)
    monkeypatch.setattr(embedding, "load_ensemble", lambda model: frozen)
    given = shared(made) | {"report": silent}
    samples, asvs = embed_by_model(EMBED, models["classes"][1], **given)
    width = ensemble.saved["architecture"]["embedding_dim"]
    assert samples.shape == (32, 2 * width)
    assert asvs.shape == (len(made.table.feature_ids), width)
