"""Embeddings of a table in one call, beside those of the Python interface."""

import numpy as np
import pandas as pd
import pytest
import skbio
import torch
from skbio.stats.ordination import pcoa

from aam_core.commands.embed import AXES, embed, ordination
from aam_core.config import EmbedConfig
from aam_core.data.target_decoder import Decoder
from aam_core.errors import InputError
from aam_core.inference.embed import embed_asvs, embed_samples, predicted_distances
from aam_core.io.load import load_networks
from aam_core.io.model_folder import read_config
from aam_core.reporting import silent
from tests.commands import aam, inputs
from tests.runs import go, shared, turned

CONFIG = EmbedConfig(device="cpu")


@pytest.fixture(scope="module")
def encoder(made, tmp_path_factory):
    return go("pretrain", made, tmp_path_factory.mktemp("encoder") / "e")


def test_all_of_it_is_that_of_its_parts(made, encoder):
    given = shared(made) | {"report": silent}
    found = embed(CONFIG, encoder, **given)
    assert found.samples.equals(embed_samples(CONFIG, encoder, **given))
    assert found.asvs.equals(embed_asvs(CONFIG, encoder, **given))
    distances = predicted_distances(CONFIG, encoder, **given)
    assert np.array_equal(found.distances.data, distances.data)
    assert found.distances.ids == tuple(found.samples.index)
    assert found.pcoa.samples.shape == (32, AXES)


def test_order_and_company_change_nothing(made, encoder):
    given = shared(made) | {"report": silent}
    first = embed(CONFIG, encoder, **given)
    again = embed(CONFIG, encoder, **given | {"table": turned(made.table)})
    pd.testing.assert_frame_equal(
        first.samples.sort_index(), again.samples.sort_index(), rtol=1e-4, atol=1e-5
    )


def test_without_an_encoder_it_is_the_general_one(made):
    found = embed(CONFIG, **shared(made), report=silent)
    assert found.samples.shape == (32, 64)
    assert 0 < found.distances.data.max() < 1


def test_axes_are_those_of_scikit_bio():
    points = np.random.default_rng(0).normal(size=(12, 4))
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    matrix = skbio.DistanceMatrix(apart)
    found = ordination(matrix).samples.to_numpy()
    expected = pcoa(matrix, number_of_dimensions=11).samples.to_numpy()[:, :AXES]
    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-6)
    between = np.linalg.norm(found[:, None] - found[None], axis=-1)
    assert np.allclose(between, apart, atol=1e-6)


def test_few_samples_are_told(made, encoder):
    table = made.table.take_samples(np.arange(2))
    with pytest.raises(InputError, match="2 samples are left"):
        embed(CONFIG, encoder, **shared(made) | {"table": table}, report=silent)


def test_the_command_writes_them(files, tmp_path):
    given = inputs(files, "table", "sequences")
    done = aam("embed", *given, "--output-dir", tmp_path / "run", "--device", "cpu")
    assert done.exit_code == 0, done.output
    ids = pd.read_csv(tmp_path / "run" / "embedding.tsv", sep="\t", index_col=0).index
    assert len(ids) == 24
    ordered = skbio.OrdinationResults.read(str(tmp_path / "run" / "pcoa.txt"))
    assert list(ordered.samples.index) == list(ids)
    matrix = skbio.DistanceMatrix.read(str(tmp_path / "run" / "distances.tsv"))
    assert list(matrix.ids) == list(ids)
    assert (tmp_path / "run" / "asv_embedding.tsv").exists()


def by_model(made, model, **options):
    config = EmbedConfig(device="cpu", **options)
    given = shared(made) | {"report": silent}
    return lambda **more: embed(config, model=model, **given | more)


def test_the_head_reads_the_embedding_of_a_model(made, encoder, tmp_path):
    given = {"encoder": encoder, "phylogeny": None}
    model = go("train", made, tmp_path / "m", given, freeze_base=True)
    found = by_model(made, model)()
    network = load_networks(model)[0]
    head = network.head(torch.from_numpy(found.samples.to_numpy()))
    decoder = Decoder.from_dict("regression", read_config(model)["target"])
    values = decoder.predictions(head.detach().numpy(), found.samples.index, None)
    expected = go("predict", made, model).predictions
    np.testing.assert_allclose(values["value"], expected["value"], rtol=1e-4)
    own = embed_asvs(CONFIG, encoder, **shared(made), report=silent)
    pd.testing.assert_frame_equal(found.asvs, own, rtol=1e-4, atol=1e-5)
    apart = found.distances.data[0, 1]
    difference = found.samples.iloc[0] - found.samples.iloc[1]
    assert apart == pytest.approx(np.linalg.norm(difference), rel=1e-4)


@pytest.mark.behaviour("unknown_categories", command="embed")
def test_covariates_and_folds_take_part(made, tmp_path):
    options = {"categorical_columns": ("site",), "cross_fit": 2}
    model = go("train", made, tmp_path / "m", **options)
    embedded = by_model(made, model)
    width = read_config(model)["architecture"]["embedding_dim"]
    found = embedded(metadata=made.metadata)
    assert found.samples.shape == (32, 2 * width)
    moved = made.metadata.assign(site=np.roll(made.metadata["site"], 1))
    changed = embedded(metadata=moved).samples
    same = (moved["site"] == made.metadata["site"]).to_numpy()
    equal = np.isclose(changed, found.samples, atol=1e-5).all(axis=1)
    assert (equal == same).all()
    with pytest.raises(InputError, match="conditioned on the metadata columns 'site'"):
        embedded()
    moon = made.metadata.assign(site="moon")
    with pytest.raises(InputError, match=r"'moon'.*unknown_categories"):
        embedded(metadata=moon)
    ignoring = by_model(made, model, unknown_categories="ignore")
    assert len(ignoring(metadata=moon).samples) == 32


def test_what_cannot_embed_is_told(made, encoder, tmp_path):
    model = go("train", made, tmp_path / "m", ensemble=("trees",))
    with pytest.raises(InputError, match="no network that could embed"):
        by_model(made, model)()
    with pytest.raises(InputError, match="Both an encoder and a model"):
        embed(CONFIG, encoder, model=model, **shared(made))
    with pytest.raises(InputError, match="are for the covariates of a model"):
        embed(CONFIG, encoder, metadata=made.metadata, **shared(made))
    ignoring = EmbedConfig(device="cpu", unknown_categories="ignore")
    with pytest.raises(InputError, match="are for the covariates of a model"):
        embed(ignoring, **shared(made))
