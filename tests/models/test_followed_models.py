"""What a training set that follows the training is told by our models and a stock one: the outputs that they made."""

import pytest
import torch

from wbsr import compat

compat.install()

from basicsr.models import build_model  # noqa: E402

import wbsr_models  # noqa: E402, F401
from wbsr_base.hooks import following  # noqa: E402

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
SUPERNET = {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]}
CLASSSR = {"type": "ClassSR", "backbone": BACKBONE, "widths": [4, 6, 8]}
MODELS = {
    "SRModel": ("SRModel", BACKBONE, {}),
    "WBSRModel, random": ("WBSRModel", SUPERNET, {"supernet": {"strategy": "random"}}),
    "WBSRModel, sandwich": ("WBSRModel", SUPERNET, {"supernet": {"strategy": "sandwich"}}),
    "ClassSRModel, branches": ("ClassSRModel", CLASSSR, {"classsr": {"stage": "branches"}}),
    "ClassSRModel, joint": ("ClassSRModel", CLASSSR, {"classsr": {"stage": "joint"}}),
}


class Follower:
    """Notes the error of each patch."""

    def __init__(self):
        self.errors, self.resumed = {}, None

    def observe(self, output, gt, batch, iteration):
        assert torch.equal(gt, batch["gt"])
        self.errors[iteration] = (output.detach() - gt).abs().mean((1, 2, 3)).tolist()

    def training_extras(self):
        return {"errors": self.errors}

    def resume_training(self, resume_state):
        self.resumed = resume_state.get("errors")


def followed(name):
    """A model, and the training set that follows it."""
    kind, network, train = MODELS[name]
    torch.manual_seed(0)
    hes = {"num_classes": 3, "score": "bilinear"}
    model = build_model(
        {
            "model_type": kind,
            "name": "tiny",
            "scale": 2,
            "num_gpu": 0,
            "manual_seed": 0,
            "is_train": True,
            "dist": False,
            "rank": 0,
            "world_size": 1,
            "datasets": {"train": {"type": "HESPairedImageDataset", "gt_size": 16, "hes": hes}},
            "network_g": network,
            "path": {},
            "train": {
                "optim_g": {"type": "Adam", "lr": 0.01},
                "scheduler": {"type": "MultiStepLR", "milestones": [100]},
                "total_iter": 100,
                "pixel_opt": {"type": "L1Loss"},
                **train,
            },
            "val": {},
        }
    )
    dataset = Follower()
    following.follow(dataset, model)
    return model, dataset


@pytest.mark.parametrize("name", MODELS)
def test_it_is_told_the_outputs_and_its_state_goes_with_the_models(name, tmp_path):
    model, dataset = followed(name)
    batch = {
        "lq": torch.rand(3, 3, 8, 8),
        "gt": torch.rand(3, 3, 16, 16),
        "lq_path": ["image.png"] * 3,
        "difficulty": torch.tensor([1, 2, 3]),
        "thresholds": torch.tensor([[0.1, 0.2]] * 3),
    }
    for iteration in (1, 2):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        assert dataset.errors[iteration] == (model.output - batch["gt"]).abs().mean((1, 2, 3)).tolist()
    model.opt["path"]["training_states"] = str(tmp_path)
    model.save_training_state(0, 2)
    state = torch.load(tmp_path / "2.state", weights_only=True)
    other, resumed = followed(name)
    other.resume_training(state)
    assert resumed.resumed == dataset.errors
    assert {"epoch", "iter", "optimizers", "schedulers", "errors"} <= set(state)
    assert ("supernet" in state) == (name != "SRModel")  # what our models add themselves
