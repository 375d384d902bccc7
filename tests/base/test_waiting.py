"""BasicSR's own step neither waits for the device nor changes by a bit."""

import copy

import pytest
import torch
from torch import nn

from wbsr_base.basicsr import BaseModel, SRModel
from wbsr_base.hooks.waiting import Pending

ITERATIONS = 12
METHODS = (
    *((BaseModel, name) for name in ("reduce_loss_dict", "get_current_log", "model_ema")),
    (SRModel, "feed_data"),
)


class Unhooked(SRModel):
    """BasicSR's model with its methods as they stand in BasicSR."""


for _owner, _name in METHODS:
    _method = getattr(_owner, _name)
    while hasattr(_method, "__wrapped__"):
        _method = _method.__wrapped__
    setattr(Unhooked, _name, _method)


@pytest.fixture
def make(options):
    def build(kind, **train):
        torch.manual_seed(0)
        opt = copy.deepcopy(options | {"num_gpu": 0, "dist": False, "is_train": True})
        opt["train"].update(train)
        return kind(opt)

    return build


def batch(iteration):
    generator = torch.Generator().manual_seed(iteration)
    return {"lq": torch.rand(2, 3, 8, 8, generator=generator), "gt": torch.rand(2, 3, 16, 16, generator=generator)}


@pytest.mark.parametrize(
    "train",
    [
        {"ema_decay": 0.9},
        {"ema_decay": 0},
        {"warmup_iter": 5, "optim_g": {"type": "Adam", "lr": 1e-3, "weight_decay": 1e-4}},
        {"scheduler": {"type": "CosineAnnealingRestartLR", "periods": [20], "restart_weights": [1]}},
    ],
    ids=str,
)
def test_a_stock_training_is_the_same_to_the_last_bit_with_the_hooks_and_without(make, train):
    models = [make(kind, **copy.deepcopy(train)) for kind in (SRModel, Unhooked)]
    for iteration in range(1, ITERATIONS + 1):
        for model in models:
            model.update_learning_rate(iteration, train.get("warmup_iter", -1))
            model.feed_data(batch(iteration))
            model.optimize_parameters(iteration)
        hooked, plain = models
        assert isinstance(hooked.log_dict, Pending)
        assert hooked.get_current_log() == plain.get_current_log()
        assert {type(value) for value in hooked.get_current_log().values()} == {float}
    for name in ["net_g"] + ["net_g_ema"] * (train.get("ema_decay") != 0):
        for (key, weight), other in zip(
            getattr(hooked, name).state_dict().items(), getattr(plain, name).state_dict().values(), strict=True
        ):
            assert torch.equal(weight, other), f"{name} {key}"
    for state, other in zip(hooked.optimizer_g.state.values(), plain.optimizer_g.state.values(), strict=True):
        assert all(torch.equal(state[key], other[key]) for key in state)


def test_the_losses_of_a_step_keep_no_graph(make):
    model = make(SRModel)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    assert not model.log_dict["l_pix"].requires_grad


def test_the_average_follows_another_network_once_it_is_put_in_place(make):
    model = make(SRModel)
    model.model_ema(0.5)
    model.net_g = nn.Conv2d(1, 1, 1)
    model.net_g_ema = copy.deepcopy(model.net_g)
    with torch.no_grad():
        model.net_g.weight += 1
    before = model.net_g_ema.weight.clone()
    model.model_ema(0.5)
    assert torch.equal(model.net_g_ema.weight, before * 0.5 + model.net_g.weight * 0.5)


def test_a_batch_without_hr_is_fed_too(make):
    model = make(SRModel)
    model.feed_data({"lq": batch(1)["lq"]})
    assert torch.equal(model.lq, batch(1)["lq"])


@pytest.mark.parametrize(("before", "now"), [(None, True), (True, None)])
def test_a_stock_training_goes_on_by_the_kernels_of_its_start(make, before, now):
    whole, resumed = (make(SRModel, optim_g={"type": "Adam", "lr": 1e-3, "fused": fused}) for fused in (before, now))
    whole.feed_data(batch(1))
    whole.optimize_parameters(1)
    whole.optimizer_g.param_groups[0]["capturable"] = True  # as a training on a GPU may leave it
    state = {
        "optimizers": [whole.optimizer_g.state_dict()],
        "schedulers": [scheduler.state_dict() for scheduler in whole.schedulers],
    }
    resumed.resume_training(copy.deepcopy(state))
    assert resumed.optimizer_g.param_groups[0]["fused"] is now
    assert resumed.optimizer_g.param_groups[0]["capturable"] is False
    resumed.feed_data(batch(2))
    resumed.optimize_parameters(2)
