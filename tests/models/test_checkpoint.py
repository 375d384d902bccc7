"""One checkpoint for everything: plain types, stock keys, a version, and errors that say what is wrong with a file."""

import pytest
import torch

from wbsr_arch import Supernet
from wbsr_base.weights.files import read_weights
from wbsr_models import Profile
from wbsr_models.checkpoints.loading import load_supernet
from wbsr_models.checkpoints.metadata import VERSION, Metadata, read_metadata

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
NETWORK = {"type": "Supernet", "backbone": BACKBONE, "widths": (4, 8), "depths": (1, 2)}
FULL = {
    "profile": Profile(16, (0.1, 0.2), ((0.1, 0.2), (0.3, 0.4), (0.5, 0.6)), (0.5, 0.25, 0.25)),
    "training": {"iteration": 3, "total_iter": 9, "strategy": "all", "power": 0.5, "match": False},
}


def save(path, entry, **weights):
    supernet = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2])
    torch.save({"params": supernet.state_dict(), **weights, "wbsr": entry}, path)
    return supernet


def test_metadata_survives_a_file_of_plain_types(tmp_path):
    metadata = Metadata(NETWORK, **FULL)
    torch.save({"params": {}, "wbsr": metadata.plain()}, tmp_path / "net.pth")
    content = torch.load(tmp_path / "net.pth", weights_only=True)
    found = read_metadata(content, "net.pth")
    assert found == Metadata({**NETWORK, "widths": [4, 8], "depths": [1, 2]}, **FULL)
    assert content["wbsr"]["version"] == VERSION


def test_what_is_unknown_is_left_out_of_the_file():
    assert set(Metadata(NETWORK, Profile(16)).plain()) == {"network", "patch_size", "version"}


def test_a_stock_checkpoint_has_no_metadata():
    assert read_metadata({"params": {}}, "net.pth") is None


def test_the_network_of_a_file_is_built_with_its_ema_weights(tmp_path):
    ema = {name: weight + 1 for name, weight in Supernet(BACKBONE, [4, 8], [1, 2]).state_dict().items()}
    save(tmp_path / "net.pth", Metadata(NETWORK, Profile(16)).plain(), params_ema=ema)
    supernet, metadata = load_supernet(tmp_path / "net.pth")
    assert metadata.profile == Profile(16)
    assert all(torch.equal(weight, ema[name]) for name, weight in supernet.state_dict().items())


def test_the_weights_load_into_the_stock_architecture(tmp_path):
    from basicsr.archs import build_network

    supernet = save(tmp_path / "net.pth", Metadata(NETWORK, Profile(16)).plain())
    stock = build_network(dict(BACKBONE))
    stock.load_state_dict(torch.load(tmp_path / "net.pth")["params"], strict=True)
    x = torch.rand(1, 3, 6, 5)
    with torch.no_grad():
        assert torch.equal(stock(x), supernet(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": VERSION + 1, "news": 1},
            f"net.pth: wbsr: version must be at most {VERSION}, got {VERSION + 1}: i",
        ),
        ({"version": 0}, "version must be at least 1, got 0"),
        ({"patch_size": 0}, "patch_size must be at least 1, got 0"),
        ({"thresholds": [0.1]}, "error_table must have one row for each of the 2 difficulty classes, got 3"),
        ({"news": 1}, "unknown key 'news'"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_metadata({"wbsr": {**Metadata(NETWORK, **FULL).plain(), **change}}, "net.pth")


@pytest.mark.parametrize("entry", [3, ["network"], "text"])
def test_an_entry_of_another_kind_is_refused(entry):
    with pytest.raises(TypeError, match=r"net.pth: wbsr must be a block of keys"):
        read_metadata({"wbsr": entry}, "net.pth")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    save(path, Metadata(NETWORK, Profile(16)).plain())
    whole = path.read_bytes()
    for content in (whole[:-500], whole[:100], b"", b"not a pickle", b"\x80\x02."):  # the last: IndexError in torch
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"net.pth can't be read as a checkpoint: damaged, or another kind of fi"):
            read_weights(path)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({}, "missing 3 required positional arguments"),
        ({**NETWORK, "backbone": None}, "backbone must be a block of keys"),
        ({**NETWORK, "widths": [4, 9]}, "widths must not exceed the backbone's num_feat of 8, got 9"),
        ({**NETWORK, "dupths": [1]}, "unexpected keyword argument 'dupths'"),
    ],
)
def test_an_entry_whose_network_cannot_be_built_is_told_with_the_file(network, message, tmp_path):
    save(tmp_path / "net.pth", Metadata(network, Profile(16)).plain())
    with pytest.raises(ValueError, match=rf"net.pth: wbsr:network describes no supernet .*: .*{message}"):
        load_supernet(tmp_path / "net.pth")


def test_weights_of_another_network_than_the_entry_says_are_refused(tmp_path):
    other = {**NETWORK, "backbone": {**BACKBONE, "num_block": 3}, "depths": (1, 3)}
    save(tmp_path / "net.pth", Metadata(other, Profile(16)).plain())
    with pytest.raises(ValueError, match="don't fit the network that their `wbsr` entry describes"):
        load_supernet(tmp_path / "net.pth")
