"""Every option file that ships says its command, passes the checks, and builds all that it names."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from wbsr import compat
from wbsr.checks.source import read_options
from wbsr.training import check

OPTIONS = Path(__file__).parents[2] / "options"
FILES = sorted(path for path in OPTIONS.rglob("*.yml") if path.relative_to(OPTIONS).parts[0] != "tables")


def command_of(path: Path) -> str:
    return "train" if "train" in read_options(path) else "test"


@pytest.fixture
def data_for(tmp_path, monkeypatch):
    """Make the folders and files that options name, with small images, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)

    def make(opt):
        for dataset in opt["datasets"].values():
            for key, side in (("dataroot_gt", 144), ("dataroot_lq", 144 // opt["scale"])):
                folder = Path(dataset[key])
                folder.mkdir(parents=True, exist_ok=True)
                for i in range(4):
                    cv2.imwrite(str(folder / f"{i:02}.png"), rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        weights = opt["path"].get("pretrain_network_g")
        if weights:
            Path(weights).parent.mkdir(parents=True)
            Path(weights).write_bytes(b"weights")

    return make


def test_the_papers_settings_and_both_single_parts_ship():
    names = {path.stem for path in FILES}
    for arch in ("SRResNet", "RCAN", "EDSR"):
        for scale in (2, 4):
            expected = {f"{kind}_{arch}_x{scale}" for kind in ("WBSR", "HES", "BDLoss", "test_WBSR")}
            assert expected <= names


def test_the_rivals_ship_for_the_papers_backbones_and_scales():
    names = {path.stem for path in FILES}
    for network in (f"{arch}_x{scale}" for arch in ("SRResNet", "RCAN") for scale in (2, 4)):
        assert {f"ARM_{network}", f"test_ARM_{network}", f"test_ClassSR_{network}"} <= names
        assert {f"ClassSR_{network}_{stage}" for stage in ("1branches", "2classifier", "3joint")} <= names


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_an_option_file_says_its_command_and_passes_the_checks(path, data_for):
    command = command_of(path)
    relative = path.relative_to(OPTIONS.parent).as_posix()
    assert f"wbsr {command} -opt {relative}" in path.read_text(encoding="utf-8")
    opt = read_options(path)
    if path.parent.name != "demo":
        assert opt["name"] == path.stem
    data_for(opt)
    compat.install()
    import wbsr.plugin  # noqa: F401

    check(command, opt)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_an_option_file_builds_its_data_sets(path, data_for):
    compat.install()
    from basicsr.data import build_dataset

    import wbsr.plugin  # noqa: F401

    opt = read_options(path)
    data_for(opt)
    for key, dataset in opt["datasets"].items():
        found = build_dataset({**dataset, "phase": key.split("_")[0], "scale": opt["scale"]})[0]
        assert found["gt"].shape[-1] == opt["scale"] * found["lq"].shape[-1]


def distinct_losses():
    losses = {}
    for path in FILES:
        options = read_options(path)
        if "train" in options:
            losses.setdefault(yaml.safe_dump(options["train"]["pixel_opt"]), path)
    return list(losses.values())


@pytest.mark.parametrize("path", distinct_losses(), ids=[path.stem for path in distinct_losses()])
def test_an_option_file_builds_its_loss(path, data_for):
    compat.install()
    from basicsr.losses import build_loss

    import wbsr.plugin  # noqa: F401

    opt = read_options(path)
    data_for(opt)
    loss = build_loss(opt["train"]["pixel_opt"])
    target = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(loss(target.flip(0), target))
    assert loss(target.flip(0), target) > loss(target, target)


def distinct_networks():
    networks = {}
    for path in FILES:
        options = yaml.safe_load(path.read_text(encoding="utf-8").replace("!!float ", ""))["network_g"]
        networks.setdefault(yaml.safe_dump(options), (path.stem, options))
    return list(networks.values())


@pytest.mark.parametrize(("name", "options"), distinct_networks(), ids=[name for name, _ in distinct_networks()])
def test_an_option_file_builds_its_network(name, options):
    compat.install()
    from basicsr.archs import build_network

    import wbsr.plugin  # noqa: F401

    network = build_network(options)
    if options["type"] == "Supernet":
        assert len(network.subnets) == (3 if "ARM" in name else 9)
    if options["type"] == "ClassSR":
        assert len(network.branches) == 3
