"""What all our models share in training: how they compute, what a loss may learn, and how a training resumes.

train:
  compute: {precision: bf16, channels_last: true}           # `ComputeOptions`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wbsr_base.options import parse
from wbsr_models.compute import Compute, ComputeOptions
from wbsr_models.routing.profile import Profile
from wbsr_models.testing.dynamic_model import DynamicSRModel


class TrainedDynamicModel(DynamicSRModel):
    """A `DynamicSRModel` that can be trained; a subclass says what a step is, in `optimize_parameters`.

    Raises:
        ValueError: as `DynamicSRModel`, or one process is to train on several GPUs.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.compute_options = compute_options(opt)
        _check_processes(opt, type(self).__name__)
        super().__init__(opt)
        self.compute = Compute(self.compute_options, self.device, self.supernet.output_layers)
        self.iteration = 0

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
            entry["wbsr"]["training"] = {"iteration": self.iteration, "total_iter": total, **self.training_settings()}
        return entry

    def training_settings(self) -> dict[str, Any]:
        """What the checkpoint says of the kind of training, in plain types."""
        return {}

    def setup_optimizers(self) -> None:
        """BasicSR's optimiser; parameters of the loss, such as a learned σ, join it, without weight decay."""
        super().setup_optimizers()
        self._optimize_loss()

    def _optimize_loss(self) -> None:
        learned = list(self.cri_pix.parameters()) if self.cri_pix else []
        if learned:
            self.optimizer_g.add_param_group({"params": learned, "weight_decay": 0.0})

    def training_extras(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        loss = {"loss": self.cri_pix.state_dict()} if self.cri_pix else {}
        return {**loss, "supernet": {"scaler": self.compute.state()}}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """BasicSR's resume, and the state of the loss, unless the options name another loss."""
        super().resume_training(resume_state)
        self.iteration = int(resume_state["iter"])
        self.compute.resume(resume_state.get("supernet", {}).get("scaler", {}))
        own, saved = self.training_extras().get("loss", {}), resume_state.get("loss", {})
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in saved.items()} and self.cri_pix:
            self.cri_pix.load_state_dict(saved)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; from a HES batch also its difficulty classes and their thresholds."""
        super().feed_data(data)
        self.lq_path = data["lq_path"][0]
        if self.is_train:
            if "thresholds" in data and self.dynamic.test.thresholds is None and self.profile is not None:
                self.profile = Profile(self.profile.patch_size, tuple(data["thresholds"][0].tolist()))
            self.lq = self.lq.contiguous(memory_format=self.compute_options.memory_format)
            self.difficulty: Tensor | None = data.get("difficulty")

    def _step(self, losses: Mapping[str, Tensor]) -> None:
        """End a step whose gradients are there, and note its losses."""
        self.compute.step(self.optimizer_g)
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

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


def compute_options(opt: dict[str, Any]) -> ComputeOptions:
    """The block `train:compute` of an option file.

    Raises:
        ValueError, TypeError: something in it is wrong.
    """
    return parse(ComputeOptions, opt.get("train", {}).get("compute"), "train:compute")


def _check_processes(opt: dict[str, Any], model: str) -> None:
    count = opt["num_gpu"]
    if opt["is_train"] and not opt["dist"] and count > 1:
        raise ValueError(
            f"{model} trains on one GPU per process, got num_gpu {count} in a single one: start `torchrun "
            f"--nproc_per_node={count} -m wbsr train -opt ... --launcher pytorch`, or set num_gpu: 1"
        )
