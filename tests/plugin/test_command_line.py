"""The `qiime` command, as a user types it. Each call takes seconds: few of them."""

import os
import subprocess
import sys

import pytest
from qiime2 import Artifact

from .conftest import QIIME

pytest.importorskip("q2cli")

OPTIONS = (
    "--p-preset tiny --p-embedding-dim 8 --p-attention-layers 1 --p-epochs 1 "
    "--p-rarefy-depth 50 --p-device cpu"
)


@pytest.fixture(scope="module")
def qiime(tmp_path_factory):
    """Runs `qiime` in one folder, with its own cache of plugins."""
    folder = tmp_path_factory.mktemp("cli")
    env = os.environ | {"XDG_CONFIG_HOME": str(folder), "PYTHONWARNINGS": "ignore"}

    def run(line, *more):
        command = [sys.executable, "-c", QIIME, *line.split(), *more]
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True
        )

    run.folder = folder
    return run


def succeeds(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def inputs(qiime, table, hashed_table, tree, metadata):
    tree.save(str(qiime.folder / "tree.qza"))
    table.save(str(qiime.folder / "table.qza"))
    hashed_table.save(str(qiime.folder / "hashed.qza"))
    metadata.save(str(qiime.folder / "metadata.tsv"))


def test_help_names_the_actions(qiime):
    shown = succeeds(qiime("aam --help"))
    for name in ("pretrain", "train", "predict", "rf-baseline"):
        assert f"  {name} " in shown


def test_help_shows_ranges_defaults_and_an_example(qiime):
    shown = " ".join(succeeds(qiime("aam train --help")).split())
    assert "--p-lr NUMBER Range(0, None, inclusive_start=False)" in shown
    assert "Default: 0.1,0.5,0.9. [optional]" in shown
    assert "Default: a tenth of all steps. [optional]" in shown
    assert "qiime aam train \\ --i-table table.qza" in shown


def test_pretrain_goes_on_and_gives_train_an_encoder(qiime, inputs, encoder):
    """From an encoder; test_resume.py starts without one."""
    encoder.save(str(qiime.folder / "encoder.qza"))
    shared = "--i-table table.qza"
    succeeds(
        qiime(
            f"aam pretrain {shared} --i-phylogeny tree.qza "
            "--i-pretrained-encoder encoder.qza --o-encoder more.qza "
            "--p-epochs 1 --p-rarefy-depth 50"
        )
    )
    succeeds(
        qiime(
            f"aam train {shared} --i-encoder more.qza --p-freeze-base "
            "--m-metadata-file metadata.tsv --p-metadata-column ph --p-epochs 1 "
            "--p-rarefy-depth 50 --output-dir trained"
        )
    )
    Artifact.load(str(qiime.folder / "trained" / "model.qza")).validate("max")


def test_train_and_predict(qiime, inputs):
    said = succeeds(
        qiime(
            "aam train --verbose --i-table table.qza --m-metadata-file metadata.tsv "
            "--p-metadata-column ph depth --p-quantiles 0.25 0.5 "
            "--p-loss-type quantile --p-no-count-embedding --o-model model.qza "
            "--o-predictions validation.qza --o-details held-out.qza "
            f"--p-cross-fit 2 {OPTIONS}"
        )
    )
    assert "Out of fold (24 samples): mae" in said
    options = Artifact.load(str(qiime.folder / "model.qza")).view(dict)["options"]
    assert options["metadata_column"] == ["ph", "depth"]
    assert options["quantiles"] == [0.25, 0.5]
    assert options["count_embedding"] is False
    assert options["epochs"] == 1
    succeeds(
        qiime(
            "aam predict --i-table table.qza --i-model model.qza "
            "--o-predictions predictions.qza --o-details details.qza"
        )
    )
    for name in ("model", "validation", "held-out", "predictions", "details"):
        Artifact.load(str(qiime.folder / f"{name}.qza")).validate("max")


def test_forest_of_classes(qiime, inputs):
    said = succeeds(
        qiime(
            "aam rf-baseline --i-table table.qza --m-metadata-file metadata.tsv "
            "--p-metadata-column habitat --p-task classification "
            "--p-rarefy-depth 50 --p-n-estimators 10 --p-n-jobs 1 --output-dir forest"
        )
    )
    assert "Saved SampleData[Probabilities] to: forest/details.qza" in said


def test_an_error_is_one_clear_message(qiime, inputs):
    done = qiime(
        "aam train --i-table hashed.qza --m-metadata-file metadata.tsv "
        "--p-metadata-column ph --o-model never.qza --o-predictions never2.qza "
        "--o-details never3.qza "
        f"{OPTIONS}"
    )
    assert done.returncode != 0
    assert "Plugin error from aam" in done.stderr
    assert "sequences" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (qiime.folder / "never.qza").exists()
