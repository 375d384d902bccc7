"""One step of WBSRModel: gradients, distillation, mixed precision, and what a run starts and resumes from."""

import copy

import pytest
import torch
from torch.nn import functional as F

from wbsr_arch import Subnet, Supernet
from wbsr_models import DynamicUpscaler, EngineSettings, WBSRModel
from wbsr_models.testing.baselines import Dense
from wbsr_models.testing.protocol import PatchProtocol
from wbsr_models.testing.validation import Run

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
SMALL, FULL = Subnet(4, 1), Subnet(8, 2)
THRESHOLDS = torch.tensor([[0.1, 0.2, 0.3]])


def options(**train):
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
        "datasets": {"train": {"type": "HESPairedImageDataset", "gt_size": 16}},
        "network_g": {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]},
        "path": {},
        "train": {
            "optim_g": {"type": "Adam", "lr": 0.01},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "total_iter": 100,
            "pixel_opt": {"type": "L1Loss"},
            "supernet": {"strategy": "sandwich"},  # always runs the full network, on which these tests look
            **train,
        },
        "val": {},
    }


def batch(size=4):
    generator = torch.Generator().manual_seed(1)
    return {
        "lq": torch.rand(size, 3, 8, 8, generator=generator),
        "gt": torch.rand(size, 3, 16, 16, generator=generator),
        "lq_path": ["image.png"] * size,
        "difficulty": torch.arange(size) % 4 + 1,
        "thresholds": THRESHOLDS.repeat(size, 1),
    }


def make(**train):
    torch.manual_seed(0)
    return WBSRModel(options(**train))


def step(model, iteration=1):
    model.feed_data(batch())
    model.optimize_parameters(iteration)
    return model


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.supernet.named_parameters()}


def gradients(supernet, loss):
    supernet.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in supernet.named_parameters()}


def assert_gradients(model, expected):
    for name, weight in model.supernet.named_parameters():
        assert torch.allclose(weight.grad, expected[name], atol=1e-7), name


def test_the_gradients_of_a_step_are_the_sum_over_its_subnets():
    model = make(supernet={"strategy": "all"})
    reference, data = copy.deepcopy(model.supernet), batch()
    step(model)
    loss = sum(F.l1_loss(reference(data["lq"], subnet), data["gt"]) for subnet in reference.subnets)
    assert_gradients(model, gradients(reference, loss))
    assert model.get_current_log()["l_pix"] == pytest.approx(loss.item() / 4)


def test_the_full_network_trains_alone_for_the_share_of_the_training_that_is_asked_for():
    model, ran = make(supernet={"strategy": "all", "full_first": 0.02}), []
    model.net_g.register_forward_pre_hook(lambda _, arguments: ran.append(arguments[1]))
    for iteration in (1, 2, 3):  # of 100
        step(model, iteration)
    assert ran == [model.supernet.full] * 2 + list(model.supernet.subnets)


def test_distillation_pulls_each_subnet_and_never_the_full_network():
    model = make(supernet={"strategy": "sandwich", "random_subnets": 0, "distillation": 0.5})
    reference, data = copy.deepcopy(model.supernet), batch()
    step(model)
    small, full = reference(data["lq"], SMALL), reference(data["lq"])
    distilled = 0.5 * F.l1_loss(small, full.detach())
    loss = F.l1_loss(full, data["gt"]) + F.l1_loss(small, data["gt"]) + distilled
    assert_gradients(model, gradients(reference, loss))
    assert model.get_current_log()["l_distill"] == pytest.approx(distilled.item())


def test_subnets_weigh_beside_the_full_network_and_their_losses_are_told_as_they_are():
    model = make(supernet={"strategy": "sandwich", "random_subnets": 0, "distillation": 0.5, "subnet_weight": 0.1})
    reference, data = copy.deepcopy(model.supernet), batch()
    step(model)
    small, full = reference(data["lq"], SMALL), reference(data["lq"])
    own, distilled = (F.l1_loss(small, target) for target in (data["gt"], full.detach()))
    alone = F.l1_loss(full, data["gt"])
    assert_gradients(model, gradients(reference, alone + 0.1 * (own + 0.5 * distilled)))
    log = model.get_current_log()
    assert log["l_pix"] == pytest.approx((alone.item() + own.item()) / 2)
    assert log["l_distill"] == pytest.approx(0.5 * distilled.item())


def test_several_gpus_in_one_process_are_refused_in_training_and_left_idle_in_a_test():
    opt = {**options(), "num_gpu": 2}
    with pytest.raises(ValueError, match=r"got num_gpu 2 in a single one: start `torchrun --nproc_per_node=2 -m wbsr"):
        WBSRModel(opt)
    model = make()
    model.opt["num_gpu"] = 2
    assert model.model_to_device(model.supernet) is model.supernet


def test_a_network_of_another_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be that of network_g, which upscales by 2, got 4: change it, or"):
        WBSRModel({**options(), "scale": 4})


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.05), ("fp16", 0.01)])
def test_the_gradients_in_mixed_precision_are_nearly_those_in_float32(precision, error):
    plain, mixed = step(make()), step(make(compute={"precision": precision}))
    found, expected = (torch.cat([w.grad.flatten() for w in m.supernet.parameters()]) for m in (mixed, plain))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() < error * expected.norm()


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_mixed_precision_is_what_the_networks_run_in_up_to_their_output(precision, dtype):
    model, seen = make(compute={"precision": precision}), {"conv_hr": set(), "conv_last": set()}
    members = [model.supernet, *(model.supernet._member(subnet)[0] for subnet in model.supernet.subnets)]
    for name in seen:
        for member in members:
            note = lambda module, inputs, output, name=name: seen[name].add(output.dtype)  # noqa: E731
            getattr(member, name).register_forward_hook(note)
    step(model)
    assert seen == {"conv_hr": {dtype}, "conv_last": {torch.float32}}
    assert model.output.dtype == torch.float32


@pytest.mark.parametrize("subnet", [SMALL, FULL])
def test_a_small_residual_is_not_lost_in_the_rounding_of_bf16(subnet):
    """bf16 has steps of 1/256 above 0.5, and a young network adds less than that to its upsampled input."""
    model, x = make(compute={"precision": "bf16"}), torch.full((1, 3, 8, 8), 0.7)
    with torch.no_grad():
        model.supernet.conv_last.weight.zero_()
        model.supernet.conv_last.bias.fill_(1e-4)
        with model.compute.autocast():
            output = model.supernet(x, subnet)
        kept = model.supernet.extract(subnet)(x)
    assert torch.allclose(output, torch.tensor(0.7001), rtol=0, atol=1e-6)
    assert torch.allclose(kept, output, rtol=0, atol=1e-6)


def test_what_is_made_of_a_network_in_training_computes_in_the_precision_that_is_asked_for():
    """Its output layers put out float32 within autocast alone."""
    model = step(make(compute={"precision": "bf16"}))
    for network in (model.supernet.extract(SMALL), copy.deepcopy(model.supernet)):
        assert network.bfloat16()(batch()["lq"].bfloat16()).dtype == torch.bfloat16
    assert torch.equal(model.supernet(batch()["lq"], SMALL), model.supernet.extract(SMALL)(batch()["lq"]))


def test_float32_is_another_word_for_fp32():
    assert make(compute={"precision": "float32"}).compute_options.precision == "fp32"


def test_an_fp16_step_with_an_infinite_gradient_is_left_out():
    model = make(compute={"precision": "fp16"}, pixel_opt={"type": "L1Loss", "loss_weight": 1e38})
    before, scale = weights(model), model.compute.state()["scaler"]["scale"]
    step(model)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    assert model.compute.state()["scaler"]["scale"] == scale / 2


def test_channels_last_changes_the_layout_and_not_the_result():
    plain, last, seen = step(make()), make(compute={"channels_last": True}), []
    last.net_g.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    step(last)
    assert plain.supernet.body[0].conv1.weight.is_contiguous()
    assert last.supernet.body[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(lr.is_contiguous(memory_format=torch.channels_last) for lr in seen)
    assert seen
    for name, weight in weights(last).items():
        assert torch.allclose(weight, weights(plain)[name], atol=1e-5), name


def bare_state(model):
    return {
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in model.schedulers],
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_gradients_are_clipped_to_the_norm_at_their_true_size(precision):
    free = step(make(compute={"precision": precision}))
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in free.supernet.parameters()])
    assert norm > 0.02
    clipped = step(make(compute={"precision": precision, "clip_norm": 0.01}))
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in clipped.supernet.parameters()])
    assert norm.item() == pytest.approx(0.01, rel=1e-3)


def test_the_moving_average_follows_the_weights():
    model = make(ema_decay=0.75)
    before = weights(model)
    step(model)
    for name, average in model.net_g_ema.named_parameters():
        assert torch.allclose(average, 0.75 * before[name] + 0.25 * weights(model)[name], atol=1e-6)


@pytest.mark.parametrize(
    "block",
    [
        {"supernet": {"strategy": "random"}},
        {"supernet": {"strategy": "sandwich", "distillation": 1.0, "subnet_weight": 0.1}},
        {"compute": {"precision": "fp16"}},
    ],
    ids=str,
)
def test_a_resumed_model_goes_on_as_if_never_stopped(block, tmp_path):
    whole, stopped = make(**block), make(**block)
    step(whole, 1)
    step(stopped, 1)
    for folder in ("models", "training_states"):
        (tmp_path / folder).mkdir()
        stopped.opt["path"][folder] = str(tmp_path / folder)
    stopped.save(0, 1)
    opt = options(**block)
    opt["path"] = {"pretrain_network_g": str(tmp_path / "models/net_g_1.pth")}
    resumed = WBSRModel(opt)
    resumed.resume_training(torch.load(tmp_path / "training_states/1.state", weights_only=True))
    assert resumed.compute.state() == whole.compute.state()
    for iteration in range(2, 8):
        step(whole, iteration)
        step(resumed, iteration)
    for name, weight in weights(resumed).items():
        assert torch.equal(weight, weights(whole)[name]), name
    assert resumed.network_metadata("net_g")["wbsr"]["training"]["iteration"] == 7


def test_a_training_state_of_before_with_an_entry_of_its_loss_still_resumes():
    model, resumed = step(make()), make()
    extras = {**model.training_extras(), "loss": {"mixture.weights": torch.ones(8)}}
    resumed.resume_training({"iter": 1, **extras, **bare_state(model)})
    assert resumed.iteration == 1
    assert resumed.optimizer_g.state_dict()["state"].keys() == model.optimizer_g.state_dict()["state"].keys()


@pytest.mark.parametrize(("before", "now"), [(None, True), (True, None)])
def test_adams_kernels_are_those_of_this_start_and_not_of_the_training_state(before, now):
    whole, resumed = (make(optim_g={"type": "Adam", "lr": 0.01, "fused": fused}) for fused in (before, now))
    step(whole)
    resumed.resume_training({"iter": 1, **whole.training_extras(), **copy.deepcopy(bare_state(whole))})
    resumed.supernet.load_state_dict(whole.supernet.state_dict())
    assert resumed.optimizer_g.param_groups[0]["fused"] is now
    expected = weights(step(whole, 2))
    for name, weight in weights(step(resumed, 2)).items():
        assert torch.allclose(weight, expected[name], atol=1e-5), name


@pytest.mark.parametrize(
    ("device", "given", "fused"),
    [("cpu", {}, None), ("cuda", {}, True), ("cuda", {"fused": None}, None), ("cuda", {"foreach": True}, None)],
)
def test_adam_is_fused_on_a_gpu_unless_the_options_say_otherwise(device, given, fused):
    model = make()
    model.device = torch.device(device)
    optimizer = model.get_optimizer("Adam", model.supernet.parameters(), 0.01, **given)
    assert optimizer.defaults["fused"] is fused


def test_the_settings_of_the_engine_reach_validation():
    settings = {"halo": 1, "max_tile": 16, "precision": "bf16", "self_ensemble": True}
    opt = options()
    opt["val"] = {"dynamic": {"routing": "full", **settings}}
    model = WBSRModel(opt)
    model.feed_data(batch(1))
    model.test()
    expected = DynamicUpscaler(model.supernet, 8, "full", EngineSettings(**settings))(model.lq)[0]
    plain = DynamicUpscaler(model.supernet, 8, "full", EngineSettings(halo=1, max_tile=16))(model.lq)[0]
    assert torch.equal(model.output, expected)
    assert not torch.equal(model.output, plain)
    for asked in ({"capture": "compile"}, {"compile": True}):  # the second as 0.1.0 has it
        opt = options()
        opt["val"] = {"dynamic": {"routing": "full", **asked}}
        found = WBSRModel(opt).make_upscaler().settings
        assert (found.capture, found.plan) == ("compile", "tiles")  # what is measured does not depend on the device
    opt = options()
    opt["val"] = {"dynamic": {"routing": "full", "compile": True, "capture": "graphs"}}
    with pytest.raises(ValueError, match="compile: true is capture: compile, got capture: graphs: leave out one"):
        WBSRModel(opt)
    opt = options()
    opt["val"] = {"dynamic": {"routing": "full", "memory_mb": 0.001}}
    with pytest.raises(ValueError, match="memory_mb must be at least"):
        WBSRModel(opt).make_upscaler()(model.lq)


def test_the_validations_of_a_training_share_one_upscaler_that_follows_the_weights(monkeypatch):
    from wbsr_models.inference import pool

    looked = []
    find = pool.find_head
    monkeypatch.setattr(pool, "find_head", lambda *arguments: looked.append(1) or find(*arguments))
    opt = options(ema_decay=0.5)
    opt["val"] = {"dynamic": {"routing": "full"}}
    torch.manual_seed(0)
    model, outputs = WBSRModel(opt), []
    for iteration in (1, 2):
        step(model, iteration)
        model.feed_data(batch(1))
        model.test()
        expected = DynamicUpscaler(model.net_g_ema, 8, "full")(model.lq)[0]
        assert torch.equal(model.output, expected)
        outputs.append(model.output)
    assert not torch.equal(*outputs)
    assert len(looked) == 1 + 2  # by the model once, and by each of the two that are compared with


def test_the_protocol_of_classsr_leaves_the_same_borders_out_of_sr_and_hr():
    opt = options()
    opt["val"] = {"dynamic": {"routing": "full", "protocol": "classsr"}}
    model = WBSRModel(opt)
    data = {"lq": torch.rand(1, 3, 40, 65), "gt": torch.rand(1, 3, 80, 130), "lq_path": ["image.png"]}
    upscaler = model.make_upscaler()
    for upscale in (PatchProtocol(upscaler), Dense(upscaler.network)):
        model._run = Run("full", upscale)
        model.feed_data(data)
        model.test()
        assert model.output.shape == (1, 3, 64, 120)
        assert torch.equal(model.gt, data["gt"][..., :64, :120])


@pytest.mark.parametrize("layout", ["stock", "bare", "stock EMA", "WBSR", "EMA"])
def test_training_starts_from_a_stock_checkpoint_or_a_wbsr_one(layout, tmp_path):
    from basicsr.archs import build_network

    trained = step(make(ema_decay=0.9)).supernet if layout in ("WBSR", "EMA") else build_network(dict(BACKBONE))
    average = {name: weight + 1 for name, weight in trained.state_dict().items()}
    content = {
        "stock": {"params": trained.state_dict()},
        "bare": trained.state_dict(),
        "stock EMA": {"params_ema": trained.state_dict()},  # as Real-ESRGAN's files are
        "WBSR": {"params": trained.state_dict(), "wbsr": make().network_metadata("net_g")["wbsr"]},
        "EMA": {"params": trained.state_dict(), "params_ema": average},
    }[layout]
    torch.save(content, tmp_path / "trained.pth")
    opt = options(ema_decay=0.9)
    opt["path"] = {"pretrain_network_g": str(tmp_path / "trained.pth"), "strict_load_g": True}
    model = WBSRModel(opt)
    for name, weight in trained.state_dict().items():
        assert torch.equal(model.supernet.state_dict()[name], weight)
        expected = average[name] if layout == "EMA" else weight
        assert torch.equal(model.net_g_ema.state_dict()[name], expected)
    step(model)


def test_a_stock_checkpoint_of_another_size_is_refused(tmp_path):
    from basicsr.archs import build_network

    torch.save({"params": build_network({**BACKBONE, "num_feat": 16}).state_dict()}, tmp_path / "wide.pth")
    opt = options()
    opt["path"] = {"pretrain_network_g": str(tmp_path / "wide.pth")}
    with pytest.raises(
        ValueError,
        match=r"wide.pth \(key params\) are of another architecture .*conv_first.weight is \(16, 3, 3, 3\) there",
    ):
        WBSRModel(opt)


def test_the_classes_of_the_training_set_replace_those_of_a_pretrained_network(tmp_path):
    entry = step(make()).network_metadata("net_g")["wbsr"]
    supernet = Supernet(BACKBONE, [4, 8], [1, 2])
    torch.save({"params": supernet.state_dict(), "wbsr": {**entry, "thresholds": [0.5]}}, tmp_path / "net.pth")
    opt = options()
    opt["path"] = {"pretrain_network_g": str(tmp_path / "net.pth")}
    model = WBSRModel(opt)
    assert model.profile.thresholds == (0.5,)
    assert step(model).profile.thresholds == pytest.approx((0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"precision": "half"}, "train:compute:precision must be one of fp32, bf16, fp16, float32, got 'half'"),
        ({"clip_norm": 0}, "clip_norm must be above 0, got 0.0: leave it out to not clip"),
        ({"clip_ratio": 1}, "clip_ratio must be above 1, got 1.0: write ~ to clip at no ratio"),
        ({"clip": 1.0}, "train:compute: unknown key 'clip': did you mean 'clip_norm'"),
    ],
)
def test_a_wrong_compute_option_says_what_to_change(block, message):
    with pytest.raises(ValueError, match=message):
        WBSRModel.check_options(options(compute=block))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_in_every_precision(precision):
    opt = options(compute={"precision": precision, "channels_last": True}, ema_decay=0.9)
    opt["num_gpu"] = 1
    model = WBSRModel(opt)
    first = step(model, 1).get_current_log()["l_pix"]
    for iteration in range(2, 30):
        step(model, iteration)
    assert model.get_current_log()["l_pix"] < first
