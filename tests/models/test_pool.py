"""Networks are made once, padded where that is faster, and take new weights over."""

import pytest
import torch

from wbsr_arch import ClassSR, Supernet
from wbsr_models import EngineSettings
from wbsr_models.inference.pool import NetworkPool

BACKBONE = {"type": "MSRResNet", "num_feat": 12, "num_block": 2, "upscale": 2}


@pytest.fixture
def padding(monkeypatch):
    """As on a GPU in half precision, but in float32, where it can be seen to be exact."""
    monkeypatch.setattr(NetworkPool, "_pads", lambda self, network: True)


@pytest.mark.parametrize("kind", ["supernet", "classsr"])
def test_padded_networks_compute_the_same_and_take_new_weights_over(padding, kind):
    network = Supernet(BACKBONE, [5, 12], [1, 2]) if kind == "supernet" else ClassSR(BACKBONE, [5, 12])
    network.eval().requires_grad_(False)
    pool, x = NetworkPool(network, EngineSettings()), torch.rand(2, 3, 20, 24)
    assert [pool.network(m).conv_first.weight.shape[0] for m in (0, len(network.subnets) - 1)] == [8, 16]
    for _ in range(2):
        for number, subnet in enumerate(network.subnets):
            assert torch.allclose(pool.network(number)(x), network(x, subnet), atol=1e-5)
        for weight in network.parameters():
            weight += 0.02
        pool.refresh()


def test_padded_networks_are_trimmed_as_others_are(padding):
    network = Supernet(BACKBONE, [5, 12], [1, 2]).eval().requires_grad_(False)
    pool, x = NetworkPool(network, EngineSettings()), torch.rand(1, 3, 20, 24)
    whole, trimmed = pool.network(0)(x), pool.network(0, (6, 6, 6, 6))(x)
    assert pool.head(0).stages
    assert torch.allclose(trimmed[..., 12:28, 12:36], whole[..., 12:28, 12:36], atol=1e-5)


def test_on_a_cpu_and_in_float32_nothing_is_padded():
    network = Supernet(BACKBONE, [5, 12], [1, 2]).eval()
    for precision in ("fp32", "bf16"):
        pool = NetworkPool(network, EngineSettings(precision=precision))
        assert pool.network(0).conv_first.weight.shape[0] == 5
