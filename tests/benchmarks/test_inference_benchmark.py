"""The comparison of plans runs from end to end on a CPU, with a tiny network, and keeps to its time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]


def test_the_plans_are_compared_in_a_rehearsal(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (160, 1, 3), dtype=np.uint8)
    image = np.broadcast_to(rows, (160, 200, 3)).copy()
    image[:, 100:] = np.random.default_rng(1).integers(0, 256, (160, 100, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    command = [ROOT / "benchmarks" / "inference.py", "--rehearse", "--images", tmp_path, "--seconds", "30"]
    command += ["--repeats", "2", "--threads", "1", "--results", tmp_path / "found.json"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["rows"]) == 3
    middle = found["rows"][1]
    assert {"stock", "dense", "auto", "windows", "tiles", "ours dense", "patches"} <= set(middle["milliseconds"])
    assert set(middle["predicted_ms"]) >= {"dense", "windows"}
    assert all(0 <= row[plan]["outside"] < 1 for row in found["rows"] for plan in ("auto", "windows"))
    assert len(done.stdout.splitlines()) == 4
