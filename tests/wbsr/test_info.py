"""`wbsr info` tells what stands in a checkpoint, and counts what its subnets cost."""

import re

import pytest
import torch

from wbsr import cli
from wbsr.info import expected_psnr
from wbsr_arch import Subnet, Supernet
from wbsr_models import Profile
from wbsr_models.checkpoints.metadata import Metadata

BACKBONE = {"type": "MSRResNet", "num_feat": 16, "num_block": 2, "upscale": 2}
NETWORK = {"type": "Supernet", "backbone": BACKBONE, "widths": [8, 16], "depths": [1, 2]}


@pytest.fixture
def supernet():
    return Supernet(BACKBONE, widths=[8, 16], depths=[1, 2])


@pytest.fixture
def write(tmp_path, supernet):
    def save(training=None, **profile):
        path = tmp_path / "net.pth"
        entry = Metadata(NETWORK, Profile(16, **profile), training).plain()
        torch.save({"params": supernet.state_dict(), "params_ema": supernet.state_dict(), "wbsr": entry}, path)
        return path

    return save


def info(capsys, *arguments):
    assert cli.main(["info", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_everything_in_a_checkpoint_is_told(write, supernet, capsys):
    training = {"iteration": 12, "total_iter": 100, "strategy": "all"}
    output = info(capsys, write(thresholds=(0.1, 0.2), training=training))
    assert "WBSR checkpoint, version 1, params, params_ema" in output
    assert "MSRResNet x2 (num_feat 16, num_block 2, upscale 2)" in output
    assert "12 of 100 iterations, all strategy" in output
    assert "16 x 16 LR pixels" in output
    assert "3 difficulty classes, split at 0.1 0.2" in output
    assert "error table none: wbsr calibrate measures it" in output
    rows = re.findall(r"^ +(\d) +(w\d+d\d) +([\d,]+) +([\d.]+) +([\d.]+)%$", output, re.M)
    assert [row[1] for row in rows] == [str(subnet) for subnet in supernet.subnets]
    assert [int(row[2].replace(",", "")) for row in rows] == list(supernet.num_parameters.values())
    assert rows[-1][0] == "4"
    assert rows[-1][-1] == "100.0"


def test_a_calibrated_checkpoint_shows_the_psnr_of_each_subnet(write, capsys):
    calibrated = {"thresholds": (0.1,), "error_table": ((0.01,) * 4, (0.001,) * 4), "class_shares": (0.5, 0.5)}
    output = info(capsys, write(**calibrated))
    assert "error table measured by wbsr calibrate" in output
    assert len(re.findall(r"% +22\.60$", output, re.M)) == 4  # 10 log10(2 / 0.011)
    assert expected_psnr(Profile(16)) == []


def test_the_time_of_each_subnet_is_measured_if_asked(write, capsys):
    output = info(capsys, write(), "--time", "--size", 8, "--device", "cpu")
    assert len(re.findall(r"% +\d+\.\d$", output, re.M)) == 4
    assert "LR image 8 x 8 on cpu" in output


def test_a_stock_checkpoint_is_described_as_far_as_it_goes(tmp_path, supernet, capsys):
    stock = supernet.extract(Subnet(8, 1))
    torch.save({"params": stock.state_dict()}, tmp_path / "stock.pth")
    output = info(capsys, tmp_path / "stock.pth")
    assert "without a `wbsr` entry" in output
    assert f"{sum(weight.numel() for weight in stock.parameters()):,} numbers" in output
    torch.save(stock.state_dict(), tmp_path / "bare.pth")
    assert "(no key)" in info(capsys, tmp_path / "bare.pth")


def test_a_file_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 half")
    for name, message in (("none.pth", "there is no such file"), ("broken.pth", "damaged, or another kind of file")):
        assert cli.main(["info", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "must hold tensors, at the top or under keys, got none: name another file"),
        ({"epoch": 5, "args": {"lr": 0.1}}, "must hold tensors"),
        (
            {"params": {"a": torch.ones(2).to(torch.float8_e4m3fn)}},
            "a must be strided and of float64, float32, bfloat16, float16, got strided and float8_e4m3fn: convert it",
        ),
        ({"a": torch.eye(2).to_sparse()}, "got sparse_coo and float32: convert it first"),
    ],
)
def test_what_holds_no_weights_as_networks_take_them_is_refused(tmp_path, capsys, content, message):
    torch.save(content, tmp_path / "other.pth")
    assert cli.main(["info", str(tmp_path / "other.pth")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("stock", [True, False])
def test_weights_that_are_no_numbers_are_refused(write, supernet, tmp_path, capsys, stock):
    path = write()
    content = torch.load(path, weights_only=True)
    content["params_ema"]["conv_first.bias"][0] = float("nan")
    if stock:
        del content["wbsr"]
    torch.save(content, path)
    assert cli.main(["info", str(path)]) == 2
    assert "conv_first.bias holds what is no finite number" in capsys.readouterr().err
