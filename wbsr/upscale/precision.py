"""The number format of the networks where nobody asks for one: half precision on a GPU, if that costs nothing."""

from __future__ import annotations

import logging

import torch

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.traits import half_error
from wbsr_base.precision import Precision

HARMLESS = 0.1  # levels of 255 on average, which cost 0.01 dB of a result at 40 dB, and less of a worse one

_logger = logging.getLogger("wbsr")


def pick_precision(network: DynamicNetwork, device: torch.device) -> Precision:
    """`fp16` on CUDA, if the full network is harmed by it no more than `HARMLESS`; otherwise `fp32`.

    Args:
        network: with its weights.
        device: where it is to run.
    """
    if device.type != "cuda":
        return "fp32"
    error = half_error(network.extract(), "fp16", network.in_channels, device)
    if error <= HARMLESS:
        return "fp16"
    _logger.warning("Half precision would cost %.2g levels of 255 on average, so networks run in fp32.", error)
    return "fp32"
