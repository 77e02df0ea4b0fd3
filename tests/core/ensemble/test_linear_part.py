"""The linear model that is mixed into a network's predictions."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import PredictConfig, TrainConfig
from aam_core.data.batches import BatchMaker
from aam_core.ensemble import linear_fit, mixing
from aam_core.ensemble.linear_fit import fit
from aam_core.io import model_folder
from aam_core.nn import linear_part
from aam_core.nn.head import HeadShape
from aam_core.nn.linear_part import LinearPart
from aam_core.reporting import silent
from tests import generate

CPU = torch.device("cpu")


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# --- the fit ---


@pytest.fixture(params=["fewer samples than inputs", "more"])
def numbers(request):
    drawn = np.random.default_rng(0)
    inputs = drawn.normal(size=(40, 60 if request.param != "more" else 12))
    inputs = inputs * drawn.uniform(0.1, 10, inputs.shape[1]) + 3
    signal = inputs[:, :3] @ [0.1, -0.2, 0.3] / inputs[:, :3].std()
    groups = np.repeat([f"g{i}" for i in range(10)], 4)
    return inputs, signal + 0.3 * drawn.normal(size=40), groups


def test_numbers_are_those_of_a_ridge_with_the_best_strength(numbers):
    """By scikit-learn, with the same folds of whole groups."""
    inputs, signal, groups = numbers
    values = np.stack([signal, -2 * signal + 1], axis=1)
    found = fit(inputs, values, groups)
    size = inputs.shape[1]

    def model(strength):
        return make_pipeline(StandardScaler(), Ridge(strength * size))

    close(
        inputs @ found.weights_KO + found.bias_O,
        model(found.strength).fit(inputs, values).predict(inputs),
        1e-7,
    )
    z = StandardScaler().fit_transform(inputs)
    errors = [
        -cross_val_score(
            Ridge(p * size),
            z,
            values,
            groups=groups,
            cv=GroupKFold(5),
            scoring="neg_mean_squared_error",
        ).mean()
        for p in linear_fit.STRENGTHS
    ]
    assert found.strength == linear_fit.STRENGTHS[np.argmin(errors)]


@pytest.mark.parametrize("number", [2, 3])
def test_classes_are_those_of_a_logistic_regression(numbers, number):
    inputs, signal, groups = numbers
    codes = np.digitize(signal, np.quantile(signal, np.arange(1, number) / number))
    weights = np.where(codes == 0, 2.0, 1.0)
    found = fit(inputs, codes, groups, weights, classes=number)
    model = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=1 / found.strength / inputs.shape[1], max_iter=5000),
    ).fit(inputs, codes, logisticregression__sample_weight=weights)
    probabilities = softmax(inputs @ found.weights_KO + found.bias_O, axis=1)
    assert probabilities.std() > 0.05
    # the fit stops early (tol), in some versions of scikit-learn earlier than in others
    close(probabilities, model.predict_proba(inputs), 1.5e-2)


def test_a_constant_input_and_a_rare_class_are_no_obstacle():
    drawn = np.random.default_rng(0)
    inputs = np.hstack([drawn.normal(size=(30, 4)), np.full((30, 1), 7.0)])
    codes = (inputs[:, 0] > 0).astype(int)
    codes[3] = 2  # not in each fold
    found = fit(inputs, codes, classes=4)  # the last in none
    assert np.isfinite(found.weights_KO).all()
    assert (found.weights_KO[4] == 0).all()
    right = (inputs @ found.weights_KO + found.bias_O).argmax(1) == codes
    assert right.mean() > 0.9
    alone = fit(inputs[:1], np.zeros((1, 1)))
    assert (alone.weights_KO == 0).all()


def test_weights_of_samples_count():
    inputs, values = np.random.default_rng(0).normal(size=(2, 20, 1))
    weights = np.ones(20)
    weights[:5] = 3.0
    found = fit(inputs, values, None, weights)
    z, scale = inputs - inputs.mean(), inputs.std()
    model = Ridge(found.strength).fit(z / scale, values, weights)
    expected = model.predict(z / scale).reshape(values.shape)  # scikit-learn 1.9: (n,)
    close(inputs @ found.weights_KO + found.bias_O, expected, 1e-7)


@pytest.mark.parametrize("classes", [0, 2])
def test_samples_without_weight_are_as_if_they_were_not_there(classes):
    drawn = np.random.default_rng(0)
    inputs, values = drawn.normal(size=(30, 5)), drawn.normal(size=(30, 1))
    values = (values[:, 0] > 0).astype(int) if classes else values
    groups = np.repeat(np.arange(10), 3)
    weights = np.where(groups < 4, 0.0, 1.0)
    found = fit(inputs, values, groups, weights, classes)
    alone = fit(inputs[12:], values[12:], groups[12:], None, classes)
    close(found.weights_KO, alone.weights_KO, 1e-12)
    assert found.strength == alone.strength


def test_a_score_that_is_no_number_is_never_the_best():
    assert mixing.lowest([np.nan, 0.3, 0.2, np.nan]) == 2
    assert mixing.lowest([np.nan, np.nan]) == 0
    assert mixing.lowest([0.1, 0.1]) == 0


# --- the model ---


def batch_of(study, rows, tokens=True):
    maker = BatchMaker(
        study,
        token_limit=100,
        asv_sampling="abundance",
        tokens=tokens,
        categories_NK=np.tile([[1, 0], [2, 1]], (5, 1)),
    )
    return maker[0, rows]


@pytest.fixture
def part():
    torch.manual_seed(0)
    shape = HeadShape(outputs=2, cardinalities=(3, 2), linear=16)
    part = LinearPart(5, shape, weighted=True)
    part.draw(torch.randn(50, 5), seed=0)
    for name in ("weight_KO", "category_CO", "bias_O"):
        getattr(part, name).normal_()
    return part


@pytest.mark.parametrize("weighted", [True, False])
def test_each_asv_adds_by_the_log_of_its_abundance(study, part, weighted):
    """By hand, in float64."""
    part.weighted = weighted
    embedded = torch.randn(study.table.shape[1], 5)
    for tokens in (True, False):
        batch = batch_of(study, range(10), tokens)
        assert batch.ragged
        found = part(batch, part.contributions(embedded[batch.features]))
        counts = study.table.counts.toarray() / 300
        level = np.log10(1 + 10_000 * counts) if weighted else (counts > 0) * 1.0
        argument = embedded.double() @ part.frequency_DK.double() + part.phase_K
        expected = level @ (argument.cos() @ part.weight_KO.double()).numpy()
        places = np.tile([[1, 3], [2, 4]], (5, 1))
        expected += part.category_CO.double().numpy()[places].sum(1)
        close(found, expected + part.bias_O.double().numpy(), 1e-4)


def test_features_are_a_kernel_of_the_standardised_embeddings():
    """Their products tend to the mean of Gaussian kernels (Rahimi & Recht)."""
    torch.manual_seed(0)
    embedded = torch.randn(30, 4) * torch.tensor([1.0, 5, 0.1, 2]) + 7
    part = LinearPart(4, HeadShape(outputs=1, linear=40_000), weighted=True)
    part.draw(embedded, seed=0)
    found = 2 * (part.features(embedded) @ part.features(embedded).T) / 40_000
    z = (embedded - embedded.mean(0)) / embedded.std(0, unbiased=False)
    square = torch.cdist(z, z).square() / 4
    widths = linear_part.BANDWIDTHS
    expected = sum((-square / (2 * b**2)).exp() for b in widths) / len(widths)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


def test_an_unknown_category_is_the_mean(part):
    categories = np.array([[1, 1], [2, 1], [2, 1], [2, 0]])
    inputs = part.indicators(categories)
    assert inputs.tolist() == [
        [0, 1, 0, 0, 1],
        [0, 0, 1, 0, 1],
        [0, 0, 1, 0, 1],
        [0, 0, 1, 0, 0],
    ]
    weights = np.random.default_rng(0).normal(size=(21, 2))
    part.take(linear_part.Fitted(weights, np.zeros(2), 1.0), inputs.mean(axis=0))
    close(part.category_CO[[1, 2, 4]], weights[[17, 18, 20]])
    close(part.category_CO[0], 0.25 * weights[17] + 0.75 * weights[18])
    close(part.category_CO[3], 0.75 * weights[20])
    close(part.weight_KO, weights[:16])


def test_how_predictions_are_mixed():
    torch.manual_seed(0)
    target, other = torch.randn(2, 6, 3)
    part = LinearPart(4, HeadShape(outputs=3, linear=2), weighted=True)
    for share in (0.0, 0.3, 1.0):
        part.mixing_weight.fill_(share)
        close(part.mixed(target, other), (1 - share) * target + share * other)
        part.shape = HeadShape(outputs=3, linear=2, classes=True)
        found = part.mixed(target, other).softmax(-1)
        close(found, (1 - share) * target.softmax(-1) + share * other.softmax(-1))
        part.shape = HeadShape(outputs=3, linear=2, quantiles=4, median=1)
        quantiles = torch.randn(6, 3, 4).sort(dim=-1).values
        found = part.mixed(quantiles, other)
        close(found.diff(dim=-1), quantiles.diff(dim=-1), 1e-4)
        close(found[..., 1], (1 - share) * quantiles[..., 1] + share * other)
        part.shape = HeadShape(outputs=3, linear=2)


# --- training and prediction ---

FAST = generate.SIZES | {"epochs": 2, "rarefy_depth": 300, "device": "cpu"}
RUNS = {
    "plain": {},
    "groups": {"group_column": "subject"},
    "quantiles": {"loss_type": "quantile", "quantiles": (0.25, 0.5, 0.75, 0.9)},
    "bounded": {"bounded_targets": True},
    "relu": {"output_activation": "relu"},
    "classes": {
        "task": "classification",
        "metadata_column": ("kind",),
        "class_weights": "balanced",
    },
    "covariates": {
        "categorical_columns": ("site",),
        "categorical_loss_weights": "auto",
        "categorical_loss_weight_column": "site",
    },
    "draws": {"asv_sampling": "random", "token_limit": 8},
    "presence": {"count_embedding": False},
}


def run(made, folder, **options):
    config = TrainConfig(**FAST | {"metadata_column": ("value",)} | options)
    lines = []
    validated = train(
        config,
        folder,
        table=made.table,
        sequences=made.sequences,
        metadata=made.metadata,
        report=lines.append,
    )
    return validated, model_folder.read_config(folder), lines


@pytest.fixture(scope="module")
def forty():
    return generate.study(samples=40)


@pytest.mark.behaviour("linear_part")
@pytest.mark.parametrize("name", RUNS)
def test_a_share_of_the_linear_model_is_predicted_with(forty, tmp_path, name):
    """An untrained network is no match for it; prediction does what validation did."""
    options = RUNS[name] | {"lr": 1e-5}
    validated, config, lines = run(forty, tmp_path / "with", **options)
    _, without, _ = run(forty, tmp_path / "without", linear_part=False, **options)
    told = [line for line in lines if "linear model of the community" in line]
    assert len(told) == 1
    assert config["head"]["linear"] == 4096
    assert without["head"]["linear"] == 0
    least = 0.97 if name == "classes" else 0.9
    assert config["scores"]["val_loss"] < least * without["scores"]["val_loss"]
    ids = config["split"]["validation"]
    rows = np.flatnonzero(np.isin(forty.table.sample_ids, ids))
    again = predict(
        PredictConfig(device="cpu"),
        tmp_path / "with",
        table=forty.table.take_samples(rows),
        sequences=forty.sequences,
        metadata=forty.metadata,
        report=silent,
    ).predictions
    if name == "classes":
        assert (again.loc[ids] == validated.loc[ids]).all(axis=None)
    else:
        close(again.loc[ids], validated.loc[ids], 1e-4)
    if name == "bounded":
        known = forty.metadata.loc[config["split"]["training"], "value"]
        assert again.to_numpy().min() >= known.min() - 1e-6
        assert again.to_numpy().max() <= known.max() + 1e-6


def test_nothing_but_training_samples_is_fitted(forty, tmp_path):
    """Other values of the validation samples change the share, and nothing else."""
    folders = [tmp_path / "one", tmp_path / "two"]
    _, config, _ = run(forty, folders[0])
    metadata = forty.metadata.copy()
    metadata.loc[config["split"]["validation"], "value"] *= -0.7
    run(dataclasses.replace(forty, metadata=metadata), folders[1])
    one, two = (load_file(folder / model_folder.WEIGHTS) for folder in folders)
    names = [n for n in one if n.startswith("linear.") and n != "linear.mixing_weight"]
    assert len(names) == 5
    for name in names:
        assert torch.equal(one[name], two[name]), name


def test_a_linear_model_that_does_not_help_is_left_out(forty, tmp_path, monkeypatch):
    plain = mixing.fit

    def wrong(inputs_NK, values, *more):
        return plain(inputs_NK, 5 - 9 * values, *more)

    monkeypatch.setattr(mixing, "fit", wrong)
    _, config, lines = run(forty, tmp_path / "with")
    _, _, _ = run(forty, tmp_path / "without", linear_part=False)
    assert any("is left out" in line for line in lines)
    assert config["head"]["linear"] == 0
    names = [tmp_path / run / model_folder.WEIGHTS for run in ("with", "without")]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_large_studies_are_fitted_on_some_samples():
    rows = np.arange(100, 100 + linear_fit.MOST + 50)
    chosen = linear_fit.fit_rows(rows, 0)
    assert len(np.unique(chosen)) == linear_fit.MOST
    assert np.isin(chosen, rows).all()
    assert linear_fit.fit_rows(rows[:7], 0).tolist() == rows[:7].tolist()


def test_a_fit_that_takes_long_is_told(forty, tmp_path, monkeypatch):
    told = "may take minutes"
    assert not any(told in line for line in run(forty, tmp_path / "one")[2])
    monkeypatch.setattr(mixing, "MANY", 10)
    assert sum(told in line for line in run(forty, tmp_path / "two")[2]) == 1


def test_a_stopped_run_has_none_and_one_that_goes_on_has(forty, tmp_path):
    """There may be no time left for it."""
    inputs = {"table": forty.table, "sequences": forty.sequences}
    inputs |= {"metadata": forty.metadata}
    options = FAST | {"metadata_column": ("value",)}
    state, model, lines = tmp_path / "state", tmp_path / "model", []
    short = TrainConfig(**options, max_hours=1e-9)
    train(short, model, state=state, report=lines.append, **inputs)
    assert "linear_part is left out, since training was stopped." in lines
    assert model_folder.read_config(model)["head"]["linear"] == 0
    config = TrainConfig(**options)
    again = {"state": state, "resume_from": state, "report": lines.append}
    train(config, model, **again, **inputs)
    run(forty, tmp_path / "straight")
    names = [folder / model_folder.WEIGHTS for folder in (model, tmp_path / "straight")]
    assert model_folder.read_config(model)["head"]["linear"] == 4096
    assert names[0].read_bytes() == names[1].read_bytes()
