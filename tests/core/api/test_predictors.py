"""Predictions of estimators, and what is known of them."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

import aam_core as aam
from aam_core.commands.predict import predict
from aam_core.config import PredictConfig
from aam_core.errors import InputError
from aam_core.io.load import load_encoder, load_networks
from tests.estimators import close, study_of
from tests.reports import silent
from tests.runs import ONE_NETWORK, SMALL, turned

# --- order ---


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("encoder", "embed"),
        ("encoder", "embed_asvs"),
        ("regressor", "predict"),
        ("classifier", "predict_proba"),
    ],
)
def test_order_does_not_matter(fitted, whole, made, name, method):
    other = aam.Study(
        turned(made.table),
        sequences=dict(reversed(made.sequences.items())),
        metadata=made.metadata[::-1],
    )
    first = getattr(fitted[name], method)(whole)
    second = getattr(fitted[name], method)(other)
    ids = other.feature_ids if method == "embed_asvs" else other.sample_ids
    assert list(second.index) == ids != list(first.index)
    close(second.loc[first.index], first, atol=2e-6)


def test_order_of_distances(encoder, whole, made):
    other = aam.Study(turned(made.table), sequences=made.sequences)
    found = encoder.distances(other)
    assert list(found.ids) == other.sample_ids
    close(found.filter(whole.sample_ids).data, encoder.distances(whole).data, 2e-6)


# --- predictions ---


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_predictions_are_the_commands(fitted, whole, made, name):
    model = fitted[name]
    found = predict(
        PredictConfig(device="cpu"),
        model._held.path,
        table=made.table,
        sequences=made.sequences,
        report=silent,
    )
    predictions = model.predict(whole)
    pd.testing.assert_series_equal(predictions, found.predictions.iloc[:, 0])
    assert list(predictions.index) == whole.sample_ids
    expected = found.details.join(found.reliability)
    pd.testing.assert_frame_equal(model.predict_details(whole), expected)
    assert list(expected)[-3:] == ["reads", "few_reads", "far_fraction"]


def test_probabilities(classifier, whole):
    assert classifier.classes_.tolist() == ["high", "low"]
    found = classifier.predict_proba(whole)
    assert found.columns.tolist() == ["high", "low"]
    close(found.sum(axis=1), 1)
    assert (found.idxmax(axis=1) == classifier.predict(whole)).all()


def test_several_targets(whole, made):
    metadata = made.metadata.assign(other=-made.metadata["value"])
    study = study_of(made, metadata=metadata, tree=None)
    model = aam.Regressor(["value", "other"], **SMALL).fit(study, report=silent)
    found = model.predict(study)
    assert found.columns.tolist() == ["value", "other"]
    parts = [
        1
        - ((found[n] - metadata[n]) ** 2).sum() / (len(found) * metadata[n].var(ddof=0))
        for n in found
    ]
    assert model.score(study) == pytest.approx(np.mean(parts))


def test_scores(regressor, classifier, whole, made):
    metadata = made.metadata.copy()
    metadata.loc["s05", ["value", "kind"]] = np.nan
    study = study_of(made, metadata=metadata)
    kept = metadata.index.drop("s05")
    true, found = made.metadata.loc[kept], regressor.predict(whole)[kept]
    left = ((true["value"] - found) ** 2).sum()
    r2 = 1 - left / ((true["value"] - true["value"].mean()) ** 2).sum()
    assert regressor.score(study) == pytest.approx(r2)
    right = true["kind"] == classifier.predict(whole)[kept]
    assert classifier.score(study) == pytest.approx(right.mean())
    high = true.index[true["kind"] == "high"]
    assert classifier.score(study.take(high)) == pytest.approx(right[high].mean())


def test_options_of_the_estimator_hold_for_predictions(whole, regressor):
    model = copy.copy(regressor).set_params(device="cuda")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device is 'cuda'"):
            model.predict(whole)
    # of the process, which has followed it already
    model.set_params(use_expandable_segments=True)
    pd.testing.assert_series_equal(
        model.predict(whole, device="cpu"), regressor.predict(whole)
    )


# --- what is known of a fitted estimator ---


def test_fitted_attributes(regressor, classifier, encoder, whole, made):
    assert encoder.config_["kind"] == "encoder"
    assert regressor.history_["epoch"].tolist() == [1, 2]
    best = encoder.history_.set_index("epoch").loc[encoder.config_["best_epoch"]]
    assert encoder.scores_["val_unifrac_r"] == pytest.approx(best["val_unifrac_r"])
    assert {"val_r2", "val_mae"} <= set(regressor.scores_)
    assert regressor.encoder_ is regressor.encoder is encoder
    validation = regressor.config_["split"]["validation"]
    subjects = made.metadata["subject"]
    training = regressor.config_["split"]["training"]
    assert not set(subjects[validation]) & set(subjects[training])
    assert sorted(regressor.val_predictions_.index) == sorted(validation)
    again = regressor.predict(whole.take(validation))
    close(again, regressor.val_predictions_["value"][validation])
    labelled = classifier.config_["split"]
    assert not {"s00", "s01", "s02"} & {*labelled["training"], *labelled["validation"]}


def test_who_hears_of_a_run(made, caplog):
    heard = []
    study = study_of(made, tree=None)
    model = aam.Regressor("value", **SMALL, **ONE_NETWORK).fit(
        study, report=heard.append
    )
    assert model.report_ == heard
    assert "training and" in heard[0]
    with caplog.at_level("INFO", logger="aam_core"):
        model.predict(study)
    assert "Predicting 32 samples" in caplog.text


def test_an_encoder_that_is_not_fitted_is_pretrained_first(whole, tmp_path):
    plan = aam.Encoder(**SMALL)
    model = aam.Regressor(
        "value", encoder=plan, freeze_base=True, **SMALL, **ONE_NETWORK
    )
    model.fit(whole, report=silent)
    assert not hasattr(plan, "config_")
    assert model.encoder_.config_["kind"] == "encoder"
    assert model.encoder_.embed(whole).shape == (32, 16)
    learned = load_encoder(model.encoder_._held.path).state_dict()
    kept = load_networks(model._held.path)[0].base.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in learned.items())
    model.encoder_.save(tmp_path / "encoder")
    model = aam.Regressor("value", encoder=tmp_path / "encoder", **SMALL, **ONE_NETWORK)
    kept = load_networks(model.fit(whole, report=silent)._held.path)[
        0
    ].base.state_dict()
    far = max(float((kept[n] - value).abs().max()) for n, value in learned.items())
    assert 0 < far < 0.1  # an epoch away


def test_a_summary_for_notebooks(regressor):
    unfitted = aam.Regressor("<script>", lr=0.25)
    text = unfitted._repr_html_()
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "0.25" in text
    assert "not yet" in text
    assert "rarefy_depth" not in text
    shown = regressor._repr_mimebundle_()
    assert shown["text/plain"] == repr(regressor)
    sides = regressor.config_["split"]
    for part in (
        f"{len(sides['training'])} training and {len(sides['validation'])} validation",
        f"{regressor.config_['best_epoch']} of 2",
        f"{regressor.scores_['val_r2']:.4g}",
        "subject",
    ):
        assert part in shown["text/html"]
    assert "stopped" not in shown["text/html"]
    stopped = copy.copy(regressor)
    stopped.config_ = regressor.config_ | {"completed": False}
    assert "the run was stopped" in stopped._repr_html_()
