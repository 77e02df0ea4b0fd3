"""Embeddings and distances of an encoder, beside what the network makes."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from scipy.spatial.distance import cdist

import aam_core as aam
from aam_core.config import InputOptions
from aam_core.data.batches import BatchMaker
from aam_core.data.study import prepare_study
from aam_core.errors import InputError
from aam_core.inference.embed import distances_between
from aam_core.io.load import load_encoder
from tests.estimators import close
from tests.reports import silent


@pytest.fixture(scope="module")
def direct(encoder, made):
    """What the network itself makes of all samples, in one batch with padding."""
    options = InputOptions(rarefy_depth=300)
    study = prepare_study(
        made.table, made.sequences, options, max_bp=60, seed=42, report=silent
    )
    maker = BatchMaker(study, token_limit=1024, asv_sampling="abundance")
    batch = maker[0, np.arange(32)]
    assert batch.ragged
    network = load_encoder(encoder._held.path)
    with torch.no_grad():
        asvs, _ = network.encode_asvs(batch)
        out = network(batch)
    features = study.table.feature_ids[batch.features]
    frames = {n: pd.DataFrame(out[n].numpy()) for n in ("sample", "distance_embedding")}
    for frame in frames.values():
        frame.index = study.table.sample_ids
    return frames | {"asvs": pd.DataFrame(asvs.numpy(), features)}


def test_embeddings_of_samples(encoder, whole, direct):
    found = encoder.embed(whole)
    assert found.shape == (32, 16)
    assert set(found.dtypes) == {np.dtype("float32")}
    assert list(found.index) == whole.sample_ids
    close(found, direct["sample"].loc[found.index])
    assert found.std().min() > 1e-3
    for options in ({"batch_size": 3}, {"asv_chunk_size": 5}, {"cache_memory": 0.0}):
        close(encoder.embed(whole, report=silent, **options), found)


def test_embeddings_of_asvs(encoder, whole, direct):
    found = encoder.embed_asvs(whole)
    assert found.shape == (40, 16)
    assert list(found.index) == whole.feature_ids
    close(found.loc[direct["asvs"].index], direct["asvs"])
    part = whole.take("s00")
    seen = [i for i in whole.feature_ids if i in encoder.embed_asvs(part).index]
    assert len(seen) == part.table.richness[0] < 40
    close(encoder.embed_asvs(part), found.loc[seen])


def test_predicted_distances(encoder, whole, direct):
    found = encoder.distances(whole)
    assert isinstance(found, skbio.DistanceMatrix)
    assert found.data.dtype == np.float32
    assert list(found.ids) == whole.sample_ids
    position = direct["distance_embedding"].loc[whole.sample_ids]
    close(found.data, 1 - np.exp(-cdist(position, position)))
    assert found.data.max() > 0.1


def test_distances_in_blocks_and_units():
    position = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    position[7] = position[3] + 1e-4  # nearly the same place
    found = distances_between(position, scale=20.0)
    expected = 20 * (1 - np.exp(-cdist(position.astype(float), position)))
    close(found, expected, atol=1e-4)
    assert found[3, 7] == pytest.approx(expected[3, 7], rel=1e-3)
    np.testing.assert_array_equal(found, found.T)
    skbio.DistanceMatrix(found)


def with_options(estimator, **options):
    """A copy of an estimator whose `config.json` has other options."""
    changed = copy.deepcopy(estimator)
    config = changed.config_ | {"options": changed.config_["options"] | options}
    path = changed._held.path / "config.json"
    path.write_text(json.dumps(config))
    return changed


@pytest.mark.parametrize(
    ("options", "message"),
    [({"penalty": 0.0}, "penalty 0"), ({"unifrac_metric": "faith_pd"}, "Faith")],
)
def test_distances_that_were_not_learned(encoder, whole, options, message):
    with pytest.raises(InputError, match=message):
        with_options(encoder, **options).distances(whole)


def test_samples_are_rarefied_as_in_training(encoder, whole, made):
    counts = pd.DataFrame(
        made.table.counts.toarray(), made.table.sample_ids, made.table.feature_ids
    )
    counts.iloc[0] //= 2
    study = aam.Study(counts, sequences=made.sequences)
    heard = []
    found = encoder.embed(study, report=heard.append)
    assert list(found.index) == whole.sample_ids[1:]
    assert "fewer than 300 reads" in heard[0]
    close(found, encoder.embed(whole).iloc[1:])
    assert not np.allclose(with_options(encoder, seed=1).embed(study), found, atol=1e-4)
