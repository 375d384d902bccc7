"""What tests of `wbsr upscale` share: small weights, pictures, and the command."""

import numpy as np
import torch

from wbsr import cli
from wbsr_arch import Supernet
from wbsr_models import Profile
from wbsr_models.checkpoints.metadata import Metadata

PATCH = 8  # LR pixels


def save_weights(path, share=0.01, in_channels=3, profile=None):
    """A small supernet's checkpoint; at a small share of its weights it does little more than bicubic, so colours are
    kept."""
    backbone = {"type": "MSRResNet", "num_in_ch": in_channels, "num_out_ch": in_channels, "num_feat": 4}
    network = {"backbone": {**backbone, "num_block": 2, "upscale": 2}, "widths": [2, 4], "depths": [1, 2]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(**network)
    state = {name: share * weight for name, weight in supernet.state_dict().items()}
    entry = Metadata({"type": "Supernet", **network}, profile or Profile(PATCH, (0.02, 0.05)))
    torch.save({"params": state, "wbsr": entry.plain()}, path)
    return path


def textured(channels=3, dtype=np.uint8, size=(20, 30), seed=0):
    """A smooth picture with texture all over."""
    rows, cols = np.mgrid[: size[0], : size[1]] / max(size)
    planes = np.stack([rows, cols, 1 - rows, 0.5 + cols / 3][:channels], axis=2)
    planes = planes * np.random.default_rng(seed).uniform(0.6, 1, (*size, 1))
    return (planes * np.iinfo(dtype).max).astype(dtype)


def upscale(*arguments, weights):
    return cli.main(["upscale", *map(str, arguments), "--weights", str(weights), "--device", "cpu"])
