"""λ‖θ‖² as a term of its own: its gradient, against autograd and against Adam's weight_decay."""

import pytest
import torch
from torch import nn

from wbsr_models.training.weight_penalty import add_weight_penalty, penalty_factor


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def test_value_and_gradient_are_those_of_autograd():
    net, x = network(), torch.rand(5, 3, dtype=torch.float64)
    loss = net(x).square().mean() + 0.3 * sum(p.square().sum() for p in net.parameters())
    expected = torch.autograd.grad(loss, list(net.parameters()))
    plain = net(x).square().mean()
    plain.backward()
    value = add_weight_penalty(net.parameters(), 0.3)
    torch.testing.assert_close(value, (loss - plain).detach())
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_it_is_the_weight_decay_of_adam():
    results = []
    for explicit in (True, False):
        net, x = network(), torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        optimizer = torch.optim.Adam(net.parameters(), 0.01, weight_decay=0.0 if explicit else 2 * 0.03)
        for _ in range(10):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            if explicit:
                add_weight_penalty(net.parameters(), 0.03)
            optimizer.step()
        results.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(*results)


def test_weights_that_no_subnet_used_are_drawn_in_and_frozen_ones_are_not():
    net = network()
    net[2].weight.requires_grad_(False)
    add_weight_penalty(net.parameters(), 0.5)
    torch.testing.assert_close(net[0].weight.grad, net[0].weight.detach())
    assert net[2].weight.grad is None


@pytest.mark.parametrize("value", [-1, "1e-8", True, float("inf")])
def test_other_factors_are_refused(value):
    with pytest.raises(ValueError, match="train:weight_penalty must be a number of at least 0, got"):
        penalty_factor({"train": {"weight_penalty": value}})


def test_without_the_option_there_is_none():
    assert penalty_factor({}) == penalty_factor({"train": {}}) == 0
    assert penalty_factor({"train": {"weight_penalty": 1e-8}}) == 1e-8
