"""The model equals its plain form, and each measurement runs."""

import dataclasses
import itertools
import json
import subprocess

import numpy as np
import pytest
import skbio
import torch
from click.testing import CliRunner
from scipy.spatial.distance import pdist
from skbio.diversity.beta import unweighted_unifrac

import benchmarks.__main__
from aam_core.cli.files import write_table
from aam_core.config import (
    Architecture,
    InputOptions,
    LossOptions,
    PretrainConfig,
    effort,
    resolve_architecture,
)
from aam_core.data.batches import BatchMaker
from aam_core.data.masking import Masking
from aam_core.data.phylogeny import Phylogeny
from aam_core.data.study import prepare_study
from aam_core.data.table import FeatureTable
from aam_core.data.unifrac import BatchUniFrac
from aam_core.nn.attention import SHORT
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.losses import self_supervised_losses
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import Block
from aam_core.runtime import process_memory
from benchmarks import contenders, datapath, devices, flops, measure, synthetic
from benchmarks.__main__ import main
from benchmarks.contenders import counted
from benchmarks.reference import (
    IGNORED,
    PlainEncoder,
    PlainPredictor,
    plain_losses,
    slots_of,
)
from tests import generate

ARCH = Architecture(
    embedding_dim=16,
    attention_heads=2,
    attention_layers=2,
    nucleotide_patch=1,
    max_bp=40,
    dropout=0.1,
    count_embedding=True,
    count_embedding_method="add",
)


@pytest.fixture(scope="module")
def batch():
    """Sequences of several lengths, in chunks; samples of several sizes."""
    made = synthetic.study(6, 40, 18, 40, short=0.5)
    study = prepare_study(
        made.table,
        made.sequences,
        InputOptions(rarefy_depth=0),
        max_bp=40,
        seed=0,
        report=print,
    )
    maker = BatchMaker(
        study,
        token_limit=100,
        asv_sampling="abundance",
        chunk_size=7,
        distances=BatchUniFrac(made.phylogeny, study.table),
        masking=Masking(0.15),
    )
    batch = maker[0, np.arange(6)]
    assert batch.ragged
    assert len({chunk.length for chunk in batch.chunks}) > 1
    assert sum(chunk.ragged for chunk in batch.chunks) > 1
    return batch


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("patch", "overlap"), [(1, 0), (6, 0), (6, 3), (4, 7)])
def test_encoder_equals_its_plain_form(batch, patch, overlap):
    """Each ASV once, bucketed by length, against every slot, padded and masked."""
    torch.manual_seed(0)
    sizes = {"nucleotide_patch": patch, "nucleotide_overlap": overlap}
    model = Encoder(dataclasses.replace(ARCH, **sizes)).eval()
    plain = PlainEncoder(model).eval()
    slots = slots_of(batch)
    ours, theirs = model(batch), plain(slots)
    present = batch.present_SA
    asv_UD, logits_M4 = model.encode_asvs(batch)
    close(asv_UD[batch.index_SA][present], theirs["asv"][present])
    for name in ("sample", "distance_embedding"):
        close(ours[name], theirs[name])
    close(ours["states"][present], theirs["states"][present])
    # A nucleotide hidden in an ASV is hidden in each slot of the ASV.
    of_asv = torch.zeros(*batch.tokens_UL.shape, 4)
    of_asv[batch.masked_row_M, batch.masked_column_M] = logits_M4
    hidden = slots.truth_SAL.flatten(0, 1) != IGNORED
    close(of_asv[batch.index_SA].flatten(0, 1)[hidden], theirs["nucleotides"][hidden])

    losses = self_supervised_losses(ours, batch, LossOptions())
    expected = plain_losses(theirs, slots)
    assert set(losses) == set(expected) == {"unifrac_loss", "nuc_loss"}
    for name, loss in losses.items():
        close(loss, expected[name])


def test_gradient_equals_that_of_the_plain_form(batch):
    torch.manual_seed(0)
    model = Encoder(dataclasses.replace(ARCH, dropout=0.0)).train()
    plain, slots = PlainEncoder(model).train(), slots_of(batch)
    sum(self_supervised_losses(model(batch), batch, LossOptions()).values()).backward()
    sum(plain_losses(plain(slots), slots).values()).backward()
    ours, theirs = model.nucleotides, plain.nucleotides
    close(ours.embed.weight.grad, theirs.embed.weight.grad, 1e-4)
    close(ours.head.weight.grad, theirs.head.weight.grad, 1e-4)
    qkv = ours.transformer.blocks[0].attention.qkv
    close(
        qkv.weight.grad,
        theirs.transformer.layers[0].self_attn.in_proj_weight.grad,
        1e-4,
    )


@pytest.mark.parametrize("frozen", [False, True])
def test_predictor_equals_its_plain_form(batch, frozen):
    torch.manual_seed(0)
    model = SequencePredictor(Encoder(ARCH), HeadShape(outputs=2), frozen).eval()
    plain = PlainPredictor(model).eval()
    with torch.inference_mode():
        close(model(batch)["target"], plain(slots_of(batch))["target"])
        first = slots_of(batch, samples=2)
        close(model(batch)["target"][:2], plain(first)["target"])


def test_generated_tree_is_the_one_of_its_newick():
    made = synthetic.study(6, 60, 20, 30)
    tree = skbio.TreeNode.read([synthetic.newick(made.phylogeny)])
    read = Phylogeny.from_skbio(tree)
    for name in ("tip_names", "low", "high", "parent"):
        assert np.array_equal(getattr(read, name), getattr(made.phylogeny, name))
    assert np.allclose(read.lengths, made.phylogeny.lengths, atol=1e-6)


def test_generated_study_is_what_was_asked_for(tmp_path):
    made = synthetic.study(50, 400, 40, 90, short=0.3)
    per_sample = np.diff(made.table.counts.indptr)
    assert per_sample.max() == 40
    assert per_sample.min() >= 16
    popularity = np.sort(made.table.counts.getnnz(axis=0))[::-1]
    assert popularity[:20].mean() > 5 * popularity[100:].mean()
    texts = list(made.sequences.values())
    assert len(set(texts)) == 400
    assert np.mean([len(t) < 90 for t in texts]) == pytest.approx(0.3, abs=0.1)
    # Neighbours in the tree are alike, as sequences that evolved are.
    whole = [t for t in texts if len(t) == 90]
    letters = np.array([list(t) for t in whole]).view(np.uint32).reshape(len(whole), -1)
    neighbours = (letters[1:] != letters[:-1]).mean()
    assert neighbours < pdist(letters, "hamming").mean() / 1.5
    synthetic.write(made, tmp_path)
    read = FeatureTable.read(tmp_path / "table.biom")
    assert list(read.feature_ids) == list(made.table.feature_ids)
    assert (read.counts != made.table.counts).nnz == 0


@pytest.mark.parametrize(
    ("positions", "times"),
    [
        (7, 2),  # the plain formula keeps its scores
        (SHORT + 1, 2.5),  # the kernel computes them once more
    ],
)
def test_operations_are_counted_as_by_hand(positions, times):
    width, asvs = 16, 3
    block = Block(width, 2, 0.1)
    x = torch.randn(asvs, positions, width, requires_grad=True)
    with counted() as forward:
        y = block(x).sum()
    with counted() as backward:
        y.backward()
    weights = 2 * asvs * positions * (3 + 1 + 8) * width**2
    attention = 2 * 2 * asvs * positions**2 * width
    assert forward.get_total_flops() == weights + attention
    assert backward.get_total_flops() == 2 * weights + times * attention


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_operations_by_formula_are_those_counted(preset, training):
    arch = resolve_architecture(PretrainConfig(preset=preset, max_bp=45))
    for length in (45, 40):  # 40 is no multiple of the patch
        expected = flops.counted_of_asv(arch, length, training)
        found = flops.of_asv(arch, length, training) + flops.of_query(arch, training)
        assert found == expected
    for asvs in (9, SHORT + 1):
        expected = flops.counted_of_slot(arch, asvs, training)
        assert flops.of_slot(arch, asvs, training) == expected


class Here:
    """A contender in this process: a new one would import PyTorch first."""

    def __init__(self, make, **sizes):
        self.object = measure.find(make)(**sizes)

    def run(self):
        self.object()
        return 1.0

    def close(self):
        facts = {"seconds": 0.5, "peak_bytes": 3, "rise_bytes": 1}
        return facts | getattr(self.object, "facts", {})


SMALL = ["--asvs=12", "--batch=4", "--preset=tiny", "--repeats=1"]
MODEL = [*SMALL, "--features=30", "--length=20"]
MEASUREMENTS = {
    "step": (MODEL, 8),
    "train": ([*MODEL, "--samples=10"], 3),
    "predict": ([*MODEL, "--samples=5"], 2),
    "unifrac": ([*SMALL, "--tips=40"], 2),
    "flops": (["--length=20", "--asvs=12"], 4),
    "pipeline": ([*SMALL, "--features=30", "--samples=10"], 1),
}


def measured(name, arguments, folder):
    path = folder / "result.json"
    words = [name, *arguments, "--json", str(path)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(path.read_text())
    assert result["name"] == name
    assert result["environment"]["versions"]["torch"]
    for column in result["rows"][0]:
        assert column in done.output
    return result


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurement_runs(name, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "Contender", Here)
    arguments, rows = MEASUREMENTS[name]
    assert len(measured(name, arguments, tmp_path)["rows"]) == rows


def test_step_scales_the_reference_to_all_slots(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "Contender", Here)
    part = measured("step", [*MODEL, "--patch=6", "--reference-samples=1"], tmp_path)
    by_name = {row[""]: row for row in part["rows"]}
    assert by_name["reference"]["seconds"] == 4 * 0.5
    assert by_name["q2-aam"]["× faster"] == 4
    assert any("1 of 4 samples (12 slots)" in note for note in part["notes"])


def test_what_a_step_needs_is_what_pytorch_counts():
    sizes = {"samples": 4, "features": 60, "asvs": 30, "length": 60, "batch": 4}
    step = contenders.Step(known=True, patch=6, preset="tiny", **sizes)
    assert devices.needed(step) == pytest.approx(step.facts["flops"], rel=0.05)


def test_steps_on_a_device(tmp_path):
    words = ["--device=cpu", "--preset=tiny", "--batch=4", "--asvs=12", "--features=30"]
    words += ["--steps=1", "--product=64", "--nominal=0.5", "--lean"]
    result = measured("device", words, tmp_path)
    assert [row["precision"] for row in result["rows"]] == ["bf16", "none"]
    for row in result["rows"]:
        ratio = row["fraction of the nominal peak"] * 0.5 / row["TFLOP/s"]
        assert ratio == pytest.approx(1)
        assert row["fraction of the matrix peak"] > 0
        assert row["memory"] > 1e7
    assert any(note.startswith("torch ") for note in result["notes"])


@pytest.mark.parametrize(("free", "part"), [(20e9, False), (1e9, True)])
def test_the_reference_computes_all_where_memory_suffices(
    tmp_path, monkeypatch, free, part
):
    monkeypatch.setattr(measure, "Contender", Here)
    monkeypatch.setattr(process_memory, "available", lambda: free)
    monkeypatch.setattr(benchmarks.__main__, "AT_ONCE", 1)
    found = measured("step", [*MODEL, "--patch=6"], tmp_path)
    told = [note for note in found["notes"] if "The reference computed 1 of" in note]
    assert len(told) == part


def test_start_up_is_that_of_the_commands(tmp_path, monkeypatch):
    run = []
    monkeypatch.setattr(measure, "Contender", Here)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: run.append(words))
    rows = measured("startup", ["--repeats=1"], tmp_path)["rows"]
    assert len(run) == 2 * len(rows)
    assert ["-m", "aam_core", "--help"] in [words[1:] for words in run]


def test_the_start_is_varied_alone(tmp_path):
    words = ["--samples=12", "--seed=0", "--train-epochs=1", "--pretrain-epochs=1"]
    result = measured("start", words, tmp_path)
    rows = result["rows"]
    sides = [[row for row in rows if row["start"] == side] for side in ("yes", "no")]
    assert len(sides[0]) == len(sides[1]) == 2 + 3 * 2
    for given, left in zip(*sides, strict=True):
        differing = {name for name in given if given[name] != left[name]}
        assert differing >= {"start", "seed 0"}
        assert differing <= {"start", "seed 0", "mean", "SD"}  # of one seed it is NaN
    made = generate.study(12)
    table = made.table.rarefy(300, 0, print)
    pairs = itertools.combinations(table.counts.toarray(), 2)
    names = list(table.feature_ids)
    distances = [unweighted_unifrac(*pair, names, made.tree) for pair in pairs]
    assert f"a loss of {np.var(distances):.3g}." in result["notes"][0]


def test_explanations_are_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(effort.STEPS, "quick", 6)
    words = ["--samples=24", "--features=10", "--seed=0", "--max-samples=4"]
    rows = measured("explain", [*words, "--draws=2"], tmp_path)["rows"]
    assert {row["target"] for row in rows} == {"value", "kind"}
    for row in rows:
        assert row["precision at 4"] in (0, 0.25, 0.5, 0.75, 1)
        assert 0 <= row["right sign"] <= 1
        assert -1 <= row["rank correlation of importance"] <= 1


LARGE = ["--samples=20", "--features=60", "--asvs=12", "--depth=100", "--batches=2"]


def test_scale_measures_each_phase_in_processes_of_its_own(tmp_path):
    result = measured("scale", LARGE, tmp_path)
    made, *read = result["rows"]
    assert made["seconds"] > 0
    assert made["memory so far"] > 10**7
    assert len(read) == 5
    assert min(row["seconds"] for row in read) > 0
    assert min(row["CPU seconds"] for row in read) > 0
    memory = [row["memory so far"] for row in read]
    assert sorted(memory) == memory
    assert memory[0] > 10**8  # PyTorch and the table
    assert result["details"]["pretrain"]["samples"] == 20
    assert result["details"]["pretrain"]["batches"] == 2


def test_scale_predicts_all_samples_into_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "Contender", Here)
    texts = []
    monkeypatch.setattr(
        datapath,
        "write_table",
        lambda table, path: write_table(table, path) or texts.append(path.read_text()),
    )
    result = measured("scale", [*LARGE, "--predict", "--length=60"], tmp_path)
    phases = [row["phase"] for row in result["rows"][-4:]]
    assert phases[2:] == ["predict", "write the predictions"]
    assert result["details"]["predict"]["samples"] == 20
    assert any("samples/s" in note for note in result["notes"])
    lines = texts[0].splitlines()
    assert len(lines) == 21
    assert np.isfinite([float(line.split("\t")[1]) for line in lines[1:]]).all()


def test_a_dead_contender_is_told():
    with pytest.raises(SystemExit, match="exit code"):
        measure.Contender("processes.Command", no_such_size=0)
