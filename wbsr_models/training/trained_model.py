"""What our models share in training, at the edge of BasicSR: how its hooks lead to a `TrainingStep`.

train:
  compute: {precision: bf16, channels_last: true, graphs: true}      # `ComputeOptions`
  weight_penalty: 1.0e-8                                    # `add_weight_penalty`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from wbsr_base.hooks.recorded import recorded_step, unrecordable
from wbsr_models.routing.profile import Profile
from wbsr_models.testing.dynamic_model import DynamicSRModel
from wbsr_models.training.compute import Compute, compute_options
from wbsr_models.training.moving_average import MovingAverage
from wbsr_models.training.recorded import RecordedTrainingStep
from wbsr_models.training.step import Batch, Losses, Pass, TrainingStep, read_losses
from wbsr_models.training.weight_penalty import penalty_factor


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
        self._knows_classes = self.dynamic.test.thresholds is not None
        if self.is_train:
            self.step = self._as_recorded(
                TrainingStep(self.net_g, self.optimizer_g, self.compute, penalty, self._moving_average())
            )

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
        batch = Batch(self.lq, self.gt, self.difficulty)
        self.output, self.log_dict = self.step(batch, self.passes(current_iter))

    def image_losses(self, output: Tensor, batch: Batch) -> Losses:
        """The losses of `pixel_opt` and `perceptual_opt`."""
        losses: Losses = {}
        if self.cri_pix:
            lq = {"lq": batch.lr} if getattr(self.cri_pix, "needs_lq", False) else {}
            losses["l_pix"] = self.cri_pix(output, batch.hr, **lq)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(output, batch.hr)
            losses.update({k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None})
        return losses

    def get_current_log(self) -> dict[str, float]:
        """The losses of the last step, means over all processes, which must all ask, as BasicSR's loop has them do."""
        return read_losses(super().get_current_log(), self.opt["world_size"] if self.opt["dist"] else 1)

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
            self.lq = self.lq.contiguous(memory_format=self.compute_options.memory_format)
            difficulty = data.get("difficulty")
            self.difficulty = None if difficulty is None else difficulty.to(self.device, non_blocking=True)

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
        return {"supernet": {"scaler": self.compute.state()}}

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """BasicSR's resume, and go on with the scale of the losses."""
        super().resume_training(resume_state)
        self.iteration = int(resume_state["iter"])
        self.compute.resume(resume_state.get("supernet", {}).get("scaler", {}))

    def _learn_classes(self, data: dict[str, Any]) -> None:
        """Take the thresholds of the training's difficulty classes from its first batch, for they are the same in all;
        what a pretrained network knows of its own classes holds no longer."""
        if not self._knows_classes and "thresholds" in data and self.profile is not None:
            self.profile = Profile(self.profile.patch_size, tuple(data["thresholds"][0].tolist()))
            self._knows_classes = True

    def _as_recorded(self, step: TrainingStep) -> TrainingStep | RecordedTrainingStep:
        """The step by recordings, where the options ask for them and nothing is against it."""
        if not self.compute_options.graphs:
            return step
        self.recordings = recorded_step(self, self.unrecordable())
        return step if self.recordings is None else RecordedTrainingStep(step, self.recordings)

    def _moving_average(self) -> MovingAverage | None:
        if not self.ema_decay > 0:
            return None
        self.net_g_ema.to(memory_format=self.compute_options.memory_format)  # else no kernel takes all tensors at once
        return MovingAverage(self.net_g_ema, self.supernet, self.ema_decay)


def _check_processes(opt: dict[str, Any], model: str) -> None:
    count = opt["num_gpu"]
    if opt["is_train"] and not opt["dist"] and count > 1:
        raise ValueError(
            f"{model} trains on one GPU per process, got num_gpu {count} in a single one: start `torchrun "
            f"--nproc_per_node={count} -m wbsr train -opt ... --launcher pytorch`, or set num_gpu: 1"
        )
