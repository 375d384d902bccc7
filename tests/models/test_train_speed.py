"""The benchmark of whole trainings: what it counts as waiting; `tests/test_gpu_session.py` rehearses it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import train_speed


def test_idle_is_the_time_that_no_kernel_covers():
    assert train_speed.idle([(0, 4), (1, 2), (3, 6), (8, 10)]) == pytest.approx(0.2)
    assert train_speed.idle([(5, 6), (0, 10)]) == 0


def test_the_clock_is_read_after_the_warm_up_and_once_more(monkeypatch):
    readings = iter([10.0, 15.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(readings))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    watch = train_speed.Watch(warm_up=3, timed=20)
    for iteration in range(1, 200):
        watch(iteration)
    assert watch.found == {"idle": None, "rate": 4.0}
