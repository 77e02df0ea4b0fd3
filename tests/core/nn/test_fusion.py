import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aam_core.config import Architecture, TrainConfig
from aam_core.data.batches import BatchMaker
from aam_core.data.packing import places
from aam_core.errors import InputError
from aam_core.nn.encoder import Encoder
from aam_core.nn.fusion import (
    FUSIONS,
    FusionShape,
    OutputScaling,
    check_heads,
    is_covariate,
    make_fusion,
    sometimes_unknown,
)
from aam_core.nn.head import HeadShape
from aam_core.nn.predictor import SequencePredictor
from tests import generate

ARCH = Architecture(
    **generate.SIZES,
    dropout=0.1,
    count_embedding=True,
    count_embedding_method="add",
)
CATEGORIES = np.array([[1, 2], [2, 0], [0, 3], [1, 1], [2, 2], [0, 0], [1, 3], [2, 1]])
every_fusion = pytest.mark.parametrize("fusion", FUSIONS)


def batch_of(study, rows, categories=CATEGORIES):
    options = {"token_limit": 100, "asv_sampling": "abundance"}
    return BatchMaker(study, **options, categories_NK=categories)[0, rows]


def predictor(fusion, columns=2, frozen=False, arch=ARCH, **changes):
    torch.manual_seed(0)
    shape = HeadShape(
        outputs=1,
        cardinalities=(3, 4)[:columns],
        categorical_fusion=fusion,
        cross_attn_heads=4,
        perceiver_num_latents=5,
        **changes,
    )
    model = SequencePredictor(Encoder(arch), shape, frozen).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("abundances", [True, False])
@every_fusion
def test_padding_company_and_order_do_not_change_a_prediction(
    study, fusion, abundances
):
    arch = dataclasses.replace(ARCH, count_embedding=abundances)
    model = predictor(fusion, arch=arch, scaled_by=(1,))
    for embedding in model.scaling.embeddings:
        torch.nn.init.normal_(embedding.weight)
    batch = batch_of(study, range(8))
    assert batch.ragged
    more = {
        name: F.pad(getattr(batch, name), (0, 3))
        for name in ("index_SA", "abundance_SA", "present_SA")
    }
    more["place_T"] = places(batch.sizes, more["present_SA"].shape[1])
    with torch.no_grad():
        together = model(batch)["target"]
        alone = [model(batch_of(study, [row]))["target"] for row in range(8)]
        turned = model(batch_of(study, range(7, -1, -1)))["target"].flip(0)
        padded = model(dataclasses.replace(batch, **more))["target"]
        mixed = model(in_other_order(batch_of(study, [3])))["target"]
    assert together.std() > 0.01
    for other in (torch.cat(alone), turned, padded):
        close(other, together)
    close(mixed, together[3:4])


def in_other_order(batch):
    turn = torch.randperm(batch.index_SA.shape[1])
    return dataclasses.replace(
        batch,
        index_SA=batch.index_SA[:, turn],
        abundance_SA=batch.abundance_SA[:, turn],
    )


@pytest.mark.parametrize("frozen", [False, True])
@every_fusion
def test_every_covariate_parameter_has_a_gradient(study, fusion, frozen):
    model = predictor(fusion, frozen=frozen, scaled_by=(0,)).eval()
    model(batch_of(study, range(8)))["target"].square().sum().backward()
    own = [(n, p) for n, p in model.named_parameters() if is_covariate(n)]
    assert {n.split(".")[0] for n, _ in own} == {"fusion", "scaling"}
    for name, parameter in own:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name
    in_base = any(p.grad is not None for p in model.base.parameters())
    assert in_base is not frozen
    assert model.pool.query.grad.abs().max() > 0


@every_fusion
def test_each_category_changes_the_prediction(study, fusion):
    model = predictor(fusion)
    with torch.no_grad():
        found = [
            model(batch_of(study, range(8), np.tile([first, 2], (8, 1))))["target"]
            for first in range(3)
        ]
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert (found[a] - found[b]).abs().min() > 1e-4


def change_by_category(model, batch, notes=None):
    """How the states of each ASV differ between categories 1 and 2, (S, A, D)."""
    notes = {} if notes is None else notes
    # not the states of an untrained encoder, which are nearly all the same
    states = torch.randn(*batch.index_SA.shape, 16)
    one, two = (
        model.fusion.before(
            states, batch.present_SA, torch.full_like(batch.categories_SK, c), notes
        )
        for c in (1, 2)
    )
    return two - one


@torch.no_grad()
def test_cross_attention_changes_the_asvs_of_a_sample_differently(study):
    """With a single column, too; the peer adds one vector to all positions."""
    model = predictor("cross-attention", columns=1)
    batch = batch_of(study, [0], CATEGORIES[:, :1])
    change_AD = change_by_category(model, batch)[0]
    spread = (change_AD - change_AD.mean(dim=0)).norm() / change_AD.norm()
    assert spread > 0.2
    # and not only in length: the directions differ as well
    unit = F.normalize(change_AD, dim=-1)
    assert (unit @ unit.T).min() < 0.9
    for other in set(FUSIONS) - {"cross-attention"}:
        assert not change_by_category(predictor(other), batch_of(study, [0])).any()


@torch.no_grad()
def test_without_null_token_one_column_would_have_the_whole_attention(study):
    """The part of the design that the gate alone does not give."""
    batch = batch_of(study, [0, 1], CATEGORIES[:, :1])
    model, notes = predictor("cross-attention", columns=1), {}
    change_by_category(model, batch, notes)
    weight = notes["cross_attn_weight_mean"]
    assert ((weight > 0.01) & (weight < 0.99)).all()
    model.fusion.attention.q.weight.zero_()
    model.fusion.attention.q.bias.zero_()  # equal scores: one of two tokens
    change_by_category(model, batch, notes)
    close(notes["cross_attn_weight_mean"], torch.full((2,), 0.5))


@torch.no_grad()
def test_weight_mean_leaves_padding_out(study):
    model = predictor("cross-attention")
    together = model(batch_of(study, range(8)))["cross_attn_weight_mean"]
    alone = [model(batch_of(study, [r]))["cross_attn_weight_mean"] for r in range(8)]
    close(together, torch.cat(alone))


@torch.no_grad()
def test_gated_unit_by_hand():
    shape = FusionShape(
        cardinalities=(2,), categorical_embed_dim=3, categorical_fusion="gmu"
    )
    fusion = make_fusion(ARCH, shape)
    sample, notes = torch.randn(4, 16), {}
    got = fusion.after(sample, torch.tensor([[0], [1], [1], [0]]), notes).numpy()
    x, c = sample.numpy(), fusion.embeddings[0].weight.numpy()[[0, 1, 1, 0]]

    def linear(layer, values):
        return values @ layer.weight.numpy().T + layer.bias.numpy()

    gate = 1 / (1 + np.exp(-linear(fusion.gate, np.hstack([x, c]))))
    community = np.tanh(linear(fusion.community, x))
    expected = gate * community + (1 - gate) * np.tanh(linear(fusion.context, c))
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(notes["gmu_gate_mean"], gate.mean(axis=1), atol=1e-6)


@torch.no_grad()
def test_perceiver_reads_abundances_and_has_its_size(study):
    model = predictor("perceiver", perceiver_num_layers=3)
    assert model.fusion.latents_ND.shape == (5, 16)
    assert len(model.fusion.refine.blocks) == 3
    batch = batch_of(study, [0])
    states = model.base(batch)["states"]
    even = torch.full_like(batch.abundance_SA, 1 / batch.abundance_SA.shape[1])
    found = [
        model.fusion.between(states, None, a, batch.categories_SK)
        for a in (batch.abundance_SA, even)
    ]
    assert found[0][0].shape == (1, 5, 16)
    assert found[0][1:] == (None, None)
    assert (found[0][0] - found[1][0]).abs().max() > 1e-3


@torch.no_grad()
def test_scaling_starts_at_identity_and_scales_by_category():
    shape = FusionShape(cardinalities=(3, 4), scaled_by=(1,))
    scaling = OutputScaling(2, shape)
    output, categories = torch.randn(4, 2), torch.tensor(CATEGORIES[:4])
    assert torch.equal(scaling(output, categories), output)
    # category 2 of the second column: twice the first output, the second + 5
    scaling.embeddings[0].weight[2] = torch.tensor([np.log(2), 0.0, 0.0, 5.0])
    got = scaling(output, categories)
    assert categories[:, 1].tolist() == [2, 0, 3, 1]
    close(got[1:], output[1:])
    close(got[0], output[0] * torch.tensor([2.0, 1.0]) + torch.tensor([0.0, 5.0]))
    quantiles = torch.randn(4, 2, 3)
    got = scaling(quantiles, categories)
    close(got[0, 0], 2 * quantiles[0, 0])
    close(got[0, 1], quantiles[0, 1] + 5)


def test_scaled_quantiles_do_not_cross(study):
    model = predictor("add", quantiles=3, scaled_by=(0, 1))
    for embedding in model.scaling.embeddings:
        torch.nn.init.normal_(embedding.weight, std=2)
    out = model(batch_of(study, range(8)))["target"]
    assert out.shape == (8, 1, 3)
    assert (out.diff(dim=-1) >= 0).all()


def test_unknown_is_learned_in_training_only(study):
    torch.manual_seed(0)
    hidden = sometimes_unknown(torch.ones(5000, 1, dtype=torch.long))
    assert 0.08 < (hidden == 0).float().mean() < 0.12
    model = predictor("add", scaled_by=(0,))
    known = np.ones((8, 2), dtype=np.int64)
    touched = {True: 0.0, False: 0.0}
    for training in touched:
        model.train(training)
        for _ in range(8):
            model.zero_grad()
            model(batch_of(study, range(8), known))["target"].sum().backward()
            tables = [model.fusion.embeddings[0], model.scaling.embeddings[0]]
            touched[training] += min(
                float(t.weight.grad[0].abs().sum()) for t in tables
            )
            assert not tables[0].weight.grad[2].any()  # a category nobody has
    assert touched[True] > 0
    assert touched[False] == 0


def test_heads_that_do_not_divide_the_width():
    for fusion in ("cross-attention", "perceiver"):
        config = options(categorical_fusion=fusion)
        check_heads(config, 128)
        with pytest.raises(InputError, match=r"is 8, .* embedding_dim 36: choose 6"):
            check_heads(config, 36)
        with pytest.raises(InputError, match=r"is 5, .* embedding_dim 128: choose 4"):
            check_heads(dataclasses.replace(config, cross_attn_heads=5), 128)
    check_heads(options(categorical_fusion="gmu"), 35)


def options(**changes):
    columns = {"metadata_column": "age", "categorical_columns": "site,season"}
    return TrainConfig(**columns | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categorical_columns": (), "categorical_lr": 1e-3}, "categorical_lr has no"),
        (
            {"categorical_columns": (), "categorical_fusion": "gmu"},
            "categorical_fusion has no effect without categorical_columns",
        ),
        (
            {"categorical_columns": (), "conditional_output_scaling": "site"},
            "conditional_output_scaling has no effect without",
        ),
        (
            {"categorical_columns": (), "categorical_loss_weights": "auto"},
            "categorical_loss_weights has no effect without",
        ),
        (
            {"categorical_fusion": "gmu", "perceiver_num_latents": 4},
            "perceiver_num_latents has no effect with categorical_fusion gmu",
        ),
        (
            {"categorical_fusion": "cross-attention", "perceiver_num_layers": 4},
            "perceiver_num_layers has no effect",
        ),
        ({"cross_attn_heads": 4}, "with cross-attention and perceiver"),
        ({"conditional_output_scaling": "sex"}, "'sex', which is not among"),
        ({"conditional_output_scaling": "site,site"}, "names a column twice"),
        ({"categorical_loss_weight_column": "site"}, "no effect without"),
        (
            {
                "categorical_loss_weights": "auto",
                "categorical_loss_weight_column": "sex",
            },
            "'sex', which is not among",
        ),
        ({"categorical_loss_weights": "winter"}, "winter=2,summer=1"),
        ({"categorical_loss_weights": "winter=x"}, "winter=2,summer=1"),
        ({"categorical_loss_weights": '{"winter": 2'}, "winter=2,summer=1"),
        ({"categorical_loss_weights": "winter=-1"}, "0 or more"),
        ({"categorical_loss_weights": "winter=nan"}, "0 or more"),
        ({"categorical_loss_weights": "winter=0,summer=0"}, "above 0"),
        ({"categorical_loss_weights": "winter=1,winter=2"}, "named once"),
        ({"categorical_loss_weights": '{"a": 1, "a": 2}'}, "named once"),
    ],
)
def test_options_without_effect_or_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        options(**changes)


def test_column_of_the_loss_weights():
    assert options().loss_weight_column is None
    assert options(categorical_loss_weights="auto").loss_weight_column == "site"
    second = {"categorical_loss_weight_column": "season"}
    chosen = options(categorical_loss_weights="winter=2", **second)
    assert chosen.loss_weight_column == "season"
    assert TrainConfig(**json.loads(json.dumps(chosen.to_dict()))) == chosen


@every_fusion
def test_bf16_is_close(study, fusion):
    model, batch = predictor(fusion, scaled_by=(0,)), batch_of(study, range(8))
    with torch.no_grad():
        full = model(batch)["target"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(batch)["target"]
    assert low.dtype == torch.float32
    close(low, full, tolerance=0.15)
