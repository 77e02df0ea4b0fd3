"""Distances from q2-diversity go into encoders, and theirs into its tests.

Debian has q2-diversity-lib only; conda's QIIME 2 has q2-diversity as well.
"""

import gc
import warnings

import matplotlib
import pytest
from qiime2.plugins import aam

from .conftest import TINY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    pytest.importorskip("q2_diversity", reason="needs q2-diversity")
    from qiime2.plugins import diversity

matplotlib.use("Agg")


def run(action, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the actions and what they leave open
        (found,) = action(*args, **kwargs)
        gc.collect()
    return found


@pytest.mark.parametrize("metric", ["unweighted_unifrac", "braycurtis"])
def test_from_distances_to_tests_of_predicted_ones(
    table, tree, metadata, metric, tmp_path
):
    if metric == "braycurtis":
        distances = run(diversity.pipelines.beta, table, metric)
    else:
        distances = run(diversity.pipelines.beta_phylogenetic, table, tree, metric)
    encoder = aam.actions.pretrain(table, distance_matrix=distances, **TINY).encoder
    predicted = aam.actions.embed(table, encoder=encoder, device="cpu").distance_matrix
    few = {"permutations": 9}
    groups = metadata.get_column("habitat")
    significance = run(
        diversity.visualizers.beta_group_significance, predicted, groups, **few
    )
    mantel = run(diversity.visualizers.mantel, distances, predicted, **few)
    for name, page in (("significance", significance), ("mantel", mantel)):
        page.export_data(str(tmp_path / name))
        assert (tmp_path / name / "index.html").exists()
