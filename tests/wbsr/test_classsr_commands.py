"""ClassSR from shipped option files, cut down: two stages of training, a test by its own protocol, and pictures."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wbsr import cli
from wbsr.checks.source import read_options

OPTIONS = Path(__file__).parents[2] / "options"
STAGES = ("1branches", "2classifier")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four HR/LR pairs at x4, flat on one side and textured on the other; an LR image has 40 x 65 pixels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, scale in (("hr", 4), ("lr", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            image = np.full((40 * scale, 65 * scale, 3), 100, np.uint8)
            image[:, 30 * scale :] = rng.integers(0, 256, (40 * scale, 35 * scale, 3))
            cv2.imwrite(str(tmp_path / "data" / name / f"{i}.png"), image)
    return tmp_path


def small(path):
    """A shipped option file on tiny data and networks."""
    opt = read_options(path)
    opt["network_g"]["backbone"].update(num_feat=8, num_block=1)
    opt["network_g"]["widths"] = [4, 6, 8]
    opt["datasets"] = {key: opt["datasets"][key] for key in ("train", "val", "test_1") if key in opt["datasets"]}
    for dataset in opt["datasets"].values():
        dataset.update(dataroot_gt="data/hr", dataroot_lq="data/lr")
    if "train" in opt:
        opt["datasets"]["train"].update(batch_size_per_gpu=4, num_worker_per_gpu=0, dataset_enlarge_ratio=4)
        opt["train"].update(total_iter=4)
        opt["val"]["val_freq"] = 4
        opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 4, "use_tb_logger": False}
    return opt


def test_two_stages_then_a_test_and_pictures(folder, write_options, start_python, capsys):
    def run(command, opt):
        return start_python("-m", "wbsr", command, "-opt", write_options(opt)).output()

    states = []
    for stage in STAGES:
        name = f"ClassSR_SRResNet_x4_{stage}"
        output = run("train", small(OPTIONS / f"train/SRResNet/{name}.yml"))
        assert f"routing {'paper' if stage == '1branches' else 'classsr'}" in output
        assert "will not be optimized" not in output
        weights = folder / f"experiments/{name}/models/net_g_latest.pth"
        states.append(torch.load(weights, weights_only=True)["params_ema"])
    frozen = [name for name in states[0] if torch.equal(states[0][name], states[1][name])]
    assert sorted(frozen) == sorted(name for name in states[0] if name.startswith("branches."))

    opt = small(OPTIONS / "test/SRResNet/test_ClassSR_SRResNet_x4.yml")
    opt["path"]["pretrain_network_g"] = str(weights)
    opt["val"]["dynamic"].update(protocol="classsr", compare=True)
    run("test", opt)
    result = json.loads((folder / "results/test_ClassSR_SRResNet_x4/B100.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert result["protocol"] == "classsr"
    assert list(rows) == ["classsr", "full", "w4d1", "w6d1", "w8d1", "dense", "bicubic"]
    assert rows["classsr"]["router_share"] > 0 == rows["full"]["router_share"]
    saved = folder / "results/test_ClassSR_SRResNet_x4/visualization"
    for path in (*(saved / "B100").iterdir(), *(saved / "B100_maps").iterdir()):
        assert cv2.imread(str(path)).shape == (32 * 4, 60 * 4, 3)  # of 40 x 65

    assert cli.main(["results", "results/test_ClassSR_SRResNet_x4/B100.json"]) == 0
    page = capsys.readouterr().out
    assert "ClassSR's independent branches of widths [4, 6, 8]" in page
    assert "by ClassSR's protocol: patches of 32 every 28 LR pixels" in page

    assert cli.main(["info", str(weights)]) == 0
    told = capsys.readouterr().out
    assert "stage classifier" in told
    assert "classsr by default" in told
    assert "classifier       60,035   0.0076" in told

    assert cli.main(["upscale", "data/lr/0.png", "-o", "sr.png", "--weights", str(weights), "--report", "r.json"]) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["settings"]["mode"] == "classsr"
    assert sum(report["images"][0]["patches"].values()) == 6
    assert cv2.imread("sr.png").shape == (160, 260, 3)
