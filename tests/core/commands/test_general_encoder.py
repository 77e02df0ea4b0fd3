"""The encoder of the package, and which runs start from it."""

from pathlib import Path

import numpy as np
import pytest

from aam_core.commands.general_encoder import tell_of, with_general_encoder
from aam_core.commands.predict import predict
from aam_core.commands.train import train
from aam_core.config import PredictConfig, TrainConfig
from aam_core.data.inputs import Sources
from aam_core.errors import InputError
from aam_core.io import model_folder
from aam_core.io.load import load_encoder, load_networks
from aam_core.io.run_layout import GENERAL
from tests import generate
from tests.runs import COLUMN, ONE_NETWORK, shared

SAME = COLUMN | {"epochs": 1, "device": "cpu", "rarefy_depth": 0}


@pytest.fixture(scope="module")
def made():
    return generate.study(samples=24)


def start(made, encoder=None, phylogeny=None, **options):
    config = TrainConfig(**SAME | options)
    sources = Sources(made.table, made.sequences, phylogeny, None)
    return with_general_encoder(config, encoder, sources)


def test_it_is_a_whole_encoder_that_names_no_samples():
    model_folder.check_layout(GENERAL, "max")
    saved = model_folder.read_config(GENERAL)
    assert saved["kind"] == "encoder"
    assert saved["architecture"]["max_bp"] >= 300
    assert all(isinstance(side, int) for side in saved["split"].values())
    sizes = [path.stat().st_size for path in GENERAL.iterdir()]
    assert sum(sizes) < 2_000_000


@pytest.mark.behaviour("general_encoder")
def test_a_run_that_asks_for_nothing_else_starts_from_it(made, tmp_path):
    lines = []
    reads = shared(made)
    options = SAME | ONE_NETWORK
    train(
        TrainConfig(**options),
        tmp_path / "m",
        metadata=made.metadata,
        report=lines.append,
        **reads,
    )
    assert sum("general encoder of the package, frozen" in line for line in lines) == 1
    options = model_folder.read_config(tmp_path / "m")["options"]
    assert options["freeze_base"] is True
    (network,) = load_networks(tmp_path / "m")
    expected = load_encoder(GENERAL).state_dict()
    found = network.base.state_dict()
    assert all((found[name] == value).all() for name, value in expected.items())
    predicted = predict(
        PredictConfig(device="cpu"), tmp_path / "m", **reads, report=lines.append
    )
    assert np.isfinite(predicted.predictions.to_numpy()).all()


def test_asked_for_it_is_trained_unless_it_is_frozen(made):
    config, encoder = start(made, general_encoder=True)
    assert (config.freeze_base, encoder) == (False, GENERAL)
    config, encoder = start(made, general_encoder=True, freeze_base=True)
    assert (config.freeze_base, encoder) == (True, GENERAL)
    config, encoder = start(made, dropout=0.3)
    assert (config.freeze_base, encoder) == (True, GENERAL)
    config, encoder = start(made, effort="quick")
    assert encoder == GENERAL


OTHERS = [
    ({"preset": "tiny"}, "preset is tiny"),
    ({"embedding_dim": 32}, "embedding_dim is 32"),
    ({"max_bp": 60}, "max_bp is 60"),
    ({"nuc_penalty": 0.5}, "nuc_penalty is 0.5"),
    ({"ensemble": ("kernel",)}, "ensemble has no network"),
    ({"encoder": Path("other")}, "another pre-trained encoder"),
    ({"phylogeny": "made"}, "distances for an encoder to learn"),
]


@pytest.mark.parametrize(("given", "message"), OTHERS)
def test_whoever_asks_for_something_else_gets_that(made, given, message):
    if "phylogeny" in given:
        given = {"phylogeny": made.phylogeny}
    config, encoder = start(made, **given)
    assert encoder == given.get("encoder")
    assert config.freeze_base is False
    with pytest.raises(InputError, match=message):
        start(made, **given, general_encoder=True)


def test_turned_off_there_is_none(made):
    assert start(made, general_encoder=False)[1] is None
    other = Path("other")
    assert start(made, encoder=other, general_encoder=False)[1] == other


def test_longer_sequences_are_not_cut_for_it(made):
    long = {name: text * 9 for name, text in made.sequences.items()}
    sources = Sources(made.table, long, None, None)
    config = TrainConfig(**SAME)
    assert with_general_encoder(config, None, sources) == (config, None)
    lines = []
    tell_of(config, None, sources, lines.append)
    assert len(lines) == 1
    assert "from scratch" in lines[0]
    tell_of(config, None, Sources(made.table, made.sequences, None, None), lines.append)
    tell_of(TrainConfig(**SAME, preset="tiny"), None, sources, lines.append)
    assert (
        len(lines) == 1
    )  # nothing is to tell where sequences fit, or sizes were asked
