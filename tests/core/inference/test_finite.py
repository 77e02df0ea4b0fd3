"""What is not finite is never returned as a result, and the error says what it is."""

import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from aam_core.commands.explain import explain
from aam_core.config import EmbedConfig, ExplainConfig
from aam_core.errors import InputError
from aam_core.inference.embed import embed_asvs, embed_samples, predicted_distances
from aam_core.inference.finite import check_finite
from aam_core.io.model_folder import WEIGHTS
from tests.commands import aam, inputs
from tests.reports import QUIET
from tests.runs import go, shared


def with_weight(models, name, path, weight, value):
    """A copy of a model, with an array of weights of this value."""
    folder = shutil.copytree(models[name][1], path / f"{name}-{value}")
    weights = load_file(folder / WEIGHTS)
    weights[weight] = np.full_like(weights[weight], value)
    save_file(weights, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(made, models, tmp_path, value):
    broken = with_weight(models, "regression", tmp_path, "kernel.presence.bias", value)
    with pytest.raises(InputError, match=r"not finite: 'kernel\.presence\.bias'"):
        go("predict", made, broken)
    encoder = with_weight(models, "encoder", tmp_path, "pool.query", value)
    with pytest.raises(InputError, match=r"not finite: 'pool\.query'"):
        go("train", made, tmp_path / "m", {"encoder": encoder})
    assert not (tmp_path / "m").exists()


def test_predictions_that_overflow_are_refused(made, models, tmp_path):
    weight = "networks.0.base.encoder.norm.weight"
    model = with_weight(models, "regression", tmp_path, weight, 3e38)
    message = "the member network returns are not finite in 32 of 32 samples: 's00'"
    with pytest.raises(InputError, match=message):
        go("predict", made, model)


def test_the_command_ends_with_an_error(files, models, tmp_path):
    weight = "networks.0.base.encoder.norm.weight"
    model = with_weight(models, "classes", tmp_path, weight, 3e38)
    given = ("--output", tmp_path / "found.tsv", "--device", "cpu")
    run = aam("predict", *inputs(files, "table", "sequences"), "--model", model, *given)
    assert run.exit_code
    assert "the member network returns are not finite in 24 of 24" in run.output
    assert not (tmp_path / "found.tsv").exists()


def test_embeddings_that_overflow_are_refused(made, models, tmp_path):
    weight = "nucleotides.pool.norm.weight"
    encoder = with_weight(models, "encoder", tmp_path, weight, 3e38)
    reads = shared(made) | QUIET
    config = EmbedConfig(device="cpu")
    for command, unit in (
        (embed_samples, "32 of 32 samples"),
        (predicted_distances, "32 of 32 samples"),
        (embed_asvs, "40 of 40 ASVs"),
    ):
        with pytest.raises(InputError, match=f"Embeddings are not finite in {unit}"):
            command(config, encoder, **reads)


def test_explanations_that_overflow_are_refused(made, models, tmp_path):
    weight = "base.encoder.norm.weight"
    model = with_weight(models, "quantiles", tmp_path, weight, 3e38)
    config = ExplainConfig(device="cpu", draws=2, samples=("s00",), network_steps=1)
    with pytest.raises(InputError, match="Contributions are not finite"):
        explain(config, model, metadata=made.metadata, **shared(made) | QUIET)


def test_tables_and_texts_that_are_finite_pass():
    table = pd.DataFrame({"name": ["x", "y"], "value": [1.0, -1e300]})
    check_finite(table, ["a", "b"], "Numbers", "rows")
    table.loc[1, "value"] = np.inf
    with pytest.raises(InputError, match="Numbers are not finite in 1 of 2 rows: 'b'"):
        check_finite(table, ["a", "b"], "Numbers", "rows")
