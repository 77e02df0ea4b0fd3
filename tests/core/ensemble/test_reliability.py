"""Which new samples a model cannot know."""

import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import PredictConfig, TrainConfig
from aam_core.data.profiles import PROFILE
from aam_core.data.table import FeatureTable
from aam_core.ensemble import community
from aam_core.ensemble.community import far_fraction, reference
from aam_core.io.model_folder import read_config
from aam_core.reporting import silent
from tests import generate
from tests.core.ensemble.communities import mutated, of_counts
from tests.runs import SMALL, shared

DRAWN = np.random.default_rng(0)
SEQUENCES = ["".join(DRAWN.choice(list("ACGT"), 90)) for _ in range(12)]


def test_reads_in_far_asvs_by_hand():
    known = reference(of_counts([[1] * 6], SEQUENCES[:6]))
    assert known.shape == (6, PROFILE)
    near = mutated(SEQUENCES[0], 1, DRAWN)
    counts = [[5, 3, 2], [0, 1, 0], [1, 0, 3]]
    samples = of_counts(counts, [SEQUENCES[1], near, SEQUENCES[9]])
    np.testing.assert_allclose(far_fraction(samples, known), [0.2, 0, 0.75])
    assert far_fraction(samples, known[:0]).tolist() == [1, 1, 1]


def test_far_is_some_nucleotides_in_a_hundred():
    """Of 90 nucleotides: most with 1 changed are near, most with 12 are far."""
    known = reference(of_counts([[1] * 12], SEQUENCES))
    for number, least, most in ((1, 0, 0.05), (12, 0.8, 1)):
        changed = [mutated(s, number, DRAWN) for s in SEQUENCES for _ in range(5)]
        samples = of_counts([[1] * 60], changed)
        assert least <= far_fraction(samples, known)[0] <= most


def test_the_most_prevalent_are_kept(monkeypatch):
    monkeypatch.setattr(community, "MOST_KNOWN", 2)
    samples = of_counts([[1, 1, 0], [1, 0, 1], [1, 0, 1]], SEQUENCES[:3])
    kept = reference(samples)
    assert len(kept) == 2
    place = {d: i for i, d in enumerate(samples.digests)}
    wanted = [place[d] for d in of_counts([[1, 1]], SEQUENCES[0:3:2]).digests]
    np.testing.assert_allclose(
        kept, samples.profiles_FD[sorted(wanted)].astype(np.float16)
    )


def test_samples_of_another_world_are_told(tmp_path):
    made = generate.study(samples=24)
    config = TrainConfig(**SMALL, metadata_column="value", ensemble=("trees",))
    lines = []
    reads = {**shared(made), "report": lines.append}
    train(config, tmp_path / "m", **reads, metadata=made.metadata)
    new = pd.DataFrame(
        {made.table.feature_ids[0]: [30, 500, 10], "strange": [5, 0, 400]},
        ["few", "known", "other"],
    )
    sequences = {**made.sequences, "strange": "".join(DRAWN.choice(list("ACGT"), 60))}
    del lines[:]
    given = {"table": FeatureTable.from_dataframe(new), "sequences": sequences}
    found = predict(
        PredictConfig(device="cpu"), tmp_path / "m", **given, report=lines.append
    )
    expected = pd.DataFrame(
        {"reads": [35, 300, 300], "few_reads": [1, 0, 0]}, ["few", "known", "other"]
    )
    assert found.reliability[["reads", "few_reads"]].equals(
        expected.rename_axis("id").astype(found.reliability.dtypes[:2])
    )
    far = found.reliability["far_fraction"]
    assert far["few"] == pytest.approx(1 / 7)
    assert far["known"] == 0
    assert far["other"] > 0.9
    (told,) = (line for line in lines if "far from all of training" in line)
    assert told.startswith("1 of 3 samples")
    assert "'other'" in told


@pytest.mark.parametrize("groups", [False, True])
def test_few_samples_or_groups_are_said_plainly(tmp_path, groups):
    made = generate.study(samples=32)
    metadata = made.metadata.assign(site=[f"g{i % 6}" for i in range(32)])
    options = {"group_column": "site"} if groups else {}
    config = TrainConfig(
        **SMALL, metadata_column="value", ensemble=("trees",), **options
    )
    lines = []
    given = {**shared(made), "report": lines.append}
    details = train(config, tmp_path / "m", **given, metadata=metadata).details
    assert any("Scores of 6 groups prove little" in line for line in lines) == groups
    assert any("no prediction intervals: of 6 groups" in n for n in lines) == groups
    assert ("value_lower_90" not in details) == groups
    assert not any("Scores of 32" in line for line in lines)


def test_who_has_no_interval_out_of_fold_is_said(tmp_path):
    """Of 11 groups in five folds one fold has three, so that the others leave eight."""
    made = generate.study(samples=44)
    metadata = made.metadata.assign(site=[f"g{i % 11}" for i in range(44)])
    options = {"metadata_column": "value", "group_column": "site"}
    config = TrainConfig(**SMALL, ensemble=("trees",), **options)
    lines = []
    given = {**shared(made), "report": lines.append}
    found = train(config, tmp_path / "m", **given, metadata=metadata)
    without = found.details["value_lower_90"].isna()
    assert without.sum() == 12
    assert metadata["site"][without[without].index].nunique() == 3
    assert sum("12 of 44 samples have no interval" in line for line in lines) == 1
    assert len(read_config(tmp_path / "m")["target"]["half_widths"]) == 1


def test_the_other_strand_is_told(tmp_path):
    made = generate.study(samples=24)
    config = TrainConfig(**SMALL, metadata_column="value", ensemble=("trees",))
    reads = shared(made) | {"report": silent}
    train(config, tmp_path / "m", **reads, metadata=made.metadata)
    turned = {
        n: str(skbio.DNA(s).reverse_complement()) for n, s in made.sequences.items()
    }
    told = {}
    for name, sequences in {"same": made.sequences, "turned": turned}.items():
        lines = []
        given = {"table": made.table, "sequences": sequences, "report": lines.append}
        found = predict(PredictConfig(device="cpu"), tmp_path / "m", **given)
        told[name] = any("other strand" in line for line in lines)
        assert told[name] == any("other strand" in line for line in found.notes)
    assert told == {"same": False, "turned": True}
