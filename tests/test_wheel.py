"""What `pip install .` installs is whole: away from the clone, the commands find packages, option files and weights."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wbsr import __version__

CLONE = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in CLONE.glob("wbsr*/__init__.py"))
BUILD = "import sys, setuptools.build_meta as build; print(getattr(build, sys.argv[1])(sys.argv[2]))"


def call(*command, cwd, path=""):
    """Run Python on a command and return what it wrote; nothing of the clone is on its path."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what the clone builds from, in which an earlier build left files that are gone since."""
    root = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CLONE / name, root)
    for name in (*PACKAGES, "options"):
        shutil.copytree(CLONE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("wbsr_models/gone.py", "wbsr/options/demo/gone.yml"):
        stale = root / "build/lib" / name
        stale.parent.mkdir(parents=True, exist_ok=True)
        stale.touch()
    return root


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """The wheel that pip builds, without network."""
    out = tmp_path_factory.mktemp("wheel")
    call("-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", out, source, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("site")
    call("-m", "pip", "install", "--no-index", "--no-deps", "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture
def run(site, tmp_path):
    """Run Python in an empty folder, with the installed packages on its path."""
    return lambda *command: call(*command, cwd=tmp_path, path=site)


def expected():
    """Every module, mark of types and shipped file, by its place in the wheel."""
    for package in PACKAGES:
        for path in (CLONE / package).rglob("*"):
            if path.suffix in (".py", ".pth") or path.name == "py.typed":
                yield path.relative_to(CLONE).as_posix()
    for path in (CLONE / "options").rglob("*.yml"):
        yield f"wbsr/{path.relative_to(CLONE).as_posix()}"


def test_the_wheel_holds_all_packages_types_options_and_weights_and_nothing_stale(wheel):
    assert wheel.name == f"wbsr-{__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set(expected())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"wbsr/weights/light_x4.pth", "wbsr/options/tables/presets/smoke.yml"} <= names


def test_a_source_archive_builds_the_same_wheel(wheel, source, tmp_path):
    call("-c", BUILD, "build_sdist", tmp_path, cwd=source)
    shutil.unpack_archive(next(tmp_path.glob("*.tar.gz")), tmp_path / "unpacked")
    call("-c", BUILD, "build_wheel", tmp_path, cwd=next((tmp_path / "unpacked").iterdir()))
    assert zipfile.ZipFile(tmp_path / wheel.name).namelist() == zipfile.ZipFile(wheel).namelist()


def test_an_editable_install_uses_the_clones_own_option_files(source, tmp_path):
    call("-c", BUILD, "build_editable", tmp_path, cwd=source)
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(tmp_path / "site")
    code = "import site, sys; site.addsitedir(sys.argv[1]); from wbsr.option_files import folder; print(folder())"
    found = call("-S", "-c", code, tmp_path / "site", cwd=tmp_path)  # -S: without this environment's own packages
    assert found.strip() == str(source / "options")


def test_the_installed_option_files_are_listed_and_copied(run, site, tmp_path):
    assert Path(run("-c", "import wbsr; print(wbsr.__file__)").strip()) == site / "wbsr/__init__.py"
    listing = run(site / "bin/wbsr", "options")
    shipped = sorted(path.stem for path in (CLONE / "options").rglob("*.yml"))
    assert sorted(line.split()[0] for line in listing.splitlines() if line.startswith("  ")) == shipped
    run(site / "bin/wbsr", "options", "--copy", "options")
    assert (tmp_path / "options/demo/train.yml").read_bytes() == (CLONE / "options/demo/train.yml").read_bytes()


IN_ONE_PROCESS = """
from wbsr.cli import main
from wbsr.option_files import folder
assert main("tables table1 --preset smoke --backbones SRResNet --dry-run".split()) == 0
assert main("info light_x4".split()) == 0
print("demo:", *sorted(path.name for path in (folder() / "demo").iterdir()))
print("from:", __import__("wbsr_lab").__file__, folder())
"""


def test_the_installed_commands_find_option_files_and_weights(run, site):
    assert "usage: wbsr demo" in run(site / "bin/wbsr", "demo", "--help")
    out = run("-c", IN_ONE_PROCESS)
    assert "Table 1. Dynamic inference beside its backbone and its rivals" in out
    assert "to do       SRResNet" in out
    assert "options/train/SRResNet/WBSR_SRResNet_x4.yml" in out
    assert "impossible" not in out
    assert f"file        {site}/wbsr/weights/light_x4.pth" in out
    assert "demo: shipped.yml test.yml train.yml\n" in out
    assert f"from: {site}/wbsr_lab/__init__.py {site}/wbsr/options\n" in out
