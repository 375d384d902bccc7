"""Training through BasicSR: HES and BDLoss in stock models, WBSR whole, killed and resumed, tested from its file."""

import json
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

OPTIONS = Path(__file__).parents[2] / "options" / "train"

# Notes what each iteration trains on, then is the command `wbsr`.
SPY = """
import hashlib, sys
import wbsr.plugin
from basicsr.models.sr_model import SRModel
feed = SRModel.feed_data
def noting(self, data):
    if self.is_train and "difficulty" in data:
        digest = hashlib.sha256(data["lq"].numpy().tobytes()).hexdigest()[:12]
        with open("fed.txt", "a") as file:
            file.write(f"{digest} {data['difficulty'].float().mean():.3f}\\n")
    feed(self, data)
SRModel.feed_data = noting
from wbsr.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path):
    """HR/LR pairs at x2, half flat and half textured, in data/hr and data/lr."""
    rng = np.random.default_rng(0)
    for name, side in (("hr", 64), ("lr", 32)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(8):
            image = np.full((side, side, 3), 90 + i, np.uint8)
            image[:, side // 2 :] = rng.integers(0, 256, (side, side // 2, 3))
            cv2.imwrite(str(tmp_path / "data" / name / f"{i}.png"), image)
    return tmp_path


def small(name, folder, **changes):
    """A shipped option file, cut down to tiny data and a tiny network; returns the file's path."""
    architecture = name.split("_")[1]
    opt = yaml.safe_load((OPTIONS / architecture / f"{name}.yml").read_text(encoding="utf-8"))
    network = opt["network_g"].get("backbone", opt["network_g"])
    network.update(
        {"num_feat": 8, "num_block": 2} | ({"num_group": 1, "squeeze_factor": 4} if "num_group" in network else {})
    )
    if opt["network_g"]["type"] == "Supernet":
        opt["network_g"].update({"widths": [4, 8], "depths": [1, 2]})
    for dataset in opt["datasets"].values():
        dataset.update(dataroot_gt="data/hr", dataroot_lq="data/lr")
    opt["datasets"]["train"].update(gt_size=16, batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=2)
    if "hes" in opt["datasets"]["train"]:
        opt["datasets"]["train"]["hes"].update(num_classes=4, stride=4, sample_level=0.5)
    if "dataroot_gt" in opt["train"]["pixel_opt"]:
        opt["train"]["pixel_opt"].update(dataroot_gt="data/hr", components=2)
    opt["train"].update(total_iter=12)
    opt["val"]["val_freq"] = 12
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 4, "use_tb_logger": False}
    opt["train"].update(changes)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(opt), encoding="utf-8")
    return path


@pytest.fixture
def start(start_program):
    """Start `wbsr ARGUMENTS` in a folder, which notes what it trains on."""
    return lambda folder, *arguments: start_program(SPY, *arguments, folder=folder, CUDA_VISIBLE_DEVICES="")


@pytest.fixture
def run(start):
    """What `wbsr ARGUMENTS` says in a folder, where it goes through and notes what it trains on."""
    return lambda folder, *arguments: start(folder, *arguments).output()


def fed(folder):
    return (folder / "fed.txt").read_text().splitlines()


@pytest.mark.parametrize("name", ["HES_RCAN_x2", "BDLoss_EDSR_x2"])
def test_hes_and_bdloss_drop_into_stock_option_files(name, folder, run):
    output = run(folder, "train", "-opt", small(name, folder))
    assert "iter:      12" in output
    weights = torch.load(folder / "experiments" / name / "models" / "net_g_latest.pth", weights_only=True)
    assert set(weights) == {"params", "params_ema"}
    if name.startswith("HES"):
        hard = [float(line.split()[1]) for line in fed(folder)]
        assert len(hard) == 12
        assert np.mean(hard[6:]) > np.mean(hard[:6])


def test_dda_drops_into_a_stock_option_file_and_resumes_with_its_losses(folder, run):
    path = small("HES_RCAN_x2", folder, total_iter=24)
    opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    hes = {"num_classes": 4, "stride": 4, "refresh": 6}
    opt["datasets"]["train"].update(type="DDAPairedImageDataset", hes=hes, num_worker_per_gpu=1)
    path.write_text(yaml.safe_dump(opt), encoding="utf-8")
    run(folder, "train", "-opt", path)
    hard = [float(line.split()[1]) for line in fed(folder)]
    assert len(hard) == 24
    assert np.mean(hard[12:]) > np.mean(hard[:12])  # the outputs on texture are worse than on what is flat

    resumed = folder / "resumed"
    shutil.copytree(folder / "experiments", resumed / "experiments")
    (resumed / "data").symlink_to(folder / "data")
    states = resumed / "experiments" / path.stem / "training_states"
    for state in states.iterdir():
        if state.name != "16.state":
            state.unlink()
    assert torch.load(states / "16.state", weights_only=True)["class_losses"]["refresh"] == 6
    run(resumed, "train", "-opt", path, "--auto_resume")
    assert fed(resumed) == fed(folder)[16:]


@pytest.mark.parametrize("name", ["HES_SRResNet_x2", "WBSR_SRResNet_x2"])
def test_images_that_stay_in_memory_change_no_training_and_no_resume(name, folder, run):
    """Under BasicSR's own model too, and read ahead by its prefetching or not."""
    plain, resident = folder, folder / "resident"
    resident.mkdir()
    (resident / "data").symlink_to(folder / "data")
    path = small(name, folder)
    run(plain, "train", "-opt", path)
    opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    opt["datasets"]["train"].update(resident="cpu", prefetch_mode="cpu")
    (resident / path.name).write_text(yaml.safe_dump(opt), encoding="utf-8")
    output = run(resident, "train", "-opt", path.name)
    assert "datasets:train: 8 pairs of images, 0.1 MB, decoded in" in output
    assert fed(resident) == fed(plain)
    found, expected = (
        torch.load(one / "experiments" / name / "models" / "net_g_latest.pth", weights_only=True)["params"]
        for one in (resident, plain)
    )
    assert all(torch.equal(found[key], weight) for key, weight in expected.items())

    for state in (resident / "experiments" / name / "training_states").iterdir():
        if state.name != "4.state":
            state.unlink()
    run(resident, "train", "-opt", path.name, "--auto_resume")
    assert fed(resident)[12:] == fed(plain)[4:]


def test_a_resumed_training_without_a_seed_draws_what_it_would_have_drawn(folder, run):
    path = small("WBSR_SRResNet_x2", folder)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | {"manual_seed": None}))
    run(folder, "train", "-opt", path)
    whole = fed(folder)
    for state in (folder / "experiments" / path.stem / "training_states").iterdir():
        if state.name != "4.state":
            state.unlink()
    run(folder, "train", "-opt", path, "--auto_resume")
    assert fed(folder)[12:] == whole[4:]


def test_a_killed_wbsr_training_resumes_with_the_draws_it_would_have_had(folder, run, start):
    whole, killed = folder, folder / "killed"
    path = small("WBSR_SRResNet_x2", folder)
    run(whole, "train", "-opt", path)
    killed.mkdir()
    (killed / "data").symlink_to(folder / "data")
    process = start(killed, "train", "-opt", path)
    state = killed / "experiments" / "WBSR_SRResNet_x2" / "training_states" / "8.state"
    deadline = time.monotonic() + 200
    while not state.exists() and time.monotonic() < deadline:
        assert process.returncode is None, process.stdout.read()
        time.sleep(0.005)
    process.kill()
    before = len(fed(killed))
    output = run(killed, "train", "-opt", path, "--auto_resume")
    done = int(output.split("Resuming training from epoch: ")[1].split("iter: ")[1].split(".")[0])
    assert done in (8, 12)
    assert fed(killed)[before:] == fed(whole)[done:]

    found = torch.load(killed / "experiments" / path.stem / "models" / "net_g_latest.pth", weights_only=True)
    expected = torch.load(whole / "experiments" / path.stem / "models" / "net_g_latest.pth", weights_only=True)
    assert found["wbsr"] == expected["wbsr"]
    assert len(found["wbsr"]["thresholds"]) == 3
    assert found["wbsr"]["patch_size"] == 8
    for name, weight in expected["params"].items():
        assert torch.allclose(found["params"][name], weight, atol=1e-6), name


def test_arm_is_trained_calibrated_and_tested_over_a_list_of_etas(folder, run):
    path = small("ARM_SRResNet_x2", folder)
    run(folder, "train", "-opt", path)
    weights = "experiments/ARM_SRResNet_x2/models/net_g_latest.pth"
    run(folder, "calibrate", "--weights", weights, "--hr", "data/hr", "--edge-table", "4", "--patches", "32")
    opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    opt.update(name="tested", path={"pretrain_network_g": weights, "param_key_g": "params_ema"})
    opt["datasets"] = {"test_1": {**opt["datasets"]["val"], "name": "set"}}
    opt["val"].update(save_img=True, suffix="SR", dynamic={"routing": "arm", "eta": [0, 0.5, 1e6], "save_map": True})
    del opt["train"]
    (folder / "test.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")
    run(folder, "test", "-opt", "test.yml")
    rows = json.loads((folder / "results" / "tested" / "set.json").read_text(encoding="utf-8"))["rows"]
    by_name = {row["name"]: row for row in rows}
    assert [row["name"] for row in rows][:4] == ["arm 0", "arm 0.5", "arm 1e+06", "full"]
    costs = [by_name[name]["flops_share"] for name in ("arm 0", "arm 0.5", "arm 1e+06")]
    assert costs[0] == 0
    assert costs == sorted(costs)
    assert by_name["arm 0"]["psnr"] == pytest.approx(by_name["bicubic"]["psnr"], abs=1)  # they differ at the border
    assert len(list((folder / "results" / "tested" / "visualization" / "set_maps").iterdir())) == 8


def test_a_trained_checkpoint_is_tested_from_its_file_alone(folder, run, start):
    path = small("WBSR_EDSR_x2", folder, supernet={"strategy": "all"})
    run(folder, "train", "-opt", path)
    opt = yaml.safe_load(path.read_text(encoding="utf-8"))
    weights = "experiments/WBSR_EDSR_x2/models/net_g_latest.pth"
    opt.update(name="tested", path={"pretrain_network_g": weights, "param_key_g": "params_ema"})
    opt["datasets"] = {"test_1": {**opt["datasets"]["val"], "name": "set"}}
    opt["val"].update(save_img=True, suffix="SR", dynamic={"routing": "paper", "compare": True, "save_map": True})
    del opt["train"]
    (folder / "test.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")
    output = run(folder, "test", "-opt", "test.yml")
    assert "of the full network's FLOPs" in output
    rows = json.loads((folder / "results" / "tested" / "set.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows][:2] == ["paper", "full"]
    assert {row["name"] for row in rows[2:]} == {"w4d1", "w8d1", "w4d2", "w8d2", "dense", "bicubic"}
    for kind in ("set/0_SR.png", "set_maps/0_map.png"):
        assert cv2.imread(str(folder / "results" / "tested" / "visualization" / kind)).shape == (64, 64, 3)

    from wbsr_models import DynamicUpscaler

    lr = cv2.cvtColor(cv2.imread(str(folder / "data" / "lr" / "0.png")), cv2.COLOR_BGR2RGB)
    sr, report = DynamicUpscaler.from_checkpoint(folder / weights)(torch.from_numpy(lr).permute(2, 0, 1) / 255)
    saved = cv2.cvtColor(cv2.imread(str(folder / "results/tested/visualization/set/0_SR.png")), cv2.COLOR_BGR2RGB)
    found = (sr.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(found - saved).max() <= 1
    assert 0 < report.flops_share < 1

    opt["network_g"] = {
        **opt["network_g"],
        "backbone": {**opt["network_g"]["backbone"], "num_block": 3},
        "depths": [1, 3],
    }
    (folder / "other.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")
    message = start(folder, "test", "-opt", "other.yml").output(2)
    assert "are of another architecture than Supernet, or of other settings of it: they lack body.2." in message
