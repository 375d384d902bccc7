"""The recipe options/reference/adopt_EDSR_x4.yml in small: a trained EDSR gets subnets and stays as good."""

from pathlib import Path

import cv2
import numpy as np
import torch

from wbsr import cli, compat
from wbsr.checks.source import read_options
from wbsr_arch import Subnet, Supernet
from wbsr_base.pixels.bicubic import resize

compat.install()

from wbsr_base.basicsr import SRModel  # noqa: E402
from wbsr_models import DynamicUpscaler, WBSRModel  # noqa: E402

RECIPE = Path(__file__).parents[2] / "options" / "reference" / "adopt_EDSR_x4.yml"
SMALL, FULL = Subnet(6, 1), Subnet(8, 2)
STOCK_STEPS, STEPS = 200, 75


def picture(seed, side=32):
    """An HR image (side, side, 3) of soft-edged stripes, uint8."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side]
    waves = [np.sin(rng.uniform(0.1, 0.9) * (rows * np.sin(a) + cols * np.cos(a))) for a in rng.uniform(0, 6, 3)]
    return (127 + 110 * np.tanh(3 * np.stack(waves, 2))).round().astype(np.uint8)


def as_batch(pictures):
    pairs = [(torch.from_numpy(resize(hr, 1 / 2)), torch.from_numpy(hr)) for hr in pictures]
    lq, gt = (torch.stack(part).permute(0, 3, 1, 2).float() / 255 for part in zip(*pairs, strict=True))
    return {"lq": lq, "gt": gt, "lq_path": ["image.png"] * len(pictures)}


def options(network, path, steps, rate):
    """The recipe's options for a tiny x2 network, as BasicSR parses them for one CPU process."""
    opt = read_options(RECIPE)
    run = {"num_gpu": 0, "is_train": True, "dist": False, "rank": 0, "world_size": 1, "scale": 2}
    opt["train"] |= {"total_iter": steps, "ema_decay": 0.9}
    opt["train"]["optim_g"]["lr"] = rate
    opt["train"]["scheduler"]["periods"] = [steps]
    opt["datasets"]["train"]["gt_size"] = 32
    return {**opt, **run, "network_g": network, "path": path}


def trained(kind, opt, folder):
    """The checkpoint that a training ends with."""
    torch.manual_seed(0)
    model, pictures = kind(opt), [picture(seed) for seed in range(40)]
    rng = np.random.default_rng(0)
    data = as_batch(pictures)
    for iteration in range(1, opt["train"]["total_iter"] + 1):
        drawn = torch.from_numpy(rng.integers(len(pictures), size=4))
        model.update_learning_rate(iteration)
        model.feed_data({**data, "lq": data["lq"][drawn], "gt": data["gt"][drawn]})
        model.optimize_parameters(iteration)
    model.opt["path"].update(models=str(folder), training_states=str(folder))
    model.save(0, -1)
    return folder / "net_g_latest.pth"


def stock_options(backbone):
    opt = options(backbone, {}, STOCK_STEPS, 1e-2)
    del opt["train"]["supernet"]
    return opt


@torch.no_grad()
def psnr(network, path, data, subnet):
    supernet = Supernet(**{key: value for key, value in network.items() if key != "type"})
    supernet.load_state_dict(torch.load(path, weights_only=True)["params_ema"])
    return -10 * (supernet(data["lq"], subnet).clamp(0, 1) - data["gt"]).square().mean().log10().item()


def test_the_full_network_keeps_its_quality_and_the_subnets_get_theirs(tmp_path):
    recipe, held_out = read_options(RECIPE), as_batch([picture(seed) for seed in range(100, 108)])
    for name in ("stock", "adopted", "hr"):
        (tmp_path / name).mkdir()
    backbone = {**recipe["network_g"]["backbone"], "num_feat": 8, "num_block": 2, "upscale": 2}
    stock = trained(SRModel, stock_options(backbone), tmp_path / "stock")
    network = {"type": "Supernet", "backbone": backbone, "widths": [6, 8], "depths": [1, 2]}
    path = recipe["path"] | {"pretrain_network_g": str(stock)}
    adopted = trained(WBSRModel, options(network, path, STEPS, 5e-3), tmp_path / "adopted")
    before, after = ({m: psnr(network, file, held_out, m) for m in (SMALL, FULL)} for file in (stock, adopted))
    assert after[FULL] > before[FULL] - 0.02
    assert after[SMALL] > before[SMALL] + 2.5

    for seed in range(3):
        cv2.imwrite(str(tmp_path / "hr" / f"{seed}.png"), picture(seed))
    weights, sr = str(tmp_path / "weights.pth"), str(tmp_path / "sr.png")
    calibrate = ["--weights", str(adopted), "--hr", str(tmp_path / "hr"), "--out", weights, "--classes", "3"]
    assert cli.main(["calibrate", *calibrate, "--patches", "9", "--device", "cpu"]) == 0
    image = str(tmp_path / "hr" / "0.png")
    assert cli.main(["upscale", image, "-o", sr, "--weights", weights, "--budget", "0.5", "--device", "cpu"]) == 0
    assert cv2.imread(sr).shape == (64, 64, 3)
    _, report = DynamicUpscaler.from_checkpoint(weights)(held_out["lq"][0].repeat(1, 4, 4), budget=0.5)
    assert report.flops_share <= 0.5
