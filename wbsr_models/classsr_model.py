"""`ClassSRModel`: BasicSR's SRModel that trains ClassSR in its three stages, and tests it by dynamic inference.

train:
  classsr: {stage: branches}                                # `ClassSROptions`
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from wbsr_base.basicsr import MODEL_REGISTRY, get_root_logger
from wbsr_models.testing.options import check_network, dynamic_options
from wbsr_models.training.classsr_losses import average_loss, class_loss
from wbsr_models.training.classsr_options import classsr_options, default_routing
from wbsr_models.training.compute import compute_options
from wbsr_models.training.step import Batch, Losses, Pass
from wbsr_models.training.trained_model import TrainedModel


@MODEL_REGISTRY.register()
class ClassSRModel(TrainedModel):
    """Trains a `ClassSR` by BasicSR's loop, all patches of a batch at once.

    Raises:
        ValueError: `network_g` is no ClassSR, an option is wrong, the stage lacks what it needs, or one process is to
            train on several GPUs.
    """

    network_type = "ClassSR"

    def __init__(self, opt: dict[str, Any]) -> None:
        check_network(opt, type(self).__name__, self.network_type)
        _check_compute(opt)
        self.classsr, self.default_routing = classsr_options(opt), default_routing(opt)
        # A batch may lack a class, and then leaves its branch without gradient, which DDP has to look for.
        opt.setdefault("find_unused_parameters", self.classsr.stage == "branches")
        super().__init__(opt)

    @staticmethod
    def check_options(opt: dict[str, Any]) -> None:
        """Parse this model's blocks of an option file under `train` and `val`, for their errors."""
        check_network(opt, ClassSRModel.__name__, ClassSRModel.network_type)
        classsr_options(opt)
        TrainedModel.check_training(opt)
        _check_compute(opt)
        dynamic_options(opt, default_routing(opt))

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Freeze what the stage does not train, before DDP asks for it."""
        if self.is_train:
            net.get_submodule("branches").requires_grad_(self.classsr.stage != "classifier")
            net.get_submodule("classifier").requires_grad_(self.classsr.stage != "branches")
        return super().model_to_device(net)

    def setup_optimizers(self) -> None:
        """The optimiser of what the stage trains."""
        trained = [weight for weight in self.net_g.parameters() if weight.requires_grad]
        options = self.opt["train"]["optim_g"]
        self.optimizer_g = self.get_optimizer(options.pop("type"), trained, **options)
        self.optimizers.append(self.optimizer_g)
        counts = [sum(weight.numel() for weight in weights) for weights in (trained, self.net_g.parameters())]
        get_root_logger().info(f"Stage {self.classsr.stage}: {counts[0]:,} of {counts[1]:,} parameters are trained.")

    def training_settings(self) -> dict[str, Any]:
        """The stage and its weights."""
        return asdict(self.classsr)

    def unrecordable(self) -> str | None:
        """Which branch a patch takes is for its class to say, and so which operators run."""
        if self.classsr.stage == "branches":
            return "stage `branches` sorts the patches of a batch by class"
        return super().unrecordable()

    def passes(self, iteration: int) -> list[Pass]:
        """The one pass of the stage."""
        stage = self.classsr.stage
        return [Pass(stage, self._train_branches if stage == "branches" else self._train_mixture)]

    def _train_branches(self, batch: Batch) -> tuple[Tensor, Losses]:
        """Each patch under the branch of its class, and the losses of the image."""
        if batch.difficulty is None:
            raise ValueError(
                "train:classsr:stage `branches` needs batches with `difficulty`, got none: use HESPairedImageDataset"
            )
        with self.compute.autocast():
            output = self.net_g(batch.lr, classes=batch.difficulty)
        output = output.float()
        return output, self.image_losses(output, batch)

    def _train_mixture(self, batch: Batch) -> tuple[Tensor, Losses]:
        """The branches' outputs weighed by the probabilities, with the losses of the image and of the probabilities."""
        options = self.classsr
        with self.compute.autocast():
            output, probabilities = self.net_g(batch.lr, mixed=True)
        output, probabilities = output.float(), probabilities.float()
        losses = {name: options.image_weight * loss for name, loss in self.image_losses(output, batch).items()}
        losses["l_class"] = options.class_weight * class_loss(probabilities)
        losses["l_average"] = options.average_weight * average_loss(probabilities)
        return output, losses


def _check_compute(opt: dict[str, Any]) -> None:
    if compute_options(opt).compile:
        raise ValueError("train:compute:compile is for the subnets of WBSRModel, got it for ClassSRModel: leave it out")
