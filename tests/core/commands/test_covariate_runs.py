"""Covariates in whole runs: training, history, saved state, prediction."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import PredictConfig, PretrainConfig, TrainConfig
from aam_core.data.labels import category_loss_weights
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.load import load_networks
from aam_core.nn.fusion import FUSIONS, is_covariate
from tests import generate
from tests.reports import QUIET
from tests.runs import ONE_NETWORK

SMALL = generate.SIZES | {
    "rarefy_depth": 300,
    "device": "cpu",
}
SIZES = {
    "cross-attention": {"cross_attn_heads": 4},
    "perceiver": {"cross_attn_heads": 4, "perceiver_num_latents": 8},
}


@pytest.fixture(scope="module")
def large():
    return generate.study(samples=96, seed=1)


@pytest.fixture(scope="module")
def metadata(large):
    """The community sets `mixed` at one site; at the other it has no effect."""
    site = np.random.default_rng(0).choice(["lake", "river"], 96)
    mixed = np.where(site == "lake", large.metadata["value"], 5.0)
    return large.metadata.assign(site=site, mixed=mixed)


@pytest.fixture(scope="module")
def encoder(large, tmp_path_factory):
    output = tmp_path_factory.mktemp("encoder") / "best"
    config = PretrainConfig(**SMALL, lr=3e-3, epochs=4, unifrac_metric="weighted")
    inputs = {"table": large.table, "sequences": large.sequences}
    pretrain(config, output, **inputs, phylogeny=large.phylogeny, **QUIET)
    return output


def run(made, metadata, output, fusion=None, encoder=None, **changes):
    options = SMALL | ONE_NETWORK
    options |= {"metadata_column": "mixed", "epochs": 1, "lr": 5e-3}
    if fusion is not None:
        options |= {"categorical_columns": "site", "categorical_fusion": fusion}
        options |= SIZES.get(fusion, {})
    return train(
        TrainConfig(**options | changes),
        output,
        table=made.table,
        sequences=made.sequences,
        metadata=metadata,
        encoder=encoder,
        **QUIET,
    ).predictions


@pytest.fixture(scope="module")
def long(encoder):
    """A frozen pre-trained encoder: an epoch is short; all is learned by the fusion."""
    # of seeds 0 to 4 and 42 all suffice for cross-attention, five for the perceiver and
    # three for gmu (docs/covariates.md)
    options = {"encoder": encoder, "freeze_base": True, "seed": 0}
    return options | {"epochs": 60, "patience": 60, "pooled_features": 0}


@pytest.fixture(scope="module")
def unconditioned(large, metadata, long, tmp_path_factory):
    found = run(large, metadata, tmp_path_factory.mktemp("none") / "m", **long)
    return error(found, metadata)


def error(found, metadata):
    return ((found["mixed"] - metadata.loc[found.index, "mixed"]) ** 2).mean()


def predicted(made, model, metadata):
    return predict(
        PredictConfig(),
        model,
        table=made.table,
        sequences=made.sequences,
        metadata=metadata,
        **QUIET,
    ).predictions


@pytest.mark.behaviour("categorical_columns", "categorical_fusion")
@pytest.mark.parametrize("fusion", ["gmu", "cross-attention", "perceiver"])
def test_an_effect_that_depends_on_the_category_is_learned(
    large, metadata, long, unconditioned, tmp_path, fusion
):
    found = run(large, metadata, tmp_path / "m", fusion, **long)
    assert error(found, metadata) < 0.6 * unconditioned
    # the saved model predicts the same, and takes the category from the metadata
    again = predicted(large, tmp_path / "m", metadata)
    np.testing.assert_allclose(again.loc[found.index], found, rtol=1e-3, atol=1e-3)
    swapped = metadata["site"].map({"lake": "river", "river": "lake"})
    other = predicted(large, tmp_path / "m", metadata.assign(site=swapped))
    assert error(other.loc[found.index], metadata) > unconditioned


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_saved_and_told(large, metadata, encoder, tmp_path, fusion):
    """With gradients through the encoder; and `auto` weights and scaling at once."""
    held_out = run(
        large,
        metadata,
        tmp_path / "m",
        fusion,
        encoder=encoder,
        conditional_output_scaling="site",
        categorical_loss_weights="auto",
        categorical_lr=1e-2,
    )
    model_folder.check_layout(tmp_path / "m", "max")
    again = predicted(large, tmp_path / "m", metadata).loc[held_out.index]
    np.testing.assert_allclose(again, held_out, rtol=1e-4)
    history = model_folder.read_history(tmp_path / "m")
    expected = {"gmu": "gmu_gate_mean", "cross-attention": "cross_attn_weight_mean"}
    for name in expected.values():
        assert (name in history) == (name == expected.get(fusion))
        if name in history:
            assert 0 < history[name].iloc[0] < 1
    (model,) = load_networks(tmp_path / "m")
    own = {n.split(".")[0] for n in model.state_dict() if is_covariate(n)}
    assert own == {"fusion", "scaling"}
    assert model.scaling.embeddings[0].weight.abs().max() > 0


def test_missing_category_is_predicted(large, metadata, tmp_path):
    run(large, metadata, tmp_path / "m", "gmu", conditional_output_scaling="site")
    unknown = metadata.assign(site=np.nan)
    found = predicted(large, tmp_path / "m", unknown)
    assert np.isfinite(found["mixed"]).all()


def test_validation_samples_leave_no_trace_in_weights_of_the_loss(
    large, metadata, tmp_path
):
    options = {
        "conditional_output_scaling": "site",
        "categorical_loss_weights": "auto",
    }
    run(large, metadata, tmp_path / "a", "gmu", **options)
    held_out = model_folder.read_config(tmp_path / "a")["split"]["validation"]
    changed = metadata.copy()
    changed.loc[held_out, "site"] = "sea"
    run(large, changed, tmp_path / "b", "gmu", **options)
    a, b = ((tmp_path / n / model_folder.WEIGHTS).read_bytes() for n in "ab")
    assert a == b


@pytest.mark.behaviour("categorical_loss_weights")
def test_samples_of_weight_zero_teach_nothing(large, metadata, tmp_path):
    """Their targets are free, as far as the median, the first guess, stays."""
    far = np.where(np.arange(96) % 2, 100.0, -100.0)
    states = []
    for weights in ("river=0,lake=3", '{"river": 1, "lake": 3}'):
        for factor in (1, 2):
            output = tmp_path / f"{weights[2]}{factor}"
            mixed = metadata["value"].where(metadata["site"] == "lake", factor * far)
            options = {"categorical_loss_weights": weights, "loss_type": "mse"}
            options["target_transform"] = "none"
            run(large, metadata.assign(mixed=mixed), output, "add", **options)
            states.append((output / model_folder.WEIGHTS).read_bytes())
    assert states[0] == states[1]
    assert states[2] != states[3]


def test_unknown_category_in_the_weights(large, metadata, tmp_path):
    with pytest.raises(InputError, match=r"'sea', which no training.*'lake', 'river'"):
        run(large, metadata, tmp_path / "m", "add", categorical_loss_weights="sea=2")
    assert not (tmp_path / "m").exists()


def test_heads_are_checked_before_training(large, metadata, tmp_path):
    with pytest.raises(InputError, match=r"cross_attn_heads is 3.*choose 2"):
        run(large, metadata, tmp_path / "m", "perceiver", cross_attn_heads=3)


def weights_of(text, indices, training):
    config = TrainConfig(
        metadata_column="x", categorical_columns="c", categorical_loss_weights=text
    )
    return category_loss_weights(
        config, ("summer", "winter"), np.array(indices), np.array(training)
    )


def test_weights_by_category_by_hand():
    # summer 1, winter 2, not named or unknown 1; the mean of the first four is 1.25
    found = weights_of("winter=2", [1, 2, 0, 1, 2], [0, 1, 2, 3])
    np.testing.assert_allclose(found, np.array([1, 2, 1, 1, 2]) / 1.25)
    with pytest.raises(InputError, match="weight 0"):
        weights_of("winter=0,summer=1", [2, 2, 1], [0, 1])


def test_auto_weights_against_sklearn():
    indices = [1, 1, 1, 2, 1, 2, 2]
    training = [0, 1, 2, 3, 4]
    found = weights_of("auto", indices, training)
    expected = compute_sample_weight("balanced", np.array(indices)[training])
    np.testing.assert_allclose(found[training], expected, rtol=1e-6)
    np.testing.assert_allclose(found[5:], expected[3], rtol=1e-6)


def test_models_of_earlier_versions_load(large, metadata, tmp_path):
    """Their heads are described without what came later."""
    held_out = run(large, metadata, tmp_path / "m", "concat", pooled_features=0)
    (model,) = load_networks(tmp_path / "m")
    names = set(model.fusion.state_dict())
    assert names == {"embeddings.0.weight", "project.weight", "project.bias"}
    path = tmp_path / "m" / model_folder.CONFIG
    saved = json.loads(path.read_text())
    earlier = ("outputs", "quantiles", "target_layers", "cardinalities")
    earlier += ("categorical_embed_dim", "categorical_fusion")
    (network,) = saved.pop("ensemble")["network"]
    saved["head"] = {name: network["head"][name] for name in earlier}
    saved["schema"] = 1
    path.write_text(json.dumps(saved))
    again = predicted(large, tmp_path / "m", metadata).loc[held_out.index]
    pd.testing.assert_frame_equal(again, held_out, rtol=1e-4)
