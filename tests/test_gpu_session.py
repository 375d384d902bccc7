"""The command for a GPU: a step that fails or hangs ends nothing but itself, trainings travel in small files, and a
rehearsal does all of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu
import processes
import trainings


def says(text):
    return lambda: sys.stdout.write(text)


def fails():
    raise SystemExit(3)


def hangs():
    time.sleep(60)


def leaves_results():
    Path("good.json").write_text("[1, 2]")
    sys.stdout.write("42 passed, 1 failed in 3 s")


def test_a_step_that_fails_or_hangs_is_told_and_the_next_one_runs(tmp_path):
    steps = [gpu.Step("bad", 30, fails), gpu.Step("endless", 1, hangs), gpu.Step("good", 30, leaves_results)]
    bad, endless, good = (gpu.outcome(step, tmp_path) for step in steps)
    assert (good.word, gpu.tests_found(good.output), good.results) == ("done", {"passed": 42, "failed": 1}, [1, 2])
    assert (bad.word, bad.results) == ("failed (3)", None)
    assert endless.word == "cut off"
    assert endless.seconds < 30
    lines = gpu.table([good, bad, endless]).splitlines()
    assert [line.split()[0] for line in lines] == ["step", "good", "bad", "endless"]


def leaves_another():
    Path("other").write_text(str(subprocess.Popen(["sleep", "60"]).pid))


def waits_for_another():
    def another():
        Path("other").write_text(str(os.getpid()))
        time.sleep(60)

    processes.run(another, Path(), Path("inner"))


@pytest.mark.parametrize(("work", "seconds", "code"), [(leaves_another, 30, 0), (waits_for_another, 1, None)])
def test_what_a_process_began_ends_with_it(work, seconds, code, tmp_path):
    assert processes.run(work, tmp_path, tmp_path / "log", seconds) == code
    end = time.monotonic() + 10
    other = Path("/proc") / (tmp_path / "other").read_text() / "stat"
    while other.is_file() and other.read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_begins_anew_where_cuda_was_asked_for_before_the_fork(tmp_path):
    torch.cuda.is_available()
    assert processes.run(processes.module("this"), tmp_path, tmp_path / "log") == 0
    told = (tmp_path / "log").read_text()
    assert told.startswith("CUDA was asked for before the fork")
    assert "Beautiful is better than ugly." in told


def training(folder, name, iteration, size):
    root = folder / "experiments" / name
    for kind, file in (("training_states", f"{iteration}.state"), ("models", f"net_g_{iteration}.pth")):
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / file).write_bytes(bytes([iteration % 251]) * size)


def test_trainings_are_packed_in_small_files_and_go_on_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "PART", 40_000)
    work, out, later = (tmp_path / name for name in ("work", "out", "later"))
    for folder in (work, out, later):
        folder.mkdir()
    queue = [Path(f"{name}.yml") for name in ("first", "second", "third")]
    own = trainings.Trainings(work, queue, rehearse=False)
    assert trainings.pack(own, out) == list(out.iterdir()) == []
    for iteration in (5, 15):
        training(work, "first", iteration, 30_000)
    training(work, "second", 4, 300_000)
    training(work, "third", 7, 50_000)
    (work / "experiments/third/models/net_g_latest.pth").write_bytes(b"w" * 20_000)
    assert (own.iteration("first"), own.iteration("none")) == (15, 0)
    assert trainings.pack(own, out) == ["second"]
    parts = sorted(out.iterdir())
    assert 1 < len(parts) <= trainings.MOST_PARTS
    assert all(part.stat().st_size <= 40_000 for part in parts)
    trainings.unpack(out, later)
    again = trainings.Trainings(later, queue, rehearse=False)
    assert again.iteration("first") == 15
    assert [again.finished(path.stem) for path in queue] == [False, False, True]
    assert [path.stat().st_size for path in again.files("first")] == [30_000, 30_000]
    assert [path.stat().st_size for path in again.files("third")] == [20_000]  # it needs no state any more
    assert not (later / "experiments/first/training_states/5.state").exists()


def test_a_session_writes_after_every_step_and_keeps_to_its_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "test_steps", lambda rehearse: [gpu.Step("tests", 30, says("7 skipped"))])
    monkeypatch.setattr(gpu, "speed_steps", lambda data, rehearse: [gpu.Step("speed", 30, lambda: 1 / 0)] * 2)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)  # beginning anew takes seconds
    places = {"out": tmp_path / "out", "data": tmp_path, "resume": None, "work": None}
    arguments = Namespace(minutes=1.0, rehearse=False, queue=[tmp_path / "none.yml"], **places)
    told = gpu.session(arguments, ["tests", "speed", "train"])
    steps = json.loads((tmp_path / "out" / "gpu.json").read_text())["steps"]
    assert [step["name"] for step in steps] == ["tests", "speed", "speed", "prepare", "none"]
    assert [step["code"] for step in steps] == [0, 1, 1, 1, 2]  # nothing is there to prepare or to train by
    assert steps[0]["found"] == {"skipped": 7}
    assert "ZeroDivisionError" in steps[1]["output"]
    assert told.count("failed (1)") == 3
    arguments.minutes = 0.1
    assert gpu.session(arguments, ["tests"]).count("\n") == 1  # too little time to begin anything


@pytest.mark.parametrize("rehearse", [False, True])
def test_every_step_has_a_name_of_its_own_and_the_queue_is_there(rehearse, tmp_path):
    names = [step.name for step in [*gpu.test_steps(rehearse), *gpu.speed_steps(tmp_path, rehearse)]]
    assert len(set(names)) == len(names)
    for name in gpu.QUEUE:
        assert (gpu.ROOT / name).is_file()


def start(folder, *arguments):
    """`benchmarks/gpu.py --rehearse` from another folder, with nothing but the packages on the path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if "-packages" in path)}
    environment |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, str(gpu.ROOT / "benchmarks" / "gpu.py"), "--rehearse", "--out", "out", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def kill_its_step(session, there):
    """Kill the process of a session's step as soon as one of the files is there."""
    end = time.monotonic() + 240
    while not any(there()):
        assert session.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    (step,) = Path(f"/proc/{session.pid}/task/{session.pid}/children").read_text().split()
    os.kill(int(step), signal.SIGKILL)


@pytest.mark.timeout(600)
def test_a_rehearsal_does_it_all_and_a_second_call_goes_on_where_the_first_was_cut_off(tmp_path):
    (tmp_path / "work").mkdir()
    name, other = (Path(path).stem for path in gpu.QUEUE)
    session = start(tmp_path, "--work", "work")
    states = tmp_path / "work/experiments" / name / "training_states"
    kill_its_step(session, lambda: states.glob("*.state"))
    told = session.communicate()[0]
    assert session.returncode == 0, told
    found = {step["name"]: step for step in json.loads((tmp_path / "out/gpu.json").read_text())["steps"]}
    order = ["tests", "train_speed", "train_step", "losses", "inference", "prepare", name, other]
    assert list(found) == order == [line.split()[0] for line in told.splitlines()[1:]]
    assert not [step for step, each in found.items() if "begins anew" in each["output"]]  # no import asks for a GPU
    failed = {step: each["output"] for step, each in found.items() if each["code"] != 0}
    assert list(failed) == [name], failed
    assert found[name]["code"] == -signal.SIGKILL
    assert set(found["tests"]["found"]) <= {"passed", "skipped"}
    speed = json.loads((tmp_path / "out/train_speed.json").read_text())
    assert [row["training"] for row in speed["rows"]] == ["SRResNet", "stock", "RCAN"]
    assert all(row["rate"] > 0 and (row["resident"], row["recorded"]) == ("cpu", 0) for row in speed["rows"])
    assert "CUDA graphs need a CUDA device" in speed["rows"][1]["log"][0]
    (row,) = found["inference"]["results"]["rows"]
    assert set(row["milliseconds"]) >= {"stock", "dense", "auto", "windows", "tiles", "ours dense", "patches"}
    assert "dense" in row["predicted_ms"]  # windows are planned only where they could win
    assert all(0 <= row[plan]["outside"] < 1 for plan in ("auto", "windows"))
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8
    assert all(file.stat().st_size <= 16 * 2**20 for file in files)

    reached = found[name]["found"]["iterations"]
    assert 0 < reached < trainings.REHEARSED
    assert found[other]["found"]["iterations"] == trainings.REHEARSED
    session = start(tmp_path, "--only", "train", "--work", "later")
    told = session.communicate()[0]
    assert session.returncode == 0, told
    found = {step["name"]: step for step in json.loads((tmp_path / "out/gpu.json").read_text())["steps"]}
    assert list(found) == ["prepare", name]  # the other one was finished
    assert found[name]["found"] == {"iterations": trainings.REHEARSED, "of them before": reached}
    log = "".join(path.read_text() for path in (tmp_path / "later/experiments" / name).glob("*.log"))
    assert re.search(rf"Resuming training from epoch: \d+, iter: {reached}\b", log)
    kept = (tmp_path / "later/experiments" / other / "models").iterdir()
    assert [path.name for path in kept] == ["net_g_latest.pth"]
