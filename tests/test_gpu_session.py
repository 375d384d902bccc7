"""The command for a GPU: a step that fails or hangs ends nothing but itself, and trainings travel in small files."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu


def test_a_step_that_fails_or_hangs_is_told_and_the_next_one_runs(tmp_path):
    steps = [
        gpu.Step("good", 30, ["-c", "print('42 passed, 1 failed in 3 s')"]),
        gpu.Step("bad", 30, ["-c", "raise SystemExit(3)"]),
        gpu.Step("endless", 1, ["-c", "import time; time.sleep(60)"]),
    ]
    good, bad, endless = (gpu.run(step, tmp_path) for step in steps)
    assert (good.word, gpu.tests_found(good.output)) == ("done", {"passed": 42, "failed": 1})
    assert bad.word == "failed (3)"
    assert endless.word == "cut off"
    assert endless.seconds < 30
    lines = gpu.table([good, bad, endless]).splitlines()
    assert [line.split()[0] for line in lines] == ["step", "good", "bad", "endless"]


def training(folder, name, iteration, size):
    root = folder / "experiments" / name
    for kind, file in (("training_states", f"{iteration}.state"), ("models", f"net_g_{iteration}.pth")):
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / file).write_bytes(bytes([iteration % 251]) * size)


def test_trainings_are_packed_in_small_files_and_go_on_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PART", 40_000)
    work, out, later = (tmp_path / name for name in ("work", "out", "later"))
    for folder in (work, out, later):
        folder.mkdir()
    trainings = gpu.Trainings(work, tmp_path, rehearse=False)
    for iteration in (5, 15):
        training(work, "first", iteration, 30_000)
    training(work, "second", 4, 300_000)
    assert (trainings.iteration("first"), trainings.iteration("none")) == (15, 0)
    assert gpu.pack(trainings, ["first", "second"], out) == ["second"]
    parts = sorted(out.iterdir())
    assert 1 < len(parts) <= gpu.MOST_PARTS
    assert all(part.stat().st_size <= 40_000 for part in parts)
    gpu.unpack(out, later)
    again = gpu.Trainings(later, tmp_path, rehearse=False)
    assert again.iteration("first") == 15
    assert not again.finished("first")
    assert [path.stat().st_size for path in again.files("first")] == [30_000, 30_000]
    assert not (later / "experiments/first/training_states/5.state").exists()


def test_a_session_writes_after_every_step_and_keeps_to_its_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "test_steps", lambda rehearse: [gpu.Step("tests", 30, ["-c", "print('7 skipped')"])])
    monkeypatch.setattr(gpu, "speed_steps", lambda data, rehearse: [gpu.Step("speed", 30, ["-c", "1/0"])] * 2)
    places = {"out": tmp_path / "out", "data": tmp_path, "resume": None, "work": None}
    arguments = Namespace(minutes=1.0, rehearse=True, queue=[], **places)
    told = gpu.session(arguments, ["tests", "speed", "train"])
    steps = json.loads((tmp_path / "out" / "gpu.json").read_text())["steps"]
    names = [step["name"] for step in steps]
    assert names[:3] == ["tests", "speed", "speed"]
    assert [step["code"] for step in steps[:2]] == [0, 1]
    assert steps[0]["found"] == {"skipped": 7}
    assert "ZeroDivisionError" in steps[1]["output"]
    assert told.count("failed (1)") >= 2
    arguments.minutes = 0.1
    assert gpu.session(arguments, ["tests"]).count("\n") == 1  # too little time to begin anything


@pytest.mark.parametrize("rehearse", [False, True])
def test_the_steps_name_scripts_that_are_there(rehearse, tmp_path):
    for step in gpu.speed_steps(tmp_path, rehearse):
        assert Path(step.command[0]).is_file(), step.command[0]
    for name in gpu.QUEUE:
        assert (gpu.ROOT / name).is_file()
