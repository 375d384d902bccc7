"""Option files with one random change end in one line, or train as they say: `benchmarks/fuzz_options.py` in small.

Its own seeds and numbers are those of a machine's spare minutes: `python benchmarks/fuzz_options.py --seeds 0 1 2`.
"""

import copy
import importlib.util
import random
import resource
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


def test_what_must_not_be_is_seen(fuzzing, folder, monkeypatch, request):
    """The checks switched off: then the same files show tracebacks and changes without a word."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, before[1]))  # some of the files ask for all memory there is
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_AS, before))
    monkeypatch.setattr("wbsr.training.check", lambda *_: None)
    monkeypatch.setattr(fuzzing, "LIMIT", 3)
    found = set()
    for seed in range(20):
        counts, _ = fuzzing.fuzz(seed, 1, folder)
        found |= set(counts)
    assert {"traceback", "silent"} <= found


def test_changes_repeat_by_their_seed(fuzzing):
    made = []
    for _ in range(2):
        options = copy.deepcopy(fuzzing.base_files()["ours"])
        made.append((str(fuzzing.change(options, random.Random(5))), options))
    assert made[0] == made[1]
