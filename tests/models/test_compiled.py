"""Compiled subnets are the subnets: outputs, and gradients of the shared weights."""

import pytest
import torch

from wbsr import compat

compat.install()

from wbsr_arch import Supernet  # noqa: E402
from wbsr_models import ClassSRModel, WBSRModel  # noqa: E402
from wbsr_models.training.compiled import CompiledSupernet  # noqa: E402
from wbsr_models.training.compute import put_out_float32  # noqa: E402

BACKBONES = {
    "MSRResNet": {"num_feat": 8, "num_block": 2, "upscale": 2},
    "RCAN": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_group": 1, "num_block": 2, "squeeze_factor": 4},
    "EDSR": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2},
}


def compare(network, compiled, x, precision):
    for subnet in network.subnets:
        found = []
        for run in (compiled, network):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
                output = run(x, subnet)
            network.zero_grad()
            output.float().square().mean().backward()
            gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
            found.append((output.detach(), gradients))
        (one, gradients), (other, expected) = found
        assert one.dtype == other.dtype
        close = 1e-5 if precision == "fp32" else 2e-2
        assert torch.allclose(one, other, atol=close)
        assert gradients.keys() == expected.keys()
        for name, gradient in expected.items():
            assert torch.allclose(gradients[name], gradient, atol=float(close * gradient.abs().max())), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", BACKBONES)
def test_subnets_as_a_compiler_sees_them_are_the_subnets(name, precision):
    torch.manual_seed(0)
    network = Supernet({"type": name, **BACKBONES[name]}, widths=[4, 8], depths=[2])
    put_out_float32(network.output_layers)
    x = torch.rand(2, 3, 12, 12)
    compare(network, CompiledSupernet(network, backend="aot_eager"), x, precision)


def test_more_subnets_than_the_compiler_keeps_of_one_function():
    torch._dynamo.reset()
    network = Supernet({"type": "MSRResNet", **BACKBONES["MSRResNet"]}, widths=[2, 3, 4, 6, 8], depths=[1, 2])
    compiled, x = CompiledSupernet(network, backend="eager"), torch.rand(1, 3, 8, 8)
    for subnet in network.subnets:
        assert torch.allclose(compiled(x, subnet), network(x, subnet), atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= len(network.subnets) == 10


def options(network, **train):
    return {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "datasets": {"train": {"type": "HESPairedImageDataset", "gt_size": 16}},
        "network_g": network,
        "path": {"resume_state": "as if branches were trained"},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.01},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "total_iter": 100,
            "pixel_opt": {"type": "L1Loss"},
            "compute": {"compile": True},
            **train,
        },
        "val": {},
    }


def test_a_training_of_compiled_subnets_learns(monkeypatch):
    monkeypatch.setattr("wbsr_models.wbsr_model.CompiledSupernet", lambda net: CompiledSupernet(net, "aot_eager"))
    network = {"type": "Supernet", "backbone": {"type": "MSRResNet", **BACKBONES["MSRResNet"]}}
    model = WBSRModel(options({**network, "widths": [8], "depths": [1, 2]}))
    losses = []
    for iteration in range(1, 5):
        model.feed_data({"lq": torch.full((1, 3, 8, 8), 0.5), "gt": torch.ones(1, 3, 16, 16), "lq_path": ["x"]})
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()["l_pix"])
    assert losses[-1] < losses[0]


def test_where_nothing_is_compiled_says_so():
    classsr = {"type": "ClassSR", "backbone": {"type": "MSRResNet", **BACKBONES["MSRResNet"]}, "widths": [4, 6, 8]}
    for make in (ClassSRModel, ClassSRModel.check_options):
        with pytest.raises(ValueError, match="compile is for the subnets of WBSRModel, got it for ClassSRModel"):
            make(options(classsr, classsr={"stage": "joint"}))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_inductors_subnets_are_the_subnets(precision):
    torch.manual_seed(0)
    network = Supernet({"type": "MSRResNet", **BACKBONES["MSRResNet"]}, widths=[4, 8], depths=[1, 2]).cuda()
    put_out_float32(network.output_layers)
    compare(network, CompiledSupernet(network), torch.rand(2, 3, 12, 12, device="cuda"), precision)
