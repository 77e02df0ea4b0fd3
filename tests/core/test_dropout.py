import numpy as np
import pytest
import torch
from scipy import stats

from aam_core.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.99])
def test_dropped_elements_are_binomial_and_the_mean_stays(p):
    torch.manual_seed(3)
    number = 400_001
    found = Dropout(p).train()(torch.ones(number))
    dropped = int((found == 0).sum())
    assert stats.binomtest(dropped, number, p).pvalue > 1e-4
    share = 1 - round(p * 2**16) / 2**16
    assert found.max().item() == pytest.approx(1 / share, rel=1e-6)


def test_elements_are_dropped_independently():
    torch.manual_seed(5)
    dropped = (~keep_mask(torch.Size([4000, 64]), 2**14)).numpy().astype(float)
    correlation = np.corrcoef(dropped.T)[np.triu_indices(64, k=1)]
    assert np.abs(correlation).max() < 6 / np.sqrt(4000)
    lagged = np.corrcoef(dropped[1:].ravel(), dropped[:-1].ravel())[0, 1]
    assert abs(lagged) < 0.01


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(1)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.3).train()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())


def test_nothing_is_dropped_in_evaluation_or_without_a_rate():
    x = torch.randn(20, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_the_draw_follows_the_seed():
    x = torch.ones(100)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(Dropout(0.5).train()(x))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_precision_is_kept():
    x = torch.ones(100, dtype=torch.bfloat16)
    assert Dropout(0.5).train()(x).dtype == torch.bfloat16
