import json

import numpy as np
import pytest
from scipy.special import softmax

from aam_core.data.target_decoder import (
    PRIOR,
    Decoder,
    calibrating_temperature,
)
from aam_core.data.target_scaling import Classes, TargetScaler


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


def test_an_interval_is_wider_where_members_disagree():
    scaler = TargetScaler.fit(
        np.array([[10.0, 0.0], [30.0, 1.0]]), ["age", "ph"], "none"
    )
    wide = {"half_widths": (3.0, 0.2), "widening": (0.5, 0.0), "non_negative": True}
    decoder = again(Decoder("regression", ("age", "ph"), scaler=scaler, **wide))
    raw = scaler.transform(np.array([[20.0, 0.5], [20.0, 0.5], [1.0, 0.5]]))
    apart = np.array([[0.0, 7.0], [2.0, 7.0], [2.0, 7.0]])
    found = decoder.details(raw, list("xyz"), None, apart)
    np.testing.assert_allclose(found["age_upper_90"], [23, 26, 7])
    np.testing.assert_allclose(found["age_lower_90"], [17, 14, 0])
    np.testing.assert_allclose(found["ph_upper_90"], 0.7)


def test_a_model_without_widening_has_intervals_of_one_width():
    """Models that were written before say nothing of it."""
    scaler = TargetScaler.fit(np.array([[10.0], [30.0]]), ["age"], "minmax")
    saved = Decoder("regression", ("age",), scaler, half_widths=(3.0,)).to_dict()
    del saved["widening"]
    decoder = Decoder.from_dict("regression", saved)
    found = decoder.details(np.array([[0.5]]), ["x"], None, np.array([[9.0]]))
    assert found.loc["x"].tolist() == [20, 17, 23]


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
