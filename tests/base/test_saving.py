"""A checkpoint is whole or absent; what cannot be saved is an error."""

import errno
import os
import resource
import time

import pytest
import torch
from torch import nn

from wbsr import compat
from wbsr_base.compat import saving


@pytest.fixture
def model(tmp_path):
    """BasicSR's BaseModel as far as saving needs it, with one optimiser, and its network."""
    compat.install()
    from basicsr.models.base_model import BaseModel

    model = object.__new__(BaseModel)
    model.opt = {"path": {"models": str(tmp_path), "training_states": str(tmp_path)}}
    model.net = nn.Linear(2, 2)
    model.optimizers, model.schedulers = [torch.optim.Adam(model.net.parameters())], []
    return model


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(saving, "PAUSE", 0.0)


def test_a_full_disk_is_an_error_and_the_previous_file_stays(tmp_path, monkeypatch, no_pause):
    path = tmp_path / "net_g_5.pth"
    saving.atomic_save({"version": 1}, path)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"cannot save .*net_g_5\.pth \(No space left.*free space") as caught:
        saving.atomic_save({"version": 2}, path)
    assert caught.value.errno == errno.ENOSPC
    assert torch.load(path) == {"version": 1}
    assert names(tmp_path) == ["net_g_5.pth"]


def test_a_file_that_is_cut_short_by_the_system_leaves_nothing_behind(tmp_path, no_pause):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot save"):
            saving.atomic_save(torch.zeros(100_000), tmp_path / "net_g_5.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


def test_an_occasional_error_is_tried_again(tmp_path, monkeypatch, no_pause):
    calls = []

    def fail_once(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            full_disk()

    monkeypatch.setattr(os, "fsync", fail_once)
    saving.atomic_save([1], tmp_path / "a.pth")
    assert torch.load(tmp_path / "a.pth") == [1]


@pytest.mark.parametrize("what", ["network", "state"])
def test_basicsr_models_raise_when_saving_fails(model, what, monkeypatch, no_pause):
    monkeypatch.setattr(os, "fsync", full_disk)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(OSError, match="cannot save"):
        model.save_network(model.net, "net_g", 5) if what == "network" else model.save_training_state(0, 5)


def test_the_files_hold_what_basicsr_reads(model, tmp_path):
    ema = nn.Linear(2, 2)
    model.save_network([model.net, ema], "net_g", -1, param_key=["params", "params_ema"])
    model.save_training_state(3, 5)
    model.save_training_state(3, -1)
    saved = torch.load(tmp_path / "net_g_latest.pth", weights_only=True)
    assert list(saved) == ["params", "params_ema"]
    assert torch.equal(saved["params_ema"]["weight"], ema.weight)
    model.load_network(nn.Linear(2, 2), str(tmp_path / "net_g_latest.pth"), True, "params_ema")
    state = torch.load(tmp_path / "5.state", weights_only=True)
    assert (state["epoch"], state["iter"], len(state["optimizers"]), state["schedulers"]) == (3, 5, 1, [])
    assert names(tmp_path) == ["5.state", "net_g_latest.pth"]


def test_a_model_adds_its_metadata_to_the_network_file(model, tmp_path):
    model.network_metadata = lambda label: {"wbsr": {"label": label, "scale": 4}}
    model.save_network(model.net, "net_g", 5)
    assert torch.load(tmp_path / "net_g_5.pth")["wbsr"] == {"label": "net_g", "scale": 4}


def test_kill_during_a_save_leaves_the_previous_checkpoint_readable(tmp_path, start_program):
    process = start_program("""
        import os, time, torch
        import wbsr.plugin
        from basicsr.models.base_model import BaseModel
        model = object.__new__(BaseModel)
        model.opt = {"path": {"models": "."}}
        net = torch.nn.Linear(100, 100)
        model.save_network(net, "net_g", -1)

        def hang(descriptor):
            print("writing", flush=True)
            time.sleep(60)

        os.fsync = hang
        torch.nn.init.zeros_(net.weight)
        model.save_network(net, "net_g", -1)
    """)
    for line in process.stdout:
        if line == "writing\n":
            break
    process.kill()
    saved = torch.load(tmp_path / "net_g_latest.pth", weights_only=True)
    assert saved["params"]["weight"].abs().sum() > 0
    assert [path.name for path in tmp_path.glob("*.pth")] == ["net_g_latest.pth"]


def test_what_a_kill_leaves_is_swept_and_nothing_else(tmp_path):
    from wbsr_base.files import sweep

    dead, mine, other = (tmp_path / f".net.pth.{number}.part" for number in (999999999, os.getpid(), 1))
    for path in (dead, other, tmp_path / ".hidden", tmp_path / "net.pth.3.part", tmp_path / ".x.part"):
        path.touch()
    assert sweep(tmp_path) == [dead]
    assert len(list(tmp_path.iterdir())) == 4
    assert sweep(tmp_path / "none") == []
    mine.touch()  # an earlier process had this one's number
    assert sweep(tmp_path) == [mine]
