"""Trainings in threads of one process give what each gives alone."""

import os
import threading

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from aam_core.commands.embed import embed
from aam_core.commands.explain import explain
from aam_core.config import EmbedConfig, ExplainConfig
from aam_core.io.load import load_encoder, load_networks
from aam_core.io.model_folder import WEIGHTS
from aam_core.reporting import silent
from aam_core.runtime.draws import own_draws
from tests import generate
from tests.runs import go, shared

SEEDS = (1, 2, 3)


def weights(made, folder, seed):
    go("pretrain", made, folder, seed=seed, epochs=2)
    return load_file(folder / WEIGHTS)


def test_trainings_in_threads_share_no_draws(smaller, tmp_path):
    alone = [weights(smaller, tmp_path / f"alone-{seed}", seed) for seed in SEEDS]
    together = {}

    def run(seed):
        together[seed] = weights(smaller, tmp_path / f"together-{seed}", seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in SEEDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, one in zip(SEEDS, alone, strict=True):
        assert list(one) == list(together[seed])
        for name, values in one.items():
            np.testing.assert_array_equal(values, together[seed][name])


@pytest.mark.parametrize("name", ["encoder", "regression", "quantiles"])
def test_who_reads_a_model_takes_no_draws_of_a_training(models, name):
    """Which another thread may be at."""
    kind, folder = models[name]
    state = torch.random.get_rng_state()
    load = {"encoder": load_encoder, "model": load_networks}[kind]
    load(folder)
    made = generate.study(samples=32)
    given = shared(made) | {"report": silent}
    if kind == "encoder":
        embed(EmbedConfig(device="cpu"), folder, **given)
    else:
        go("predict", made, folder)
        few = ExplainConfig(device="cpu", max_samples=2)
        explain(few, folder, metadata=made.metadata, **given)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_who_waits_says_so_and_nobody_waits_for_himself():
    said, waiting = [], threading.Event()

    def report(line):
        said.append(line)
        waiting.set()

    def wait():
        with own_draws(report):
            pass

    with own_draws(said.append), own_draws(said.append):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    (line,) = said
    assert "waits for its end" in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_waits_for_nobody():
    """As of `action.asynchronous`, while another thread trains."""
    begun, over = threading.Event(), threading.Event()

    def train():
        with own_draws(print):
            begun.set()
            over.wait(20)

    thread = threading.Thread(target=train)
    thread.start()
    begun.wait(10)
    child = os.fork()
    if child == 0:
        said = []
        with own_draws(said.append):
            os._exit(len(said))
    _, status = os.waitpid(child, 0)
    over.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(status) == 0
