"""What options change in the target and the covariates of a whole run."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from aam_core.io import model_folder
from aam_core.nn.fusion import CrossAttention
from aam_core.nn.head import TargetHead
from aam_core.training import train_session
from tests.runs import go, layers, shapes


@pytest.fixture
def start(made, tmp_path):
    """Trains; returns where the model is."""

    def run(name="m", **options):
        return go("train", made, tmp_path / name, **options)

    return run


@pytest.fixture
def targets(monkeypatch):
    """The scaled target of each training sample, by its row."""
    seen = {}
    plain = train_session.TrainSession.losses

    def losses(self, batch):
        seen.update(zip(batch.rows.tolist(), batch.targets_ST.numpy(), strict=True))
        return plain(self, batch)

    monkeypatch.setattr(train_session.TrainSession, "losses", losses)
    return seen


def training_of(path):
    return model_folder.read_config(path)["split"]["training"]


REFERENCES = {
    "none": lambda x: x,
    "zscore": lambda x: StandardScaler().fit_transform(x),
    "log-minmax": lambda x: MinMaxScaler().fit_transform(np.log1p(x)),
    "log-zscore": lambda x: StandardScaler().fit_transform(np.log1p(x)),
}


@pytest.mark.behaviour("target_transform")
@pytest.mark.parametrize("transform", REFERENCES)
def test_the_target_is_scaled_as_scikit_learn_does(made, start, targets, transform):
    training = training_of(start(target_transform=transform))
    expected = REFERENCES[transform](made.metadata.loc[training, ["value"]].to_numpy())
    found = [targets[made.metadata.index.get_loc(name)] for name in training]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.behaviour("normalize_by", "target_transform")
def test_categories_are_scaled_on_their_own(made, start, targets):
    options = {"target_transform": "zscore-category", "normalize_by": "site"}
    training = training_of(start(**options))
    known = made.metadata.loc[training]
    for _, own in known.groupby("site"):
        found = [targets[made.metadata.index.get_loc(name)] for name in own.index]
        expected = StandardScaler().fit_transform(own[["value"]].to_numpy())
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.behaviour("normalize_by", "target_transform")
def test_a_category_that_training_did_not_see_takes_the_scale_of_all(made, tmp_path):
    options = {"target_transform": "zscore-category", "normalize_by": "site"}
    path = go("train", made, tmp_path / "m", **options)
    split = model_folder.read_config(path)["split"]
    known = made.metadata.loc[split["training"]]
    by_site = known.groupby("site")["value"].agg(["mean", lambda x: x.std(ddof=0)])
    own_mean, own_scale = by_site.loc[made.metadata["site"]].to_numpy().T
    usual = go("predict", made, path).predictions["value"]
    scaled = (usual.loc[made.metadata.index] - own_mean) / own_scale
    expected = scaled * known["value"].std(ddof=0) + known["value"].mean()
    said = []
    moved = {"metadata": made.metadata.assign(site="moon"), "report": said.append}
    found = go("predict", made, path, moved).predictions["value"]
    np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-6)
    assert sum("'moon'" in line and "scale of all" in line for line in said) == 1


@pytest.mark.behaviour("normalize_by")
def test_training_says_which_categories_take_the_scale_of_all(made, tmp_path):
    options = {"target_transform": "zscore-category", "normalize_by": "site"}
    path = go("train", made, tmp_path / "a", **options)
    lone = model_folder.read_config(path)["split"]["validation"][0]
    metadata, said = made.metadata.copy(), []
    metadata.loc[lone, "site"] = "moon"
    given = {"metadata": metadata, "report": said.append}
    path = go("train", made, tmp_path / "b", given, **options)
    scaler = model_folder.read_config(path)["target"]["scaler"]
    assert "moon" not in scaler["categories"]
    assert sum("'moon'" in line and "scale of all" in line for line in said) == 1


@pytest.mark.behaviour("class_weights")
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_classes_weigh_as_scikit_learn_says(made, monkeypatch, start, weights):
    used = []
    plain = torch.nn.functional.cross_entropy

    def cross_entropy(logits, truth, **options):
        if "weight" in options:  # not that of the nucleotides
            used.append(options["weight"])
        return plain(logits, truth, **options)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", cross_entropy)
    options = {"metadata_column": "site", "task": "classification"}
    training = training_of(start(**options, class_weights=weights))
    assert used
    if weights == "none":
        assert all(w is None or (w == 1).all() for w in used)
        return
    labels = made.metadata.loc[training, "site"].to_numpy(str)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    for weight in used:
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


@pytest.mark.behaviour("learnable_output_scale", "regressor_hidden_dims")
def test_the_scale_is_learned(start):
    """It changes in training, and is not there unless asked for."""
    from safetensors.numpy import load_file

    path = start(learnable_output_scale=True, regressor_hidden_dims="9,5", epochs=2)
    found = shapes(path)
    assert found["head.hidden.0.weight"] == (9, 16)
    assert found["head.hidden.3.weight"] == (5, 9)
    assert found["head.weight"] == (1, 5)
    assert load_file(path / model_folder.WEIGHTS)["head.scale"] != 1
    plain = shapes(start(name="plain"))
    assert not any(name.startswith(("head.scale", "head.hidden")) for name in plain)
    assert plain["head.weight"] == (1, 16)


@pytest.mark.behaviour("residual_regression_head")
def test_hidden_layers_add_to_a_linear_prediction(monkeypatch, start):
    seen = []
    plain = TargetHead.forward

    def forward(self, x, *more):
        found = plain(self, x, *more)
        linear = x @ self.weight.T + self.bias
        seen.append((found, linear + self.hidden(x) @ self.correction.weight.T))
        return found

    monkeypatch.setattr(TargetHead, "forward", forward)
    start(regressor_hidden_dims=(5,), residual_regression_head=True)
    assert len(seen) > 3
    for found, expected in seen:
        torch.testing.assert_close(found, expected)


@pytest.mark.behaviour("output_activation")
@pytest.mark.parametrize(
    ("activation", "function"),
    [("relu", torch.relu), ("softplus", F.softplus), ("exp", torch.exp)],
)
def test_the_activation_starts_where_the_target_is_zero(
    made, monkeypatch, start, activation, function
):
    seen = []
    plain = TargetHead.forward

    def forward(self, x, *more):
        found = plain(self, x, *more)
        seen.append((found, function(x @ self.weight.T + self.bias)))
        return found

    monkeypatch.setattr(TargetHead, "forward", forward)
    training = training_of(start(output_activation=activation))
    known = made.metadata.loc[training, "value"]
    zero = -known.min() / (known.max() - known.min())
    for found, above in seen:
        torch.testing.assert_close(found, zero + above)


# --- covariates ---


@pytest.mark.behaviour(
    "target_layers",
    "target_layer_norm",
    "categorical_columns",
    "categorical_embed_dim",
    "categorical_fusion",
    "perceiver_num_latents",
    "perceiver_num_layers",
    "conditional_output_scaling",
)
def test_sizes_of_the_head(start):
    options = {
        "target_layers": 3,
        "target_layer_norm": False,
        "categorical_columns": "site,kind",
        "categorical_embed_dim": 5,
        "categorical_fusion": "perceiver",
        "perceiver_num_latents": 6,
        "perceiver_num_layers": 3,
        "conditional_output_scaling": "kind",
        "cross_attn_heads": 2,
    }
    found = shapes(start(**options))
    assert layers(found, "target") == 3
    assert layers(found, "fusion.refine") == 3
    assert found["fusion.latents_ND"] == (6, 16)
    # three sites, two kinds, and for each the unknown
    sizes = [found[f"fusion.embeddings.{column}.weight"] for column in (0, 1)]
    assert sizes == [(4, 5), (3, 5)]
    assert found["scaling.embeddings.0.weight"] == (3, 2)
    assert "scaling.embeddings.1.weight" not in found
    assert "norm.weight" not in found
    plain = shapes(start(name="plain"))
    assert plain["norm.weight"] == (16,)
    assert not any(name.startswith(("fusion", "scaling")) for name in plain)


@pytest.mark.behaviour("cross_attn_heads")
@pytest.mark.parametrize("fusion", ["cross-attention", "perceiver"])
def test_heads_of_the_covariates(monkeypatch, start, fusion):
    heads = []
    plain = CrossAttention.split

    def split(self, x, memory):
        parts = plain(self, x, memory)
        heads.extend(part.shape[1] for part in parts)
        return parts

    monkeypatch.setattr(CrossAttention, "split", split)
    options = {"categorical_columns": "site", "categorical_fusion": fusion}
    start(**options, cross_attn_heads=4)
    assert set(heads) == {4}


@pytest.mark.behaviour("categorical_loss_weights", "categorical_loss_weight_column")
def test_weights_follow_the_named_column(made, monkeypatch, start):
    used = {}
    plain = train_session.weighted_target_loss

    def loss(config, predicted, true, weights, *more):
        used.update(zip(true[:, 0].tolist(), weights, strict=True))
        return plain(config, predicted, true, weights, *more)

    monkeypatch.setattr(train_session, "weighted_target_loss", loss)
    options = {"categorical_columns": "site,kind", "target_transform": "none"}
    options |= {"categorical_loss_weight_column": "kind"}
    path = start(**options, categorical_loss_weights="high=3")
    training = model_folder.read_config(path)["split"]["training"]
    weight = made.metadata["kind"].map({"high": 3.0, "low": 1.0})
    weight /= weight[training].mean()
    assert len(used) == 32
    for value, expected in zip(made.metadata["value"], weight, strict=True):
        assert used[np.float32(value)] == pytest.approx(expected, rel=1e-5)
