"""The last layers, by hand calculation, and their constraints end to end."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import erf, expit
from torch import nn

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import PredictConfig, TrainConfig
from aam_core.data.labels import fit_labels
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.nn.fusion import OutputScaling
from aam_core.nn.head import ACTIVATIONS, INVERSES, HeadShape, TargetHead
from aam_core.training.train_session import head_shape, set_first_guess
from tests.reports import QUIET
from tests.runs import config_of, shared

CONSTRAINTS = [
    {},
    {"bounded": True},
    *({"activation": name} for name in ACTIVATIONS),
]


def head_of(width=6, **shape):
    torch.manual_seed(1)
    head = TargetHead(width, HeadShape(**({"outputs": 2} | shape))).eval()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def numbers(parameter):
    return parameter.detach().numpy().astype(np.float64)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def hidden_by_hand(head, x):
    for layer in head.hidden:
        if isinstance(layer, nn.Linear):
            x = gelu(x @ numbers(layer.weight).T + numbers(layer.bias))
    return x


@pytest.fixture
def x():
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def close(got, expected):
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_linear_head_by_hand(x):
    head = head_of()
    close(head(x), x.numpy() @ numbers(head.weight).T + numbers(head.bias))
    assert set(head.state_dict()) == {"weight", "bias"}  # as models before had it


def test_hidden_layers_by_hand(x):
    head = head_of(hidden_dims=(7, 3))
    hidden = hidden_by_hand(head, x.numpy())
    assert hidden.shape == (5, 3)
    close(head(x), hidden @ numbers(head.weight).T + numbers(head.bias))


def test_residual_is_linear_plus_hidden(x):
    head = head_of(hidden_dims=(7, 3), residual=True)
    linear = x.numpy() @ numbers(head.weight).T + numbers(head.bias)
    more = hidden_by_hand(head, x.numpy()) @ numbers(head.correction.weight).T
    close(head(x), linear + more)


def test_dropout_is_on_in_training_only(x):
    head = head_of(hidden_dims=(50,), hidden_dropout=0.5)
    assert torch.equal(head(x), head(x))
    head.train()
    assert not torch.equal(head(x), head(x))
    always = head_of(hidden_dims=(50,)).train()
    assert torch.equal(always(x), always(x))


def test_learned_scale_by_hand(x):
    head = head_of(output_scale=True)
    deviation = x.numpy() @ numbers(head.weight).T * numbers(head.scale)
    close(head(x), deviation + numbers(head.bias))
    head(x).sum().backward()
    assert (head.scale.grad != 0).all()
    assert (TargetHead(6, HeadShape(outputs=2, output_scale=True)).scale == 1).all()


@pytest.mark.parametrize(
    ("constraint", "function"),
    [
        ({"bounded": True}, expit),
        ({"activation": "relu"}, lambda raw: np.maximum(raw, 0)),
        ({"activation": "softplus"}, lambda raw: np.log1p(np.exp(raw))),
        ({"activation": "exp"}, np.exp),
    ],
)
def test_constraints_by_hand(x, constraint, function):
    head = head_of(**constraint)
    zero = 0.0
    if "activation" in constraint:
        zero = np.array([-0.5, 2.0])
        head.zero_T.copy_(torch.from_numpy(zero))
    raw = x.numpy() @ numbers(head.weight).T + numbers(head.bias)
    close(head(x), zero + function(raw))


def test_exp_does_not_overflow():
    raw = torch.tensor([1.0, 1e4])
    assert torch.isfinite(ACTIVATIONS["exp"](raw).square()).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_inverses(name):
    value = torch.tensor([1e-3, 0.5, 2.0, 30.0, 500.0], dtype=torch.float64)
    if name == "exp":
        value = value[:3]
    back = ACTIVATIONS[name](INVERSES[name](value))
    torch.testing.assert_close(back, value)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("options", [{}, {"hidden_dims": (4,), "output_scale": True}])
@pytest.mark.parametrize("quantiles", [0, 3])
def test_untrained_head_predicts_what_it_is_told(x, constraint, options, quantiles):
    head = TargetHead(6, HeadShape(outputs=2, quantiles=quantiles, **constraint))
    nn.init.zeros_(head.weight)
    guess = torch.tensor([[0.2, 0.5, 0.7], [0.1, 0.3, 0.9]])
    guess = guess if quantiles else guess[:, 1:2]
    head.start_at(guess, torch.tensor([-1.0, 0.05]))
    expected = guess if quantiles else guess[:, 0]
    torch.testing.assert_close(head(x), expected.expand(5, *expected.shape))


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("size", [1, 100])
def test_constrained_quantiles_never_cross(constraint, size):
    head = head_of(quantiles=5, output_scale=True, **constraint)
    out = head(size * torch.randn(2000, 6))
    assert out.shape == (2000, 2, 5)
    assert (out.diff(dim=-1) >= 0).all()
    if constraint:
        assert out.min() >= 0
    if "bounded" in constraint:
        assert out.max() <= 1
    assert torch.isfinite(out).all()


def test_quantiles_do_not_cross_where_rounding_turns_them_around(monkeypatch):
    """As a constraint may be in the last bit, here by 0.2 up and down."""
    up_and_down = torch.tensor([0.2, -0.2, 0.2, -0.2, 0.2])
    monkeypatch.setitem(ACTIVATIONS, "softplus", lambda raw: raw.exp() + up_and_down)
    head = head_of(quantiles=5, activation="softplus")
    nn.init.zeros_(head.weight)
    rising = torch.tensor([[0.0, 0.1, 0.2, 0.3, 1.0], [1.0, 1.1, 1.2, 1.3, 1.4]])
    head.bias.data = torch.cat(
        [rising[:, :1], rising.diff(dim=-1).expm1().log()], dim=-1
    ).flatten()
    rounded = np.exp(rising.numpy()) + up_and_down.numpy()
    assert (np.diff(rounded) < 0).any()
    close(head(torch.zeros(1, 6))[0], np.maximum.accumulate(rounded, axis=-1))


# End to end


def details_of(made, metadata, path, **options):
    """Details of all samples by a model that is pushed towards low values."""
    config = config_of(metadata_column=tuple(metadata), epochs=2, **options)
    train(config, path, **shared(made), metadata=metadata, **QUIET)
    return push_down(made, path)


def push_down(made, path):
    from safetensors.torch import load_file, save_file

    weights = load_file(path / model_folder.WEIGHTS)
    for name in {"head.bias", "linear.bias_O"} & set(weights):
        weights[name] -= 1e4
    save_file(weights, path / model_folder.WEIGHTS)
    return predict(PredictConfig(), path, **shared(made), **QUIET).details


@pytest.mark.behaviour("output_activation")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "transform", ["none", "minmax", "zscore", "log-minmax", "log-zscore"]
)
def test_predictions_are_not_negative_in_original_units(
    made, tmp_path, activation, transform
):
    """Minmax or zscore of a non-negative value is not the value: 0 lies elsewhere."""
    value = made.metadata["value"]
    metadata = made.metadata[["value"]].assign(double=2 * value + 50)
    options = {"output_activation": activation, "target_transform": transform}
    if transform == "zscore":
        options |= {"loss_type": "quantile"}
    details = details_of(made, metadata, tmp_path / "m", **options)
    assert (details.to_numpy().min(axis=0) >= 0).all()
    # pushed to its limit, it predicts 0 and not the least training value
    np.testing.assert_allclose(details["value_predicted"], 0, atol=1e-4)
    np.testing.assert_allclose(details["double_predicted"], 0, atol=1e-3)


def test_without_activation_predictions_can_be_negative(made, tmp_path):
    details = details_of(made, made.metadata[["value"]], tmp_path / "m")
    assert (details["value_predicted"] < 0).all()


@pytest.mark.behaviour("bounded_targets")
@pytest.mark.parametrize("transform", ["minmax", "log-minmax"])
def test_bounded_predictions_stay_within_the_training_range(made, tmp_path, transform):
    metadata = made.metadata[["value"]] + 3
    options = {"bounded_targets": True, "target_transform": transform}
    details = details_of(made, metadata, tmp_path / "m", **options)
    split = model_folder.read_config(tmp_path / "m")["split"]
    least = metadata.loc[split["training"], "value"].min()
    np.testing.assert_allclose(details["value_predicted"], least, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "change", "match"),
    [
        ({"output_activation": "relu"}, -5.0, "'value' holds .* leave output_act"),
        (
            {"bounded_targets": True, "target_transform": "none"},
            0.0,
            "from 0 to 1, .* choose target_transform minmax, or leave bounded_targets",
        ),
    ],
)
def test_targets_that_could_never_be_predicted(made, tmp_path, options, change, match):
    metadata = made.metadata.assign(value=made.metadata["value"] + change)
    with pytest.raises(InputError, match=match):
        train(
            config_of(**options),
            tmp_path / "m",
            **shared(made),
            metadata=metadata,
            **QUIET,
        )
    assert not (tmp_path / "m").exists()


def test_every_option_reaches_the_model(made, tmp_path):
    config = config_of(
        target_layer_norm=False,
        regressor_hidden_dims=(8, 4),
        regressor_dropout=0.2,
        residual_regression_head=True,
        output_activation="softplus",
        learnable_output_scale=True,
        metadata_column=("value", "other"),
        loss_type="quantile",
        quantiles=(0.25, 0.5),
        epochs=2,
    )
    metadata = made.metadata.assign(other=made.metadata["value"][::-1].to_numpy())
    held_out = train(
        config, tmp_path / "m", **shared(made), metadata=metadata, **QUIET
    ).predictions
    saved = model_folder.read_config(tmp_path / "m")
    shapes = {n[5:]: s for n, s in saved["tensors"].items() if n.startswith("head.")}
    assert shapes == {
        "weight": [4, 16],
        "bias": [4],
        "hidden.0.weight": [8, 16],
        "hidden.0.bias": [8],
        "hidden.3.weight": [4, 8],
        "hidden.3.bias": [4],
        "correction.weight": [4, 4],
        "scale": [2],
        "zero_T": [2],
    }
    assert "norm.weight" not in saved["tensors"]
    assert saved["ensemble"]["network"][0]["head"]["hidden_dropout"] == 0.2
    again = predict(PredictConfig(), tmp_path / "m", **shared(made), **QUIET)
    np.testing.assert_allclose(
        again.predictions.loc[held_out.index], held_out, rtol=1e-4
    )
    assert {"value_quantile_0.25", "other_quantile_0.5"} <= set(again.details)


@pytest.mark.parametrize("transform", ["minmax", "zscore", "log-zscore"])
@pytest.mark.parametrize(
    "options",
    [
        {"output_activation": "relu"},
        {"output_activation": "exp", "regressor_hidden_dims": (8,)},
        {"loss_type": "quantile", "output_activation": "softplus"},
        {"bounded_targets": True, "regressor_hidden_dims": (8,)},
        {"bounded_targets": True, "loss_type": "quantile"},
    ],
)
def test_untrained_model_predicts_the_median(made, options, transform):
    if "bounded_targets" in options and "zscore" in transform:
        transform = "log-minmax"
    metadata = made.metadata.assign(double=2 * made.metadata["value"] + 50)
    config = TrainConfig(
        metadata_column=("value", "double"), target_transform=transform, **options
    )
    training = np.arange(25)
    target = metadata[["value", "double"]]
    labels = fit_labels(config, metadata, target, training, print)
    model = nn.Module()
    model.head = TargetHead(6, head_shape(config, labels))
    nn.init.zeros_(model.head.weight)
    set_first_guess(model, labels, training)
    raw = model.head(torch.randn(3, 6)).detach().numpy()
    # an odd number of samples, so that the median is one of them on every scale
    expected = np.tile(np.median(target.to_numpy()[training], axis=0), (3, 1))
    np.testing.assert_allclose(labels.decoder.point(raw, None), expected, rtol=1e-4)


def test_untrained_classifier_predicts_the_shares_of_the_classes():
    kinds = ["a"] * 15 + ["b"] * 5
    metadata = pd.DataFrame({"kind": kinds}, index=[str(i) for i in range(20)])
    config = TrainConfig(metadata_column=("kind",), task="classification")
    training = np.arange(20)
    labels = fit_labels(config, metadata, metadata[["kind"]], training, print)
    model = nn.Module()
    model.head = TargetHead(6, head_shape(config, labels))
    nn.init.zeros_(model.head.weight)
    set_first_guess(model, labels, training)
    close(model.head(torch.randn(2, 6)).softmax(-1), [[0.75, 0.25]] * 2)


def test_models_of_earlier_versions_load(made, tmp_path):
    config = config_of(pooled_features=0)
    train(config, tmp_path / "m", **shared(made), metadata=made.metadata, **QUIET)
    before = predict(PredictConfig(), tmp_path / "m", **shared(made), **QUIET)
    path = tmp_path / "m" / model_folder.CONFIG
    saved = json.loads(path.read_text())
    old = ("outputs", "quantiles", "target_layers", "cardinalities")
    old += ("categorical_embed_dim", "categorical_fusion")
    (network,) = saved.pop("ensemble")["network"]
    saved["head"] = {name: network["head"][name] for name in old}
    saved["schema"] = 1
    del saved["target"]["non_negative"]
    del saved["options"]["val_prediction_passes"]
    path.write_text(json.dumps(saved))
    after = predict(PredictConfig(), tmp_path / "m", **shared(made), **QUIET)
    assert before.details.equals(after.details)


def test_conditional_scaling_does_not_leave_the_bounds():
    """The scaling of categories acts before a constraint, not after it."""
    shape = HeadShape(outputs=1, bounded=True, cardinalities=(3,), scaled_by=(0,))
    head, scaling = TargetHead(8, shape), OutputScaling(1, shape)
    torch.nn.init.constant_(scaling.embeddings[0].weight, 3.0)
    categories = torch.ones(20, 1, dtype=torch.long)
    read = torch.randn(20, 8)
    plain = head(read)
    scaled = head(read, lambda raw: scaling(raw, categories))
    assert (scaled > plain).all()
    assert scaled.max() <= 1
