"""`wbsr export`: what it writes is the subnet, for BasicSR, for spandrel and for onnxruntime."""

import json

import numpy as np
import onnxruntime
import pytest
import spandrel
import torch

from wbsr import cli
from wbsr.export import find_subnet
from wbsr_arch import Subnet, Supernet
from wbsr_models import Profile
from wbsr_models.checkpoints.loading import load_supernet
from wbsr_models.checkpoints.metadata import Metadata

BACKBONES = {
    "MSRResNet": {"type": "MSRResNet", "num_feat": 16, "num_block": 3, "upscale": 4},
    "EDSR": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 3, "upscale": 2},
    "RCAN": {
        "type": "RCAN",
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 16,
        "num_group": 2,
        "num_block": 3,
        "squeeze_factor": 4,
        "rgb_mean": [0.3, 0.4, 0.5],
        "upscale": 4,
    },
}
SUBNETS = ("full", "1", "w12d2")


@pytest.fixture
def checkpoint(tmp_path):
    """Write a WBSR checkpoint with random weights; return its path and its supernet."""

    def write(name, **changes):
        backbone = {**BACKBONES[name], **changes}
        torch.manual_seed(0)
        supernet = Supernet(backbone, widths=[8, 12, 16], depths=[1, 2, 3])
        network = {"type": "Supernet", "backbone": backbone, "widths": [8, 12, 16], "depths": [1, 2, 3]}
        content = {"params": supernet.state_dict(), "wbsr": Metadata(network, Profile(8)).plain()}
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        return path, supernet.eval()

    return write


def export(weights, subnet, out, *more):
    return cli.main(["export", "--weights", str(weights), "--subnet", subnet, "--out", str(out), *more])


def subnet_output(supernet, subnet, x):
    with torch.no_grad():
        return supernet(x, find_subnet(subnet, supernet.subnets))


@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_pth_loads_strictly_into_the_stock_architecture_that_the_command_names(
    name, subnet, checkpoint, tmp_path, capsys
):
    from basicsr.archs import build_network

    weights, supernet = checkpoint(name)
    assert export(weights, subnet, tmp_path / "out.pth") == 0
    options = json.loads(capsys.readouterr().out.split("network_g: ")[1])
    stock = build_network(options).eval()
    stock.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True)["params"], strict=True)
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(stock(x), subnet_output(supernet, subnet, x))


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("subnet", SUBNETS)
def test_spandrel_reads_an_exported_rcan(subnet, upscale, checkpoint, tmp_path):
    weights, supernet = checkpoint("RCAN", upscale=upscale)
    export(weights, subnet, tmp_path / "out.pth")
    model = spandrel.ModelLoader("cpu").load_from_file(tmp_path / "out.pth")
    assert (model.architecture.id, model.scale) == ("RCAN", upscale)
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        found = model.model(x.clone())
    assert torch.allclose(found, subnet_output(supernet, subnet, x), atol=1e-5)


def test_an_rcan_that_the_authors_code_does_not_know_has_basicsrs_names_alone(checkpoint, tmp_path):
    weights, _ = checkpoint("RCAN", res_scale=0.1)
    export(weights, "full", tmp_path / "out.pth")
    assert set(torch.load(tmp_path / "out.pth", weights_only=True)) == {"params"}


def test_the_second_set_of_names_shares_the_memory_of_the_first(checkpoint, tmp_path):
    weights, _ = checkpoint("RCAN")
    export(weights, "full", tmp_path / "out.pth")
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    stored = {weight.data_ptr() for weight in content["params"].values()}
    fixed = [name for name, weight in content["state_dict"].items() if weight.data_ptr() not in stored]
    assert sorted(fixed) == [f"{name}_mean.{part}" for name in ("add", "sub") for part in ("bias", "weight")]


@pytest.mark.parametrize("name", ["MSRResNet", "RCAN"])
def test_onnxruntime_agrees_at_every_size_and_batch(name, checkpoint, tmp_path):
    weights, supernet = checkpoint(name)
    assert export(weights, "w12d2", tmp_path / "out.onnx") == 0
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 24, 20), (1, 3, 17, 31), (3, 3, 5, 40)):
        x = torch.rand(shape)
        found = session.run(["sr"], {"lr": x.numpy()})[0]
        assert np.abs(found - subnet_output(supernet, "w12d2", x).numpy()).max() < 1e-4


def test_ema_weights_are_exported_where_there_are_any(checkpoint, tmp_path):
    weights, _ = checkpoint("MSRResNet")
    content = torch.load(weights, weights_only=True)
    content["params_ema"] = {name: weight + 1 for name, weight in content["params"].items()}
    torch.save(content, weights)
    export(weights, "full", tmp_path / "out.pth")
    found = torch.load(tmp_path / "out.pth", weights_only=True)["params"]
    assert all(torch.equal(found[name], weight) for name, weight in content["params_ema"].items())


@pytest.mark.parametrize(
    ("text", "expected"), [("full", Subnet(16, 3)), ("1", Subnet(8, 1)), ("8x2", Subnet(8, 2)), ("W8D2", Subnet(8, 2))]
)
def test_a_subnet_is_found_by_number_in_order_of_cost_or_by_name(text, expected):
    assert find_subnet(text, [Subnet(8, 1), Subnet(8, 2), Subnet(16, 3)]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subnet", "w9d1", "--out", "o.pth"], "--subnet must be full, or a number or name of 1 (w8d1), 2 (w8d2)"),
        (["--subnet", "10", "--out", "o.pth"], "got '10'"),
        (["--out", "o.bin"], "--format must be pth, safetensors, onnx, or --out end so"),
        (["--out", "MSRResNet.pth"], "--out MSRResNet.pth exists already: name another file"),
        (["--out", "none/o.pth"], "the folder none does not exist: make it first"),
        (["--out", "o.onnx", "--format", "pth"], "must not end like another format than --format pth, got o.onnx"),
        (["--out", "o.safetensors", "--format", "pth"], "leave out --format"),
        (["--out", "o.pth", "--format", "safetensors"], "must not end like another format than --format safetensors"),
    ],
)
def test_a_wrong_request_is_told_in_one_line_and_writes_nothing(
    arguments, message, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    weights, _ = checkpoint("MSRResNet")
    before = weights.read_bytes()
    assert cli.main(["export", "--weights", "MSRResNet.pth", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["MSRResNet.pth"]
    assert weights.read_bytes() == before


def test_onnx_without_its_library_says_what_to_install(checkpoint, tmp_path, monkeypatch, capsys):
    weights, _ = checkpoint("MSRResNet")
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else find(name))
    assert export(weights, "1", tmp_path / "out.onnx") == 2
    assert "needs the library onnxscript: pip install 'wbsr[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_all_subnets_are_exported_as_one_stripped_checkpoint(checkpoint, tmp_path):
    weights, supernet = checkpoint("MSRResNet")
    content = torch.load(weights, weights_only=True)
    noise = {key: torch.zeros_like(value) for key, value in content["params"].items()}
    torch.save({**content, "params": noise, "params_ema": content["params"]}, weights)
    assert export(weights, "all", tmp_path / "stripped.pth") == 0
    assert export(weights, "all", tmp_path / "half.pth", "--half") == 0
    stripped, half = (torch.load(tmp_path / f"{name}.pth", weights_only=True) for name in ("stripped", "half"))
    assert stripped.keys() == half.keys() == {"params", "wbsr"}
    assert stripped["wbsr"] == half["wbsr"] == content["wbsr"]
    for key, value in content["params"].items():
        assert torch.equal(stripped["params"][key], value)
        assert torch.equal(half["params"][key], value.half())
    loaded = load_supernet(tmp_path / "half.pth")[0]
    x = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert loaded(x).dtype == torch.float32
        assert torch.allclose(loaded(x), supernet(x), atol=2e-3)


def test_what_goes_into_a_pth_alone_is_refused_for_onnx(checkpoint, tmp_path, capsys):
    weights, _ = checkpoint("MSRResNet")
    for subnet, more in (("all", ()), ("full", ("--half",))):
        assert export(weights, subnet, tmp_path / "net.onnx", *more) == 2
        assert "--half and --subnet all go with --format pth or safetensors, got onnx" in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()


def test_weights_that_half_precision_cannot_hold_are_refused(checkpoint, tmp_path, capsys):
    weights, _ = checkpoint("MSRResNet")
    content = torch.load(weights, weights_only=True)
    name = next(name for name, value in content["params"].items() if value.ndim == 4)
    content["params"][name].view(-1)[0] = 1e5
    torch.save(content, weights)
    assert export(weights, "all", tmp_path / "half.pth", "--half") == 2
    assert f"--half can't hold {name}: a weight is above 65,504. Leave out --half" in capsys.readouterr().err
    assert not (tmp_path / "half.pth").exists()
    assert export(weights, "all", tmp_path / "whole.pth") == 0


@pytest.mark.parametrize("subnet", SUBNETS)
def test_a_safetensors_file_holds_the_same_weights_and_the_networks_options(subnet, checkpoint, tmp_path, capsys):
    from basicsr.archs import build_network
    from safetensors import safe_open
    from safetensors.torch import load_file

    weights, supernet = checkpoint("RCAN")
    assert export(weights, subnet, tmp_path / "out.safetensors") == 0
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        options = json.loads(file.metadata()["network_g"])
    assert options == json.loads(capsys.readouterr().out.split("network_g: ")[1])
    stock = build_network(options).eval()
    stock.load_state_dict(load_file(tmp_path / "out.safetensors"), strict=True)
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(stock(x), subnet_output(supernet, subnet, x))


def test_a_supernet_as_safetensors_is_as_good_as_a_pth(checkpoint, tmp_path, capsys):
    weights, supernet = checkpoint("MSRResNet")
    out = tmp_path / "all.safetensors"
    assert export(weights, "all", out, "--half") == 0
    loaded, metadata = load_supernet(out)
    assert metadata == load_supernet(weights)[1]
    assert all(torch.equal(w, supernet.state_dict()[name].half().float()) for name, w in loaded.state_dict().items())
    assert cli.main(["info", str(out)]) == 0
    assert "WBSR checkpoint, version 1, params" in capsys.readouterr().out
    assert export(out, "1", tmp_path / "one.pth") == 0


def test_a_safetensors_file_is_called_so(checkpoint, tmp_path, capsys):
    weights, _ = checkpoint("MSRResNet")
    assert export(weights, "full", tmp_path / "out.bin", "--format", "safetensors") == 2
    assert "--out must end in .safetensors" in capsys.readouterr().err
