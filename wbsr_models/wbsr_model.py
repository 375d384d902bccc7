"""`WBSRModel`: BasicSR's SRModel that trains every subnet of a supernet and tests by dynamic inference.

train:
  supernet: {strategy: random}                              # which subnets a step trains: `StrategyOptions`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from wbsr_arch.subnet import Subnet
from wbsr_arch.supernet import Supernet
from wbsr_base.basicsr import MODEL_REGISTRY, get_root_logger
from wbsr_models.testing.options import check_network, dynamic_options
from wbsr_models.training.compiled import CompiledSupernet
from wbsr_models.training.step import Batch, Losses, Pass
from wbsr_models.training.strategy import draw_subnets, strategy_options
from wbsr_models.training.trained_model import TrainedModel


@MODEL_REGISTRY.register()
class WBSRModel(TrainedModel):
    """Trains a `Supernet` by BasicSR's loop.

    Raises:
        ValueError: `network_g` is no Supernet, an option is wrong, `paper` routing has no difficulty classes, or one
            process is to train on several GPUs.
    """

    network_type = "Supernet"
    supernet: Supernet

    def __init__(self, opt: dict[str, Any]) -> None:
        self.strategy = strategy_options(opt)
        # Depth leaves parameters without gradient, which DDP has to look for.
        opt.setdefault("find_unused_parameters", True)
        super().__init__(opt)
        self.seed = int(opt["manual_seed"]) if self.is_train else 0  # the same on all ranks, see hooks/order.py
        self.network: Callable[[Tensor, Subnet], Tensor] = self._compiled() or self.net_g

    @staticmethod
    def check_options(opt: dict[str, Any]) -> None:
        """Parse this model's blocks of an option file under `train` and `val`, for their errors."""
        check_network(opt, WBSRModel.__name__, WBSRModel.network_type)
        strategy_options(opt)
        TrainedModel.check_training(opt)
        dynamic_options(opt)

    def training_settings(self) -> dict[str, Any]:
        """The strategy."""
        return asdict(self.strategy)

    def passes(self, iteration: int) -> list[Pass]:
        """One for each drawn subnet."""
        done = (iteration - 1) / self.opt["train"]["total_iter"]
        subnets = draw_subnets(self.strategy, self.supernet.flops, self.seed, iteration, done)
        if self.strategy.distillation:  # the full network first, for it is the teacher
            return [self._pass(m, teaches=m == self.supernet.full) for m in reversed(subnets)]
        # The last is the full network, if it is not the only one: it reaches all weights.
        return [self._pass(m, averages=m == subnets[-1]) for m in subnets]

    def _compiled(self) -> CompiledSupernet | None:
        if not (self.is_train and self.compute_options.compile):
            return None
        if self.opt["dist"]:
            raise ValueError("train:compute:compile is for one process, got several: leave it out")
        get_root_logger().info("Subnets are compiled, each when it is first trained, which takes a while.")
        return CompiledSupernet(self.supernet)

    def _pass(self, subnet: Subnet, **what: bool) -> Pass:
        weight = 1.0 if subnet == self.supernet.full else self.strategy.subnet_weight
        return Pass(subnet, partial(self._train, subnet), weight=weight, **what)

    def _train(self, subnet: Subnet, batch: Batch) -> tuple[Tensor, Losses]:
        """The output of a subnet, and its losses."""
        with self.compute.autocast():
            output = self.network(batch.lr, subnet)
        output = output.float()
        losses = self.image_losses(output, batch)
        if batch.teacher is not None:
            losses["l_distill"] = self.strategy.distillation * F.l1_loss(output, batch.teacher)
        return output, losses
