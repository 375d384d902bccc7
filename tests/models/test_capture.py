"""Batches run as captured graphs from the second of a shape on; what can't be captured runs as it is."""

import pytest
import torch
from torch import nn

from wbsr_arch import Supernet
from wbsr_models import DynamicUpscaler, EngineSettings, Profile
from wbsr_models.inference import capture as capture_module
from wbsr_models.inference.capture import Captures, Graphs

SMALL, LARGE = torch.rand(2, 3, 4, 4), torch.rand(9, 3, 4, 4)


class Maker:
    """Stands in for CUDA: notes what was captured, and runs the network doubled, so that it is seen."""

    def __init__(self, works=True):
        self.made, self.works = [], works

    def __call__(self, network, batch):
        self.made.append(tuple(batch.shape))
        if not self.works:
            raise RuntimeError("no capture today\nand a long story")
        return lambda other: 2 * network(other)


def test_a_shape_is_captured_when_it_is_met_again():
    maker, network = Maker(), nn.Identity()
    captures = Captures([10**6, 10**6], maker)
    assert torch.equal(captures(0, network, SMALL), SMALL)
    assert maker.made == []
    for _ in range(3):
        assert torch.equal(captures(0, network, SMALL), 2 * SMALL)
    assert maker.made == [(2, 3, 4, 4)]
    assert torch.equal(captures(1, network, SMALL), SMALL)  # another subnet's network
    assert torch.equal(captures(0, network, LARGE), LARGE)  # another shape


def test_batches_above_the_limit_are_not_captured():
    maker, network = Maker(), nn.Identity()
    captures = Captures([2 * 16, 0.0], maker)
    for _ in range(3):
        captures(0, network, SMALL)
        captures(0, network, LARGE)
        captures(1, network, SMALL)
    assert maker.made == [(2, 3, 4, 4)]


def test_shapes_beyond_a_number_are_not_captured(monkeypatch):
    monkeypatch.setattr(capture_module, "MOST", 2)
    maker, network = Maker(), nn.Identity()
    captures = Captures([10**6], maker)
    for _ in range(3):
        for side in (3, 4, 5, 6):
            captures(0, network, torch.rand(1, 3, side, side))
    assert maker.made == [(1, 3, 3, 3), (1, 3, 4, 4)]


def test_where_capturing_fails_networks_run_as_they_are_and_that_is_said_once(caplog):
    maker, network = Maker(works=False), nn.Identity()
    captures = Captures([10**6] * 2, maker)
    for number in (0, 0, 0, 1, 1, 1):
        assert torch.equal(captures(number, network, SMALL), SMALL)
    assert maker.made == [(2, 3, 4, 4)]
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA graphs can't be captured here (no capture today): the networks run without."
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_graphs_that_are_asked_for_are_announced_and_left_out(caplog):
    network = Supernet({"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}, [4, 8], [1]).eval()
    x, plain = torch.rand(3, 50, 60), EngineSettings(plan="windows", capture="none")
    asked = DynamicUpscaler(network, Profile(16), "full", EngineSettings(plan="windows", capture="graphs"))
    expected = DynamicUpscaler(network, Profile(16), "full", plain)(x)[0]
    for _ in range(3):
        assert torch.equal(asked(x)[0], expected)
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA graphs can't be captured here (a CUDA device is needed, got cpu): the networks run without."
    ]


@pytest.mark.gpu
def test_a_graph_computes_what_the_network_does_for_every_batch_and_after_new_weights():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)).cuda().eval()
    capture = Graphs()
    with torch.no_grad():
        first, second = capture(network, SMALL.cuda()), capture(network, LARGE.cuda())
        for _ in range(2):
            for run, batch in ((first, torch.rand_like(SMALL)), (second, torch.rand_like(LARGE))):
                one = run(batch.cuda())
                run(torch.zeros_like(batch).cuda())  # what was given stays
                assert torch.allclose(one, network(batch.cuda()), atol=1e-5)
            for weight in network.parameters():
                weight += 0.1
