"""RCAN's weights under the names of its authors' code, by which other programs (spandrel, chaiNNer) know them.

BasicSR's RCAN is the authors' network under other names; the authors keep the image mean in two fixed convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, the architecture's default
_RANGE = 255.0
_SCALES = (2, 3, 4, 8)

# A name of BasicSR's, as a pattern, and the authors'; {groups} and {blocks} are the numbers of the network.
_NAMES = (
    (r"conv_first\.(\w+)", r"head.0.\1"),
    (r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.([02])\.(\w+)", r"body.\1.body.\2.body.\3.\4"),
    (
        r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.1\.(\w+)",
        r"body.\1.body.\2.body.3.conv_du.0.\3",
    ),
    (
        r"body\.(\d+)\.residual_group\.(\d+)\.rcab\.3\.attention\.3\.(\w+)",
        r"body.\1.body.\2.body.3.conv_du.2.\3",
    ),
    (r"body\.(\d+)\.conv\.(\w+)", r"body.\1.body.{blocks}.\2"),
    (r"conv_after_body\.(\w+)", r"body.{groups}.\1"),
    (r"upsample\.(\d+)\.(\w+)", r"tail.0.\1.\2"),
    (r"conv_last\.(\w+)", r"tail.1.\1"),
)


def is_authors_rcan(options: Mapping[str, Any]) -> bool:
    """Whether BasicSR's network of these options computes what the authors' does: RGB, range 255, plain residuals."""
    return bool(
        options["type"] == "RCAN"
        and options["num_in_ch"] == options["num_out_ch"] == 3
        and options.get("img_range", _RANGE) == _RANGE
        and options.get("res_scale", 1) == 1
        and options.get("upscale", 4) in _SCALES
    )


def authors_names(weights: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of BasicSR's RCAN under the authors' names; they share memory with `weights`.

    Args:
        weights: a state dict of BasicSR's RCAN.
        options: the network's, for which `is_authors_rcan` holds.

    Raises:
        ValueError: a weight that RCAN does not have.
    """
    groups = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("body."))
    blocks = int(options.get("num_block", 16))
    renamed = {_rename(name, groups, blocks): weight for name, weight in weights.items()}
    mean = torch.tensor(options.get("rgb_mean", _MEAN), dtype=torch.float32) * _RANGE
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        renamed[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        renamed[f"{name}.bias"] = sign * mean
    return renamed


def _rename(name: str, groups: int, blocks: int) -> str:
    for pattern, replacement in _NAMES:
        if re.fullmatch(pattern, name):
            target = replacement.replace("{groups}", str(groups)).replace("{blocks}", str(blocks))
            return re.sub(pattern, target, name)
    raise ValueError(f"RCAN has no weight called {name}")
