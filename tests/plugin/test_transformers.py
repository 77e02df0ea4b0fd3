"""What a person or another plugin sees of an artifact."""

import json

import numpy as np
import pandas as pd
import pytest
import qiime2
from qiime2.plugin.util import transform

from aam_core.io.run_layout import GENERAL
from q2_aam._formats import (
    AAMConfigFormat,
    AAMHistoryFormat,
    RegressionDetailsFormat,
)
from q2_aam._views import Details, Predictions


def file_of(fmt, text):
    made = fmt()
    with made.open() as handle:
        handle.write(text)
    return made


@pytest.fixture
def history():
    return file_of(
        AAMHistoryFormat, "epoch\tlr\tval_loss\n1\t0.1\t3.5\n2\t0.05\t\n3\t0.01\tinf\n"
    )


def test_history_as_metadata(history):
    metadata = transform(history, to_type=qiime2.Metadata)
    assert list(metadata.ids) == ["epoch 1", "epoch 2", "epoch 3"]
    rows = "".join(f"{epoch}\t0.5\n" for epoch in range(1, 12))
    many = file_of(AAMHistoryFormat, f"epoch\tval_loss\n{rows}")
    ids = list(transform(many, to_type=qiime2.Metadata).ids)
    assert ids == sorted(ids)
    assert {c.type for c in metadata.columns.values()} == {"numeric"}
    seen = metadata.to_dataframe()["val_loss"]
    np.testing.assert_array_equal(seen, [3.5, np.nan, np.nan])


def test_history_as_frame(history):
    frame = transform(history, to_type=pd.DataFrame)
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["lr"].tolist() == [0.1, 0.05, 0.01]


def test_config_as_metadata_and_dict():
    config = json.loads((GENERAL / "config.json").read_text())
    config |= {"more": {"deep": True}}
    config["split"] = {"training": ["S1", "S2"], "validation": []}
    fmt = file_of(AAMConfigFormat, json.dumps(config))
    assert transform(fmt, to_type=dict) == config
    metadata = transform(fmt, to_type=qiime2.Metadata)
    values = metadata.get_column("value").to_series()
    expected = {
        "schema": "2",
        "kind": "encoder",
        "architecture.dropout": "0.1",
        "more.deep": "True",
        "split.training": "S1, S2",
    }
    assert expected.items() <= values.dropna().to_dict().items()
    assert {"task", "split.validation"} <= set(values.index[values.isna()])


def test_artifacts_as_metadata_and_dict(encoder, classification):
    for artifact, kind in ((encoder, "encoder"), (classification.model, "model")):
        history = artifact.view(qiime2.Metadata)
        assert list(history.ids) == ["epoch 1", "epoch 2"]
        assert history.get_column("completed").to_series().tolist() == ["true"] * 2
        config = artifact.view(dict)
        assert config["kind"] == kind
        assert config["architecture"]["embedding_dim"] == 8


def test_details_keep_their_ids_and_numbers():
    details = pd.DataFrame(
        {"ph": [6.5, 1 / 3], "ph lower": [6.0, np.nan]}, index=["007", "1e3"]
    )
    fmt = transform(details, to_type=RegressionDetailsFormat)
    fmt.validate("max")
    seen = transform(fmt, to_type=pd.DataFrame)
    pd.testing.assert_frame_equal(seen, details.rename_axis("id"))
    metadata = transform(fmt, to_type=qiime2.Metadata)
    assert metadata.ids == ("007", "1e3")
    assert metadata.get_column("ph").to_series().tolist() == [6.5, 1 / 3]


ODD = ["NA", "nan", "None", "null", "True", "1e5", "01", 'a "quote"', "Ä ö"]


def test_ids_and_classes_that_look_otherwise_are_read_as_they_were_written():
    classes = pd.Series(ODD, pd.Index(ODD, name="SampleID"), name="prediction")
    written = qiime2.Artifact.import_data("SampleData[ClassifierPredictions]", classes)
    texts = written.view(Predictions).texts
    assert texts.index.tolist() == texts.tolist() == ODD
    chances = pd.DataFrame(np.eye(len(ODD)), classes.index, ODD)
    written = qiime2.Artifact.import_data("SampleData[Probabilities]", chances)
    numbers = written.view(Details).numbers
    assert numbers.index.tolist() == numbers.columns.tolist() == ODD
    np.testing.assert_array_equal(numbers, np.eye(len(ODD)))
    for kind in ("RegressionDetails", "AAMEmbedding"):
        written = qiime2.Artifact.import_data(f"SampleData[{kind}]", chances)
        assert written.view(pd.DataFrame).index.tolist() == ODD
        assert written.view(qiime2.Metadata).to_dataframe().index.tolist() == ODD
