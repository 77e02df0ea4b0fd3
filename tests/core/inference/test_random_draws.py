"""Averages over random draws of ASVs."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import InputOptions, PredictConfig
from aam_core.data.study import prepare_study
from aam_core.data.target_decoder import Decoder
from aam_core.data.target_scaling import TargetScaler
from aam_core.errors import InputError
from aam_core.inference.random_draws import all_passes, average, number_of_passes
from aam_core.nn.head import TargetHead
from aam_core.training.train_session import TrainSession
from tests.reports import QUIET
from tests.runs import config_of, shared, turned

LIMIT = 20  #: some samples have more ASVs, some have not
RANDOM = {"asv_sampling": "random", "token_limit": LIMIT, "epochs": 1, "lr": 1e-4}


def trained(made, path, task="regression", **options):
    """A model that responds strongly to what it reads, by larger initial weights."""
    plain = TargetHead.start_at

    def strong(head, *guess):
        plain(head, *guess)
        head.weight.data *= 100

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TargetHead, "start_at", strong)
        config = config_of(task, **RANDOM, **options)
        return train(
            config, path, **shared(made), metadata=made.metadata, **QUIET
        ).predictions


@pytest.fixture(scope="module")
def model(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("passes") / "m"
    trained(made, path)
    return path


@pytest.fixture(scope="module")
def classifier(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("passes") / "m"
    trained(made, path, "classification")
    return path


def details(made, model, passes, **options):
    config = PredictConfig(prediction_passes=passes, **options)
    return predict(config, model, **shared(made), **QUIET).details


def test_mean_by_hand():
    first, second = torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 8.0]])
    got = average(torch.stack([first, second]), "regression")
    assert got.tolist() == [[2.0, 6.0]]
    logits = torch.randn(4, 5, 3)
    got = softmax(average(logits, "classification").numpy(), axis=-1)
    np.testing.assert_allclose(got, softmax(logits.numpy(), -1).mean(0), rtol=1e-5)


def test_only_large_samples_are_read_again():
    asked = []

    def run(above, draw):
        asked.append((above.tolist(), draw))
        return torch.full((len(above), 1), 10.0 * draw)

    first = torch.tensor([[1.0], [2.0], [3.0]])
    got = all_passes(first, np.array([0, 2]), 3, run)[..., 0]
    assert got.tolist() == [[1, 2, 3], [10, 2, 10], [20, 2, 20]]
    assert asked == [([0, 2], 1), ([0, 2], 2)]


def test_spread_by_hand():
    scaler = TargetScaler.fit(np.array([[10.0], [30.0]]), ["age"], "minmax")
    decoder = Decoder("regression", ("age",), scaler=scaler)
    raw = np.array([[[0.0]], [[0.5]], [[1.0]]])  # 10, 20 and 30 years
    assert decoder.spread(raw, ["x"], None).loc["x"].to_dict() == {"age_sd": 10.0}


def rich(made):
    """Which samples have more ASVs than are read."""
    options = InputOptions(rarefy_depth=300)
    study = prepare_study(
        made.table, made.sequences, options, max_bp=60, seed=42, **QUIET
    )
    richness = np.diff(study.table.counts.indptr)
    return dict(zip(study.table.sample_ids, richness > LIMIT, strict=True))


@pytest.mark.behaviour("prediction_passes", "output_variance")
def test_passes_average_large_samples_and_leave_the_others(made, model):
    single = details(made, model, 1)["value_predicted"]
    many = details(made, model, 8, output_variance=True)
    large = np.array([rich(made)[i] for i in single.index])
    assert large.any()
    assert not large.all()
    close = np.isclose(many["value_predicted"], single, rtol=1e-5)
    assert close[~large].all()
    assert not close[large].any()
    assert (many["value_sd"][large] > 1e-6).all()
    assert (many["value_sd"][~large] < 1e-12).all()


@pytest.mark.behaviour("prediction_passes")
def test_more_passes_come_nearer_to_the_expectation(made, model):
    expected = details(made, model, 100)["value_predicted"]
    errors = [
        (details(made, model, n)["value_predicted"] - expected).abs().mean()
        for n in (1, 25)
    ]
    assert errors[1] < errors[0] / 2  # a fifth is expected


def test_passes_do_not_depend_on_order_or_company(made, model):
    first = details(made, model, 3, output_variance=True)
    assert first.equals(details(made, model, 3, output_variance=True))
    table = turned(made.table)
    other = details(dataclasses.replace(made, table=table), model, 3, batch_size=5)
    np.testing.assert_allclose(
        other.loc[first.index, "value_predicted"], first["value_predicted"], rtol=1e-5
    )
    few = dataclasses.replace(made, table=made.table.take_samples([3, 7, 9]))
    alone = details(few, model, 3)["value_predicted"]
    np.testing.assert_allclose(
        alone, first.loc[alone.index, "value_predicted"], rtol=1e-5
    )


def test_probabilities_are_means_with_their_spread(made, classifier):
    found = details(made, classifier, 4, output_variance=True)
    assert list(found.columns) == ["high", "low", "high_sd", "low_sd"]
    np.testing.assert_allclose(found["high"] + found["low"], 1, rtol=1e-5)
    # two probabilities that sum to 1 spread alike
    np.testing.assert_allclose(found["high_sd"], found["low_sd"], rtol=1e-4)
    large = np.array([rich(made)[i] for i in found.index])
    assert (found["high_sd"][large] > 0).all()


@pytest.mark.behaviour("val_prediction_passes")
def test_validation_passes_are_those_of_prediction(made, tmp_path, monkeypatch):
    raw = []
    plain = TrainSession._outputs
    monkeypatch.setattr(
        TrainSession,
        "_outputs",
        lambda self, rows: raw.append(plain(self, rows)) or raw[-1],
    )
    held_out = trained(made, tmp_path / "m", val_prediction_passes=3)
    first, mean = raw[-1]
    once = first["target"]
    assert (once != mean).any()
    # the model's own number of passes is the default of predict
    for passes in (3, None):
        again = details(made, tmp_path / "m", passes)["value_predicted"]
        np.testing.assert_allclose(again[held_out.index], held_out["value"], rtol=1e-4)
    single = details(made, tmp_path / "m", 1)["value_predicted"]
    assert not np.allclose(single[held_out.index], held_out["value"], rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "trained", "match"),
    [
        ({"prediction_passes": 2}, {"asv_sampling": "abundance"}, "train with asv_sam"),
        ({"output_variance": True}, {"asv_sampling": "abundance"}, "at least two"),
        ({"output_variance": True}, {"asv_sampling": "random"}, "at least two"),
    ],
)
def test_passes_without_effect_are_refused(options, trained, match):
    with pytest.raises(InputError, match=match):
        number_of_passes(PredictConfig(**options), trained)
