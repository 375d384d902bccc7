"""The Makefile makes an environment, reuses it, and repairs a broken one; Python and pip are played by a script."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"

# Notes what it is asked. Packages work once `pip install` has run, unless the environment is beyond repair.
PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  "-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install"*) touch .venv/packages ;;
  "-c import"*) [ -e .venv/packages ] && [ ! -e .venv/beyond_repair ] ;;
esac
"""


@pytest.fixture
def make(tmp_path):
    """Run `make install` in a copy of the project's root and return what Python was asked to do besides imports."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(PYTHON.format(log=log))
    python.chmod(0o755)
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "setup.py").touch()
    os.utime(tmp_path / "setup.py", (0, 0))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}

    def run():
        log.write_text("")
        command = ["make", "install", f"PYTHON={python}"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [line for line in log.read_text().splitlines() if line.startswith(("-m venv", "-m pip install"))]

    return run


MADE = ["-m venv --clear .venv", "-m pip install -e ."]


def test_an_environment_is_made_once_and_then_reused(make):
    assert make() == MADE
    assert make() == []


def test_what_was_left_by_a_killed_install_is_not_trusted(make, tmp_path):
    make()
    (tmp_path / ".venv/installed").unlink()
    assert make() == ["-m pip install -e ."]
    assert make() == []


def test_a_package_that_no_longer_imports_is_installed_again(make, tmp_path):
    make()
    (tmp_path / ".venv/packages").unlink()
    assert make() == ["-m pip install -e ."]


def test_an_environment_beyond_repair_is_made_anew(make, tmp_path):
    make()
    (tmp_path / ".venv/beyond_repair").touch()
    assert make() == ["-m pip install -e .", *MADE]


def test_an_environment_without_its_python_is_made_anew(make, tmp_path):
    make()
    (tmp_path / ".venv/bin/python").unlink()
    assert make() == MADE


def test_a_changed_setup_is_installed(make, tmp_path):
    make()
    os.utime(tmp_path / "setup.py")
    os.utime(tmp_path / ".venv/installed", (1, 1))
    assert make() == ["-m pip install -e ."]
