"""Weights are those that config.json describes, or nothing is built."""

import json
import shutil
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aam_core.ensemble.saved import load_ensemble
from aam_core.errors import InputError
from aam_core.io.load import load_encoder
from aam_core.io.model_folder import CONFIG, WEIGHTS


@pytest.fixture
def copied(models, tmp_path):
    """Takes the name of a model; returns a copy of its folder."""

    def copy(name):
        return shutil.copytree(models[name][1], tmp_path / name)

    return copy


def edit(folder, change):
    """Change configuration and weights; the list of tensors follows."""
    config = json.loads((folder / CONFIG).read_text())
    weights = load_file(folder / WEIGHTS)
    change(config, weights)
    config["tensors"] = {name: list(w.shape) for name, w in weights.items()}
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, _: c["architecture"].update(attention_layers=256), "256 layers"),
        (lambda c, _: c["architecture"].update(embedding_dim=16_384), "[16384]"),
        (lambda c, _: c["architecture"].update(max_bp=100_000), "[25000, 16]"),
        (lambda c, _: c["architecture"].update(attention_layers=2), "is missing"),
        (lambda _, w: w.pop("pool.query"), "pool.query is missing"),
        (lambda _, w: w.update(extra=w["pool.query"]), "extra is F32"),
        (
            lambda _, w: w.update({"pool.query": w["pool.query"].astype(np.float16)}),
            "pool.query is F16",
        ),
        (
            lambda _, w: w.update({"pool.query": w["pool.query"].astype(float)}),
            "types that no model has: 'pool.query'",
        ),
    ],
)
def test_an_encoder_of_other_weights_is_refused_at_once(copied, change, message):
    folder = copied("encoder")
    edit(folder, change)
    began = time.monotonic()
    with pytest.raises(InputError) as error:
        load_encoder(folder)
    assert message in str(error.value)
    assert time.monotonic() - began < 10


def of_network(name, value):
    def change(config, _):
        for one in config["ensemble"]["network"]:
            one["head"][name] = value

    return change


def array(name, change):
    def changed(_, weights):
        weights[name] = change(weights[name])

    return changed


def with_first(value):
    def change(numbers):
        numbers = numbers.copy()
        numbers.flat[0] = value
        return numbers

    return change


MEMBERS = [
    (of_network("target_layers", 256), "layers"),
    (of_network("target_layers", 2), "networks.0.target.blocks.1"),
    (of_network("perceiver_num_latents", 3), None),
    (of_network("linear", 8), "linear.frequency_DK is missing"),
    (lambda _, w: w.update({"stray": w["asvs.profiles"]}), "stray belongs to no part"),
    (lambda _, w: w.pop("kernel.phases"), "'phases' is missing"),
    (array("trees.presence.other", with_first(-5)), "trees do not fit"),
    (array("trees.presence.other", with_first(10**9)), "trees do not fit"),
    (array("trees.presence.column", with_first(10**9)), "trees do not fit"),
    (array("trees.presence.first", with_first(7)), "trees do not fit"),
    (array("trees.presence.first", lambda a: a[..., 0]), "cannot be read"),
    (array("trees.presence.column", lambda a: a.astype(np.float32)), "of type float"),
    (array("trees.presence.threshold", with_first(np.nan)), "not finite"),
    (array("kernel.presence.bias", lambda a: np.r_[a, a]), "kernel do not fit"),
    (array("kernel.digests", lambda a: np.repeat(a[:1], len(a), 0)), "do not fit"),
    (array("asvs.profiles", lambda a: a[:, :5]), "asvs.profiles has shape"),
    (lambda c, _: c["ensemble"].pop("kernel"), "there is no 'kernel-abundance'"),
    (lambda c, _: c["ensemble"]["trees"].update(clades=[1]), "trees do not fit"),
]


@pytest.mark.parametrize(("change", "message"), MEMBERS)
def test_members_that_do_not_fit_are_refused(copied, change, message):
    folder = copied("regression")
    edit(folder, change)
    if message is None:  # of a fusion that is not there
        assert load_ensemble(folder).networks
        return
    with pytest.raises(InputError) as error:
        load_ensemble(folder)
    assert message in str(error.value)


@pytest.mark.parametrize("part", ["target_layers", "perceiver_num_layers"])
def test_layers_are_counted_before_they_are_built(copied, part):
    folder = copied("quantiles")
    edit(folder, of_network(part, 256))
    with pytest.raises(InputError, match=r"config\.json describes 2\d\d layers, but"):
        load_ensemble(folder)


def test_only_some_of_what_does_not_fit_is_listed(copied):
    folder = copied("encoder")
    edit(folder, lambda _, weights: weights.pop("pool.query"))
    with pytest.raises(InputError, match=r"of shape \[.*\]\. Use the folder as"):
        load_encoder(folder)

    def renamed(_, weights):
        for name in list(weights):
            weights[f"x{name}"] = weights.pop(name)

    edit(folder, renamed)
    with pytest.raises(InputError, match=r" \(\d+ more\)\. Use the folder as"):
        load_encoder(folder)


def test_quantiles_need_the_network(copied):
    folder = copied("quantiles")

    def without_network(config, weights):
        del config["ensemble"]["network"]
        for name in list(weights):
            if not name.startswith("asvs."):
                del weights[name]

    edit(folder, without_network)
    with pytest.raises(InputError, match="there is no 'network'"):
        load_ensemble(folder)
