"""A network of one channel (`color: y`) trains, is tested, calibrated, told of, and upscales."""

import json

import cv2
import numpy as np
import pytest
import torch

from wbsr import cli

BACKBONE = {"type": "MSRResNet", "num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1, "upscale": 2}
NETWORKS = {
    "WBSRModel": {"type": "Supernet", "backbone": BACKBONE, "widths": [2, 4], "depths": [1]},
    "ClassSRModel": {"type": "ClassSR", "backbone": BACKBONE, "widths": [2, 4]},
}


@pytest.fixture
def luma(images, options, monkeypatch):
    """Options of a training on luma, in its folder."""
    monkeypatch.chdir(images(3, size=48))
    options["network_g"] = dict(NETWORKS["WBSRModel"])
    options["model_type"] = "WBSRModel"
    for block in options["datasets"].values():
        block["color"] = "y"
    options["datasets"]["train"] |= {"type": "HESPairedImageDataset", "hes": {"num_classes": 2, "stride": 4}}
    options["train"] |= {"total_iter": 2, "ema_decay": 0}
    options["logger"] |= {"use_tb_logger": False}
    return options


@pytest.mark.parametrize("model", NETWORKS)
def test_from_training_to_pictures(luma, model, write_options, start_python, tmp_path, capsys):
    luma |= {"model_type": model, "network_g": dict(NETWORKS[model])}
    write_options(luma)
    start_python("-m", "wbsr", "train", "-opt", "options.yml").output()
    weights = tmp_path / "experiments/tiny/models/net_g_latest.pth"

    luma["datasets"] = {"test_1": luma["datasets"]["val"]}
    luma["path"] = {"pretrain_network_g": str(weights)}
    luma["val"] |= {"suffix": None, "dynamic": {"routing": "paper", "compare": True, "save_map": True}}
    write_options(luma)
    start_python("-m", "wbsr", "test", "-opt", "options.yml").output()
    rows = json.loads((tmp_path / "results/tiny/val.json").read_text())["rows"]
    assert {"paper", "full", "dense", "bicubic"} <= {row["name"] for row in rows}
    assert all(row["psnr"] > 10 for row in rows if row["name"] != "paper")
    assert len(list((tmp_path / "results/tiny/visualization/val_maps").iterdir())) == 3

    assert cli.main(["calibrate", "--weights", str(weights), "--hr", "data/hr", "--edge-table", "3"]) == 0
    assert "(PSNR dB, luma)" in capsys.readouterr().out
    assert cli.main(["info", str(weights)]) == 0
    assert "PSNR: luma" in capsys.readouterr().out
    assert cli.main(["upscale", "data/lr", "-o", "out", "--weights", str(weights), "--budget", "0.9", "--map"]) == 0
    assert cv2.imread("out/00.png").shape == (48, 48, 3)


def test_tables_are_measured_on_luma(tmp_path):
    """A network that interpolates luma has the error of interpolated luma, by hand."""
    from wbsr_base.basicsr import bgr2ycbcr
    from wbsr_base.pixels.luma import luma as to_luma

    rng = np.random.default_rng(0)
    rgb = rng.random((5, 4, 3), dtype=np.float32)
    found = to_luma(torch.from_numpy(rgb.transpose(2, 0, 1)))[0].numpy()
    assert np.abs(found - bgr2ycbcr(rgb[..., ::-1].copy(), y_only=True)).max() < 1e-6


def test_errors_by_class_want_rgb(luma, write_options, tmp_path, capsys):
    from wbsr_arch import Supernet
    from wbsr_models import Profile
    from wbsr_models.checkpoints.metadata import Metadata

    network = NETWORKS["WBSRModel"]
    supernet = Supernet(**{key: value for key, value in network.items() if key != "type"})
    torch.save({"params": supernet.state_dict(), "wbsr": Metadata(network, Profile(8)).plain()}, tmp_path / "net.pth")
    arguments = ["--hr", "data/hr", "--scale", "2", "--patch", "8", "--classes", "2", "--out", "out"]
    assert cli.main(["analyze", *arguments, "--weights", "net.pth"]) == 2
    assert "take 1 channels, but errors are measured on RGB" in capsys.readouterr().err
