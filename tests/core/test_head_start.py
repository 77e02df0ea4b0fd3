"""The start of a head, against scikit-learn on what the head reads."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from aam_core import checkpoint, head_start
from aam_core.config import PretrainConfig, TrainConfig
from aam_core.head import TargetHead
from aam_core.head_start import PENALTIES, fit_last_layer, set_first_guess
from aam_core.labels import fit_labels
from aam_core.model import Encoder
from aam_core.predictor import HeadShape, SequencePredictor
from aam_core.pretrain import pretrain
from aam_core.train import train
from aam_core.train_session import head_shape
from tests import generate
from tests.core.test_model import ARCH, batch_of, study  # noqa: F401 (fixture)
from tests.core.test_runs import QUIET, SMALL, config_of, shared

WIDTH = 5
TRAINING, VALIDATION = np.arange(40), np.arange(40, 60)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(60, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def metadata(x):
    """Two numbers and classes of two kinds, all of which depend on `x`."""
    noise = np.random.default_rng(1).normal(size=(60, 3))
    first = 20 + 5 * x[:, 0] - 3 * x[:, 1] + noise[:, 0]
    return pd.DataFrame(
        {
            "first": first,
            "second": 100 * x[:, 2] + 10 * noise[:, 1],
            "kind": np.where(x[:, 3] + noise[:, 2] / 2 > 0, "b", "a"),
            "third": np.array(["p", "q", "r"])[np.argmax(x[:, :3] + noise, axis=1)],
        },
        index=[f"s{i}" for i in range(60)],
    )


def start(x, metadata, columns, rows=TRAINING, loss=None, **options):
    """A head that was fitted, its labels, and what was told."""
    config = TrainConfig(metadata_column=columns, **options)
    labels = fit_labels(config, metadata, metadata[list(columns)], TRAINING, print)
    torch.manual_seed(0)
    head = TargetHead(WIDTH, head_shape(config, labels)).eval()
    set_first_guess(head, labels, TRAINING)
    read = torch.from_numpy(x)

    def of_validation():
        raw = head(read[VALIDATION])
        true = torch.from_numpy(labels.values[VALIDATION])
        if config.task == "classification":
            return float(nn.functional.cross_entropy(raw, true))
        raw = raw[..., raw.shape[-1] // 2] if raw.dim() == 3 else raw
        return float((raw - true).square().mean())

    line = fit_last_layer(head, labels, rows, read[rows], loss or of_validation)
    return head, labels, line


def test_the_ridge_that_suits_the_validation_samples(x, metadata):
    columns = ("first", "second")
    head, labels, line = start(x, metadata, columns)
    seen, scaled = x[TRAINING], labels.values[TRAINING]
    penalties = PENALTIES * seen.var(axis=0).mean()
    fits = [Ridge(alpha=a).fit(seen, scaled) for a in penalties]
    true = labels.values[VALIDATION]
    errors = [((fit.predict(x[VALIDATION]) - true) ** 2).mean() for fit in fits]
    best = fits[np.argmin(errors)]
    assert 0 < np.argmin(errors) < len(PENALTIES) - 1
    np.testing.assert_allclose(
        numbers(head(torch.from_numpy(x))), best.predict(x), atol=1e-5
    )
    assert "linear prediction" in line
    assert f"{min(errors):.4g}" in line


def numbers(tensor):
    return tensor.detach().numpy()


@pytest.mark.parametrize("column", ["kind", "third"])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_logistic_regression_of_two_classes_or_three(x, metadata, column, weights):
    options = {"task": "classification", "class_weights": weights}
    head, labels, _ = start(x, metadata, (column,), **options)
    classes = metadata[column].to_numpy()
    names = labels.decoder.classes.labels
    weights = dict.fromkeys(names, 1.0)
    if labels.class_weights is not None:
        weights = dict(zip(names, labels.class_weights.astype(float), strict=True))
    found = []
    for penalty in PENALTIES * x[TRAINING].var(axis=0).mean():
        fit = LogisticRegression(C=1 / penalty, class_weight=weights, max_iter=1000)
        fit.fit(x[TRAINING], classes[TRAINING])
        p = fit.predict_proba(x)
        true = p[np.arange(60), labels.values][VALIDATION]
        found.append((-np.log(true).mean(), p))
    _, expected = min(found, key=lambda pair: pair[0])
    got = numbers(head(torch.from_numpy(x)).softmax(-1))
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_quantiles_are_those_of_what_the_ridge_leaves(x, metadata):
    levels = (0.1, 0.5, 0.9)
    options = {"loss_type": "quantile", "quantiles": levels}
    head, labels, _ = start(x, metadata, ("first",), **options)
    raw = numbers(head(torch.from_numpy(x)))[:, 0]
    assert (np.diff(raw, axis=1) > 0).all()
    below = labels.values[TRAINING] <= raw[TRAINING] + 1e-6
    assert below.mean(axis=0) == pytest.approx(levels, abs=0.03)
    np.testing.assert_allclose(np.ptp(np.diff(raw, axis=1), axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"bounded_targets": True}, 0.35),
        ({"output_activation": "softplus"}, 0.35),
        ({"output_activation": "exp", "learnable_output_scale": True}, 0.35),
        ({"regressor_hidden_dims": (8,), "residual_regression_head": True}, 0.35),
        ({"regressor_hidden_dims": (16, 12)}, 0.8),  # of hidden units that are random
    ],
)
def test_heads_of_other_shapes_start_better_than_the_mean(x, metadata, options, most):
    head, labels, line = start(x, metadata, ("first",), **options)
    raw = numbers(head(torch.from_numpy(x)))[VALIDATION]
    true = labels.values[VALIDATION]
    assert ((raw - true) ** 2).mean() / true.var() < most
    assert "linear prediction" in line


@pytest.mark.parametrize(
    ("column", "task"), [("second", "regression"), ("third", "classification")]
)
def test_samples_count_as_in_the_loss(x, metadata, monkeypatch, column, task):
    """Weights of 2 are as if the samples were there twice; next to no penalty."""
    monkeypatch.setattr(head_start, "PENALTIES", np.array([1e-3]))
    sites = metadata.assign(site=["north", "south"] * 30)
    options = {"task": task, "categorical_columns": ("site",)}
    twice = np.sort(np.r_[TRAINING, TRAINING[1::2]])
    found = [
        numbers(start(x, sites, (column,), rows=rows, **options | more)[0].weight)
        for rows, more in (
            (TRAINING, {"categorical_loss_weights": "south=2"}),
            (twice, {}),
            (TRAINING, {}),
        )
    ]
    weighted, repeated, plain = found
    assert np.abs(weighted - repeated).max() < 0.01 * np.abs(weighted - plain).max()


def test_a_constant_stays_where_nothing_is_better(x, metadata):
    losses = iter(range(100))
    head, labels, line = start(x, metadata, ("first",), loss=lambda: next(losses))
    assert "constant prediction" in line
    raw = numbers(head(torch.from_numpy(x)))
    np.testing.assert_allclose(raw, np.median(labels.values[TRAINING]), atol=0.1)


def test_a_class_without_a_sample_is_not_ruled_out(x, metadata):
    """By the samples that the layer is fitted to, where these are not all."""
    rows = TRAINING[metadata["third"].to_numpy()[TRAINING] != "r"]
    options = {"task": "classification"}
    _, _, line = start(x, metadata, ("third",), rows=rows, **options)
    assert "constant prediction" in line


def test_the_new_layers_pool_as_the_encoder(study):  # noqa: F811
    torch.manual_seed(0)
    encoder = Encoder(ARCH)
    model = SequencePredictor(encoder, HeadShape(outputs=1), freeze_base=True).eval()
    model.start_as_encoder()
    batch = batch_of(study, range(8))
    with torch.no_grad():
        out = encoder(batch)
        torch.testing.assert_close(model.pooled(out, batch), out["sample"])


@pytest.mark.parametrize("frozen", [True, False])
def test_training_starts_from_the_linear_prediction(tmp_path, frozen):
    """A run whose learning rate changes nothing, against a ridge on what it read."""
    made = generate.study(samples=40)
    options = SMALL | {"epochs": 3}
    pretrain(
        PretrainConfig(**options),
        tmp_path / "e",
        **shared(made),
        phylogeny=made.phylogeny,
        **QUIET,
    )
    read, lines = {}, []
    plain = SequencePredictor.read

    def kept(model, out, batch):
        found = plain(model, out, batch)
        if not model.training:
            read.update(zip(batch.rows.tolist(), found.numpy(force=True), strict=True))
        return found

    config = config_of(freeze_base=frozen, lr=1e-12, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequencePredictor, "read", kept)
        found = train(
            config,
            tmp_path / "m",
            **shared(made),
            metadata=made.metadata,
            encoder=tmp_path / "e",
            report=lines.append,
        )
    assert any(line.startswith("The head starts from a linear") for line in lines)
    split = checkpoint.read_config(tmp_path / "m")["split"]
    ids = list(made.table.sample_ids)  # all of them are in the study, in this order
    x = {ids[row]: values for row, values in read.items()}
    parts = [
        (np.stack([x[i] for i in names]), made.metadata.loc[names, "value"].to_numpy())
        for names in (split["training"], split["validation"])
    ]
    low, high = parts[0][1].min(), parts[0][1].max()
    (seen, y), (unseen, true) = [(x, (y - low) / (high - low)) for x, y in parts]
    penalties = PENALTIES * seen.var(axis=0).mean()
    fits = [Ridge(alpha=a).fit(seen, y).predict(unseen) for a in penalties]
    expected = min(fits, key=lambda fit: huber(fit - true)) * (high - low) + low
    got = found.loc[split["validation"]].iloc[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def huber(error):
    """The default loss, of errors below 1."""
    return (error**2 / 2).mean()
