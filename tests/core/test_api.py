"""The engine as Python users see it: a study, and estimators as of scikit-learn."""

import copy
import gc
import inspect
import json
import pickle
import shutil
import subprocess
import sys

import biom
import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError

import aam_core as aam
from aam_core.commands.predict import predict
from aam_core.config import InputOptions, PredictConfig, PretrainConfig, TrainConfig
from aam_core.config.option import option_specs
from aam_core.data.batches import BatchMaker
from aam_core.data.spelled_numbers import plain_numbers
from aam_core.data.study import prepare_study
from aam_core.errors import InputError
from aam_core.inference.embed import distances_between
from aam_core.io.load import load_encoder, load_networks
from aam_core.io.model_folder import check_entries, check_layout
from tests.commands import aam as command
from tests.commands import inputs
from tests.earlier import SCHEMA_1, unpacked
from tests.reports import silent
from tests.runs import ONE_NETWORK, SMALL, turned


def study_of(made, **changes):
    parts = {"sequences": made.sequences, "metadata": made.metadata}
    return aam.Study(made.table, **parts | {"tree": made.tree} | changes)


@pytest.fixture(scope="module")
def whole(made):
    return study_of(made)


@pytest.fixture(scope="module")
def encoder(whole):
    return aam.Encoder(**SMALL).fit(whole, report=silent)


@pytest.fixture(scope="module")
def regressor(whole, encoder):
    options = SMALL | ONE_NETWORK | {"epochs": 2, "group_column": "subject"}
    return aam.Regressor("value", encoder=encoder, **options).fit(whole, report=silent)


@pytest.fixture(scope="module")
def classifier(made):
    """Without a phylogeny, of a study with labels for some samples only."""
    metadata = made.metadata.copy()
    metadata.iloc[:3, metadata.columns.get_loc("kind")] = np.nan
    model = aam.Classifier("kind", **SMALL, **ONE_NETWORK)
    return model.fit(study_of(made, metadata=metadata, tree=None), report=silent)


@pytest.fixture
def fitted(encoder, regressor, classifier):
    return {"encoder": encoder, "regressor": regressor, "classifier": classifier}


# --- what is imported ---


def test_torch_is_imported_when_it_is_needed(files):
    code = f"""
import sys, skbio  # some versions of scikit-bio import torch
others = set(sys.modules)
import aam_core as aam
assert {{m for m in set(sys.modules) - others if "aam" in m}} == {{"aam_core"}}
assert {{"Study", "Encoder", "Regressor", "Classifier", "load"}} <= set(dir(aam))
folder = {str(files)!r}
study = aam.Study.read(
    f"{{folder}}/table.biom", sequences=f"{{folder}}/seqs.fasta",
    metadata=f"{{folder}}/metadata.tsv", tree=f"{{folder}}/tree.nwk",
)
study.take(study.sample_ids[:5])
for made in (aam.Encoder(preset="tiny"), aam.Regressor("value"), aam.Classifier("x")):
    repr(made), made._repr_html_(), made.get_params()
print("torch" in set(sys.modules) - others, "torch" in others)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == "False"


# --- a study ---


def test_a_study_from_files(files, smaller):
    study = aam.Study.read(
        files / "table.biom",
        sequences=files / "seqs.fasta",
        metadata=files / "metadata.tsv",
        tree=files / "tree.nwk",
    )
    assert (study.table.counts != smaller.table.counts).nnz == 0
    assert study.sample_ids == list(smaller.table.sample_ids)
    assert study.feature_ids == list(smaller.table.feature_ids)
    assert study.sequences == smaller.sequences
    assert set(study.phylogeny.tip_names) == set(study.feature_ids)
    read = plain_numbers(study.metadata)
    pd.testing.assert_series_equal(read["value"], smaller.metadata["value"])
    assert len(study) == 24
    assert repr(study) == (
        "Study(24 samples, 40 features, sequences, metadata of 4 columns, tree)"
    )


def test_a_study_from_what_is_in_memory(smaller, files):
    table = smaller.table
    frame = pd.DataFrame.sparse.from_spmatrix(
        table.counts, table.sample_ids, table.feature_ids
    )
    matrix = biom.Table(table.counts.T, table.feature_ids, table.sample_ids)
    for given in (frame, matrix, table):
        study = aam.Study(given, sequences=pd.Series(smaller.sequences))
        assert (study.table.counts != table.counts).nnz == 0
        assert study.sequences == smaller.sequences
        assert study.metadata is study.phylogeny is study.distances is None
    for tree in (files / "tree.nwk", str(files / "tree.nwk"), smaller.tree):
        found = aam.Study(table, tree=tree).phylogeny
        assert set(found.tip_names) == set(table.feature_ids)
    square = 1 - np.eye(24)
    for given in (
        skbio.DistanceMatrix(square, table.sample_ids),
        (table.sample_ids, square),
        (table.sample_ids, square.tolist()),
    ):
        ids, matrix = aam.Study(table, distances=given).distances
        assert ids == list(table.sample_ids)
        np.testing.assert_array_equal(matrix, square)


def test_distances_from_a_file(tmp_path, smaller):
    square = pd.DataFrame(1 - np.eye(24), *[smaller.table.sample_ids] * 2)
    square.to_csv(tmp_path / "d.tsv", sep="\t")
    (tmp_path / "t.tsv").write_text("#OTU ID\ts00\ts01\nACGTACGTACGTACGTACGT\t1\t2\n")
    study = aam.Study.read(tmp_path / "t.tsv", distances=tmp_path / "d.tsv")
    assert repr(study) == "Study(2 samples, 1 feature, distances)"


def test_ids_become_text():
    counts = pd.DataFrame({"ACGTACGTACGTACGTACGT": [1, 2, 3]}, index=[7, 8, 9])
    metadata = pd.DataFrame({"ph": [1.0, 2.0, 3.0]}, index=[9, 8, 100])
    study = aam.Study(counts, metadata=metadata)
    assert study.sample_ids == ["7", "8", "9"]
    assert list(study.metadata.index) == ["9", "8"]
    assert list(metadata.index) == [9, 8, 100]
    assert study.take([9]).metadata["ph"].to_dict() == {"9": 1.0}


def test_some_samples_of_a_study(whole, made):
    chosen = made.metadata.index[made.metadata["kind"] == "high"][::-1]
    part = whole.take(chosen)
    assert part.sample_ids == list(chosen)
    assert set(part.metadata["kind"]) == {"high"}
    assert part.feature_ids == whole.feature_ids
    rows = [whole.sample_ids.index(i) for i in chosen]
    assert (part.table.counts != made.table.counts[rows]).nnz == 0
    assert len(whole) == 32
    assert whole.take("s03").sample_ids == ["s03"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["s01", "t1", "t2"], "2 of 3 ids are not among the samples: 't1', 't2'"),
        (["s01", "s02", "s01"], "named more than once: 's01'"),
        ([], "No sample is named"),
    ],
)
def test_samples_that_a_study_has_not(whole, ids, message):
    with pytest.raises(InputError, match=message):
        whole.take(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "table.biom"}, r"table is a str, .*Study\.read"),
        ({"sequences": "seqs.fasta"}, "sequences is a str"),
        ({"metadata": {"a": 1}}, "metadata is a dict"),
        ({"tree": 5}, "tree is a int"),
        ({"distances": [1, 2]}, "distances is a list"),
        ({"metadata": pd.DataFrame({"a": [1]}, ["x"])}, "use the same ids .*'x'"),
        ({"metadata": pd.DataFrame({"a": [1, 2]}, ["s01"] * 2)}, "once.*'s01'"),
    ],
)
def test_what_is_no_study(smaller, change, message):
    given = {"table": smaller.table} | change
    with pytest.raises(InputError, match=message):
        aam.Study(given.pop("table"), **given)


# --- options ---


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


# --- embeddings ---


@pytest.fixture(scope="module")
def direct(encoder, made):
    """What the network itself makes of all samples, in one batch with padding."""
    options = InputOptions(rarefy_depth=300)
    study = prepare_study(
        made.table, made.sequences, options, max_bp=60, seed=42, report=silent
    )
    maker = BatchMaker(study, token_limit=1024, asv_sampling="abundance")
    batch = maker[0, np.arange(32)]
    assert batch.ragged
    network = load_encoder(encoder._held.path)
    with torch.no_grad():
        asvs, _ = network.encode_asvs(batch)
        out = network(batch)
    features = study.table.feature_ids[batch.features]
    frames = {n: pd.DataFrame(out[n].numpy()) for n in ("sample", "distance_embedding")}
    for frame in frames.values():
        frame.index = study.table.sample_ids
    return frames | {"asvs": pd.DataFrame(asvs.numpy(), features)}


def close(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, atol=atol)


def test_embeddings_of_samples(encoder, whole, direct):
    found = encoder.embed(whole)
    assert found.shape == (32, 16)
    assert set(found.dtypes) == {np.dtype("float32")}
    assert list(found.index) == whole.sample_ids
    close(found, direct["sample"].loc[found.index])
    assert found.std().min() > 1e-3
    for options in ({"batch_size": 3}, {"asv_chunk_size": 5}, {"cache_memory": 0.0}):
        close(encoder.embed(whole, report=silent, **options), found)


def test_embeddings_of_asvs(encoder, whole, direct):
    found = encoder.embed_asvs(whole)
    assert found.shape == (40, 16)
    assert list(found.index) == whole.feature_ids
    close(found.loc[direct["asvs"].index], direct["asvs"])
    part = whole.take("s00")
    seen = [i for i in whole.feature_ids if i in encoder.embed_asvs(part).index]
    assert len(seen) == part.table.richness[0] < 40
    close(encoder.embed_asvs(part), found.loc[seen])


def test_predicted_distances(encoder, whole, direct):
    found = encoder.distances(whole)
    assert isinstance(found, skbio.DistanceMatrix)
    assert found.data.dtype == np.float32
    assert list(found.ids) == whole.sample_ids
    position = direct["distance_embedding"].loc[whole.sample_ids]
    close(found.data, 1 - np.exp(-cdist(position, position)))
    assert found.data.max() > 0.1


def test_distances_in_blocks_and_units():
    position = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    position[7] = position[3] + 1e-4  # nearly the same place
    found = distances_between(position, scale=20.0)
    expected = 20 * (1 - np.exp(-cdist(position.astype(float), position)))
    close(found, expected, atol=1e-4)
    assert found[3, 7] == pytest.approx(expected[3, 7], rel=1e-3)
    np.testing.assert_array_equal(found, found.T)
    skbio.DistanceMatrix(found)


def with_options(estimator, **options):
    """A copy of an estimator whose `config.json` has other options."""
    changed = copy.deepcopy(estimator)
    config = changed.config_ | {"options": changed.config_["options"] | options}
    path = changed._held.path / "config.json"
    path.write_text(json.dumps(config))
    return changed


@pytest.mark.parametrize(
    ("options", "message"),
    [({"penalty": 0.0}, "penalty 0"), ({"unifrac_metric": "faith_pd"}, "Faith")],
)
def test_distances_that_were_not_learned(encoder, whole, options, message):
    with pytest.raises(InputError, match=message):
        with_options(encoder, **options).distances(whole)


def test_samples_are_rarefied_as_in_training(encoder, whole, made):
    counts = pd.DataFrame(
        made.table.counts.toarray(), made.table.sample_ids, made.table.feature_ids
    )
    counts.iloc[0] //= 2
    study = aam.Study(counts, sequences=made.sequences)
    heard = []
    found = encoder.embed(study, report=heard.append)
    assert list(found.index) == whole.sample_ids[1:]
    assert "fewer than 300 reads" in heard[0]
    close(found, encoder.embed(whole).iloc[1:])
    assert not np.allclose(with_options(encoder, seed=1).embed(study), found, atol=1e-4)


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


# --- folders ---


@pytest.mark.parametrize("name", ["encoder", "regressor", "classifier"])
def test_saved_and_loaded(fitted, whole, tmp_path, name):
    model = fitted[name]
    model.save(tmp_path / "new" / name)
    check_entries(tmp_path / "new" / name)
    check_layout(tmp_path / "new" / name, "max")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    loaded = aam.load(str(tmp_path / "new" / name))
    assert type(loaded) is type(model)
    chosen = {n: v for n, v in model.get_params(False).items() if v is not None}
    chosen.pop("encoder", None)
    assert chosen.items() <= loaded.get_params(False).items()
    assert loaded.patience == 10  # what was left open is as it was in training
    assert loaded.config_ == model.config_
    assert (loaded.scores_, loaded.report_) == (model.scores_, model.report_)
    pd.testing.assert_frame_equal(loaded.history_, model.history_)
    use = "embed" if name == "encoder" else "predict"
    assert getattr(loaded, use)(whole).equals(getattr(model, use)(whole))
    assert not hasattr(loaded, "val_predictions_")
    clone(loaded)


def test_nothing_is_overwritten(encoder, tmp_path):
    (tmp_path / "there").mkdir()
    encoder.save(tmp_path / "there")
    with pytest.raises(InputError, match="nothing is overwritten"):
        encoder.save(tmp_path / "there")
    with pytest.raises(InputError, match="is a file"):
        encoder.save(tmp_path / "there" / "config.json")


def test_a_folder_appears_whole_or_not_at_all(encoder, tmp_path, monkeypatch):
    def full(source, target):
        if source.name == "history.tsv":
            raise OSError("No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        encoder.save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_other_faces_wrote(files, tmp_path):
    output = tmp_path / "run"
    options = [f"--{n.replace('_', '-')}={v}" for n, v in SMALL.items()]
    options += ["--cross-fit=0"]
    done = command(
        "train",
        *inputs(files, "table", "sequences", "metadata"),
        *("--metadata-column", "value", "--output-dir", output, *options),
    )
    assert done.exit_code == 0, done.output
    study = aam.Study.read(files / "table.biom", sequences=files / "seqs.fasta")
    model = aam.load(output)
    assert model.metadata_column == "value"
    found = model.predict(study)
    before = pd.read_csv(output / "val_predictions.tsv", sep="\t", index_col="id")
    close(found[before.index], before["value"])
    earlier = aam.load(unpacked("classification", tmp_path / "earlier"))
    assert isinstance(earlier, aam.Classifier)
    again = aam.Study.read(
        SCHEMA_1 / "table.tsv",
        sequences=SCHEMA_1 / "seqs.fasta",
        metadata=SCHEMA_1 / "metadata.tsv",
    )
    assert set(earlier.predict(again)) <= set(earlier.classes_)


def test_what_is_no_model(encoder, tmp_path):
    encoder.save(tmp_path / "cut")
    with (tmp_path / "cut" / "model.safetensors").open("ab") as weights:
        weights.truncate(2000)
    with pytest.raises(InputError, match="safetensors"):
        aam.load(tmp_path / "cut")
    with pytest.raises(InputError, match="no encoder or model"):
        aam.load(tmp_path)
    (tmp_path / "model.qza").write_bytes(b"")
    with pytest.raises(InputError, match="qiime tools export"):
        aam.load(tmp_path / "model.qza")


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_take_the_model_along(regressor, whole, again):
    expected = regressor.predict(whole)
    first = again(regressor)
    second = again(first)
    path = first._held.path
    assert len({regressor._held.path, path, second._held.path}) == 3
    del first
    gc.collect()
    assert not path.exists()
    assert second.predict(whole).equals(expected)
    assert second.encoder_ is second.encoder
    assert second.val_predictions_.equals(regressor.val_predictions_)


def test_a_temporary_folder_ends_with_what_holds_it(whole):
    model = aam.Encoder(**SMALL).fit(whole, report=silent)
    path, other = model._held.path, copy.copy(model)
    del model
    gc.collect()
    other.embed(whole)
    other.set_params(epochs=0)
    with pytest.raises(InputError):
        other.fit(whole)
    other.embed(whole)  # with what was learned before
    del other
    gc.collect()
    assert not path.exists()
