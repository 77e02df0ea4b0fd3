"""Options of estimators, and what they refuse."""

import inspect

import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError

import aam_core as aam
from aam_core.config import PretrainConfig, TrainConfig
from aam_core.config.option import option_specs
from aam_core.errors import InputError
from tests.estimators import study_of
from tests.reports import silent
from tests.runs import SMALL


def test_options_are_those_that_are_declared():
    declared = {spec.name: spec.default for spec in option_specs(PretrainConfig)}
    assert aam.Encoder().get_params() == declared | {"encoder": None}
    trained = {spec.name: spec for spec in option_specs(TrainConfig)}
    of_both = set(trained) - {"task"} | {"encoder"}
    numbers = set(aam.Regressor("x").get_params())
    classes = set(aam.Classifier("x").get_params())
    assert numbers | classes == of_both
    assert of_both - numbers == {"class_weights"}
    assert {"quantiles", "normalize_by", "regressor_dropout"} <= of_both - classes
    signature = inspect.signature(aam.Regressor)
    assert next(iter(signature.parameters)) == "metadata_column"
    assert signature.parameters["lr"].default == trained["lr"].default
    for spec in option_specs(PretrainConfig):
        assert f"\n    {spec.name} : " in aam.Encoder.__doc__
    assert "{options}" not in aam.Encoder.__doc__ + aam.Encoder.embed.__doc__


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: aam.Encoder(epoch=3), r"Encoder.__init__\(\) got .* 'epoch'"),
        (lambda: aam.Regressor(), "missing a required argument: 'metadata_column'"),
        (lambda: aam.Regressor("x", task="classification"), "argument 'task'"),
        (lambda: aam.Classifier("x", loss_type="mse"), "argument 'loss_type'"),
        (lambda: aam.Regressor("x", None), "too many positional arguments"),
    ],
)
def test_names_that_are_no_options(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_parameters_and_clones(encoder, regressor):
    model = aam.Regressor(["value", "other"], encoder=aam.Encoder(epochs=7), lr=1)
    assert model.get_params()["encoder__epochs"] == 7
    model.set_params(lr=0.5, encoder__epochs=9)
    assert (model.lr, model.encoder.epochs) == (0.5, 9)
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        model.set_params(rate=1)
    other = clone(regressor)
    assert other.get_params(deep=False).keys() == regressor.get_params(False).keys()
    assert other.group_column == "subject"
    for unfitted in (other, other.encoder):
        assert not [name for name in vars(unfitted) if name.endswith("_")]
    assert repr(clone(encoder)) == repr(encoder)
    assert is_regressor(model)
    assert is_classifier(aam.Classifier("kind"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (aam.Encoder(epochs=0), "epochs is 0, but must be ≥ 1"),
        (aam.Encoder(preset="huge"), "preset is 'huge'; allowed are tiny"),
        (aam.Regressor([]), "metadata_column is missing"),
        (aam.Regressor("valeu", **SMALL), "no column 'valeu'; they have 'value'"),
        (aam.Regressor("value", encoder=3), "encoder is a int"),
        (aam.Regressor("value", encoder=aam.Regressor("x")), "encoder is a Regressor"),
        (aam.Classifier("kind", best_metric="r2"), "does not fit a classification"),
    ],
)
def test_values_are_checked_by_fit(whole, model, message):
    with pytest.raises(InputError, match=message):
        model.fit(whole, report=silent)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_what_fit_and_predict_need(whole, made, regressor, monkeypatch):
    bare = study_of(made, metadata=None)
    with pytest.raises(InputError, match="fit needs the sample metadata"):
        aam.Regressor("value").fit(bare)
    with pytest.raises(InputError, match="score needs the sample metadata"):
        regressor.score(bare)
    with pytest.raises(TypeError, match=r"a FeatureTable: make an aam_core\.Study"):
        regressor.predict(made.table)
    with pytest.raises(TypeError, match="'epochs'"):
        regressor.predict(whole, epochs=3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="an estimator starts its processes itself"):
        aam.Encoder().fit(whole)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (aam.Encoder(), ("embed", "embed_asvs", "distances", "save")),
        (aam.Regressor("value"), ("predict", "predict_details", "score", "save")),
        (aam.Classifier("kind"), ("predict", "predict_proba", "score", "save")),
    ],
)
def test_before_fit(whole, model, names):
    for name in names:
        with pytest.raises(NotFittedError):
            getattr(model, name)(whole)
    assert not hasattr(model, "classes_")
