"""Half precision is taken where it costs nothing; pictures reach a device and come back beside the work of others."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from wbsr.upscale import main
from wbsr.upscale import precision as precisions
from wbsr.upscale.ferry import Ferry
from wbsr.upscale.precision import pick_precision
from wbsr_arch import Supernet
from wbsr_models import Profile
from wbsr_models.checkpoints.metadata import Metadata

NETWORK = {
    "type": "Supernet",
    "backbone": {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2},
    "widths": [4, 8],
    "depths": [1],
}


@pytest.fixture
def network():
    return Supernet(**{key: value for key, value in NETWORK.items() if key != "type"}).eval()


def test_on_a_cpu_networks_run_in_float32(network, monkeypatch):
    monkeypatch.setattr(precisions, "half_error", lambda *arguments: pytest.fail("it was tried"))
    assert pick_precision(network, torch.device("cpu")) == "fp32"


@pytest.mark.parametrize(("error", "expected"), [(0.05, "fp16"), (0.3, "fp32"), (float("inf"), "fp32")])
def test_on_a_gpu_half_precision_is_taken_where_it_is_harmless(network, monkeypatch, caplog, error, expected):
    monkeypatch.setattr(precisions, "half_error", lambda *arguments: error)
    assert pick_precision(network, torch.device("cuda")) == expected
    assert bool(caplog.records) == (expected == "fp32")


def test_on_a_cpu_a_tensor_goes_nowhere():
    ferry, x = Ferry(torch.device("cpu")), torch.rand(3, 4, 5)
    assert ferry.receive(ferry.send(x)) is x
    with ferry.home(ferry.leave(x)) as back:
        assert back is x


@pytest.mark.gpu
def test_on_a_gpu_a_tensor_goes_and_comes_back_unchanged():
    ferry, pixels = Ferry(torch.device("cuda")), [torch.rand(3, 400, 500) for _ in range(8)]
    sent = [ferry.send(x) for x in pixels]
    doubled = [2 * ferry.receive(each) for each in sent]
    for x, each in zip(pixels, [ferry.leave(each) for each in doubled], strict=True):
        with ferry.home(each) as back:
            assert torch.equal(back.cpu(), 2 * x)


@pytest.mark.gpu
def test_pictures_of_mixed_sizes_come_out_of_a_gpu_as_out_of_a_cpu(network, tmp_path):
    torch.save(
        {"params_ema": network.state_dict(), "wbsr": Metadata(NETWORK, Profile(16, (0.1,))).plain()}, tmp_path / "n.pth"
    )
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number, size in enumerate([(40, 50), (7, 5), (120, 33), (200, 150), (16, 16)]):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    for device in ("cpu", "cuda"):
        out, report = tmp_path / device, tmp_path / f"{device}.json"
        given = [str(tmp_path / "in"), "-o", str(out), "--weights", str(tmp_path / "n.pth"), "--plan", "windows"]
        assert main([*given, "--device", device, "--report", str(report)]) == 0
    for path in (tmp_path / "cpu").iterdir():
        cpu, gpu = (np.asarray(Image.open(each)).astype(int) for each in (path, tmp_path / "cuda" / path.name))
        assert np.abs(cpu - gpu).max() <= 2
    assert json.loads((tmp_path / "cuda.json").read_text())["settings"]["precision"] == "fp16"
