import pytest
import torch
from torch import nn

from aam_core.nn.activation_checkpoint import SEEDS, recomputed

CPU = torch.device("cpu")


class Noisy(nn.Module):
    """A layer with dropout, a frozen weight, and an output that is not there."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.dropout = nn.Dropout(0.5)
        self.head.bias.requires_grad_(False)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.dropout(self.layer(x))
        return x, self.head(x.relu()), None


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Noisy()


def gradients(model, outputs):
    """Gradients of all weights, from all outputs."""
    model.zero_grad()
    sum((y.square() * 3).sum() for y in outputs if y is not None).backward()
    return [p.grad for p in model.parameters()]


def test_results_and_gradients_are_those_of_one_pass(model):
    x = torch.randn(20, 4)
    torch.manual_seed(5)
    found = recomputed(lambda: model(x), model.parameters(), CPU)
    assert not any(
        y is not None and y.grad_fn.name() == "AddmmBackward0" for y in found
    )
    got = gradients(model, found)
    assert model.calls == 2
    torch.manual_seed(5)
    torch.manual_seed(int(torch.randint(SEEDS, ())))
    plain = model(x)
    wanted = gradients(model, plain)
    assert found[2] is None
    for a, b in zip(found[:2], plain[:2], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(got, wanted, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    assert got[-1] is None


def test_calls_share_their_weights_and_not_their_draws(model):
    x = torch.ones(50, 4)
    torch.manual_seed(1)
    parts = [recomputed(lambda: model(x), model.parameters(), CPU) for _ in range(3)]
    assert not torch.equal(parts[0][0], parts[1][0])
    whole = gradients(model, [part[0] for part in parts])
    torch.manual_seed(1)
    alone = [
        gradients(model, recomputed(lambda: model(x), model.parameters(), CPU)[:1])
        for _ in range(3)
    ]
    torch.testing.assert_close(whole[0], sum(part[0] for part in alone))


def test_an_output_that_no_loss_reads(model):
    x = torch.randn(3, 4)
    pooled, *_ = recomputed(lambda: model(x), model.parameters(), CPU)
    pooled.sum().backward()
    assert model.layer.weight.grad.abs().sum() > 0
    assert model.head.weight.grad is None


def test_the_draws_after_it_do_not_depend_on_it(model):
    x, draws = torch.randn(3, 4), []
    for rate in (0.5, 0.0):
        model.dropout.p = rate
        torch.manual_seed(2)
        found = recomputed(lambda: model(x), model.parameters(), CPU)
        gradients(model, found)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_both_passes_have_the_precision_of_the_first(model):
    types = []
    model.layer.register_forward_hook(lambda m, x, y: types.append(y.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = recomputed(lambda: model(torch.ones(3, 4)), model.parameters(), CPU)
    gradients(model, found)
    assert types == [torch.bfloat16] * 2


def test_gradients_by_name_reach_it(model):
    found = recomputed(lambda: model(torch.ones(3, 4)), model.parameters(), CPU)
    weights = [model.layer.weight, model.head.weight]
    for gradient in torch.autograd.grad(found[1].sum(), weights):
        assert gradient.abs().sum() > 0
