"""Times are measured once per device and setting, kept, and measured again when they can't be read."""

import json
import logging

import pytest
import torch

from wbsr_arch import Supernet
from wbsr_models.inference import latency

BACKBONE = {"type": "MSRResNet", "num_feat": 32, "num_block": 8, "upscale": 2}


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return Supernet(BACKBONE, widths=[4, 32], depths=[1, 8]).eval()


@pytest.fixture
def counted(monkeypatch):
    """Replaces the stopwatch by numbers, and counts the measurements."""
    calls = []

    def fake(supernet, device, precision="fp32", side=64, batch=1):
        calls.append((str(device), precision))
        return tuple(0.5 * (number + 1) for number in range(len(supernet.subnets)))

    monkeypatch.setattr(latency, "time_subnets", fake)
    return calls


def test_larger_subnets_take_longer(supernet):
    times = latency.time_subnets(supernet, torch.device("cpu"))
    assert len(times) == 4
    assert all(time > 0 for time in times)
    assert times[-1] > 2 * times[0]  # 20 times the FLOPs


def test_a_time_is_that_of_one_pixel(supernet, monkeypatch):
    monkeypatch.setattr(latency, "_seconds", lambda network, window: 0.004096)
    assert latency.time_subnets(supernet, torch.device("cpu")) == pytest.approx([1e-6] * 4)


def test_times_are_measured_once_per_setting(supernet, counted, tmp_path):
    first = latency.measured_seconds(supernet, "cpu", folder=tmp_path)
    assert latency.measured_seconds(supernet, torch.device("cpu"), folder=tmp_path) == first == (0.5, 1.0, 1.5, 2.0)
    assert counted == [("cpu", "fp32")]
    latency.measured_seconds(supernet, "cpu", "bf16", folder=tmp_path)
    assert len(counted) == 2
    other = Supernet({**BACKBONE, "num_feat": 16}, widths=[4, 16], depths=[1, 8])
    latency.measured_seconds(other, "cpu", folder=tmp_path)
    assert len(counted) == 3
    assert len(list(tmp_path.iterdir())) == 3


def test_another_number_of_threads_is_another_device(supernet, counted, tmp_path, monkeypatch):
    latency.measured_seconds(supernet, "cpu", folder=tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    latency.measured_seconds(supernet, "cpu", folder=tmp_path)
    assert len(counted) == 2


def test_networks_of_one_channel_are_timed_on_one(counted, monkeypatch, tmp_path):
    monkeypatch.undo()
    grey = {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1}
    network = Supernet({**BACKBONE, **grey}, widths=[2, 4], depths=[1])
    assert len(latency.measured_seconds(network, "cpu", folder=tmp_path)) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"seconds_per_pixel": [1.0]}', '{"seconds_per_pixel": [1, 1, 1, 0]}'])
def test_a_damaged_file_is_measured_again(supernet, counted, tmp_path, caplog, content):
    latency.measured_seconds(supernet, "cpu", folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert latency.measured_seconds(supernet, "cpu", folder=tmp_path) == (0.5, 1.0, 1.5, 2.0)
    assert "measuring again" in caplog.text
    assert json.loads(path.read_text())["seconds_per_pixel"] == [0.5, 1.0, 1.5, 2.0]


def test_a_folder_that_cannot_be_written_only_costs_the_cache(supernet, counted, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert latency.measured_seconds(supernet, "cpu", folder=tmp_path / "file" / "folder") == (0.5, 1.0, 1.5, 2.0)
    assert "The times are not kept" in caplog.text


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert latency.cache_folder() == tmp_path / "wbsr"


def test_an_unknown_precision_is_refused(supernet, tmp_path):
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16, fp16, got 'half'"):
        latency.measured_seconds(supernet, "cpu", "half", folder=tmp_path)
