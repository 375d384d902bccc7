"""`WBSRModel`: BasicSR's SRModel that trains every subnet of a supernet and tests by dynamic inference.

train:
  supernet: {strategy: random}                              # which subnets a step trains: `StrategyOptions`
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from wbsr_arch.subnet import Subnet
from wbsr_base.basicsr import MODEL_REGISTRY
from wbsr_base.options import parse
from wbsr_models.strategy import StrategyOptions, draw_subnets, match_weights, weigh_gradients
from wbsr_models.testing.options import check_network, dynamic_options
from wbsr_models.trained_model import TrainedDynamicModel, compute_options
from wbsr_models.weight_penalty import add_weight_penalty, penalty_factor


@MODEL_REGISTRY.register()
class WBSRModel(TrainedDynamicModel):
    """Trains a `Supernet` by BasicSR's loop.

    Raises:
        ValueError: `network_g` is no Supernet, an option is wrong, `paper` routing has no difficulty classes, or one
            process is to train on several GPUs.
    """

    network_type = "Supernet"

    def __init__(self, opt: dict[str, Any]) -> None:
        self.strategy = _strategy_options(opt)
        self.weight_penalty = penalty_factor(opt)
        # Depth leaves parameters without gradient, which DDP has to look for.
        opt.setdefault("find_unused_parameters", True)
        super().__init__(opt)
        self.seed = int(opt["manual_seed"]) if self.is_train else 0  # the same on all ranks, see hooks/order.py

    @staticmethod
    def check_options(opt: dict[str, Any]) -> None:
        """Parse this model's blocks of an option file under `train` and `val`, for their errors."""
        check_network(opt, WBSRModel.__name__, WBSRModel.network_type)
        _strategy_options(opt)
        compute_options(opt)
        penalty_factor(opt)
        dynamic_options(opt)

    def training_settings(self) -> dict[str, Any]:
        """The strategy."""
        return asdict(self.strategy)

    def training_extras(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers, with the seed of the draws."""
        extras = super().training_extras()
        extras["supernet"]["seed"] = self.seed
        return extras

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume, and go on with the sequence of draws."""
        super().resume_training(resume_state)
        self.seed = resume_state.get("supernet", {}).get("seed", self.seed)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step: the losses of the drawn subnets, their gradients summed, one optimiser step."""
        self.iteration = current_iter
        self.optimizer_g.zero_grad()
        done = (current_iter - 1) / self.opt["train"]["total_iter"]
        subnets = draw_subnets(self.strategy, self.supernet.flops, self.seed, current_iter, done)
        teacher: Tensor | None = None
        sums: OrderedDict[str, Tensor] = OrderedDict()
        if self.strategy.distillation:
            subnets = subnets[::-1]  # the full network first, for it is the teacher
        for subnet in subnets:
            # Gradients add up on each rank, and the full network's pass, the last, averages all of them over the ranks.
            waits = len(subnets) > 1 and teacher is None and subnet != self.supernet.full
            with self.net_g.no_sync() if waits and self._is_ddp else nullcontext():
                losses = self._train(subnet, teacher)
            if self.strategy.distillation and subnet == self.supernet.full:
                teacher = self.output.detach()
            for name, loss in losses.items():
                count = len(subnets) - (name == "l_distill")
                sums[name] = sums.get(name, 0) + loss.detach() / count
        self.compute.unscale(self.optimizer_g)
        self._average_loss_gradients()
        if self.weight_penalty:
            sums["l_weights"] = add_weight_penalty(self.net_g.parameters(), self.weight_penalty)
        self._step(sums)

    def _train(self, subnet: Subnet, teacher: Tensor | None) -> dict[str, Tensor]:
        """The losses of one subnet, their gradients added to the weights'."""
        with self.compute.autocast():
            output = self.net_g(self.lq, subnet)
        self.output = output.float()
        if self.strategy.match and subnet != self.supernet.full:
            self.output = weigh_gradients(self.output, self._match_weights(subnet))
        losses = self._losses()
        if teacher is not None:
            losses["l_distill"] = self.strategy.distillation * F.l1_loss(self.output, teacher)
        self.compute.backward(losses.values())
        return losses

    def _match_weights(self, subnet: Subnet) -> Tensor:
        if self.difficulty is None or self.profile is None or self.profile.thresholds is None:
            raise ValueError(_MATCH_NEEDS.format("batches without `difficulty`"))
        number, total = self.supernet.subnets.index(subnet), len(self.supernet.subnets)
        classes = self.difficulty.to(self.device)
        return match_weights(classes, number, len(self.profile.thresholds) + 1, total, self.strategy.mismatch)


_MATCH_NEEDS = (
    "train:supernet:match needs the difficulty class of each patch, which HESPairedImageDataset delivers, got {}: set "
    "datasets:train:type to it (hes:sample_level: 1.0 keeps its sampling uniform), or leave out match"
)


def _strategy_options(opt: dict[str, Any]) -> StrategyOptions:
    options = parse(StrategyOptions, opt.get("train", {}).get("supernet"), "train:supernet")
    train = opt.get("datasets", {}).get("train")
    if options.match and train is not None and train.get("type") != "HESPairedImageDataset":
        raise ValueError(_MATCH_NEEDS.format(f"a training set of type {train.get('type')}"))
    return options
