"""`WBSRModel`: BasicSR's SRModel that trains every subnet of a supernet and tests by dynamic inference.

train:
  supernet: {strategy: sandwich, random_subnets: 1}
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from wbsr import compat

compat.install()

from basicsr.utils.registry import MODEL_REGISTRY  # noqa: E402

from wbsr.options import parse  # noqa: E402
from wbsr_models.dynamic_model import DynamicSRModel, dynamic_options  # noqa: E402
from wbsr_models.strategy import StrategyOptions, draw_subnets  # noqa: E402


@MODEL_REGISTRY.register()
class WBSRModel(DynamicSRModel):
    """Trains a `Supernet` by BasicSR's loop.

    Raises:
        ValueError: `network_g` is no Supernet, an option is wrong, or `paper` routing has no difficulty classes.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.strategy = _strategy_options(opt)
        # Depth leaves parameters without gradient, which DDP has to look for.
        opt.setdefault("find_unused_parameters", True)
        super().__init__(opt)

    @staticmethod
    def check_options(opt: dict[str, Any]) -> None:
        """Parse the blocks `train:supernet` and `val:dynamic` of an option file, for their errors."""
        _strategy_options(opt)
        dynamic_options(opt)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; from a HES batch also the thresholds of its difficulty classes."""
        super().feed_data(data)
        self.lq_path = data["lq_path"][0]
        if self.thresholds is None and "thresholds" in data:
            self.thresholds = tuple(data["thresholds"][0].tolist())

    def optimize_parameters(self, current_iter: int) -> None:
        """One step: the losses of the drawn subnets, their gradients summed, one optimiser step."""
        self.optimizer_g.zero_grad()
        subnets = draw_subnets(self.strategy, self.supernet.subnets, self.opt["manual_seed"], current_iter)
        sums: OrderedDict[str, Tensor] = OrderedDict()
        for subnet in subnets:
            self.output = self.net_g(self.lq, subnet)
            losses = self._losses()
            torch.autograd.backward(list(losses.values()))
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach() / len(subnets)
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(sums)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _losses(self) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update({k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None})
        return losses


def _strategy_options(opt: dict[str, Any]) -> StrategyOptions:
    return parse(StrategyOptions, opt.get("train", {}).get("supernet"), "train:supernet")
