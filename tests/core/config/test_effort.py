"""What effort means, by device and samples."""

import pytest

from aam_core.config import PretrainConfig, TrainConfig
from aam_core.config.effort import (
    BUDGET,
    FEWEST,
    FEWEST_QUICK,
    MOST,
    default_preset,
    members_of,
    with_effort,
)

SAME = {"device": "cpu", "width": 64, "models": 5, "batches": 1, "frozen": False}


def epochs(asvs, effort="standard", **changes):
    config = TrainConfig(metadata_column="x", effort=effort)
    return with_effort(config, asvs=asvs, **SAME | changes).epochs


@pytest.mark.behaviour("effort")
def test_epochs_fill_the_budget():
    assert epochs(20_000) == BUDGET["standard"] // (5 * 20_000) == 10
    assert epochs(20_000, models=1) == 50
    assert epochs(60_000, "thorough") == 33
    assert epochs(80_000, width=128, device="cuda") == 25  # 20 / 2 as much
    assert epochs(200_000, frozen=True) == 10
    assert epochs(200_000, frozen=True, batches=100) == FEWEST  # of the budget of 10
    assert epochs(10**9) == FEWEST
    assert epochs(1) == epochs(0) == MOST


def test_a_frozen_encoder_needs_few_steps():
    """400, 150 or 1,600, whatever the number of samples."""
    assert epochs(100, frozen=True, batches=15) == 27
    assert epochs(100, "quick", frozen=True, batches=15) == 10
    assert epochs(100, "quick", frozen=True, batches=80) == FEWEST_QUICK
    assert epochs(100, frozen=True, batches=200) == FEWEST
    assert epochs(100, "thorough", frozen=True, batches=40) == 40
    assert epochs(100, frozen=True, batches=2) == MOST
    assert epochs(100, batches=15) == MOST


def test_rate_and_patience():
    def chosen(**changes):
        config = PretrainConfig(epochs=changes.pop("epochs", None))
        return with_effort(config, asvs=20_000, **SAME | changes)

    assert [chosen(width=w).lr for w in (32, 64, 128, 384, 768)] == [
        *(1e-3, 1e-3, 5e-4, 2e-4, 1e-4)
    ]
    assert chosen(width=768, frozen=True).lr == 1e-3
    assert chosen(epochs=7).patience == 10
    assert chosen(epochs=100).patience == 20


def test_what_the_user_chose_holds():
    config = PretrainConfig(epochs=3, lr=0.5, patience=2)
    assert with_effort(config, asvs=1, **SAME) == config
    assert config.filled() == config
    filled = PretrainConfig(epochs=3).filled()
    assert (filled.epochs, filled.lr, filled.patience) == (3, 1e-4, 10)


def test_presets_and_members():
    assert [default_preset(d) for d in ("cpu", "cuda", "mps")] == [
        *("tiny", "small", "small")
    ]
    assert members_of("quick", frozen=False) == ("kernel", "trees")
    for effort, frozen in (("quick", True), ("standard", False), ("thorough", False)):
        assert members_of(effort, frozen) == ("network", "kernel", "trees")
