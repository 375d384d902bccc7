"""`wbsr demo` goes the whole way, from scikit-image's photographs to its report, in a few iterations."""

import json

import cv2
import pytest
import torch

HELD_OUT = ("astronaut", "chelsea", "rocket")
SUBNETS = {f"w{width}d{depth}" for width in (16, 24, 32) for depth in (2, 4, 8)}


@pytest.fixture
def demo(tmp_path, start_python):
    return tmp_path, start_python("-m", "wbsr", "demo", "--iterations", "4").output()


def test_the_demo_trains_tests_and_reports(demo):
    root, output = demo
    out = root / "results/demo"
    rows = json.loads((out / "report.json").read_text())["rows"]
    assert {row["name"] for row in rows} == {"bicubic", "full", "paper", "dense"} | SUBNETS
    by_name = {row["name"]: row for row in rows}
    assert all({"psnr_y", "ssim_y", "flops_share", "milliseconds"} <= row.keys() for row in rows)
    # MATLAB-style bicubic of these three photographs, the one network that four iterations can't change
    assert by_name["bicubic"]["psnr_y"] == pytest.approx(33.09, abs=0.05)
    assert by_name["full"]["flops_share"] == pytest.approx(by_name["w32d8"]["flops_share"]) == pytest.approx(1)
    assert by_name["w16d2"]["flops_share"] < by_name["paper"]["flops_share"] < 1
    assert by_name["full"]["psnr_y"] == pytest.approx(by_name["w32d8"]["psnr_y"])
    assert (out / "report.md").read_text().count("\n| ") == len(rows) + 1
    assert all(f"| {name} |" in output for name in by_name)
    for name in HELD_OUT:
        hr = cv2.imread(str(root / f"datasets/demo/test/HR/{name}.png"))
        sr = cv2.imread(str(out / f"visualization/held_out/{name}_SR.png"))
        side_by_side = cv2.imread(str(out / f"compare_{name}.png"))
        assert sr.shape == hr.shape
        assert side_by_side.shape[1] == 4 * hr.shape[1]
    assert cv2.imread(str(out / "psnr_over_flops.png")) is not None
    weights = torch.load(root / "experiments/demo/models/net_g_latest.pth", weights_only=True)
    assert len(weights["wbsr"]["thresholds"]) == 9
