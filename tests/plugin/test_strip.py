"""What `aam strip` writes is an artifact like any other."""

import pandas as pd
import pytest
import qiime2
from qiime2.plugins import aam

from aam_core.errors import InputError
from aam_core.io.strip import strip
from aam_core.report import page as pages


@pytest.fixture(scope="module")
def stripped(regression, classification, encoder, tmp_path_factory):
    """The artifacts of the session, exported, stripped and imported again."""
    folder = tmp_path_factory.mktemp("stripped")
    artifacts = {
        "regression": regression.model,
        "classification": classification.model,
        "encoder": encoder,
    }
    made = {}
    for name, artifact in artifacts.items():
        artifact.export_data(str(folder / f"{name}-exported"))
        strip(folder / f"{name}-exported", folder / name)
        made[name] = qiime2.Artifact.import_data(artifact.type, str(folder / name))
    return made


def test_models_predict_the_same(stripped, regression, classification, table):
    for name, before in (
        ("regression", regression),
        ("classification", classification),
    ):
        pairs = [
            aam.actions.predict(table, model, device="cpu")
            for model in (before.model, stripped[name])
        ]
        for found in zip(*pairs, strict=True):
            frames = [one.view(qiime2.Metadata).to_dataframe() for one in found]
            pd.testing.assert_frame_equal(*frames, check_exact=True)


def test_an_encoder_embeds_the_same(stripped, encoder, table):
    before, after = (
        aam.actions.embed(table, encoder=one, device="cpu").embedding
        for one in (encoder, stripped["encoder"])
    )
    assert before.view(pd.DataFrame).equals(after.view(pd.DataFrame))


def test_a_forest_cannot_repeat_its_folds(stripped, table, metadata):
    with pytest.raises(InputError, match="aam strip took their ids out"):
        aam.actions.rf_baseline(table, metadata, model=stripped["regression"])


def test_reports_take_it(stripped, regression, metadata, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    (page,) = aam.actions.evaluate(
        regression.predictions, metadata.get_column("ph"), model=stripped["regression"]
    )
    page.export_data(str(tmp_path))
    text = (tmp_path / "index.html").read_text()
    assert "does not say whether it was fitted to any of them" in text
