"""ClassSRModel: what each stage trains and by which loss, from checkpoint to checkpoint, and how it routes."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wbsr_arch import ClassSR
from wbsr_models import ClassSRModel, DynamicUpscaler, Routing, WBSRModel
from wbsr_models.checkpoints.loading import load_supernet, own_policy
from wbsr_models.training.classsr_losses import average_loss, class_loss

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}
NETWORK = {"type": "ClassSR", "backbone": BACKBONE, "widths": [4, 6, 8]}
HES = {"type": "HESPairedImageDataset", "gt_size": 16, "hes": {"num_classes": 3, "score": "bilinear"}}


def options(stage="branches", weights=None, **train):
    """What BasicSR makes of an option file for one CPU process."""
    return {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "datasets": {"train": HES},
        "network_g": NETWORK,
        "path": {"pretrain_network_g": weights, "param_key_g": "params_ema"},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.01},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "total_iter": 100,
            "ema_decay": 0.5,
            "pixel_opt": {"type": "L1Loss"},
            "classsr": {"stage": stage},
            **train,
        },
        "val": {},
    }


def batch(classes=(1, 3, 1, 2, 3, 3)):
    generator = torch.Generator().manual_seed(1)
    size = len(classes)
    return {
        "lq": torch.rand(size, 3, 8, 8, generator=generator),
        "gt": torch.rand(size, 3, 16, 16, generator=generator),
        "lq_path": ["image.png"] * size,
        "difficulty": torch.tensor(classes),
        "thresholds": torch.tensor([[0.1, 0.2]]).repeat(size, 1),
    }


@pytest.fixture
def checkpoint(tmp_path):
    """Save a model, and return the file of its network."""

    def save(model):
        for folder in ("models", "training_states"):
            (tmp_path / folder).mkdir(exist_ok=True)
            model.opt["path"][folder] = str(tmp_path / folder)
        model.save(0, model.iteration)
        return str(tmp_path / f"models/net_g_{model.iteration}.pth")

    return save


@pytest.fixture
def branches(checkpoint):
    """The checkpoint of one step of the first stage."""
    torch.manual_seed(0)
    return checkpoint(step(ClassSRModel(options())))


def step(model, iteration=1, **changes):
    model.feed_data({**batch(), **changes})
    model.optimize_parameters(iteration)
    return model


def weights_of(model):
    return {name: weight.detach().clone() for name, weight in model.supernet.named_parameters()}


def changed(model, before):
    return {name.split(".")[0] for name, weight in weights_of(model).items() if not torch.equal(weight, before[name])}


def assert_gradients(model, reference, loss):
    loss.backward()
    for (name, weight), other in zip(model.supernet.named_parameters(), reference.parameters(), strict=True):
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert torch.allclose(weight.grad, other.grad, atol=1e-6, rtol=1e-4), name
        else:
            assert weight.grad is None, name


def test_a_branch_trains_on_the_patches_of_its_class_alone():
    model = ClassSRModel(options())
    reference, data = copy.deepcopy(model.supernet), batch()
    step(model)
    loss = 0
    for number, branch in enumerate(reference.branches, 1):
        own = data["difficulty"] == number
        loss = loss + (branch(data["lq"][own]) - data["gt"][own]).abs().sum()
    assert_gradients(model, reference, loss / data["gt"].numel())


def test_a_class_that_a_batch_lacks_leaves_its_branch_as_it_was():
    model = ClassSRModel(options())
    before = weights_of(model)
    step(model, difficulty=torch.tensor([1, 1, 3, 3, 3, 1]))
    same = [torch.equal(weight, before[name]) for name, weight in weights_of(model).items() if "branches.1." in name]
    assert all(same)
    assert same


@pytest.mark.parametrize("stage", ["classifier", "joint"])
def test_the_losses_of_the_later_stages(stage, branches):
    weights = {"image_weight": 20.0, "class_weight": 0.5, "average_weight": 3.0}
    model = ClassSRModel(options(stage, branches, classsr={"stage": stage, **weights}))
    reference, data = copy.deepcopy(model.supernet), batch()
    reference.requires_grad_(True)
    step(model)
    probabilities = reference.classifier(data["lq"]).softmax(1)
    outputs = torch.stack([branch(data["lq"]) for branch in reference.branches], 1)
    image = F.l1_loss((outputs * probabilities[..., None, None, None]).sum(1), data["gt"])
    loss = 20 * image + 0.5 * class_loss(probabilities) + 3 * average_loss(probabilities)
    assert_gradients(model, reference, loss)
    assert sum(model.get_current_log().values()) == pytest.approx(loss.item(), rel=1e-4)


def test_each_stage_changes_what_it_trains_and_nothing_else(branches):
    found = {}
    for stage in ("branches", "classifier", "joint"):
        model = ClassSRModel(options(stage, branches))
        before = weights_of(model)
        found[stage] = changed(step(model), before)
    assert found == {"branches": {"branches"}, "classifier": {"classifier"}, "joint": {"branches", "classifier"}}


def test_the_default_weights_are_the_papers():
    model = ClassSRModel(options())
    assert (model.classsr.image_weight, model.classsr.class_weight, model.classsr.average_weight) == (2000, 1, 6)


def test_a_stage_starts_from_the_averaged_weights_of_the_one_before(branches):
    saved = torch.load(branches, weights_only=True)
    model = ClassSRModel(options("classifier", branches))
    for name, weight in model.supernet.state_dict().items():
        assert torch.equal(weight, saved["params_ema"][name])
        assert torch.equal(model.net_g_ema.state_dict()[name], saved["params_ema"][name])
    step(model)
    for name, weight in model.net_g_ema.branches.named_parameters():
        assert torch.equal(weight, saved["params_ema"][f"branches.{name}"])


def test_one_file_holds_all_that_inference_needs(branches, checkpoint):
    content = torch.load(branches, weights_only=True)
    assert set(content) == {"params", "params_ema", "wbsr"}
    json.dumps(content["wbsr"])  # plain types
    assert content["wbsr"]["network"] == NETWORK
    assert content["wbsr"]["training"]["stage"] == "branches"
    network, metadata = load_supernet(branches)
    assert isinstance(network, ClassSR)
    assert metadata.profile.thresholds == pytest.approx((0.1, 0.2))
    assert own_policy(network, metadata).mode == "paper"  # its classifier is untrained
    later = checkpoint(step(ClassSRModel(options("classifier", branches)), 2))
    assert own_policy(*load_supernet(later)).mode == "classsr"
    assert DynamicUpscaler.from_checkpoint(later).policy.mode == "classsr"


@pytest.mark.parametrize("size", [(8, 8), (21, 30), (3, 50), (2, 2)])
def test_the_classifier_routes_each_patch_by_its_largest_probability(size):
    torch.manual_seed(0)
    network = ClassSR(BACKBONE, [4, 6, 8]).eval()
    lr = torch.rand(3, *size) * torch.linspace(0, 1, size[1])
    with torch.no_grad():  # all branches near to being chosen
        for weight in network.classifier.features.parameters():
            weight *= 10
        network.classifier.head.bias -= network.classifier(lr[None])[0] + torch.tensor([0, 0.001, 0])
    sr, report = DynamicUpscaler(network, 8, "classsr")(lr)
    assert sr.shape == (3, 2 * size[0], 2 * size[1])
    tops, lefts = ([min(k * 8, max(side - 8, 0)) for k in range(-(-side // 8))] for side in size)
    for row, top in enumerate(tops):
        for col, left in enumerate(lefts):
            probabilities = network.classifier(lr[None, :, top : top + 8, left : left + 8]).softmax(1)
            assert report.choice[row, col] == probabilities.argmax()
    assert report.choice.shape == (len(tops), len(lefts))
    assert len(np.unique(report.choice)) > 1 or report.choice.size == 1
    shares = np.array([network.share(subnet) for subnet in network.subnets])
    assert report.flops_share == pytest.approx(shares[report.choice].mean())
    assert report.router_share == pytest.approx(network.router_flops / network.flops[network.full])
    assert report.flops_share_run > report.router_share


def test_a_patch_is_upscaled_by_the_branch_that_was_chosen():
    network = ClassSR(BACKBONE, [4, 6, 8]).eval()
    with torch.no_grad():
        network.classifier.head.weight.zero_()
        network.classifier.head.bias.copy_(torch.tensor([0.0, 1.0, 0.5]))
        x = torch.rand(3, 20, 24)
        sr, report = DynamicUpscaler(network, 8, "classsr")(x)
        assert (report.choice == 1).all()
        assert torch.allclose(sr, network(x[None], network.subnets[1])[0], atol=1e-5)


def test_a_network_without_a_classifier_says_so():
    from wbsr_arch import Supernet

    with pytest.raises(ValueError, match="routing `classsr` needs the classifier of a network of type ClassSR"):
        DynamicUpscaler(Supernet(BACKBONE, [4, 8], [1]), 8, "classsr")
    with pytest.raises(ValueError, match=r"routing `classsr` takes no budget, got 0.5: use routing `budget`"):
        Routing("classsr", 0.5)


def change(opt, **blocks):
    return {**opt, **blocks}


@pytest.mark.parametrize(
    ("opt", "message"),
    [
        (options("branch"), "train:classsr:stage must be one of branches, classifier, joint, got 'branch'"),
        (options(classsr={"image_wait": 1}), "unknown key 'image_wait': did you mean 'image_weight'"),
        (options(classsr={"class_weight": -1}), "class_weight must be at least 0, got -1.0"),
        (options("classifier"), "stage `classifier` needs trained branches, got no path:pretrain_network_g: give the"),
        (
            change(options(), datasets={"train": {**HES, "type": "PairedImageDataset"}}),
            "got a training set of type PairedImageDataset: set datasets:train:type to it, with hes: {samp",
        ),
        (
            change(options(), datasets={"train": {**HES, "hes": {}}}),
            "one difficulty class for each of the 3 branches, got hes:num_classes 10: set it to 3",
        ),
        (
            change(options(), network_g={"type": "Supernet", "backbone": BACKBONE}),
            "ClassSRModel is for ClassSR alone: network_g:type must be ClassSR, got 'Supernet'",
        ),
        (
            change(options(), val={"dynamic": {"protocol": "classSR"}}),
            "protocol must be one of whole, classsr, got",
        ),
    ],
)
def test_wrong_options_say_what_to_change(opt, message):
    with pytest.raises(ValueError, match=message):
        ClassSRModel.check_options(opt)
    with pytest.raises(ValueError, match=message):
        ClassSRModel(opt)


def test_wbsr_model_refuses_classsr():
    opt = options()
    with pytest.raises(ValueError, match="WBSRModel is for Supernet alone: network_g:type must be Supernet, got"):
        WBSRModel.check_options(opt)


def test_a_resumed_training_goes_on_as_if_never_stopped(branches, checkpoint, tmp_path):
    whole, stopped = (ClassSRModel(options("joint", branches)) for _ in range(2))
    step(whole, 1)
    file = checkpoint(step(stopped, 1))
    opt = options("joint", file)
    opt["path"]["param_key_g"] = "params"
    resumed = ClassSRModel(opt)
    resumed.resume_training(torch.load(tmp_path / "training_states/1.state", weights_only=True))
    step(whole, 2)
    step(resumed, 2)
    for name, weight in weights_of(resumed).items():
        assert torch.equal(weight, weights_of(whole)[name]), name
