"""Weights are found under any key and prefix, loaded strictly or as far as they fit, and refused if not finite."""

import json
import logging
import math

import pytest
import torch

from wbsr_base.basicsr import BaseModel, SRModel, build_network, get_root_logger
from wbsr_base.compat.saving import atomic_save
from wbsr_base.weights.files import read_weights
from wbsr_base.weights.fitting import find, shared_prefix

OPTIONS = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1}


@pytest.fixture
def net():
    return build_network(dict(OPTIONS))


@pytest.fixture
def load(tmp_path):
    """Save a content, and load it into a network by BasicSR's model; returns whether the network has those weights."""

    def run(content, net, strict=True, param_key="params", name="net.pth"):
        atomic_save(content, tmp_path / name)
        model = object.__new__(BaseModel)
        model.load_network(net, str(tmp_path / name), strict, param_key)
        return net

    return run


@pytest.fixture
def logged(caplog):
    """What BasicSR's logger says, which hands nothing on to others."""
    logger = get_root_logger()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "basicsr"):
        yield caplog
    logger.removeHandler(caplog.handler)


def weights_of(seed=1, **changes):
    torch.manual_seed(seed)
    return build_network(OPTIONS | changes).state_dict()


def same(net, weights):
    return all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "key", ["params", "params_ema", "state_dict", "model", "generator", "g_ema", "model_state_dict", "whatever", None]
)
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "generator.", "net_g.module.", "_orig_mod."])
def test_any_key_and_prefix(net, load, key, prefix):
    weights = weights_of()
    named = {prefix + name: weight for name, weight in weights.items()}
    content = {"epoch": 3, key: named} if key else named
    assert same(load(content, net), weights)


def test_the_key_and_the_prefix_are_logged(net, load, logged):
    load({"state_dict": {f"module.{name}": weight for name, weight in weights_of().items()}}, net)
    assert "with key state_dict, without the prefix module." in logged.text


def test_the_key_that_is_asked_for_comes_first(net, load):
    one, two = weights_of(1), weights_of(2)
    content = {"params": one, "params_ema": two, "mine": two}
    assert same(load(content, net, param_key="params"), one)
    assert same(load(content, net, param_key="params_ema"), two)
    assert same(load(content, net, param_key="mine"), two)
    assert same(load({"params": one}, net, param_key="params_ema"), one)  # as BasicSR does
    assert same(load({"params_ema": two}, net, param_key="params"), two)


def test_what_else_stands_beside_a_prefix_is_passed_over(net, load):
    weights = weights_of()
    others = {"discriminator.weight": torch.zeros(3), "n_averaged": torch.tensor(7)}
    assert same(load({"state_dict": {f"generator.{k}": v for k, v in weights.items()} | others}, net), weights)


def test_a_misspelt_key_is_told_with_those_that_are_there(net, load):
    with pytest.raises(ValueError, match=r"net.pth have no key 'params_emma': did you mean 'params_ema'\? \(known: "):
        load({"params": weights_of(), "params_ema": weights_of()}, net, param_key="params_emma")


def test_a_file_without_the_networks_weights_names_its_keys(net, load):
    with pytest.raises(ValueError, match=r"its keys are epoch, optimizer \(1 entries\), net_d \(1 entries\)$"):
        load({"epoch": 3, "optimizer": {"lr": 1}, "net_d": {"weight": torch.zeros(2)}}, net)


def test_x2_weights_start_an_x4_network_where_strict_is_off(load, logged):
    """As BasicSR's own option files of EDSR x4 do."""
    torch.manual_seed(1)
    small = build_network(EDSR | {"upscale": 2}).state_dict()
    large = build_network(EDSR | {"upscale": 4})
    before = {name: weight.clone() for name, weight in large.state_dict().items()}
    with pytest.raises(ValueError, match=r"they lack upsample.2.weight.*strict_load_g: false loads them"):
        load({"params": small}, large)
    assert same(large, before)
    load({"params": small}, large, strict=False)
    for name, weight in large.state_dict().items():
        assert torch.equal(weight, small.get(name, before[name]))
    (line,) = [record.message for record in logged.records if record.levelno == logging.WARNING]
    assert "12 of the network's 14 weights were loaded" in line
    assert "they lack upsample.2.weight" in line


def test_other_shapes_are_passed_over_where_strict_is_off(load, net):
    other = weights_of(num_out_ch=1)
    load({"params": other}, net, strict=False)
    assert torch.equal(net.conv_first.weight, other["conv_first.weight"])
    with pytest.raises(ValueError, match=r"conv_last.weight is \(1, 4, 3, 3\) there and \(3, 4, 3, 3\) here"):
        load({"params": other}, net)


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_that_fits_is_an_error(load, net, strict):
    other = weights_of(num_feat=5)
    none = {name: weight for name, weight in other.items() if weight.shape != net.state_dict()[name].shape}
    with pytest.raises(ValueError, match="are of another architecture than MSRResNet"):
        load({"params": none}, net, strict=strict)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("strict", [True, False])
def test_weights_that_are_no_numbers_are_refused(load, net, value, strict):
    weights = weights_of()
    weights["body.0.conv1.bias"][2] = value
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"net.pth: body.0.conv1.bias holds what is no finite number"):
        load({"params": weights}, net, strict=strict)
    assert same(net, before)


def test_half_precision_becomes_float32(load, net):
    weights = {name: weight.half() for name, weight in weights_of().items()}
    assert all(weight.dtype == torch.float32 for weight in load({"params": weights}, net).state_dict().values())


def test_a_moving_average_begins_where_its_network_does(images, options, tmp_path, monkeypatch):
    """What a file does not hold of a network is drawn once, not once more for the average."""
    monkeypatch.chdir(images(4))
    torch.manual_seed(1)
    torch.save({"params": build_network(EDSR | {"upscale": 2}).state_dict()}, tmp_path / "x2.pth")
    opt = options | {"network_g": EDSR | {"upscale": 4}, "scale": 4, "is_train": True, "dist": False, "num_gpu": 0}
    opt["path"] = {"pretrain_network_g": str(tmp_path / "x2.pth"), "strict_load_g": False}
    model = SRModel(opt)
    assert same(model.net_g_ema, model.net_g.state_dict())


def test_python_objects_are_told_from_damage(tmp_path):
    torch.save({"params": weights_of(), "args": pytest.approx(3)}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net.pth hold Python objects beside weights"):
        read_weights(tmp_path / "net.pth")


def test_safetensors_hold_the_same(net, load, tmp_path):
    weights = weights_of()
    entry = {"version": 1, "thresholds": [0.1, 0.2], "network": {"type": "x"}}
    assert same(load({"params": weights, "wbsr": entry}, net, name="net.safetensors"), weights)
    content = read_weights(tmp_path / "net.safetensors")
    assert content["wbsr"] == entry
    assert content["params"].keys() == weights.keys()


def test_other_programs_read_our_safetensors(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file

    weights = weights_of()
    atomic_save({"params": weights, "wbsr": {"version": 1}}, tmp_path / "net.safetensors")
    found = load_file(tmp_path / "net.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert json.loads(file.metadata()["wbsr"]) == {"version": 1}


def test_other_programs_safetensors_are_read(net, load, tmp_path):
    from safetensors.torch import save_file

    weights = weights_of()
    save_file({f"model.{name}": weight for name, weight in weights.items()}, tmp_path / "n.safetensors", {"by": "them"})
    assert read_weights(tmp_path / "n.safetensors")["by"] == "them"
    object.__new__(BaseModel).load_network(net, str(tmp_path / "n.safetensors"))
    assert same(net, weights)


@pytest.mark.parametrize("content", [b"", b"{}", b'\x08\x00\x00\x00\x00\x00\x00\x00{"a":1}x', b"x" * 100])
def test_damaged_safetensors_are_refused(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"net.safetensors can't be read as safetensors: damaged, or another kind"):
        read_weights(tmp_path / "net.safetensors")


def test_safetensors_without_the_library_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "net.safetensors").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'wbsr\[safetensors\]'"):
        read_weights(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("names", "prefix"),
    [(["a", "b.c"], ""), (["x.a", "x.b.c"], "x."), (["x.y.a", "x.y.b.c", "z"], "x.y."), (["q"], None), ([], None)],
)
def test_the_prefix_is_what_most_names_share(names, prefix):
    assert shared_prefix(dict.fromkeys(names), dict.fromkeys(["a", "b.c"])) == prefix


def test_names_of_the_network_itself_need_no_prefix():
    own = {"body.a": torch.zeros(1), "a": torch.zeros(1)}
    assert find({"params": own}, own, "x").prefix == ""
