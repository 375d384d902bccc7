"""Windows, padded widths and graphs, for every backbone that ships options."""

import numpy as np
import pytest
import torch
from host_reads import Reads

from wbsr_arch import Supernet
from wbsr_arch.traits import reach
from wbsr_models import DynamicUpscaler, EngineSettings, Profile
from wbsr_models.inference.pool import NetworkPool

COLOURS = {"num_in_ch": 3, "num_out_ch": 3, "upscale": 2}
BACKBONES = {
    "MSRResNet": {"num_feat": 16, "num_block": 1},
    "RCAN": {"num_feat": 16, "num_group": 1, "num_block": 1, "squeeze_factor": 4},
    "EDSR": {"num_feat": 16, "num_block": 1, "res_scale": 0.1},
    "LRResNet": {"num_feat": 16, "num_block": 1},
    "SRVGGNetCompact": {"num_feat": 16, "num_conv": 1},
}
FULL = 1  # its number


def supernet_of(name):
    depth = "num_conv" if name == "SRVGGNetCompact" else "num_block"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Supernet({"type": name, **COLOURS, **BACKBONES[name]}, [12, 16], [1], depth_arg=depth)
    return network.eval().requires_grad_(False)


def dense(network, subnet, x):
    return network(x[None], network.subnets[subnet])[0]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", BACKBONES)
def test_windows_equal_dense_runs_where_their_halo_is_as_wide_as_the_network_looks(name, padded, monkeypatch):
    """A network that looks everywhere is given a window that is the image."""
    monkeypatch.setattr(NetworkPool, "_pads", lambda self, network: padded)
    network = supernet_of(name)
    seen = reach(network.extract())
    size, halo = ((60, 75), seen) if seen is not None else ((30, 33), 8)
    assert (name == "RCAN") == (seen is None)
    upscaler = DynamicUpscaler(network, 16, "w12d1", EngineSettings(plan="windows", halo=halo))
    x, choice = torch.rand(3, *size), np.zeros((-(-size[0] // 16), -(-size[1] // 16)), int)
    choice[:, 2:] = FULL
    monkeypatch.setattr(upscaler, "_choose", lambda scores: choice)
    found, report = upscaler(x)
    assert report.plan == "windows"
    widths = {len(next(upscaler.pool.network(m).parameters())) for m in (0, FULL)}
    assert widths == ({16} if padded else {12, 16})
    by_subnet = torch.stack([dense(network, m, x) for m in (0, FULL)])
    nearest = (by_subnet - found).abs().amax(1).amin(0)  # lifted windows are as good
    assert nearest.max() < 1e-5
    right = found[..., 64:] if seen is not None else found
    assert (right - by_subnet[FULL][..., -right.shape[-1] :]).abs().max() < 1e-5


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("ensemble", [False, True])
def test_a_network_never_makes_the_host_wait_so_it_can_be_captured(name, ensemble):
    pool = NetworkPool(supernet_of(name), EngineSettings(self_ensemble=ensemble))
    network, x = pool.network(0), torch.rand(2, 3, 12, 12)
    network(x)
    with Reads() as reads, torch.inference_mode():
        network(x)
    assert reads.found == []


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", BACKBONES)
def test_windows_as_graphs_equal_windows_one_by_one(name, precision):
    network = supernet_of(name).cuda()
    x = (torch.rand(3, 200, 260) * torch.linspace(0, 1, 260)).cuda()
    plain, graphs = (
        DynamicUpscaler(
            network, Profile(16, (0.2,)), settings=EngineSettings(plan="windows", precision=precision, capture=capture)
        )
        for capture in ("none", "graphs")
    )
    for _ in range(3):
        assert torch.allclose(graphs(x)[0], plain(x)[0], atol=1e-4 if precision == "fp32" else 1e-2)
    assert any(graphs.windows.captures._runs.values())
