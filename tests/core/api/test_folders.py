"""Folders of estimators: saved, loaded, copied, and never half there."""

import copy
import gc
import pickle
import shutil

import pandas as pd
import pytest
from sklearn.base import clone

import aam_core as aam
from aam_core.errors import InputError
from aam_core.io.model_folder import check_entries, check_layout
from tests.commands import aam as command
from tests.commands import inputs
from tests.earlier import SCHEMA_1, unpacked
from tests.estimators import close
from tests.reports import silent
from tests.runs import SMALL


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
