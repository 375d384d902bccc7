"""Option files with one random change end in one line, or train as they say: `benchmarks/fuzz_options.py` in small.

Its own seeds and numbers are those of a machine's spare minutes: `python benchmarks/fuzz_options.py --seeds 0 1 2`.
"""

import copy
import importlib.util
import random
import sys
import warnings
from pathlib import Path

import pytest

import wbsr.plugin  # noqa: F401

PATH = Path(__file__).parents[2] / "benchmarks" / "fuzz_options.py"


@pytest.fixture(scope="module")
def fuzzing():
    spec = importlib.util.spec_from_file_location("fuzz_options", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_options"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(fuzzing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fuzzing.make_images(tmp_path)
    warnings.simplefilter("ignore")
    return tmp_path


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_change_ends_in_a_traceback_a_hang_or_something_else_than_was_meant(fuzzing, folder, seed):
    counts, faults = fuzzing.fuzz(seed, 60, folder)
    assert faults == []
    assert counts["refused"] > 40


@pytest.mark.parametrize("name", ["stock", "ours", "test", "classsr", "gan", "swin", "single"])
def test_the_files_that_are_changed_run(fuzzing, folder, name):
    options = fuzzing.base_files()[name]
    command = "train" if "train" in options else "test"
    assert fuzzing.outcome(command, fuzzing.written_as_yaml(options), folder) == ("ran", "")


@pytest.mark.parametrize("found", ["traceback", "silent"])
def test_what_must_not_be_is_seen(fuzzing, folder, monkeypatch, found):
    """With the checks switched off, BasicSR meets the changed file."""
    monkeypatch.setattr("wbsr.training.check", lambda *_: None)
    options = fuzzing.base_files()["stock"]
    if found == "traceback":
        made = fuzzing.Change(
            "retype", ("datasets", "train", "io_backend"), options["datasets"]["train"]["io_backend"], 3
        )
        options["datasets"]["train"]["io_backend"] = 3
    else:
        made = fuzzing.Change("misspell", ("val",), "val", "vall")
        options["vall"] = options.pop("val")
    assert fuzzing.judge("train", made, fuzzing.written_as_yaml(options), folder)[0] == found


def test_changes_repeat_by_their_seed(fuzzing):
    made = []
    for _ in range(2):
        options = copy.deepcopy(fuzzing.base_files()["ours"])
        made.append((str(fuzzing.change(options, random.Random(5))), options))
    assert made[0] == made[1]
