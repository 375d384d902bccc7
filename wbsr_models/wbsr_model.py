"""`WBSRModel`: BasicSR's SRModel that trains every subnet of a supernet and tests by dynamic inference.

train:
  supernet: {strategy: random}                              # which subnets a step trains: `StrategyOptions`
  compute: {precision: bf16, channels_last: true}           # how it computes: `ComputeOptions`
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from wbsr import compat

compat.install()

from basicsr.utils.registry import MODEL_REGISTRY  # noqa: E402

from wbsr.options import parse  # noqa: E402
from wbsr_arch.subnet import Subnet  # noqa: E402
from wbsr_models.compute import Compute, ComputeOptions  # noqa: E402
from wbsr_models.dynamic_model import DynamicSRModel  # noqa: E402
from wbsr_models.dynamic_options import dynamic_options  # noqa: E402
from wbsr_models.strategy import StrategyOptions, draw_subnets, match_weights, weigh_gradients  # noqa: E402
from wbsr_models.weight_penalty import add_weight_penalty, penalty_factor  # noqa: E402


@MODEL_REGISTRY.register()
class WBSRModel(DynamicSRModel):
    """Trains a `Supernet` by BasicSR's loop.

    Raises:
        ValueError: `network_g` is no Supernet, an option is wrong, `paper` routing has no difficulty classes, or one
            process is to train on several GPUs.
    """

    lq: Tensor
    gt: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        self.strategy, self.compute_options = _strategy_options(opt), _compute_options(opt)
        self.weight_penalty = penalty_factor(opt)
        # Depth leaves parameters without gradient, which DDP has to look for.
        opt.setdefault("find_unused_parameters", True)
        _check_processes(opt)
        super().__init__(opt)
        self.compute = Compute(self.compute_options, self.device, self.supernet.output_layers)
        self.seed = int(opt["manual_seed"]) if self.is_train else 0  # the same on all ranks, see wbsr/compat/order.py
        self.iteration = 0

    @staticmethod
    def check_options(opt: dict[str, Any]) -> None:
        """Parse this model's blocks of an option file under `train` and `val`, for their errors."""
        _strategy_options(opt)
        _compute_options(opt)
        penalty_factor(opt)
        dynamic_options(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """BasicSR's, with the weights in the memory layout of `train:compute`, and never as DataParallel: that copies
        the modules and not the subnets' views of their weights, so a test in one process keeps to one GPU."""
        net = net.to(memory_format=self.compute_options.memory_format)
        model: nn.Module = super().model_to_device(net) if self.opt["dist"] else net.to(self.device)
        return model

    def network_metadata(self, net_label: str) -> dict[str, Any]:
        """The `wbsr` entry of the checkpoint, with the state of the training."""
        entry = super().network_metadata(net_label)
        if "wbsr" in entry and self.is_train:
            total = int(self.opt["train"]["total_iter"])
            entry["wbsr"]["training"] = {"iteration": self.iteration, "total_iter": total, **asdict(self.strategy)}
        return entry

    def setup_optimizers(self) -> None:
        """BasicSR's optimiser; parameters of the loss, such as a learned σ, join it, without weight decay."""
        super().setup_optimizers()
        learned = list(self.cri_pix.parameters()) if self.cri_pix else []
        if learned:
            self.optimizer_g.add_param_group({"params": learned, "weight_decay": 0.0})

    def training_extras(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        loss = {"loss": self.cri_pix.state_dict()} if self.cri_pix else {}
        return {**loss, "supernet": {"seed": self.seed, "scaler": self.compute.state()}}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """BasicSR's resume, the sequence of draws, and the state of the loss, unless the options name another loss."""
        super().resume_training(resume_state)
        self.iteration = int(resume_state["iter"])
        supernet = resume_state.get("supernet", {})
        self.seed = supernet.get("seed", self.seed)
        self.compute.resume(supernet.get("scaler", {}))
        own, saved = self.training_extras().get("loss", {}), resume_state.get("loss", {})
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in saved.items()} and self.cri_pix:
            self.cri_pix.load_state_dict(saved)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; from a HES batch also its difficulty classes and their thresholds."""
        super().feed_data(data)
        self.lq_path = data["lq_path"][0]
        if self.is_train:
            if "thresholds" in data and self.dynamic.thresholds is None:
                self.thresholds = tuple(data["thresholds"][0].tolist())  # and no longer those of a pretrained network
            self.lq = self.lq.contiguous(memory_format=self.compute_options.memory_format)
            self.difficulty: Tensor | None = data.get("difficulty")

    def optimize_parameters(self, current_iter: int) -> None:
        """One step: the losses of the drawn subnets, their gradients summed, one optimiser step."""
        self.iteration = current_iter
        self.optimizer_g.zero_grad()
        subnets = draw_subnets(self.strategy, self.supernet.flops, self.seed, current_iter)
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
        self.compute.step(self.optimizer_g)
        self.log_dict = self.reduce_loss_dict(sums)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

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
        if self.difficulty is None or self.thresholds is None:
            raise ValueError(_MATCH_NEEDS.format("batches without `difficulty`"))
        number, total = self.supernet.subnets.index(subnet), len(self.supernet.subnets)
        classes = self.difficulty.to(self.device)
        return match_weights(classes, number, len(self.thresholds) + 1, total, self.strategy.mismatch)

    @property
    def _is_ddp(self) -> bool:
        return isinstance(self.net_g, DistributedDataParallel)

    def _average_loss_gradients(self) -> None:
        """DDP averages the network's gradients; those of what the loss learns are averaged here."""
        if self._is_ddp and self.cri_pix:
            for parameter in self.cri_pix.parameters():
                if parameter.grad is not None:
                    torch.distributed.all_reduce(parameter.grad)
                    parameter.grad /= self.opt["world_size"]

    def _losses(self) -> dict[str, Tensor]:
        losses = {}
        if self.cri_pix:
            lq = {"lq": self.lq} if getattr(self.cri_pix, "needs_lq", False) else {}
            losses["l_pix"] = self.cri_pix(self.output, self.gt, **lq)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update({k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None})
        return losses


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


def _compute_options(opt: dict[str, Any]) -> ComputeOptions:
    return parse(ComputeOptions, opt.get("train", {}).get("compute"), "train:compute")


def _check_processes(opt: dict[str, Any]) -> None:
    count = opt["num_gpu"]
    if opt["is_train"] and not opt["dist"] and count > 1:
        raise ValueError(
            f"WBSRModel trains on one GPU per process, got num_gpu {count} in a single one: start `torchrun "
            f"--nproc_per_node={count} -m wbsr train -opt ... --launcher pytorch`, or set num_gpu: 1"
        )
