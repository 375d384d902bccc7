"""A training whose network is no better than the image that it adds its residual to says so, behind the warm-up."""

import logging
import re

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from wbsr import compat

compat.install()

from wbsr_arch import Supernet  # noqa: E402
from wbsr_models import WBSRModel  # noqa: E402
from wbsr_models.testing.baselines import without_residual  # noqa: E402

BACKBONES = {
    "MSRResNet": {"num_feat": 8, "num_block": 2, "upscale": 2},
    "LRResNet": {"num_feat": 8, "num_block": 2, "upscale": 2},
    "EDSR": {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2},
    "SRVGGNetCompact": {"num_feat": 8, "num_conv": 2, "upscale": 2},
}


OFFSET = 0.05  # of the HR images from the interpolated LR ones


class Pairs(Dataset):
    def __init__(self, with_hr=True):
        self.opt = {"name": "Two"}
        self.keys = ("lq", "lq_path", "gt", "gt_path") if with_hr else ("lq", "lq_path")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        lq = 0.1 + 0.7 * torch.rand(3, 16 + index, 20, generator=torch.Generator().manual_seed(index))
        gt = F.interpolate(lq[None], scale_factor=2, mode="bilinear", align_corners=False)[0] + OFFSET
        data = {"lq": lq, "gt": gt, "lq_path": f"{index}.png", "gt_path": f"{index}.png"}
        return {key: data[key] for key in self.keys}


def supernet(name):
    depth = "num_conv" if name == "SRVGGNetCompact" else "num_block"
    return {
        "type": "Supernet",
        "backbone": {"type": name, **BACKBONES[name]},
        "widths": [4, 8],
        "depths": [1, 2],
        "depth_arg": depth,
    }


@pytest.fixture
def validate(tmp_path, caplog, monkeypatch):
    """Validate once with the output layer at a constant, and return what was said of the residual."""

    def validate(name, constant, iteration=20, pairs=None, **train):
        opt = {
            "name": "tiny", "scale": 2, "num_gpu": 0, "manual_seed": 0, "is_train": True, "dist": False, "rank": 0,
            "world_size": 1, "datasets": {"train": {"type": "HESPairedImageDataset", "gt_size": 16}},
            "network_g": supernet(name), "path": {"visualization": str(tmp_path)},
            "train": {"optim_g": {"type": "Adam", "lr": 0.01}, "scheduler": {"type": "MultiStepLR", "milestones": [9]},
                      "total_iter": 100, "pixel_opt": {"type": "L1Loss"}, "warmup_iter": 10, **train},
            "val": {"dynamic": {"routing": "full"}, "metrics": None},
        }  # fmt: skip
        torch.manual_seed(0)
        model = WBSRModel(opt)
        layer = model.supernet.output_layers[-1]
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(constant)
        model.gt = torch.rand(1, 3, 16, 16)  # the last batch of the training
        model.iteration = iteration
        caplog.clear()
        monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
        with caplog.at_level(logging.WARNING, logger="basicsr"):
            model.nondist_validation(DataLoader(pairs or Pairs()), iteration, None, False)
        told = {record.getMessage() for record in caplog.records}
        return [text for text in told if "output layer at zero" in text]

    return validate


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_left_without_the_residual_is_the_networks_base(name):
    torch.manual_seed(0)
    network = Supernet(**{key: value for key, value in supernet(name).items() if key != "type"})
    lq = torch.rand(1, 3, 9, 11)
    left = without_residual(network)(lq)
    if name == "EDSR":  # the mean colour of DIV2K
        assert torch.allclose(left, left[..., :1, :1].expand_as(left))
    else:
        mode = "nearest" if name == "SRVGGNetCompact" else "bilinear"
        corners = {} if mode == "nearest" else {"align_corners": False}
        expected = F.interpolate(lq, scale_factor=2, mode=mode, **corners)
        assert torch.allclose(left, expected, atol=1e-6)
    assert any(weight.abs().max() > 0 for weight in network.output_layers[-1].parameters())  # its own are as they were


@pytest.mark.parametrize("name", ["MSRResNet", "LRResNet", "SRVGGNetCompact"])
def test_a_network_that_lost_its_residual_is_warned_of(validate, name):
    (told,) = validate(name, 0.0, compute={"precision": "bf16"})
    assert re.match(r"Two: the network is no better than with its output layer at zero \([+-]0.000 dB\)", told)
    assert "full_first" in told


@pytest.mark.parametrize("name", ["MSRResNet", "LRResNet", "SRVGGNetCompact"])
def test_nothing_is_said_of_a_network_that_gains(validate, name):
    assert validate(name, OFFSET) == []


def test_nothing_is_said_before_the_warm_up_is_over(validate):
    assert validate("LRResNet", 0.0, iteration=10) == []
    assert validate("LRResNet", 0.0, iteration=1, warmup_iter=-1) != []


def test_images_without_hr_are_validated_without_a_word(validate):
    assert validate("LRResNet", 0.0, pairs=Pairs(with_hr=False)) == []
