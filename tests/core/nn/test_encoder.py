import dataclasses

import pytest
import torch

from aam_core.config import Architecture, InputOptions
from aam_core.data.batches import BatchMaker
from aam_core.data.masking import Masking
from aam_core.data.packing import Packing, places
from aam_core.data.study import prepare_study
from aam_core.nn.attention import attend_packed
from aam_core.nn.encoder import Encoder
from aam_core.nn.head import HeadShape
from aam_core.nn.predictor import SequencePredictor
from aam_core.nn.transformer import Transformer
from tests import generate

ARCH = Architecture(
    embedding_dim=16,
    attention_heads=2,
    attention_layers=2,
    nucleotide_patch=4,
    max_bp=60,
    dropout=0.1,
    count_embedding=True,
    count_embedding_method="add",
)


@pytest.fixture(scope="module")
def ragged():
    made = generate.study(samples=8)
    # Sequences of different lengths, so that nucleotides are padded too.
    sequences = {
        name: text[: 40 + 3 * (i % 7)]
        for i, (name, text) in enumerate(made.sequences.items())
    }
    return prepare_study(
        made.table,
        sequences,
        InputOptions(rarefy_depth=300),
        max_bp=60,
        seed=0,
        report=print,
    )


def batch_of(study, rows, **options):
    options = {"token_limit": 100, "asv_sampling": "abundance"} | options
    return BatchMaker(study, **options)[0, rows]


def encoder(**changes):
    torch.manual_seed(0)
    return Encoder(dataclasses.replace(ARCH, **changes)).eval()


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("patch", "overlap"), [(1, 0), (4, 2), (7, 9)])
@pytest.mark.parametrize("method", ["add", "concat", "film"])
def test_padding_and_company_do_not_change_a_sample(ragged, patch, overlap, method):
    sizes = {"nucleotide_patch": patch, "nucleotide_overlap": overlap}
    model = encoder(**sizes, count_embedding_method=method)
    with torch.no_grad():
        together = model(batch_of(ragged, range(8)))["sample"]
        alone = [model(batch_of(ragged, [row]))["sample"][0] for row in range(8)]
        turned = model(batch_of(ragged, range(7, -1, -1)))["sample"]
    assert batch_of(ragged, range(8)).ragged
    close(together, torch.stack(alone))
    close(turned.flip(0), together)


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_layers_keep_the_variance_of_the_residual_stream(layers):
    """What is added 2 L times starts at 1 / √(2 L) of PyTorch's own start (GPT-2)."""
    torch.manual_seed(0)
    for block in Transformer(64, 4, layers, 0.0).blocks:
        for linear in (block.attention.qkv, block.mlp[0]):
            limit = linear.in_features**-0.5
            assert linear.weight.abs().max().item() == pytest.approx(limit, rel=0.01)
        for linear in (block.attention.out, block.mlp[-1]):
            limit = (2 * layers * linear.in_features) ** -0.5
            assert linear.weight.abs().max().item() == pytest.approx(limit, rel=0.01)


@pytest.mark.parametrize("sizes", [(3, 1, 5), (100, 30, 80)])
def test_packed_attention_is_that_of_each_sample(sizes):
    """Small samples go through padding, large ones one by one; by hand in float64."""
    torch.manual_seed(0)
    qkv = torch.randn(sum(sizes), 3, 2, 8, dtype=torch.float64, requires_grad=True)
    present = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    packing = Packing(sizes, places(sizes, max(sizes)), present)
    found = attend_packed(qkv, packing, "sdpa")
    expected = []
    for part in qkv.split(sizes):
        q, k, v = part.unbind(1)
        weights = torch.einsum("nhd,mhd->hnm", q, k).div(8**0.5).softmax(-1)
        expected.append(torch.einsum("hnm,mhd->nhd", weights, v))
    expected = torch.cat(expected)
    close(found, expected, 1e-12)
    to = torch.randn_like(found)
    close(
        *(torch.autograd.grad(y, qkv, to)[0] for y in (found, expected)),
        tolerance=1e-12,
    )


def test_samples_are_encoded_without_padding(ragged):
    """No layer on the level of the samples sees more than their ASVs."""
    model, seen = encoder(), []
    batch = batch_of(ragged, range(8))
    assert batch.ragged
    for stack in (model.sample, model.encoder):
        for module in stack.modules():
            module.register_forward_hook(lambda m, x, _: seen.append(x[0].shape[:-1]))
    states = model(batch)["states"]
    assert set(seen) == {(sum(batch.sizes),)}
    assert states.shape == (*batch.index_SA.shape, 16)
    assert not states[~batch.present_SA].any()


def test_a_position_reads_its_patch_and_the_overlap():
    """The first layer as a product, of each position's nucleotides by hand."""
    model = encoder(nucleotide_overlap=3).nucleotides
    read = []
    model.transformer.forward = lambda x_UPD, _: read.append(x_UPD) or x_UPD
    tokens_UL = torch.tensor([[1, 2, 3, 4, 1, 1, 2, 2, 4, 3]])
    model.hidden(tokens_UL, ragged=True)
    padded = [0] * 3 + tokens_UL[0].tolist() + [0] * 5
    weights = model.embed.weight.T.unflatten(0, (4 + 2 * 3, 7))
    for position in range(3):
        letters = padded[4 * position : 4 * position + 10]
        by_hand = sum(weights[i, letter] for i, letter in enumerate(letters))
        by_hand = by_hand + model.embed.bias + model.position_PD[position]
        close(read[0][0, position], by_hand)


def test_order_of_asvs_does_not_matter(ragged):
    model = encoder()
    batch = batch_of(ragged, [3])
    turn = torch.randperm(batch.index_SA.shape[1])
    turned = dataclasses.replace(
        batch,
        index_SA=batch.index_SA[:, turn],
        abundance_SA=batch.abundance_SA[:, turn],
    )
    with torch.no_grad():
        close(model(turned)["sample"], model(batch)["sample"])


def test_deduplicated_batch_equals_encoding_every_slot(ragged):
    """Each slot's own ASV, encoded alone and unpadded, gives the same sample."""
    model = encoder()
    batch = batch_of(ragged, range(5))
    with torch.no_grad():
        expected = model(batch)["sample"]
        for row in range(5):
            columns, counts = ragged.sample(row, 100, "abundance", None)
            asvs = []
            for tokens in ragged.tokens_FL[columns]:
                tokens = torch.from_numpy(tokens[tokens != 0])[None]
                hidden, _ = model.nucleotides.hidden(tokens, ragged=False)
                asvs.append(model.nucleotides.pool(hidden))
            single = dataclasses.replace(
                batch_of(ragged, [row]),
                index_SA=torch.arange(len(columns))[None],
                abundance_SA=torch.from_numpy(counts / counts.sum()).float()[None],
            )
            got = model(single, torch.cat(asvs))["sample"][0]
            close(got, expected[row])


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_chunks_do_not_change_the_result(ragged, size):
    model = encoder()
    with torch.no_grad():
        whole = model(batch_of(ragged, range(8)))
        masking = Masking(0.2)
        close(
            model(batch_of(ragged, range(8), chunk_size=size))["sample"],
            whole["sample"],
        )
        logits = model(batch_of(ragged, range(8), masking=masking))["nucleotides"]
        pieces = model(batch_of(ragged, range(8), masking=masking, chunk_size=size))
        close(pieces["nucleotides"], logits)


def test_abundances_count(ragged):
    batch = batch_of(ragged, [0])
    even = torch.full_like(batch.abundance_SA, 1 / batch.abundance_SA.shape[1])
    other = dataclasses.replace(batch, abundance_SA=even)
    with torch.no_grad():
        model = encoder()
        assert (model(batch)["sample"] - model(other)["sample"]).abs().max() > 1e-3
        without = encoder(count_embedding=False)
        close(without(batch)["sample"], without(other)["sample"])


def test_hidden_abundance_does_not_leak(ragged):
    batch = batch_of(ragged, [0], masking=Masking(abundances=0.3))
    changed = torch.where(batch.masked_SA, 0.5, batch.abundance_SA)
    with torch.no_grad():
        model = encoder()
        known = model(batch)["counts"]
        close(model(dataclasses.replace(batch, abundance_SA=changed))["counts"], known)


def test_layers_start_different():
    torch.manual_seed(0)
    stack = Transformer(16, 2, 3, 0.0)
    first, second, third = (b.attention.qkv.weight for b in stack.blocks)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_checkpointing_gives_the_same_gradient(ragged):
    gradients = []
    for on in (False, True):
        model = encoder(dropout=0.0).train()
        model.set_checkpointing(on)
        model(batch_of(ragged, range(4)))["sample"].square().sum().backward()
        gradients.append(model.nucleotides.embed.weight.grad)
    close(*gradients)
    assert gradients[0].abs().max() > 0


def test_frozen_encoder_has_no_dropout_and_no_gradient(ragged):
    model = SequencePredictor(encoder(), HeadShape(outputs=1), freeze_base=True)
    model.train()
    batch = batch_of(ragged, range(4))
    states = [model.base(batch)["states"] for _ in range(2)]
    assert torch.equal(*states)
    assert model.target.training
    model(batch)["target"].sum().backward()
    assert all(p.grad is None for p in model.base.parameters())
    assert model.head.weight.grad.abs().max() > 0


def test_quantiles_never_cross(ragged):
    model = SequencePredictor(encoder(), HeadShape(outputs=2, quantiles=5))
    torch.nn.init.normal_(model.head.weight, std=3)
    out = model(batch_of(ragged, range(8)))["target"]
    assert out.shape == (8, 2, 5)
    assert (out.diff(dim=-1) >= 0).all()


def test_bf16_computes_in_bf16(ragged):
    model = encoder()
    seen = []
    hook = (
        model.sample.blocks[0]
        .mlp[0]
        .register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        low = model(batch_of(ragged, range(4)))["sample"].float()
    hook.remove()
    assert seen == [torch.bfloat16]
    with torch.no_grad():
        close(low, model(batch_of(ragged, range(4)))["sample"], tolerance=0.1)
