"""The table of a function of one number: as exact as what it stands for, inside and outside its range."""

import pytest
import torch

from wbsr_losses import tabulated
from wbsr_losses.laplace_density import laplace_log_density


def mixture():
    generator = torch.Generator().manual_seed(0)
    weights = torch.softmax(torch.randn(4, generator=generator), 0)
    stds = 0.004 + 0.3 * torch.rand(3, 4, generator=generator) ** 3
    return weights, torch.rand(3, 4, generator=generator), stds


def evaluate(x, scale, dtype=torch.float32):
    x = x.to(dtype).requires_grad_()
    value = scale * laplace_log_density(x, *(part.to(dtype) for part in mixture()), scale)
    value.sum().backward()
    return value.detach().double(), x.grad.double()


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1])
def test_table_and_closed_form_agree(scale, monkeypatch):
    x = 1.6 * torch.rand(2, 3, 20_000, generator=torch.Generator().manual_seed(1)) - 0.3
    x[0, 1, :4] = torch.tensor([-5.0, 2.5, 30.0, -1.0001])  # beyond the table
    exact, exact_slope = evaluate(x, scale, torch.float64)
    calls = []
    monkeypatch.setattr(tabulated, "_cubics", lambda *args, real=tabulated._cubics: calls.append(1) or real(*args))
    monkeypatch.setattr(tabulated, "WORTH", 0)
    value, slope = evaluate(x, scale)
    assert calls
    assert ((value - exact).abs() <= 1e-6 + 1e-6 * exact.abs()).all()
    assert (slope - exact_slope).abs().max() < 1e-3  # of slopes up to 1


def test_few_values_and_double_precision_are_worked_out_themselves(monkeypatch):
    calls = []
    monkeypatch.setattr(tabulated, "_cubics", lambda *args, real=tabulated._cubics: calls.append(1) or real(*args))
    evaluate(torch.rand(1, 3, 100), 0.01)
    evaluate(torch.rand(2, 3, 50_000), 0.01, torch.float64)
    assert not calls


def test_what_is_not_a_number_stays_so(monkeypatch):
    monkeypatch.setattr(tabulated, "WORTH", 0)
    x = torch.rand(1, 3, 100)
    x[0, 1, 5] = float("nan")
    value, _ = evaluate(x, 0.01)
    assert value.isnan().sum() == 1
