"""What our models share in training, at the edge of BasicSR: how its hooks lead to a `TrainingStep`.

train:
  compute: {precision: bf16, channels_last: true, graphs: true}      # `ComputeOptions`
  weight_penalty: 1.0e-8                                    # `add_weight_penalty`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from wbsr_base.basicsr import get_root_logger
from wbsr_base.hooks.recorded import recorded_step, take_step, unrecordable
from wbsr_base.protocols import NeedsLR
from wbsr_models.routing.profile import Profile
from wbsr_models.testing.baselines import without_residual
from wbsr_models.testing.dynamic_model import DynamicSRModel
from wbsr_models.training.compute import Compute, compute_options
from wbsr_models.training.moving_average import MovingAverage
from wbsr_models.training.step import Batch, Losses, Pass, TrainingStep, read_losses
from wbsr_models.training.weight_penalty import penalty_factor

LEAST_GAIN = 0.02  # dB that a network must be better than its base


class TrainedModel(DynamicSRModel):
    """A `DynamicSRModel` that can be trained; a subclass says which passes a step has, in `passes`.

    Raises:
        ValueError: as `DynamicSRModel`, a block under `train` is wrong, or one process is to train on several GPUs.
    """

    difficulty: Tensor | None
    log_dict: Losses

    def __init__(self, opt: dict[str, Any]) -> None:
        self.compute_options = compute_options(opt)
        penalty = penalty_factor(opt)
        _check_processes(opt, type(self).__name__)
        super().__init__(opt)
        self.compute = Compute(self.compute_options, self.device, self.supernet.output_layers)
        self.iteration = 0
        self._learnt: list[float] = []  # dB, of each image of a validation
        self._unlearnt: dict[str, float] = {}  # dB, by image
        self._knows_classes = self.dynamic.test.thresholds is not None
        if self.is_train:
            self.step = TrainingStep(self.net_g, self.optimizer_g, self.compute, penalty, self._moving_average())
            self.recordings = recorded_step(self, self.unrecordable()) if self.compute_options.graphs else None

    @staticmethod
    def check_training(opt: dict[str, Any]) -> None:
        """Parse the blocks that all our models have under `train`, for their errors."""
        compute_options(opt)
        penalty_factor(opt)

    def passes(self, iteration: int) -> Sequence[Pass]:
        """The passes of a step, the same on all processes."""
        raise NotImplementedError

    def unrecordable(self) -> str | None:
        """Why the steps of this training can't be recorded as CUDA graphs; None if nothing is known against it."""
        if self.compute_options.precision == "fp16":
            return "the loss scale of precision: fp16 is changed by the host: use bf16"
        return unrecordable(self)

    def optimize_parameters(self, current_iter: int) -> None:
        """One step on the batch that was fed; it leaves `output`, of its last pass, and `log_dict` on the device."""
        self.iteration = current_iter
        passes = self.passes(current_iter)

        def step() -> tuple[Tensor, Losses]:
            lr = self.lq.contiguous(memory_format=self.compute_options.memory_format)
            return self.step(Batch(lr, self.gt, self.difficulty), passes)

        self.output, self.log_dict = take_step(self, tuple(each.key for each in passes), step)

    def image_losses(self, output: Tensor, batch: Batch) -> Losses:
        """The losses of `pixel_opt` and `perceptual_opt`."""
        losses: Losses = {}
        if self.cri_pix:
            lq = {"lq": batch.lr} if isinstance(self.cri_pix, NeedsLR) and self.cri_pix.needs_lq else {}
            losses["l_pix"] = self.cri_pix(output, batch.hr, **lq)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(output, batch.hr)
            losses.update({k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None})
        return losses

    def get_current_log(self) -> dict[str, float]:
        """The losses of the last step, means over all processes, which must all ask, as BasicSR's loop has them do."""
        guard = self.compute.guard
        counts = {} if guard is None else guard.counts
        values = read_losses({**super().get_current_log(), **counts}, self.opt["world_size"] if self.opt["dist"] else 1)
        counted = {name: values.pop(name) for name in counts}
        if guard is not None and (news := guard.news(counted)):
            get_root_logger().warning(news)
        return values

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """BasicSR's, with the weights in the memory layout of `train:compute`, and never as DataParallel: that copies
        the modules and not the subnets' views of their weights, so a test in one process keeps to one GPU."""
        net = net.to(memory_format=self.compute_options.memory_format)
        model: nn.Module = super().model_to_device(net) if self.opt["dist"] else net.to(self.device)
        return model

    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch; from a HES batch also its difficulty classes and their thresholds."""
        super().feed_data(data)
        self.lq_path = data["lq_path"][0]
        if self.is_train:
            self._learn_classes(data)
            difficulty = data.get("difficulty")
            self.difficulty = None if difficulty is None else difficulty.to(self.device, non_blocking=True)

    def test(self) -> None:
        """Upscale `self.lq`; in a training also note what its residual brings."""
        super().test()
        if self.is_train and hasattr(self, "gt"):
            if self.lq_path not in self._unlearnt:
                with torch.no_grad():
                    base = self._without_residual(self.lq)
                self._unlearnt[self.lq_path] = _psnr(base[..., : self.gt.shape[-2], : self.gt.shape[-1]], self.gt)
            self._learnt.append(_psnr(self.output, self.gt) - self._unlearnt[self.lq_path])

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """A validation; in a training, behind its warm-up, a network that has lost its residual is warned of."""
        self._learnt = []
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        learnt = self.gathered(self._learnt)
        if learnt and self.iteration > self.opt["train"].get("warmup_iter", -1):
            gain = sum(learnt) / len(learnt)
            if gain < LEAST_GAIN:
                get_root_logger().warning(
                    f"{dataloader.dataset.opt['name']}: the network is no better than with its output layer at zero "
                    f"({gain:+.3f} dB): it has lost what it learnt, or not begun. What helps: a lower "
                    "train:optim_g:lr, a longer train:warmup_iter, train:supernet:full_first: 0.25, "
                    "train:compute:clip_norm: 0.3 (docs/guide/training.md)."
                )

    @cached_property
    def _without_residual(self) -> nn.Module:
        """Made once for all images: training changes nothing of what it puts out."""
        return without_residual(self.supernet).to(self.device)

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

    def training_extras(self) -> dict[str, Any]:
        """What the training state holds beside optimisers and schedulers."""
        return {"supernet": self.compute.state()}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """BasicSR's resume, and go on with the scale of the losses and what is usual of gradients."""
        super().resume_training(resume_state)
        self.iteration = int(resume_state["iter"])
        self.compute.resume(resume_state.get("supernet", {}))

    def _learn_classes(self, data: dict[str, Any]) -> None:
        """Take the thresholds of the training's difficulty classes from its first batch, for they are the same in all;
        what a pretrained network knows of its own classes holds no longer."""
        if not self._knows_classes and "thresholds" in data and self.profile is not None:
            self.profile = Profile(self.profile.patch_size, tuple(data["thresholds"][0].tolist()))
            self._knows_classes = True

    def _moving_average(self) -> MovingAverage | None:
        if not self.ema_decay > 0:
            return None
        self.net_g_ema.to(memory_format=self.compute_options.memory_format)  # else no kernel takes all tensors at once
        return MovingAverage(self.net_g_ema, self.supernet, self.ema_decay)


def _psnr(image: Tensor, truth: Tensor) -> float:
    """PSNR (dB) of an image, at most 100."""
    error = (image.clamp(0, 1) - truth).square().mean().item()
    return -10 * math.log10(max(error, 1e-10))


def _check_processes(opt: dict[str, Any], model: str) -> None:
    count = opt["num_gpu"]
    if opt["is_train"] and not opt["dist"] and count > 1:
        raise ValueError(
            f"{model} trains on one GPU per process, got num_gpu {count} in a single one: start `torchrun "
            f"--nproc_per_node={count} -m wbsr train -opt ... --launcher pytorch`, or set num_gpu: 1"
        )
