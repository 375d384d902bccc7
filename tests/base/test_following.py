"""A training set that follows the training is told of every step, and its state is saved and handed back."""

import pytest
import torch

from wbsr import compat
from wbsr_base.hooks import following

compat.install()

import basicsr.train  # noqa: E402
from basicsr.models.sr_model import SRModel  # noqa: E402


class Follower:
    """A training set that notes what it is told."""

    def __init__(self):
        self.seen, self.resumed = [], None

    def observe(self, output, gt, batch, iteration):
        self.seen.append((output.item(), gt.item(), batch["more"], iteration))

    def training_extras(self):
        return {"steps": len(self.seen)}

    def resume_training(self, resume_state):
        self.resumed = resume_state


class Doubling(SRModel):
    """A model as far as a loop needs it: its output is twice its input."""

    def __init__(self, folder=None):
        self.opt = {"path": {"training_states": str(folder)}}
        self.device, self.optimizers, self.schedulers = torch.device("cpu"), [], []

    def optimize_parameters(self, current_iter):
        self.output = 2 * self.lq


class Adding(Doubling):
    """One that says more in the training state."""

    def training_extras(self):
        return {"own": 1}


def step(model, value, iteration):
    model.feed_data({"lq": torch.tensor(value), "gt": torch.tensor(-value), "more": f"batch {iteration}"})
    model.optimize_parameters(iteration)


def test_it_is_told_of_each_step_with_what_the_model_left_and_the_batch():
    model, dataset = Doubling(), Follower()
    following.follow(dataset, model)
    step(model, 1.0, 7)
    model.feed_data({"lq": torch.tensor(0.0)})  # of a validation
    step(model, 3.0, 8)
    assert dataset.seen == [(2.0, -1.0, "batch 7", 7), (6.0, -3.0, "batch 8", 8)]


@pytest.mark.parametrize(("kind", "own"), [(Doubling, {}), (Adding, {"own": 1})])
def test_its_state_is_saved_beside_the_models_and_handed_back(tmp_path, kind, own):
    model, dataset = kind(tmp_path), Follower()
    following.follow(dataset, model)
    step(model, 1.0, 1)
    model.save_training_state(0, 1)
    state = torch.load(tmp_path / "1.state", weights_only=True)
    assert state == {"epoch": 0, "iter": 1, "optimizers": [], "schedulers": [], "steps": 1, **own}
    model.resume_training(state)
    assert dataset.resumed == state


def test_only_this_model_is_followed_and_it_keeps_its_name():
    model, other = Doubling(), Doubling()
    following.follow(Follower(), model)
    assert isinstance(model, Doubling)
    assert type(model).__name__ == "Doubling"
    assert type(other) is Doubling


def test_a_model_whose_outputs_are_found_nowhere_is_refused():
    with pytest.raises(ValueError, match=r"type Follower needs a model that keeps `output` and `gt`.*got object: set"):
        following.follow(Follower(), object())


@pytest.mark.parametrize("follows", [True, False])
def test_basicsr_introduces_the_training_set_to_the_model_that_it_builds(build, options, follows):
    loaders, opt = build(follows)
    model = basicsr.train.build_model(opt)
    assert "training_set" not in opt
    dataset = loaders[0].dataset
    batch = next(iter(loaders[0]))
    model.feed_data(batch)
    model.optimize_parameters(1)
    if follows:
        ((output, iteration),) = dataset.seen
        assert output is model.output
        assert iteration == 1
    else:
        assert type(model) is SRModel


@pytest.fixture
def build(images, options, monkeypatch):
    """Build the loaders of a training over ten images, whose set follows or does not; returns them and all options."""
    import logging

    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.utils.registry import DATASET_REGISTRY

    class FollowingDataset(PairedImageDataset):
        def observe(self, output, gt, batch, iteration):
            self.seen = [(output, iteration)]

        def training_extras(self):
            return {}

        def resume_training(self, resume_state):
            pass

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "FollowingDataset", FollowingDataset)

    def run(follows):
        monkeypatch.chdir(images(10))
        kind = "FollowingDataset" if follows else "PairedImageDataset"
        options["datasets"]["train"] |= {"phase": "train", "scale": 2, "type": kind}
        del options["datasets"]["val"]
        opt = options | {"is_train": True, "num_gpu": 0, "dist": False, "rank": 0, "world_size": 1}
        return basicsr.train.create_train_val_dataloader(opt, logging.getLogger("test")), opt

    return run
