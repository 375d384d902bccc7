"""A value of a wrong type or range, on which BasicSR stumbles deep inside, is one line that names the key."""

import copy
import math
import os

import pytest

import wbsr.plugin  # noqa: F401
from wbsr.checks import check_options


@pytest.fixture
def check(images, options, monkeypatch):
    """Check the correct options with the value of one key changed."""
    monkeypatch.chdir(images(3))

    def run(place, value, also=()):
        opt = copy.deepcopy(options)
        for where, what in ((place, value), *also):
            *blocks, key = where.split(":")
            block = opt
            for name in blocks:
                block = block[name]
            block[key] = what
        check_options(opt, is_train=True)

    return run


WRONG = [
    ("name", ["", "../x", "/tmp/x", 7, ".", ["x"]]),
    ("scale", [0, -1, 1.5, "2", None, True, math.nan, [2]]),
    ("num_gpu", [-1, 1.5, "all", [0]]),
    ("manual_seed", ["zero", 1.5, [1], -1, 2**40, True]),
    ("find_unused_parameters", ["no", 1]),
    ("model_type", [None, 3, ["SRModel"], {}]),
    ("dist_params", [3, "nccl"]),
    ("dist_params:port", [0, 1e5, "29500"]),
    ("datasets", [[], 3, None, {}]),
    ("datasets:train", [[], 3, "x"]),
    ("datasets:train:type", [3, ["PairedImageDataset"], None]),
    ("datasets:train:dataroot_gt", [["data/hr"], 3, {"a": "data/hr"}, ""]),
    ("datasets:val:dataroot_lq", [["data/lr"], 3, None]),
    ("datasets:train:io_backend", [None, "disk", [], {}, {"type": None}, {"type": ["disk"]}, {"type": "disk", "x": 1}]),
    ("datasets:train:gt_size", [0, -8, 8.0, "8", None, [8, 8], math.inf]),
    ("datasets:train:use_hflip", ["yes", 1, None, [True]]),
    ("datasets:train:num_worker_per_gpu", [-1, 0.5, "2", 10**9, 10**6, None, True]),
    ("datasets:train:batch_size_per_gpu", [0, -1, 1.5, "4", None, [4]]),
    ("datasets:train:dataset_enlarge_ratio", [0, -1, "10", 10**12, math.nan, None]),
    ("datasets:train:prefetch_mode", ["gpu", 1, True]),
    ("datasets:train:pin_memory", ["true", 1]),
    ("datasets:train:meta_info_file", [3, ["m.txt"], ""]),
    ("datasets:train:filename_tmpl", ["x", "{}{}", 3, "{", "{x}"]),
    ("datasets:train:color", ["Y", 3, "grey"]),
    ("datasets:train:mean", [0.5, "0.5", ["a"]]),
    ("network_g", [None, "MSRResNet", [], {}]),
    ("network_g:type", [3, None, ["MSRResNet"]]),
    ("network_g:num_in_ch", [0, -0.5, -1, "3", None, [3], 2.5, True]),
    ("network_g:num_out_ch", [0, -0.5, "3", None, [3], 4]),
    ("network_g:num_feat", [0, -4, 2.5, "4", 10**9]),
    ("network_g:num_block", [-1, 1.5, "1", [1], 10**9]),
    ("network_g:upscale", [-1, 0, 1.5, "2", 4, 5]),
    ("path", [None, [], "x"]),
    ("path:pretrain_network_g", [3, ["x"], {}]),
    ("path:strict_load_g", ["no", None, 1]),
    ("path:resume_state", [3, ["x"]]),
    ("train", [None, 3, []]),
    ("train:total_iter", [0, -1, "10", None, 1.5, [10], math.nan]),
    ("train:warmup_iter", [{}, "no", None, -2, 1.5]),
    ("train:ema_decay", [None, "0.9", 1.0, 2, -0.5, {}, [0.9]]),
    ("train:optim_g", [None, "Adam", []]),
    ("train:optim_g:type", [None, 3, ["Adam"]]),
    ("train:optim_g:lr", ["fast", None, {}, -1, [1e-4], math.nan]),
    ("train:optim_g:betas", [0.9, [0.9], [0.9, 0.99, 0.9], "0.9", [0.9, 1.0], [-0.1, 0.9], {}, None]),
    ("train:optim_g:weight_decay", [{}, "0", [0], -1, None]),
    ("train:scheduler", [None, "MultiStepLR", []]),
    ("train:scheduler:type", [None, 3, ["MultiStepLR"]]),
    ("train:scheduler:milestones", [15, "15", [1.5], ["a"], {}, None]),
    ("train:scheduler:gamma", ["half", 0, -1, None, {}, [0.5]]),
    ("train:pixel_opt", [None, "L1Loss", [], 3]),
    ("train:pixel_opt:loss_weight", ["1", None, {}, -1, math.inf]),
    ("train:pixel_opt:reduction", ["none", "Mean", 3, None]),
    ("val", [3, [], "x"]),
    ("val:val_freq", [0, -1, "often", None, 2.5, [10]]),
    ("val:save_img", ["no", 1, None]),
    ("val:metrics", [3, [], "psnr"]),
    ("val:metrics:psnr", [3, [], "calculate_psnr", None]),
    ("val:metrics:psnr:crop_border", [-1, 1.5, "4", None, {}]),
    ("val:metrics:psnr:test_y_channel", ["yes", 1, None]),
    ("val:metrics:psnr:better", ["Higher", 1]),
    ("logger", [None, 3, []]),
    ("logger:print_freq", [0, -1, "100", None, 1.5]),
    ("logger:save_checkpoint_freq", [0, "5", None]),
    ("logger:use_tb_logger", ["yes", 1, None]),
    ("logger:wandb", [3, "x", {"project": 3}]),
]


@pytest.mark.parametrize(("place", "value"), [(place, value) for place, values in WRONG for value in values])
def test_a_wrong_value_is_one_line_that_names_its_place(check, place, value):
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as caught:
        check(place, value)
    message = str(caught.value)
    assert "\n" not in message
    assert any(part in message for part in place.split(":")[-2:]), message


RIGHT = [
    ("manual_seed", [None, 0, 2**31]),
    ("name", ["a/b", "a b", "ünï"]),
    ("scale", [2]),
    ("train:warmup_iter", [-1, 0, 5, 5.0]),
    ("train:total_iter", [10, 1e3]),
    ("train:ema_decay", [0, 0.0, 0.999]),
    ("train:optim_g:betas", [[0.9, 0.99], (0.0, 0.5)]),
    ("train:optim_g:lr", [1, 1e-4, 0]),
    ("train:scheduler:milestones", [[], [5, 10], [10**6]]),
    ("val:val_freq", [5, 5e3]),
    ("val:suffix", [None, "x", 3]),
    ("val:metrics", [None, {}]),
    ("logger:wandb", [None, {"project": None, "resume_id": None}]),
    ("datasets:train:num_worker_per_gpu", [0, 1, 8 * (os.cpu_count() or 1)]),
    ("datasets:train:dataset_enlarge_ratio", [1, 100, 0.5, 10_000]),
    ("datasets:train:prefetch_mode", [None, "cpu"]),
    ("datasets:train:filename_tmpl", ["{}"]),
    ("datasets:train:color", ["n", None, "rgb"]),
    ("network_g:num_block", [0, 3]),
]


@pytest.mark.parametrize(("place", "value"), [(place, value) for place, values in RIGHT for value in values])
def test_a_right_value_passes(check, place, value):
    check(place, value)


def test_channels_that_do_not_fit_are_told_with_the_remedy(check):
    with pytest.raises(
        ValueError, match=r"MSRResNet takes images of one channel, .* write num_in_ch: 3 and num_out_ch: 3"
    ):
        check("network_g:num_in_ch", 1)
    grey = [("datasets:train:color", "y"), ("datasets:val:color", "y")]
    with pytest.raises(ValueError, match="write num_in_ch: 1 and num_out_ch: 1, or leave color: y out"):
        check("network_g:num_feat", 4, grey)
    check("network_g:num_in_ch", 1, [*grey, ("network_g:num_out_ch", 1)])
    with pytest.raises(ValueError, match=r"takes images of 4 channels, but .* write num_in_ch: 3 and num_out_ch: 3$"):
        check("network_g:num_in_ch", 4)
    loss = ("train:pixel_opt", {"type": "BDLoss", "dataroot_gt": "data/hr"})
    with pytest.raises(ValueError, match=r"pixel_opt: BDLoss takes images of 3 channels, .* one channel: use L1Loss"):
        check("network_g:num_in_ch", 1, [*grey, ("network_g:num_out_ch", 1), loss])
    with pytest.raises(ValueError, match="datasets:train has color: y, one channel, but datasets:val has three"):
        check("datasets:train:color", "y")


def test_a_scale_that_is_not_the_networks_is_told(check):
    with pytest.raises(ValueError, match="makes an image of 24 x 24 from one of 8 x 8, but scale is 2"):
        check("network_g:upscale", 3)


def test_wandb_without_its_package_is_told(check, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package wandb, which is not installed"):
        check("logger:wandb", {"project": "p"})


def test_a_network_of_too_many_layers_is_refused_while_it_is_built(check):
    with pytest.raises(ValueError, match="network_g: the network has more than 10,000 layers: lower"):
        check("network_g", {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 4000})
    with pytest.raises(ValueError, match=r"network_g: the network's weights take more than the .* GiB"):
        check("network_g:num_feat", 10**6)


def test_trying_leaves_basicsrs_log_file_to_basicsr(check):
    from wbsr_base.basicsr import initialized_logger

    initialized_logger.pop("basicsr", None)
    check("scale", 2)
    assert "basicsr" not in initialized_logger
