"""The block `val:dynamic`, and the quality curve of one checkpoint that a list in it makes `wbsr test` measure."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from matplotlib import pyplot

from wbsr_arch import Supernet
from wbsr_base.basicsr import imresize
from wbsr_models import Profile, Routing
from wbsr_models.checkpoints.metadata import Metadata
from wbsr_models.testing.curve import plot_curve
from wbsr_models.testing.options import parse_dynamic

NETWORK = {
    "type": "Supernet",
    "backbone": {"type": "MSRResNet", "num_feat": 4, "num_block": 2, "upscale": 2},
    "widths": [2, 4],
    "depths": [1, 2],
}
TABLE = tuple(tuple(k * (1 + 1 / m) for m in range(1, 5)) for k in range(1, 4))


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({}, [("paper", Routing())]),
        ({"routing": "budget", "budget": 0.5}, [("budget", Routing("budget", 0.5))]),
        ({"routing": "budget", "budget": [0.5], "budget_over": "image"}, [("budget 0.5", Routing("budget", 0.5))]),
        (
            {"budget": [0.4, 1]},
            [
                ("paper", Routing()),
                ("budget 0.4", Routing("budget", 0.4, budget_over="set")),
                ("budget 1", Routing("budget", 1.0, budget_over="set")),
            ],
        ),
        (
            {"routing": "eq16", "budget": [0.4, 0.6], "alpha": 2},
            [("eq16 0.4", Routing("eq16", 0.4, alpha=2.0)), ("eq16 0.6", Routing("eq16", 0.6, alpha=2.0))],
        ),
    ],
)
def test_what_the_options_ask_to_measure(block, expected):
    assert list(parse_dynamic(block, "val:dynamic").requests) == expected


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"budget": 0.5}, "val:dynamic: routing `paper` takes no budget, got 0.5"),
        ({"budget": []}, "budget must be a number or a list with one at least, got an empty list"),
        ({"budget": [0.5, 0.0]}, r"budget must be in \(0, 1\]"),
        ({"routing": "budget"}, "routing `budget` needs budget"),
        ({"cost": "time"}, "val:dynamic:cost must be one of flops, latency, got 'time'"),
    ],
)
def test_options_that_contradict_themselves_are_refused(block, message):
    with pytest.raises(ValueError, match=message):
        parse_dynamic(block, "val:dynamic")


def bicubic_psnr(folder):
    """Mean PSNR (RGB, border 2) of the LR images enlarged by MATLAB-style bicubic."""
    scores = []
    for i in range(2):
        lr, hr = (cv2.imread(str(folder / name / f"{i}.png")) for name in ("lr", "hr"))
        sr = (imresize(lr.astype(np.float32) / 255, 2).clip(0, 1) * 255).round()
        error = np.square(sr - hr)[2:-2, 2:-2].mean()
        scores.append(10 * np.log10(255**2 / error))
    return np.mean(scores)


def test_a_list_of_budgets_gives_the_curve_as_json_and_as_a_plot(tmp_path, start_python):
    supernet = Supernet(**{key: value for key, value in NETWORK.items() if key != "type"})
    metadata = Metadata(NETWORK, Profile(8, (0.1, 0.2), TABLE, (0.3, 0.3, 0.4)))
    torch.save({"params": supernet.state_dict(), "wbsr": metadata.plain()}, tmp_path / "net.pth")
    rng = np.random.default_rng(0)
    for name, side in (("hr", 80), ("lr", 40)):
        (tmp_path / name).mkdir()
        for i in range(2):
            ramp = np.linspace(0, 1, side)[None, :, None]
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), rng.integers(0, 255, (side, side, 3)) * ramp)
    opt = {
        "name": "curve",
        "model_type": "WBSRModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {
            "test_1": {
                "name": "set",
                "type": "PairedImageDataset",
                "dataroot_gt": "hr",
                "dataroot_lq": "lr",
                "io_backend": {"type": "disk"},
            }
        },
        "network_g": NETWORK,
        "path": {"pretrain_network_g": "net.pth", "strict_load_g": True},
        "val": {
            "save_img": False,
            "dynamic": {"routing": "paper", "budget": [0.6, 0.8]},
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 2}},
        },
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(opt), encoding="utf-8")
    output = start_python("-m", "wbsr", "test", "-opt", "test.yml", CUDA_VISIBLE_DEVICES="").output()
    assert "no error table" not in output
    content = json.loads((tmp_path / "results/curve/set.json").read_text())
    assert (content["set"], content["images"], content["scale"], content["weights"]) == ("set", 2, 2, "net.pth")
    rows = {row["name"]: row for row in content["rows"]}
    fixed = ["full", *map(str, supernet.subnets), "dense", "bicubic"]
    assert list(rows) == ["paper", "budget 0.6", "budget 0.8", *fixed]
    assert [row["budget"] for row in rows.values() if "budget" in row] == [0.6, 0.8]
    for name, budget in (("budget 0.6", 0.6), ("budget 0.8", 0.8)):
        assert rows[name]["flops_share"] == pytest.approx(budget, rel=0.02)
    assert rows["full"]["psnr"] == pytest.approx(rows["w4d2"]["psnr"])
    assert rows["dense"]["psnr"] == pytest.approx(rows["full"]["psnr"], abs=0.05)
    assert (rows["dense"]["flops_share"], rows["bicubic"]["flops_share"]) == (1, 0)
    assert rows["bicubic"]["psnr"] == pytest.approx(bicubic_psnr(tmp_path), abs=1e-3)
    assert all(row["milliseconds"] > 0 and row["psnr"] > 0 for row in rows.values())
    assert cv2.imread(str(tmp_path / "results/curve/set.png")).shape[1] > 1000


@pytest.mark.parametrize("knob", ["budget", "eta"])
def test_the_values_of_a_policys_knob_are_one_line_the_others_points(knob, tmp_path, monkeypatch):
    lines = []
    plot = pyplot.Axes.plot
    monkeypatch.setattr(
        pyplot.Axes, "plot", lambda self, *a, **k: lines.append((a[:2], k["label"])) or plot(self, *a, **k)
    )
    rows = [
        {"name": name, "psnr": 30 + share, "flops_share": share, "milliseconds": 10 * share, **point}
        for name, share, point in (("a 2", 0.5, {knob: 2}), ("a 1", 0.25, {knob: 1}), ("full", 1.0, {}))
    ]
    plot_curve(rows, "psnr", "set", tmp_path / "curve.png")
    assert lines == [(((25.0, 50.0), (30.25, 30.5)), knob), (((2.5, 5.0), (30.25, 30.5)), knob)]
    assert (tmp_path / "curve.png").is_file()


@pytest.mark.parametrize(
    ("policy", "point"),
    [
        (Routing("budget", 0.6), {"budget": 0.6}),
        (Routing("arm", eta=2), {"eta": 2.0}),
        (Routing("eq16", 0.4), {"budget": 0.4}),
        (Routing("paper"), {}),
        (Routing("full"), {}),
        (Routing("w4d2"), {}),
    ],
)
def test_where_on_a_curve_a_policy_stands(policy, point):
    assert policy.point == point
