"""What the head reads beside the transformers."""

import numpy as np
import pytest
import torch

from aam_core.config import FeatureOptions
from aam_core.data.sample_features import blocks, sample_features
from aam_core.inference.reading import read_as_trained
from aam_core.io import model_folder
from aam_core.io.load import load_networks
from aam_core.nn.wide_pooling import SPREAD, TRANSFORMERS, WidePooling
from aam_core.reporting import silent
from tests import generate
from tests.runs import go, shapes, shared


def test_blocks_start_with_the_same_spread():
    """Also one whose features hardly differ, and one in which they do not at all."""
    torch.manual_seed(0)
    wide = WidePooling(4, 8)
    total = blocks(4) * 4
    scale = torch.tensor([1.0, 100.0, 1e-3, 5.0, 0.0, 2.0]).repeat_interleave(4)
    features = 7 + torch.randn(500, total) * scale
    wide.standardise(features)
    found = ((features - wide.mean_V) * wide.scale_V).unflatten(1, (-1, 4))
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(6, 4), atol=1e-2, rtol=0)
    spread = found.square().mean(dim=(0, 2)).sqrt()
    expected = torch.full((6,), SPREAD)
    expected[4] = 0
    torch.testing.assert_close(spread, expected, rtol=1e-3, atol=1e-3)
    sample = torch.randn(500, 8)
    expected = wide.eval().layers((features - wide.mean_V) * wide.scale_V)
    joined = wide(sample, features)
    torch.testing.assert_close(joined - expected, TRANSFORMERS * sample)


def test_centre_is_that_of_training_samples_and_is_kept(tmp_path):
    made = generate.study(samples=24)
    path = go("train", made, tmp_path / "m", pooled_features=5)
    (network,) = load_networks(path)
    saved = model_folder.read_config(path)
    study = read_as_trained(saved, *shared(made).values(), FeatureOptions(), silent)
    features = sample_features(study, 5)
    training = np.isin(study.table.sample_ids, saved["split"]["training"])
    assert 0 < training.sum() < len(training)
    mean = torch.from_numpy(features[training].mean(axis=0))
    torch.testing.assert_close(network.wide.mean_V, mean, rtol=1e-4, atol=1e-4)


@pytest.mark.behaviour("pooled_features")
def test_the_number_of_features(tmp_path):
    made = generate.study(samples=24)
    found = shapes(go("train", made, tmp_path / "m", pooled_features=5))
    assert found["wide.layers.0.weight"] == (32, 5 * blocks(5))
    plain = shapes(go("train", made, tmp_path / "n", pooled_features=0))
    assert not any(name.startswith("wide.") for name in plain)
