"""Older spellings of options in `aam`."""

import pytest

from aam_core.cli.aliases import strategy_of, translated
from aam_core.errors import InputError
from aam_core.reporting import silent

NOTHING = dict.fromkeys(
    ("normalize_targets", "log_transform_targets", "normalize_targets_by", "out_dim")
) | {"target_transform": None, "normalize_by": ()}


@pytest.mark.parametrize(
    ("given", "meant", "instead"),
    [
        (
            {"normalize_targets": True},
            {"target_transform": "minmax"},
            "--target-transform minmax",
        ),
        (
            {"normalize_targets": False, "target_transform": "none"},
            {"target_transform": "none"},
            "--target-transform none",
        ),
        (
            {"log_transform_targets": True, "normalize_targets": True},
            {"target_transform": "log-minmax"},
            "--target-transform log-minmax",
        ),
        (
            {"log_transform_targets": True, "normalize_targets": False},
            {"target_transform": "log-zscore"},
            "--target-transform log-zscore",
        ),
        (
            {"normalize_targets_by": "site,sex", "normalize_by": ("site", "sex")},
            {"target_transform": "zscore-category", "normalize_by": ("site,sex",)},
            "--target-transform zscore-category --normalize-by site,sex",
        ),
    ],
)
def test_meaning(given, meant, instead):
    lines = []
    assert translated(NOTHING | given, lines.append) == meant
    assert len(lines) == 1
    assert lines[0].endswith(f"write {instead} instead.")


def test_nothing_older():
    lines = []
    assert translated(NOTHING | {"target_transform": "zscore"}, lines.append) == {}
    assert lines == []


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (
            {"normalize_targets": True, "target_transform": "zscore"},
            "--target-transform is zscore: leave --normalize-targets out",
        ),
        (
            {"normalize_targets": False, "target_transform": "minmax"},
            "--no-normalize-targets means --target-transform none",
        ),
        (
            {"log_transform_targets": True, "target_transform": "log-zscore"},
            "leave --log-transform-targets out",
        ),
        (
            {"normalize_targets_by": "site", "normalize_by": ("sex",)},
            "means --normalize-by site, but --normalize-by is sex",
        ),
        (
            {"normalize_targets_by": "site", "log_transform_targets": True},
            "has no counterpart",
        ),
        (
            {"normalize_targets": False, "normalize_targets_by": "site"},
            "contradict each other",
        ),
        ({"out_dim": 1}, "--out-dim has no effect"),
    ],
)
def test_contradictions(given, match):
    with pytest.raises(InputError, match=match):
        translated(NOTHING | given, silent)


PLAIN = dict.fromkeys(("fsdp", "distributed", "data_parallel", "sync_batchnorm"), False)
PLAIN |= {"strategy": None}


@pytest.mark.parametrize(
    ("given", "strategy"),
    [
        ({}, None),
        ({"fsdp": True}, "fsdp"),
        ({"distributed": True}, "ddp"),
        ({"data_parallel": True}, "data-parallel"),
        ({"distributed": True, "strategy": "ddp"}, "ddp"),
        ({"strategy": "auto"}, "auto"),
    ],
)
def test_flags_of_strategies(given, strategy):
    assert strategy_of(PLAIN | given) == {"strategy": strategy}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"fsdp": True, "distributed": True}, "--fsdp and --distributed contradict"),
        ({"fsdp": True, "strategy": "ddp"}, "--fsdp and --strategy ddp contradict"),
        ({"sync_batchnorm": True}, "no batch normalisation"),
    ],
)
def test_contradictions_of_strategies(given, match):
    with pytest.raises(InputError, match=match):
        strategy_of(PLAIN | given)
