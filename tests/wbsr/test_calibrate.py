"""`wbsr calibrate` adds tables to a checkpoint, and leaves everything else in it as it was."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wbsr import cli
from wbsr_arch import Supernet
from wbsr_models import DynamicUpscaler, Profile, Routing
from wbsr_models.checkpoints.metadata import Metadata

NETWORK = {
    "type": "Supernet",
    "backbone": {"type": "MSRResNet", "num_feat": 4, "num_block": 2, "upscale": 2},
    "widths": [2, 4],
    "depths": [1, 2],
}


@pytest.fixture
def weights(tmp_path):
    supernet = Supernet(**{key: value for key, value in NETWORK.items() if key != "type"})
    content = {"params": supernet.state_dict(), "extra": 3, "wbsr": Metadata(NETWORK, Profile(8)).plain()}
    torch.save(content, tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def hr(tmp_path):
    (tmp_path / "hr" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (48, 64, 3)), ("sub/b.jpg", (33, 50, 3)), ("grey.png", (40, 40))):
        cv2.imwrite(str(tmp_path / "hr" / name), rng.integers(0, 256, shape, dtype=np.uint8))
    return tmp_path / "hr"


def test_tables_are_added_and_nothing_else_changes(weights, hr, capsys):
    before = torch.load(weights, weights_only=True)
    out = weights.with_name("calibrated.pth")
    arguments = ["--weights", str(weights), "--hr", str(hr), "--out", str(out), "--classes", "3", "--patches", "15"]
    assert cli.main(["calibrate", *arguments]) == 0
    found = torch.load(out, weights_only=True)
    assert torch.load(weights, weights_only=True)["wbsr"] == before["wbsr"]
    assert found.keys() == before.keys()
    assert all(torch.equal(found["params"][name], weight) for name, weight in before["params"].items())
    added = {name: found["wbsr"].pop(name) for name in ("thresholds", "error_table", "class_shares")}
    assert found["wbsr"] == before["wbsr"]
    assert len(added["thresholds"]) == 2
    assert np.shape(added["error_table"]) == (3, 4)
    assert sum(added["class_shares"]) == pytest.approx(1)
    printed = capsys.readouterr().out
    assert "w2d1" in printed
    assert f"--weights {out} --budget" in printed
    _, report = DynamicUpscaler.from_checkpoint(out)(torch.rand(3, 90, 90), budget=0.8)
    assert report.flops_share <= 0.8


def test_the_edge_table_is_measured_on_request_kept_and_routes(weights, hr, capsys):
    arguments = ["calibrate", "--weights", str(weights), "--hr", str(hr), "--classes", "3", "--patches", "12"]
    assert cli.main([*arguments, "--edge-table", "4"]) == 0
    assert "edge score from" in capsys.readouterr().out
    table = torch.load(weights, weights_only=True)["wbsr"]["edge_table"]
    assert len(table["bounds"]) == 3
    assert np.shape(table["psnr"]) == (4, 5)  # bicubic and four subnets
    assert cli.main(arguments) == 0
    assert torch.load(weights, weights_only=True)["wbsr"]["edge_table"] == table
    assert cli.main(["info", str(weights)]) == 0
    assert "edge table  4 bins, for routing arm" in capsys.readouterr().out
    cheap, dear = (
        DynamicUpscaler.from_checkpoint(weights, policy=Routing("arm", eta=eta))(torch.rand(3, 32, 32))[1].cost_share
        for eta in (0.0, 1e6)
    )
    assert cheap == 0 <= dear


def test_it_writes_in_place_and_again(weights, hr):
    arguments = ["calibrate", "--weights", str(weights), "--hr", str(hr), "--classes", "3", "--patches", "6"]
    assert cli.main(arguments) == 0
    first = torch.load(weights, weights_only=True)["wbsr"]
    assert cli.main([*arguments, "--classes", "5"]) == 0  # thresholds that are there are kept
    assert torch.load(weights, weights_only=True)["wbsr"] == first
    assert sorted(path.name for path in weights.parent.iterdir()) == ["hr", "net.pth"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--hr": "gone"}, "there is no folder gone"),
        ({"--weights": "gone.pth"}, "weights gone.pth: there is no such file"),
        ({"--patches": "0"}, "patches must be at least 1, got 0"),
        ({"--edge-table": "-1"}, "edge_bins must be at least 0, got -1"),
        ({"--edge-table": "300"}, "edge_bins must be at most 255, got 300"),
        ({"--device": "tpu"}, "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        ({"--classes": "200"}, "num_classes must be at most the number of candidate patches"),
        ({"--patches": "9"}, "patches must be at least 10, the number of classes, got 9"),
        (
            {"--patches": "39", "--edge-table": "40"},
            "patches must be at least 40, the number of bins of the edge table",
        ),
        ({"--edge-table": "200"}, "edge_bins must be at most the number of patches found, got 200"),
        ({"--out": "hr"}, "--out hr is a folder: name a file"),
        ({"--out": "gone/net.pth"}, "--out gone/net.pth: the folder gone does not exist: make it first"),
        ({"--out": "hr/shut/net.pth"}, "--out hr/shut/net.pth: the folder hr/shut can't be written to: name another"),
    ],
)
def test_bad_input_is_told_before_anything_is_measured(weights, hr, capsys, monkeypatch, change, message):
    monkeypatch.chdir(hr.parent)
    monkeypatch.setattr("wbsr_models.testing.calibration.squared_errors", None)  # not reached
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut")  # for root may write everywhere
    (hr / "shut").mkdir()
    before = weights.read_bytes()
    given = {"--weights": str(weights), "--hr": str(hr), **change}
    assert cli.main(["calibrate", *(text for pair in given.items() for text in pair)]) == 2
    assert message in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_a_stock_checkpoint_is_refused(tmp_path, hr, capsys):
    torch.save({"params": {}}, tmp_path / "stock.pth")
    assert cli.main(["calibrate", "--weights", str(tmp_path / "stock.pth"), "--hr", str(hr)]) == 2
    assert "is a stock checkpoint without a `wbsr` entry" in capsys.readouterr().err


def test_a_safetensors_checkpoint_is_calibrated_in_place(weights, hr):
    from wbsr_base.compat.saving import atomic_save
    from wbsr_base.weights.files import read_weights

    content = torch.load(weights, weights_only=True)
    path = weights.with_suffix(".safetensors")
    atomic_save(content, path)
    assert cli.main(["calibrate", "--weights", str(path), "--hr", str(hr), "--classes", "3", "--patches", "15"]) == 0
    found = read_weights(path)
    assert np.shape(found["wbsr"]["error_table"]) == (3, 4)
    assert found["extra"] == 3
    assert all(torch.equal(found["params"][name], weight) for name, weight in content["params"].items())


def test_a_network_whose_pixels_are_no_numbers_gets_no_table(weights, hr, capsys):
    content = torch.load(weights, weights_only=True)
    for name in ("conv_last.weight", "conv_hr.weight", "upconv1.weight"):  # each finite, their product not
        content["params"][name] = torch.full_like(content["params"][name], 1e30)
    torch.save(content, weights)
    before = weights.read_bytes()
    assert cli.main(["calibrate", "--weights", str(weights), "--hr", str(hr), "--classes", "3", "--patches", "6"]) == 2
    assert "makes pixels that are no finite numbers" in capsys.readouterr().err
    assert weights.read_bytes() == before
