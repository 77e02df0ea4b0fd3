import numpy as np
import pytest
import torch
from scipy import stats

from aam_core.nn.dropout import DropoutAdd, keep_mask


def dropped_out(p, x):
    """`x` after dropout in training, added to nothing."""
    return DropoutAdd(p).train()(torch.zeros_like(x), x)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_dropped_elements_are_binomial_and_the_mean_stays(p):
    torch.manual_seed(3)
    number = 400_001
    found = dropped_out(p, torch.ones(number))
    dropped = int((found == 0).sum())
    assert stats.binomtest(dropped, number, p).pvalue > 1e-4
    share = 1 - round(p * 2**16) / 2**16
    assert found.max().item() == pytest.approx(1 / share, rel=1e-6)


def test_elements_are_dropped_independently():
    torch.manual_seed(5)
    kept = keep_mask(torch.Size([4000, 64]), 2**14, torch.float64).numpy()
    assert set(np.unique(kept)) == {0.0, 1.0}
    correlation = np.corrcoef(kept.T)[np.triu_indices(64, k=1)]
    assert np.abs(correlation).max() < 6 / np.sqrt(4000)
    lagged = np.corrcoef(kept[1:].ravel(), kept[:-1].ravel())[0, 1]
    assert abs(lagged) < 0.01


def test_draws_of_calls_are_independent():
    torch.manual_seed(7)
    masks = [keep_mask(torch.Size([50_000]), 2**14, torch.float64) for _ in range(20)]
    correlation = np.corrcoef(torch.stack(masks).numpy())[np.triu_indices(20, k=1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)


def test_what_is_left_is_added():
    torch.manual_seed(1)
    x, residual = torch.randn(50, 7), torch.randn(50, 7)
    y = DropoutAdd(0.3).train()(residual, x) - residual
    kept = y.abs() > 1e-5
    assert 0.5 < kept.float().mean() < 0.9
    torch.testing.assert_close(y[kept], x[kept] / 0.7, rtol=1e-4, atol=1e-5)


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(1)
    x = torch.randn(50, 7, requires_grad=True)
    residual = torch.zeros(50, 7, requires_grad=True)
    y = DropoutAdd(0.3).train()(residual, x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())
    assert (residual.grad == 1).all()


def test_nothing_is_dropped_in_evaluation_or_without_a_rate():
    x, residual = torch.randn(20, 3), torch.randn(20, 3)
    assert torch.equal(DropoutAdd(0.5).eval()(residual, x), residual + x)
    assert torch.equal(DropoutAdd(0.0).train()(residual, x), residual + x)


def test_the_draw_follows_the_seed():
    x = torch.ones(100)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(dropped_out(0.5, x))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_precision_is_kept():
    x = torch.ones(100, dtype=torch.bfloat16)
    assert dropped_out(0.5, x).dtype == torch.bfloat16
    mixed = DropoutAdd(0.5).train()(torch.zeros(100), x)  # as autocast leaves it
    assert mixed.dtype == torch.float32
    assert set(mixed.tolist()) == {0.0, 2.0}
