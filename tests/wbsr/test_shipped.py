"""The weights that ship: what the model card says of them is true, and they do what a newcomer wants first."""

import hashlib
import re
from pathlib import Path

import cv2
import pytest
import skimage.data
import torch

from wbsr import cli, compat
from wbsr.shipped import SHIPPED, find_weights
from wbsr_base.pixels.bicubic import crop_to_multiple, resize
from wbsr_models import DynamicUpscaler
from wbsr_models.checkpoints.loading import load_supernet

compat.install()
from basicsr.metrics import calculate_psnr  # noqa: E402

CARD = Path(__file__).parents[2] / "docs" / "guide" / "models.md"
FILES = sorted(SHIPPED.glob("*.pth"))


def psnr(sr, hr, scale):
    return calculate_psnr(sr, hr, crop_border=scale, test_y_channel=True)


def photograph(scale):
    """HR and LR BGR images of a cat that no training here has seen."""
    path = Path(skimage.data.__file__).parent / "chelsea.png"
    hr = crop_to_multiple(cv2.imread(str(path)), scale)
    return hr, resize(hr, 1 / scale)


def test_both_models_ship_and_together_are_small():
    assert [path.stem for path in FILES] == ["light_x2", "light_x4"]
    assert sum(path.stat().st_size for path in FILES) < 2e6


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_model_card_names_the_checksum_and_the_file_is_ready_for_every_routing(path):
    text = CARD.read_text(encoding="utf-8")
    assert f"## {path.stem}" in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    supernet, metadata = load_supernet(path)
    assert f"_x{supernet.scale}" in path.stem
    profile = metadata.profile
    assert len(profile.thresholds) + 1 == len(profile.error_table) == len(profile.class_shares)
    assert metadata.training["iteration"] == metadata.training["total_iter"]
    assert all(weight.dtype == torch.float16 for weight in torch.load(path, weights_only=True)["params"].values())


@pytest.mark.parametrize(("scale", "gain", "loss"), [(2, 1.5, 0.4), (4, 0.7, 0.1)])
def test_the_light_model_is_far_better_than_bicubic_and_routing_costs_little(scale, gain, loss):
    hr, lr = photograph(scale)
    upscaler = DynamicUpscaler.from_checkpoint(find_weights(None, scale))
    image = torch.from_numpy(lr[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    scores, shares = {}, {}
    for mode, routed in (("full", upscaler.routed("full")), ("paper", upscaler.routed("paper")), ("budget", upscaler)):
        sr, report = routed(image)
        pixels = sr.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
        scores[mode], shares[mode] = psnr(pixels, hr, scale), report.flops_share
    assert scores["full"] > psnr(resize(lr, scale), hr, scale) + gain
    assert shares["budget"] < 0.61
    assert scores["budget"] > scores["full"] - 0.05
    assert shares["paper"] < 0.3  # Eq. 15 spends as much as the image's classes ask for, and this cat is easy
    assert scores["paper"] > scores["full"] - loss


@pytest.mark.parametrize(("scale", "arguments"), [(4, []), (4, ["--scale", "4"]), (2, ["--scale", "2"])])
def test_a_newcomer_upscales_a_photograph_without_naming_weights(scale, arguments, tmp_path, capsys):
    hr, lr = photograph(scale)
    cv2.imwrite(str(tmp_path / "photo.png"), lr)
    assert cli.main(["upscale", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png"), *arguments]) == 0
    out = cv2.imread(str(tmp_path / "out.png"))
    assert out.shape == hr.shape
    assert psnr(out, hr, scale) > psnr(resize(lr, scale), hr, scale) + 0.5
    assert re.search(r"1 of 1 pictures upscaled in .* of the full network's FLOPs", capsys.readouterr().err)
    assert cli.main(["info", "light_x4"]) == 0
    assert "error table measured by wbsr calibrate" in capsys.readouterr().out
