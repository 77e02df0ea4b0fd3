"""Embeddings of a table in one call, beside those of the Python interface."""

import numpy as np
import pandas as pd
import pytest
import skbio
from skbio.stats.ordination import pcoa

from aam_core.commands.embed import AXES, embed, ordination
from aam_core.config import EmbedConfig
from aam_core.errors import InputError
from aam_core.inference.embed import embed_asvs, embed_samples, predicted_distances
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
