"""The command line: its table, errors in one line, and BasicSR's pipelines behind `train` and `test`."""

import ast
import re
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from wbsr import cli
from wbsr_base.options import suggest  # noqa: F401  a module of ours that the broken data set below fails in
from wbsr_data.workers import in_workers


@pytest.fixture
def command(monkeypatch):
    """Make `wbsr probe` call a function of a module of ours."""

    def make(function):
        module = types.ModuleType("wbsr.probe")
        module.main = function
        monkeypatch.setitem(sys.modules, "wbsr.probe", module)
        monkeypatch.setitem(cli.COMMANDS, "probe", ("wbsr.probe:main", "a test"))

    return make


def ours(text):
    """A function that raises ValueError(text) from a module of ours."""
    scope = {"__name__": "wbsr.probe"}
    exec(f"def main(arguments): raise ValueError({text!r})", scope)
    return scope["main"]


def test_help_lists_the_commands_without_importing_torch():
    code = "import sys; from wbsr.cli import main; main(['--help']); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("False\n")
    assert re.search(r"^  train +check an option file", output, re.M)


HEAVY = ["torch", "torchvision", "basicsr", "scipy", "cv2", "PIL", "matplotlib"]


def imported(code):
    """Of HEAVY, what a process of its own has imported once it has run `code`."""
    code = f"import sys; from wbsr.cli import main\n{code}\nprint([name for name in {HEAVY} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return ast.literal_eval(output.splitlines()[-1])


def test_no_commands_help_imports_what_takes_long():
    """In half a second each: torch and BasicSR alone take seconds."""
    calls = [
        f"try: main([{name!r}, '--help'])\nexcept SystemExit as end: assert end.code == 0" for name in cli.COMMANDS
    ]
    assert imported("\n".join(calls)) == []


@pytest.mark.parametrize("more", [[], ["--sub-images", "12", "--rescale", "1", "0.5", "--workers", "0"], ["--lmdb"]])
def test_preparing_imports_neither_torch_nor_basicsr(tmp_path, more):
    """Five images in one and a half seconds."""
    (tmp_path / "hr").mkdir()
    for number, ending in enumerate(["png", "jpg", "tif", "bmp", "webp"]):
        cv2.imwrite(str(tmp_path / f"hr/{number}.{ending}"), np.full((40, 50, 3), number, np.uint8))
    arguments = ["prepare", "--hr", str(tmp_path / "hr"), "--out", str(tmp_path / "out"), "--scale", "2", "3", *more]
    assert set(imported(f"assert main({arguments}) == 0")) <= {"cv2", "PIL"}


def test_an_unknown_command_is_told_with_the_nearest(capsys):
    assert cli.main(["trian"]) == 2
    assert "wbsr: error: unknown command 'trian': did you mean 'train'?" in capsys.readouterr().err


def test_no_command_is_a_usage_error(capsys):
    assert cli.main([]) == 2
    assert "usage: wbsr COMMAND" in capsys.readouterr().out


def test_arguments_and_the_exit_code_pass_through(command):
    got = []
    command(lambda arguments: got.append(arguments) or 3)
    assert cli.main(["probe", "-x", "--y"]) == 3
    assert got == [["-x", "--y"]]


def test_an_error_of_ours_is_one_line(command, capsys, monkeypatch):
    monkeypatch.delenv("WBSR_DEBUG", raising=False)
    command(ours("widths must be above 0, got 0"))
    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "wbsr: error: widths must be above 0, got 0\n"


def test_wbsr_debug_keeps_the_traceback(command, monkeypatch):
    monkeypatch.setenv("WBSR_DEBUG", "1")
    command(ours("x"))
    with pytest.raises(ValueError, match="x"):
        cli.main(["probe"])


def test_a_command_that_the_user_stops_says_so_in_a_word(command, capsys, monkeypatch):
    def stopped(arguments):
        raise KeyboardInterrupt

    monkeypatch.delenv("WBSR_DEBUG", raising=False)
    command(stopped)
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "wbsr: stopped\n"


def test_an_error_from_elsewhere_keeps_its_traceback(command):
    command(lambda arguments: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main(["probe"])


class Items(Dataset):
    """Fails in a module of ours, or in torch."""

    def __init__(self, in_ours):
        self.in_ours = in_ours

    def __len__(self):
        return 1

    def __getitem__(self, index):
        from wbsr.checks.source import read_options

        return read_options(torch_path("gone.yml")) if self.in_ours else torch.zeros(1).view(2)


def torch_path(name):
    from pathlib import Path

    return Path(name)


@pytest.mark.parametrize("in_ours", [True, False])
@pytest.mark.parametrize("share", [lambda items: DataLoader(items, num_workers=1), lambda items: in_workers(items, 1)])
def test_an_error_of_ours_in_a_worker_is_one_line_too(in_ours, share):
    with pytest.raises((FileNotFoundError, RuntimeError)) as caught:
        next(iter(share(Items(in_ours))))
    message = cli.user_message(caught.value)
    if in_ours:
        assert message.startswith("the option file gone.yml does not exist")
    else:
        assert message is None
