"""The command `wbsr analyze`: its numbers against independent ones, its figures, and its errors."""

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from wbsr import cli, compat

compat.install()

from basicsr.metrics import calculate_psnr  # noqa: E402

from wbsr_arch import Supernet  # noqa: E402
from wbsr_base.pixels.bicubic import resize  # noqa: E402
from wbsr_data.hes.options import HESOptions  # noqa: E402
from wbsr_lab.analyze import imbalance, quality  # noqa: E402
from wbsr_lab.analyze.pairs import FolderPairs  # noqa: E402
from wbsr_models import DynamicUpscaler, Profile  # noqa: E402
from wbsr_models.checkpoints.metadata import Metadata  # noqa: E402

NETWORK = {
    "backbone": {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2},
    "widths": [4, 8],
    "depths": [1, 2],
}
FIGURES = {"scores.png", "levels.png", "classes.png", "examples.png", "mixture.png"}


@pytest.fixture
def hr(tmp_path, monkeypatch):
    """Four HR images, from flat to noisy, beside a broken, a tiny and a grey one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hr").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        image = 128 + rng.normal(0, 1 + 15 * number, (61, 80, 3)) * np.linspace(0, 1, 80)[:, None]
        cv2.imwrite(str(tmp_path / "hr" / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "hr" / "grey.bmp"), rng.integers(0, 255, (48, 48), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "hr" / "tiny.png"), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / "hr" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    return tmp_path / "hr"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    metadata = Metadata({"type": "Supernet", **NETWORK}, Profile(12, (0.05, 0.1, 0.2)))
    path = tmp_path / "net.pth"
    torch.save({"params": Supernet(**NETWORK).state_dict(), "wbsr": metadata.plain()}, path)
    return path


def analyze(*arguments):
    return cli.main(["analyze", *map(str, arguments)])


def test_patches_larger_than_all_images_are_told_by_the_commands_own_argument(hr, tmp_path, capsys):
    assert analyze("--hr", hr, "--out", tmp_path / "out", "--scale", 2, "--patch", 41) == 2
    told = capsys.readouterr().err
    assert "at least 41 pixels (--patch) high and wide, got 6 images that are all smaller: lower --patch" in told


def test_numbers_and_figures_of_a_folder(hr, tmp_path, capsys, weights):
    out = tmp_path / "out"
    more = ("--scale", 2, "--patch", 12, "--classes", 4, "--delta", 0.5, "--levels", 0.1, 0.3, "--samples", 3)
    assert analyze("--hr", hr, "--out", out, *more, "--weights", weights) == 0
    found = json.loads((out / "analysis.json").read_text())
    assert {path.name for path in out.iterdir()} == FIGURES | {"analysis.json", "quality.png"}
    for path in out.glob("*.png"):
        assert cv2.imread(str(path)).std() > 5
    assert found["images"] == 5
    assert set(found["skipped"]) == {"broken.jpg", "tiny.png"}
    assert found["candidates"] == 4 * 4 * 5 + 3 * 3  # LR 30 x 40 and 24 x 24, patches of 12 at stride 8
    assert sum(found["scores"]["histogram"]) == found["candidates"] == sum(found["classes"]["count"])
    assert sum(found["levels"]["share"].values()) == pytest.approx(1)
    classes = found["classes"]
    expected = 0.5 ** -np.arange(1, 5.0) / np.array(classes["count"])
    assert classes["share_class_level"] == pytest.approx(expected / expected.sum())
    assert classes["repeat"] == pytest.approx(np.divide(classes["share_class_level"], classes["share_uniform"]))
    assert set(found["quality"]["methods"]) == {"bicubic", "full", "dynamic"}
    output = capsys.readouterr().out
    assert "2 skipped" in output
    assert "tiny.png: smaller than a patch" in output


def test_levels_count_patches_between_two_scores(hr):
    pairs = FolderPairs(hr, 2, 12, HESOptions(num_classes=3))
    found = imbalance.describe(pairs, (0.1, 0.3))
    score = pairs.index.score
    expected = [(score < 0.1).mean(), ((score >= 0.1) & (score < 0.3)).mean(), (score >= 0.3).mean()]
    assert list(found["levels"]["share"].values()) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"two increasing scores above 0, got \[0\.3, 0\.1\]"):
        imbalance.describe(pairs, (0.3, 0.1))


def test_the_quality_of_a_class_is_that_of_its_patches(tmp_path, monkeypatch, weights):
    """Two patches side by side, one in each class: as the same parts of the whole image upscaled."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    image = np.random.default_rng(1).integers(0, 256, (24, 48, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    image[:, 24:] = cv2.GaussianBlur(image[:, 24:], (0, 0), 3)  # the right half is the easy one
    cv2.imwrite(str(tmp_path / "one" / "a.png"), image)
    pairs = FolderPairs(tmp_path / "one", 2, 12, HESOptions(num_classes=2, stride=12))
    found = quality.measure_classes(pairs, DynamicUpscaler.from_checkpoint(weights), 5, 3.0)
    lr = resize(image, 0.5)
    supernet = Supernet(**NETWORK)
    supernet.load_state_dict(torch.load(weights)["params"])
    with torch.no_grad():
        x = torch.from_numpy(lr[..., ::-1].transpose(2, 0, 1) / np.float32(255))[None]
        sr = supernet(x)[0].numpy().transpose(1, 2, 0)[..., ::-1]
    whole = {"bicubic": resize(lr, 2), "full": (sr * 255).round().clip(0, 255).astype(np.uint8)}
    for method, picture in whole.items():
        for k, half in enumerate((np.s_[:, 24:], np.s_[:, :24])):
            psnr = calculate_psnr(image[half], picture[half], 0, test_y_channel=True)
            assert found[method]["psnr_y"][k] == pytest.approx(psnr, abs=0.01)
            luma = [each[half] @ np.array([24.966, 128.553, 65.481]) / 255 for each in (image, picture)]
            assert found[method]["error_pixels"][k] == pytest.approx((np.abs(luma[0] - luma[1]) > 3).mean(), abs=1e-3)


@pytest.mark.parametrize("routing", [("--subnet", "w4d1"), ("--budget", "0.9")])
def test_dynamic_is_what_the_routing_that_is_asked_for_gives(hr, tmp_path, weights, routing):
    given = ("--hr", hr, "--scale", 2, "--patch", 12, "--classes", 4, "--samples", 4, "--weights", weights)
    assert analyze(*given, "--out", tmp_path / "own") == 0
    assert analyze(*given, "--out", tmp_path / "other", *routing) == 0
    own, other = (json.loads((tmp_path / out / "analysis.json").read_text())["quality"] for out in ("own", "other"))
    assert (own["routing"]["mode"], other["routing"]["mode"]) == ("paper", "w4d1" if "w4d1" in routing else "budget")
    assert other["methods"]["full"] == own["methods"]["full"]
    assert other["methods"]["dynamic"] != own["methods"]["dynamic"]


def test_an_option_file_is_analysed_as_it_trains(hr, tmp_path):
    for name in ("broken.jpg", "tiny.png", "grey.bmp"):
        (hr / name).unlink()
    assert cli.main(["prepare", "--hr", str(hr), "--out", "data", "--scale", "2", "--lmdb", "--workers", "0"]) == 0
    block = {"dataroot_gt": "data/HR.lmdb", "dataroot_lq": "data/LRx2.lmdb", "io_backend": {"type": "lmdb"}}
    hes = {"sampling": "bspa", "num_classes": 3, "cache": False}
    block |= {
        "name": "t",
        "type": "HESPairedImageDataset",
        "gt_size": 24,
        "use_hflip": True,
        "use_rot": True,
        "hes": hes,
    }
    (tmp_path / "opt.yml").write_text(yaml.safe_dump({"scale": 2, "datasets": {"train": block}}))
    assert analyze("--opt", "opt.yml", "--out", "out", "--levels", 0.1, 0.2) == 0
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert (found["scale"], found["patch_size"], found["score"], found["classes"]["mode"]) == (2, 12, "std", "linear")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FIGURES | {"analysis.json"}


def test_a_set_whose_draws_follow_its_training_has_nothing_to_show(tmp_path, capsys):
    block = {"name": "t", "type": "DDAPairedImageDataset", "dataroot_gt": "data/HR", "dataroot_lq": "data/LRx2"}
    (tmp_path / "opt.yml").write_text(yaml.safe_dump({"scale": 2, "datasets": {"train": block}}))
    assert analyze("--opt", tmp_path / "opt.yml", "--out", tmp_path / "out") == 2
    assert "follows its training, so there is nothing to show before: set type: HES" in capsys.readouterr().err


def test_errors_name_the_remedy(hr, tmp_path, capsys, weights):
    cases = {
        ("--hr", tmp_path / "nowhere"): "there is no folder",
        ("--hr", hr, "--scale", 1): "--scale must be at least 2",
        ("--hr", hr, "--scale", 2, "--patch", 12, "--weights", tmp_path / "gone.pth"): "gone.pth",
        ("--hr", hr, "--scale", 2, "--patch", 16, "--weights", weights): "patch size in LR pixels of the weights",
        ("--hr", hr, "--scale", 2, "--patch", 400): "images that are all smaller",
        ("--hr", hr, "--scale", 2, "--patch", 12, "--classes", 200): "200 classes for 89 patches",
    }
    for arguments, message in cases.items():
        assert analyze(*arguments, "--out", tmp_path / "out") == 2
        assert message in capsys.readouterr().err
    for path in hr.iterdir():
        if path.name != "broken.jpg":
            path.unlink()
    assert analyze("--hr", hr, "--out", tmp_path / "out") == 2
    assert "none of the 1 images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flat_images_are_analysed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat").mkdir()
    cv2.imwrite(str(tmp_path / "flat" / "a.png"), np.full((80, 80, 3), 90, np.uint8))
    assert analyze("--hr", "flat", "--out", "out", "--scale", 2, "--patch", 16) == 0
    found = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert found["levels"]["share"]["easy"] == 1
