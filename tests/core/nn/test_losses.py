from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import mean_pinball_loss

from aam_core.config import PretrainConfig, TrainConfig
from aam_core.nn import losses


def test_pairwise_distances_against_scipy():
    points = torch.randn(7, 5, dtype=torch.float64)
    expected = 1 - np.exp(-squareform(pdist(points.numpy())))
    got = losses.pairwise_distances(points)
    np.testing.assert_allclose(got, expected, atol=2e-4)
    assert got.min() >= 0
    assert got.max() < 1


def test_pairwise_distances_of_equal_samples_have_a_finite_gradient():
    points = torch.zeros(3, 4, requires_grad=True)
    losses.pairwise_distances(points).sum().backward()
    assert torch.isfinite(points.grad).all()


def test_unifrac_loss_counts_each_pair_once():
    out = {"distance_embedding": torch.randn(4, 3)}
    true = torch.rand(4, 4)
    true = (true + true.T) / 2
    predicted = losses.pairwise_distances(out["distance_embedding"])
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    expected = np.mean([float(predicted[p] - true[p]) ** 2 for p in pairs])
    assert float(losses.unifrac_loss(out, true)) == pytest.approx(expected, rel=1e-5)


def test_faith_pd_is_learned_from_values():
    out = {"faith_pd": torch.tensor([1.0, 2.0])}
    assert float(losses.unifrac_loss(out, torch.tensor([1.0, 4.0]))) == 2.0


def test_nucleotide_loss_by_hand():
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    got = losses.nucleotide_loss(logits, torch.tensor([0, 3]))
    expected = (np.log(1 + 3 * np.exp(-2)) + np.log(4)) / 2
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_without_masked_nucleotides_the_loss_is_zero_and_has_a_gradient():
    """All processes of a distributed run need one, whatever their batches hold."""
    logits = torch.zeros(0, 4, requires_grad=True)
    got = losses.nucleotide_loss(logits, torch.zeros(0, dtype=torch.int64))
    assert float(got.detach()) == 0
    got.backward()
    assert logits.grad.shape == (0, 4)
    other = losses.nucleotide_loss(torch.ones(2, 4), torch.zeros(0, dtype=torch.int64))
    assert float(other) == 0


def batch_of(**parts):
    """What the losses read of a batch."""
    parts = {"distances": None, "masked_SA": None, "masked_truth_M": None} | parts
    return SimpleNamespace(**parts)


#: The logarithm that is learned: of 100 % it is 1, of 1 % it is 0.
ABUNDANCE = torch.tensor([[1.0, 0.01], [0.01, 0.0001]])
COUNTS = torch.tensor([[0.5, 2.0], [9.0, 1.0]])


@pytest.mark.parametrize(
    ("masked", "expected"),
    [
        ([[True, True], [False, True]], (0.5**2 + 2**2 + 2**2) / 3),
        ([[True, False], [False, False]], 0.25),
        ([[False, False], [False, False]], 0.0),
    ],
)
def test_count_loss_is_the_mean_over_masked_abundances(masked, expected):
    batch = batch_of(masked_SA=torch.tensor(masked), abundance_SA=ABUNDANCE)
    got = losses.count_loss({"counts": COUNTS}, batch)
    assert float(got) == pytest.approx(expected)


OUT = {
    "distance_embedding": torch.tensor([[0.0], [1.0]]),
    "nucleotides": torch.zeros(1, 4),
    "counts": COUNTS,
}
PARTS = {
    "unifrac_loss": {"distances": torch.zeros(2, 2)},
    "nuc_loss": {"masked_truth_M": torch.tensor([0])},
    "count_loss": {"masked_SA": ABUNDANCE > 0.5, "abundance_SA": ABUNDANCE},
}
WEIGHTS = {"unifrac_loss": "penalty", "nuc_loss": "nuc_penalty"}
WEIGHTS |= {"count_loss": "count_penalty"}


@pytest.mark.behaviour("penalty", "nuc_penalty", "count_penalty")
@pytest.mark.parametrize("name", PARTS)
def test_each_loss_needs_its_data_and_a_weight(name):
    every = {key: value for part in PARTS.values() for key, value in part.items()}
    options = PretrainConfig(count_prediction=True)
    expected = {
        "unifrac_loss": (1 - np.exp(-1)) ** 2,
        "nuc_loss": np.log(4),
        "count_loss": 0.25,
    }
    got = losses.self_supervised_losses(OUT, batch_of(**every), options)
    assert list(got) == list(expected)
    for loss, value in expected.items():
        assert float(got[loss]) == pytest.approx(value, rel=1e-3), loss
    without = {k: v for k, v in every.items() if k not in PARTS[name]}
    out = OUT | {"nucleotides": None} if name == "nuc_loss" else OUT
    others = set(expected) - {name}
    assert set(losses.self_supervised_losses(out, batch_of(**without), options)) == (
        others
    )
    off = PretrainConfig(count_prediction=True, **{WEIGHTS[name]: 0.0})
    assert set(losses.self_supervised_losses(OUT, batch_of(**every), off)) == others


def test_the_total_is_weighted():
    parts = dict.fromkeys(WEIGHTS, torch.tensor(1.0))
    weights = {"penalty": 2.0, "nuc_penalty": 3.0, "count_penalty": 5.0}
    options = PretrainConfig(count_prediction=True, **weights)
    assert float(losses.weighted_total(parts, options)) == 10
    for name, option in WEIGHTS.items():
        one = {name: torch.tensor(7.0)}
        assert float(losses.weighted_total(one, options)) == 7 * weights[option]
    options = TrainConfig(metadata_column=("x",), target_penalty=11.0, penalty=2.0)
    both = {"target_loss": torch.tensor(1.0), "unifrac_loss": torch.tensor(1.0)}
    assert float(losses.weighted_total(both, options)) == 13


def test_one_sample_has_no_pairs():
    out = {"distance_embedding": torch.randn(1, 3)}
    assert float(losses.unifrac_loss(out, torch.zeros(1, 1))) == 0


def test_pinball_loss_against_sklearn():
    generator = np.random.default_rng(0)
    true = generator.normal(size=(30, 1))
    predicted = np.sort(generator.normal(size=(30, 1, 3)), axis=-1)
    levels = (0.1, 0.5, 0.9)
    expected = np.mean(
        [
            mean_pinball_loss(true[:, 0], predicted[:, 0, q], alpha=level)
            for q, level in enumerate(levels)
        ]
    )
    got = losses.pinball_loss(
        torch.from_numpy(predicted), torch.from_numpy(true), torch.tensor(levels)
    )
    assert float(got) == pytest.approx(expected, rel=1e-6)


def test_asymmetric_loss_by_hand():
    predicted = torch.tensor([[3.0], [0.0]])
    true = torch.tensor([[1.0], [4.0]])
    assert (
        float(losses.asymmetric_loss(predicted, true, 2.0, 0.5))
        == (2 * 2 + 0.5 * 4) / 2
    )
    little = torch.tensor([[0.5]])  # too high is too high, by however little
    assert float(losses.asymmetric_loss(little, 0 * little, 2.0, 0.5)) == 1


@pytest.mark.behaviour("loss_type")
@pytest.mark.parametrize(
    ("name", "expected"), [("huber", 0.75), ("mse", 2.0), ("mae", 1.0)]
)
def test_target_losses_by_hand(name, expected):
    loss = losses.target_loss(TrainConfig(metadata_column=("x",), loss_type=name))
    got = loss(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]]))
    assert float(got) == pytest.approx(expected)


@pytest.mark.behaviour("loss_config", "loss_type")
def test_each_target_has_its_loss_by_hand():
    config = TrainConfig(
        metadata_column=("a", "b", "c"),
        loss_type="mae",
        loss_config='{"0": "mse", "c": "huber"}',
    )
    predicted = torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, 0.5]])
    got = losses.target_loss(config)(predicted, torch.zeros(2, 3))
    # mean of mse (0 + 9) / 2, mae (0 + 1) / 2, huber (0 + 0.5²/2) / 2
    assert float(got) == pytest.approx((4.5 + 0.5 + 0.0625) / 3)


def test_as_many_losses_as_targets():
    with pytest.raises(ValueError, match="zip"):
        losses.mean_over_targets([torch.nn.functional.mse_loss], *torch.zeros(2, 4, 2))


def test_one_loss_for_all_targets_is_the_plain_loss():
    config = TrainConfig(
        metadata_column=("a", "b"), loss_config='{"0": "mse", "1": "mse"}'
    )
    predicted, true = torch.randn(5, 2), torch.randn(5, 2)
    got = losses.target_loss(config)(predicted, true)
    assert float(got) == pytest.approx(float(((predicted - true) ** 2).mean()))


@pytest.mark.behaviour("loss_type", "over_penalty")
def test_penalties_reach_the_asymmetric_loss():
    config = TrainConfig(
        metadata_column=("x",), loss_type="asymmetric", over_penalty=3.0
    )
    loss = losses.target_loss(config)
    # 2 too high at weight 3; 4 too low at weight 1, the default
    got = loss(torch.tensor([[3.0], [0.0]]), torch.tensor([[1.0], [4.0]]))
    assert float(got) == pytest.approx((2 * 3 + 4) / 2)


@pytest.mark.behaviour("under_penalty")
def test_penalty_of_low_predictions():
    config = TrainConfig(
        metadata_column=("x",), loss_type="asymmetric", under_penalty=5.0
    )
    loss = losses.target_loss(config)
    # 2 too high at weight 1, the default; 4 too low at weight 5
    got = loss(torch.tensor([[3.0], [0.0]]), torch.tensor([[1.0], [4.0]]))
    assert float(got) == pytest.approx((2 + 4 * 5) / 2)


@pytest.mark.behaviour("loss_type", "quantiles")
def test_chosen_quantiles_reach_the_loss():
    config = TrainConfig(
        metadata_column=("x",), loss_type="quantile", quantiles=(0.2, 0.5)
    )
    got = losses.target_loss(config)(torch.zeros(1, 1, 2), torch.ones(1, 1))
    assert float(got) == pytest.approx((0.2 + 0.5) / 2)


@pytest.mark.parametrize("loss", ["huber", "mse", "mae", "quantile", "asymmetric"])
def test_weights_of_samples(loss):
    """Twice the weight is the sample twice; a weight of 0 takes it out."""
    more = {"over_penalty": 3.0} if loss == "asymmetric" else {}
    config = TrainConfig(metadata_column=("x", "y"), loss_type=loss, **more)
    shape = (4, 2, 3) if loss == "quantile" else (4, 2)
    predicted, true = torch.randn(shape), torch.randn(4, 2)
    plain = losses.target_loss(config)
    weights = torch.tensor([2.0, 1.0, 0.0, 1.0])
    got = losses.weighted_target_loss(config, predicted, true, weights)
    repeated = [0, 0, 1, 3]
    expected = plain(predicted[repeated], true[repeated])
    assert float(got) == pytest.approx(float(expected), rel=1e-5)
    even = losses.weighted_target_loss(config, predicted, true, torch.ones(4))
    assert float(even) == pytest.approx(float(plain(predicted, true)), rel=1e-5)
    # alone in its batch, a sample still has its weight
    one = losses.weighted_target_loss(config, predicted[:1], true[:1], weights[:1])
    assert float(one) == pytest.approx(2 * float(plain(predicted[:1], true[:1])))


def test_weights_of_samples_and_classes_by_hand():
    config = TrainConfig(metadata_column=("x",), task="classification")
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    first, second = np.log1p(np.exp(-2)), np.log(2)
    weights = torch.tensor([3.0, 0.5])
    got = losses.weighted_target_loss(config, logits, classes, weights)
    assert float(got) == pytest.approx((3 * first + second / 2) / 2, rel=1e-5)
    by_class = torch.tensor([1.0, 9.0])
    got = losses.weighted_target_loss(config, logits, classes, weights, by_class)
    assert float(got) == pytest.approx((3 * first + 4.5 * second) / 10, rel=1e-5)
    even = losses.weighted_target_loss(config, logits, classes, torch.ones(2), by_class)
    plain = losses.target_loss(config, by_class)(logits, classes)
    assert float(even) == pytest.approx(float(plain), rel=1e-5)


def test_class_weights_enter_the_loss():
    config = TrainConfig(metadata_column=("x",), task="classification")
    logits, classes = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    even = losses.target_loss(config)(logits, classes)
    uneven = losses.target_loss(config, torch.tensor([1.0, 9.0]))(logits, classes)
    first, second = np.log1p(np.exp(-2)), np.log(2)
    assert float(even) == pytest.approx((first + second) / 2, rel=1e-5)
    assert float(uneven) == pytest.approx((first + 9 * second) / 10, rel=1e-5)
