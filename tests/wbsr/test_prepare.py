"""The command `wbsr prepare`: its arguments, what it prints, and that the printed lines work."""

import cv2
import numpy as np
import pytest
import yaml

from wbsr import cli, plugin  # noqa: F401  the plugin registers the data set that the lines name

from basicsr.data import build_dataset  # isort: skip


@pytest.fixture
def hr(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my images").mkdir()
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 256, (150, 170, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "my images" / f"{number}.png"), image)
    return "my images"


@pytest.mark.parametrize("more", [[], ["--lmdb", "--sub-images", "144", "--step", "12"]])
def test_the_printed_lines_make_a_training_set(hr, capsys, more):
    assert cli.main(["prepare", "--hr", hr, "--out", "a: b", "--scale", "2", "3", "--workers", "0", *more]) == 0
    for text in capsys.readouterr().out.split("\n\n")[1:]:
        block = yaml.safe_load(text)["datasets"]["train"]
        scale = int(block["dataroot_lq"].removesuffix(".lmdb")[-1])
        dataset = build_dataset({**block, "phase": "train", "scale": scale})
        item = dataset[0]
        assert item["gt"].shape[1] == scale * item["lq"].shape[1] == (128 if scale == 2 else 126)
        del dataset  # an LMDB can be open only once in a process


def test_skipped_images_and_kept_ones_are_told(hr, tmp_path, capsys):
    (tmp_path / hr / "bad.png").write_text("no image")
    command = ["prepare", "--hr", hr, "--out", "out", "--scale", "4", "--workers", "0"]
    assert cli.main(command) == 2
    assert "my images/bad.png is no image that can be read" in capsys.readouterr().err
    assert cli.main([*command, "--skip-bad"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("3 pairs in out (3 HR files kept)\nskipped: 1 HR files\n  my images/bad.png is no image")


def test_rescale_alone_takes_classsrs_factors(hr, capsys):
    assert cli.main(["prepare", "--hr", hr, "--out", "out", "--scale", "2", "--workers", "0", "--rescale"]) == 0
    assert capsys.readouterr().out.startswith("15 pairs in out\n")
