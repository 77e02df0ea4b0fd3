import json

import numpy as np
import pytest

from aam_core.data.target_decoder import Decoder, interval_half_widths
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
