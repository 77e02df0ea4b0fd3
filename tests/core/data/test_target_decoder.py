import json

import numpy as np
import pytest
from scipy.special import softmax

from aam_core.data.target_decoder import (
    PRIOR,
    Decoder,
    calibrating_temperature,
    interval_half_widths,
)
from aam_core.data.targets import Classes, TargetScaler


def again(decoder):
    saved = json.loads(json.dumps(decoder.to_dict()))
    return Decoder.from_dict(decoder.task, saved)


def test_classification_gives_labels_and_probabilities():
    decoder = again(
        Decoder("classification", ("site",), classes=Classes.fit(["a", "b", "c"]))
    )
    raw = np.log([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    predictions = decoder.predictions(raw, ["x", "y"], None)
    assert predictions["site"].to_dict() == {"x": "b", "y": "a"}
    details = decoder.details(raw, ["x", "y"], None)
    np.testing.assert_allclose(details, [[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    assert list(details.columns) == ["a", "b", "c"]


def test_regression_is_in_original_units_with_quantiles_and_intervals():
    values = np.array([[10.0], [30.0]])
    scaler = TargetScaler.fit(values, ["age"], "minmax")
    decoder = again(
        Decoder(
            "regression",
            ("age",),
            scaler=scaler,
            quantiles=(0.1, 0.5, 0.9),
            half_widths=(3.0,),
        )
    )
    raw = np.array([[[0.0, 0.5, 1.0]]])
    assert decoder.predictions(raw, ["x"], None).loc["x", "age"] == 20
    assert decoder.details(raw, ["x"], None).loc["x"].to_dict() == {
        "age_predicted": 20,
        "age_quantile_0.1": 10,
        "age_quantile_0.5": 20,
        "age_quantile_0.9": 30,
        "age_lower_90": 17,
        "age_upper_90": 23,
    }


def test_intervals_hold_the_promised_share_of_new_samples():
    generator = np.random.default_rng(0)
    held = []
    for _ in range(400):
        residuals = generator.normal(size=(31, 1))
        (width,) = interval_half_widths(residuals[:30], np.zeros((30, 1)))
        held.append(abs(residuals[30, 0]) <= width)
    # 28 of 31 exchangeable residuals are within: 0.903 expected
    assert np.mean(held) == pytest.approx(28 / 31, abs=0.04)


def test_too_few_samples_give_no_interval():
    assert interval_half_widths(np.zeros((8, 1)), np.ones((8, 1))) == ()
    assert interval_half_widths(np.zeros((9, 1)), np.ones((9, 1))) == (1.0,)


def test_intervals_hold_samples_of_new_groups():
    """Residuals are alike within a group; large groups are no more frequent."""
    rng = np.random.default_rng(0)
    held, narrow = [], []
    for _ in range(300):
        sizes = np.r_[np.full(18, 2), 40, 40]
        scales = rng.exponential(size=20)
        groups = np.repeat(np.arange(20), sizes).astype(str)
        residuals = (scales[np.repeat(np.arange(20), sizes)] * rng.normal(size=116))[
            :, None
        ]
        new = rng.exponential() * rng.normal(size=50)
        (width,) = interval_half_widths(residuals, np.zeros_like(residuals), groups)
        (pooled,) = interval_half_widths(residuals, np.zeros_like(residuals))
        held.append((np.abs(new) <= width).mean())
        narrow.append((np.abs(new) <= pooled).mean())
    assert 0.88 < np.mean(held) < 0.97
    assert np.mean(narrow) < np.mean(held)


def test_an_interval_by_groups_by_hand():
    # ten groups, one of nine samples: 0.9 · 1.1 of a group's weight in all is 0.99
    true = np.r_[np.arange(1.0, 10), np.arange(10.0, 19)][:, None]
    groups = [*"abcdefghi", *"jjjjjjjjj"]
    (width,) = interval_half_widths(true, np.zeros_like(true), groups)
    # nine groups are below 10; of the tenth 0.9 of its samples, 8.1 of nine
    assert width == 18.0
    assert interval_half_widths(true[:9], np.zeros((9, 1)), list("abcdefgha")) == ()


def test_temperature_against_a_grid():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(3), 400)
    codes = np.array([rng.choice(3, p=p) for p in chances])
    for true in (0.5, 1.0, 2.0):
        logits = np.log(chances) * true

        def loss(temperature, logits=logits):
            found = softmax(logits / temperature, axis=1).clip(1e-3)
            found /= found.sum(axis=1, keepdims=True)
            prior = PRIOR * np.log(temperature) ** 2
            return -np.log(found[np.arange(400), codes]).sum() + prior

        grid = np.geomspace(0.3, 3.5, 2000)
        best = grid[np.argmin([loss(t) for t in grid])]
        found = calibrating_temperature(logits, codes)
        assert found == pytest.approx(best, rel=3e-3)
        assert found == pytest.approx(true, rel=0.25)


def test_few_samples_leave_probabilities_nearly_as_they_are():
    logits = np.log([[0.6, 0.4]] * 3)
    assert 0.8 < calibrating_temperature(logits, np.zeros(3, int)) < 1
    assert calibrating_temperature(np.zeros((0, 2)), np.zeros(0, int)) == 1.0
    decoder = Decoder(
        "classification", ("kind",), classes=Classes(("a", "b")), temperature=2.0
    )
    shown = decoder.details(np.log([[0.8, 0.2]]), ["s"], None)
    np.testing.assert_allclose(shown, [[2 / 3, 1 / 3]])
    assert Decoder.from_dict("classification", decoder.to_dict()) == decoder
