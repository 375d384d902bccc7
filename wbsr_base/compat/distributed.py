"""Distributed training without a GPU.

BasicSR takes the rank modulo the number of GPUs, asks for the `nccl` backend, and hands DistributedDataParallel the
current CUDA device: three errors on a CPU machine. Where CUDA is absent, `gloo` and no device take their place; where
it is there, BasicSR's own functions run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def mend() -> None:
    """Replace the functions that divide by the number of GPUs or ask for the current one."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    if "% num_gpus" in inspect.getsource(dist_util._init_dist_pytorch):
        dist_util._init_dist_pytorch = _pytorch_launcher(dist_util._init_dist_pytorch)
    if "% num_gpus" in inspect.getsource(dist_util._init_dist_slurm):
        dist_util._init_dist_slurm = _slurm_launcher(dist_util._init_dist_slurm)
    if "device_ids=[torch.cuda.current_device()]" in inspect.getsource(BaseModel.model_to_device):
        BaseModel.model_to_device = _model_to_device(BaseModel.model_to_device)


def _pytorch_launcher(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init_dist(backend: str, **options: Any) -> None:
        if torch.cuda.device_count() > 0:
            original(backend, **options)
        else:
            torch.distributed.init_process_group("gloo", **options)

    return init_dist


def _slurm_launcher(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init_dist(backend: str, port: int | None = None) -> None:
        if torch.cuda.device_count() == 0:
            raise ValueError(
                "--launcher slurm needs a CUDA device, and there is none: use torchrun, --launcher pytorch"
            )
        original(backend, port)

    return init_dist


def _model_to_device(original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    @functools.wraps(original)
    def model_to_device(self: Any, net: nn.Module) -> nn.Module:
        if not self.opt["dist"] or self.device.type != "cpu":
            return original(self, net)
        unused = self.opt.get("find_unused_parameters", False)
        return DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

    return model_to_device
