"""No two outputs of a run bear one name, none replaces an input, and trees of folders are mirrored."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from upscaling import save_weights, textured, upscale

from wbsr.upscale.overlays import score_overlay
from wbsr_arch import ClassSR
from wbsr_base.pixels.reading import read_picture
from wbsr_models import Profile
from wbsr_models.checkpoints.metadata import Metadata


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "net.pth")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(textured()).save(path)


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (["a.png", "a.jpg"], ["--ext", "png"], "a.jpg and a.png would both be written to out/a.png: upscale"),
        (
            ["a.png", "a.jpg"],
            ["--map"],
            "the subnets picture of a.jpg and the subnets picture of a.png would both be written to out/a_subnets.png: "
            "upscale them to two folders, or leave out --map",
        ),
        (
            ["a.png", "a.tif"],
            ["--compare"],
            "the compare picture of a.png and the compare picture of a.tif would both be written to out/a_compare.png: "
            "upscale them to two folders, or leave out --compare",
        ),
        (
            ["a.png", "a_compare.png"],
            ["--compare"],
            "the compare picture of a.png and a_compare.png would both be written to out/a_compare.png",
        ),
        (
            ["a_scores.png", "a.png"],
            ["--map"],
            "the scores picture of a.png and a_scores.png would both be written to out/a_scores.png",
        ),
        (["a.png"], ["--report", "out/a.png"], "the report and a.png would both be written to out/a.png"),
        (["a.png"], ["--map", "--report", "out/a_scores.png"], "the report and the scores picture of a.png would both"),
    ],
)
def test_two_outputs_of_one_name_are_refused_before_anything_is_read(
    folder, weights, capsys, monkeypatch, names, arguments, message
):
    monkeypatch.setattr("wbsr.upscale.run.read_picture", None)  # not reached
    save(*(folder / name for name in names))
    assert upscale(*sorted(names), "-o", "out", *arguments, weights=weights) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_an_output_does_not_replace_a_picture_that_is_read(folder, weights, capsys):
    save(folder / "in/a.png", folder / "in/b_compare.png", folder / "b.jpg")
    assert upscale("in", "b.jpg", "-o", "in", "--compare", "--overwrite", weights=weights) == 2
    assert "in/a.png would be written onto in/a.png, which is to be read: name another -o" in capsys.readouterr().err
    assert upscale("b.jpg", "in/b_compare.png", "-o", "in/b.png", "--compare", weights=weights) == 2
    assert "-o in/b.png is one file, got 2 pictures" in capsys.readouterr().err
    (folder / "in/b_compare.png").rename(folder / "b_compare.png")
    assert upscale("b_compare.png", "b.jpg", "-o", ".", "--ext", "webp", "--compare", weights=weights) == 2
    told = "the compare picture of b.jpg would be written onto b_compare.png, which is to be read"
    assert f"{told}: name another -o, or leave out --compare" in capsys.readouterr().err


@pytest.mark.parametrize("report", ["there", "out", "in/a.png"])
def test_a_report_is_no_folder_and_no_picture(folder, weights, capsys, report):
    save(folder / "in/a.png")
    (folder / "there").mkdir()
    before = (folder / "in/a.png").read_bytes()
    assert upscale("in", "-o", "out", "--report", report, weights=weights) == 2
    told = capsys.readouterr().err
    assert f"--report {report} " in told
    assert "name a file, such as report.json" in told or "name another file" in told
    assert (folder / "in/a.png").read_bytes() == before
    assert not (folder / "out").exists()


@pytest.mark.parametrize("given", [("", "-o", "out"), ("a.png", "-o", ""), ("a.png", "-o", "out", "--report", "")])
def test_an_empty_text_is_not_the_current_folder(folder, weights, capsys, given):
    save(folder / "a.png")
    with pytest.raises(SystemExit, match="2"):
        upscale(*given, weights=weights)
    assert "must name a file or a folder, got an empty text; the current folder is ." in capsys.readouterr().err
    assert tree(folder) == ["a.png"]


def test_a_report_replaces_nothing_unless_told_and_the_weights_never(folder, weights, capsys):
    save(folder / "a.png")
    mine = shutil.copy(weights, folder / "net.pth")
    (folder / "notes.txt").write_text("mine")
    for report, more, message in (
        ("notes.txt", [], "--report notes.txt is there already: give --overwrite to replace it"),
        ("net.pth", ["--overwrite"], "--report net.pth would be written onto the weights in use: name another file"),
    ):
        assert upscale("a.png", "-o", "out", "--report", report, *more, weights=mine) == 2
        assert message in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine"
    assert mine.read_bytes() == weights.read_bytes()
    assert not (folder / "out").exists()
    assert upscale("a.png", "-o", "out", "--report", "notes.txt", "--overwrite", weights=mine) == 0
    assert len(json.loads((folder / "notes.txt").read_text())["images"]) == 1


def test_a_report_whose_folder_cannot_be_made_is_refused_before_anything_runs(folder, weights, capsys):
    save(folder / "a.png")
    assert upscale("a.png", "-o", "out", "--report", "a.png/r.json", weights=weights) == 2
    assert "--report a.png/r.json: the folder a.png can't be made (" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_report_that_cannot_be_written_is_told_after_the_summary(folder, weights, capsys, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    save(folder / "a.png")
    monkeypatch.setattr("wbsr.upscale.run.write_whole", full_disk)
    assert upscale("a.png", "-o", "out", "--report", "new/r.json", weights=weights) == 2
    told = capsys.readouterr().err.splitlines()[-2:]
    assert told[0].startswith("1 of 1 pictures upscaled")
    assert told[1] == "wbsr: error: --report new/r.json can't be written (No space left on device); the pictures are"
    assert tree(folder) == ["a.png", "out/a.png"]


@pytest.mark.parametrize("more", [[], ["--recursive"]])
def test_a_link_that_runs_in_circles_is_told_and_the_others_go_on(folder, weights, capsys, more):
    save(folder / "in/a.png")
    (folder / "in/loop.png").symlink_to("loop.png")
    assert upscale("in", "-o", "out", *more, weights=weights) == 1
    assert "in/loop.png" in capsys.readouterr().err.split("failed:")[1]
    assert tree(folder / "out") == ["a.png"]


def test_a_score_for_every_subnet_has_no_map(folder, capsys):
    backbone = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}
    network = {"backbone": backbone, "widths": [4, 8]}
    entry = Metadata({"type": "ClassSR", **network}, Profile(32)).plain()
    torch.save({"params": ClassSR(**network).state_dict(), "wbsr": entry}, folder / "net.pth")
    save(folder / "a.png")
    assert upscale("a.png", "-o", "out", "--map", weights=folder / "net.pth") == 0
    told = capsys.readouterr().err
    assert "--map: routing classsr gives a patch no single score: NAME_scores.png is left out" in told
    assert tree(folder / "out") == ["a.png", "a_subnets.png"]
    assert upscale("a.png", "-o", "full", "--map", "--mode", "full", weights=folder / "net.pth") == 0
    assert tree(folder / "full") == ["a.png", "a_scores.png", "a_subnets.png"]


def test_an_error_of_opencv_is_told_with_the_pictures_name_and_the_others_go_on(folder, weights, capsys, monkeypatch):
    def overlay(result, *more):
        if result.size == (16, 16):
            cv2.applyColorMap(np.zeros((2, 2, 4), np.uint8), cv2.COLORMAP_JET)
        return score_overlay(result, *more)

    monkeypatch.setattr("wbsr.upscale.run.score_overlay", overlay)
    save(folder / "a.png", folder / "c.png")
    Image.fromarray(textured(size=(8, 8))).save(folder / "b.png")
    assert upscale("a.png", "b.png", "c.png", "-o", "out", "--map", weights=weights) == 1
    failed = capsys.readouterr().err.split("failed:\n")[1].splitlines()
    assert len(failed) == 1
    assert failed[0].startswith("  b.png: OpenCV(")
    assert {"a.png", "c.png"} <= set(tree(folder / "out"))


def test_a_failure_names_the_picture(folder, weights, capsys, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wbsr.upscale.run.write_picture", full_disk)
    save(folder / "a.png")
    (folder / "b.png").write_text("no picture")
    assert upscale("a.png", "b.png", "-o", "out", weights=weights) == 1
    failed = capsys.readouterr().err.split("failed:\n")[1].splitlines()
    assert failed[0] == "  a.png: [Errno 28] No space left on device"
    assert failed[1].startswith("  b.png is no PNG")


def test_subfolders_are_mirrored(folder, weights, capsys):
    save(*(folder / "in" / name for name in ("a.png", "x/a.png", "x/y/b.jpg", ".trash/c.png", "z/.d.png")))
    (folder / "in/x/notes.txt").write_text("no picture")
    (folder / "elsewhere").mkdir()
    save(folder / "elsewhere/e.png")
    (folder / "in/linked").symlink_to(folder / "elsewhere", target_is_directory=True)
    (folder / "in/x/round").symlink_to(folder / "in", target_is_directory=True)
    assert upscale("in", "-o", "out", "--recursive", weights=weights) == 0
    assert tree(folder / "out") == ["a.png", "linked/e.png", "x/a.png", "x/y/b.jpg"]
    assert upscale("in", "-o", "flat", weights=weights) == 0
    assert tree(folder / "flat") == ["a.png"]
    (folder / "in/a_link").symlink_to(folder / "in/x", target_is_directory=True)  # which counts at its own place
    (folder / "in/x/round").unlink()
    assert upscale("in/x", "-o", "in/results", "--recursive", weights=weights) == 0
    assert upscale("in", "-o", "in/results", "--recursive", "--overwrite", weights=weights) == 0
    assert tree(folder / "in/results") == ["a.png", "linked/e.png", "x/a.png", "x/y/b.jpg", "y/b.jpg"]
    assert "4 of 4 pictures" in capsys.readouterr().err.splitlines()[-1]


def test_pictures_in_subfolders_alone_are_hinted_at(folder, weights, capsys):
    save(folder / "in/deep/a.png")
    (folder / "empty").mkdir()
    assert upscale("in", "empty", "-o", "out", weights=weights) == 1
    told = capsys.readouterr().err
    assert "in holds pictures in its subfolders alone: add --recursive" in told
    assert "empty names no picture" in told


@pytest.mark.parametrize(
    "name", ["out.gif", "out.heic", "out.svg", "out.pdf", "out.mp4", "OUT.GIF", "out.jxl", "out.raw"]
)
def test_a_format_that_cannot_be_written_is_no_folder(folder, weights, capsys, name):
    save(folder / "a.png")
    assert upscale("a.png", "-o", name, weights=weights) == 2
    assert f"-o {name} ends like a format that can't be written: end it in one of .bmp" in capsys.readouterr().err
    assert not (folder / name).exists()
    (folder / name).mkdir()
    assert upscale("a.png", "-o", name, weights=weights) == 0
    assert upscale("a.png", "-o", "results.v2", weights=weights) == 0
    assert tree(folder / "results.v2") == ["a.png"]


def test_everything_that_was_planned_is_written(folder, weights):
    save(folder / "a.png", folder / "b.jpg")
    assert upscale("a.png", "b.jpg", "-o", "out", "--map", "--compare", weights=weights) == 0
    beside = [f"{name}_{kind}.png" for name in "ab" for kind in ("compare", "scores", "subnets")]
    assert tree(folder / "out") == sorted(["a.png", "b.jpg", *beside])
    assert np.asarray(Image.open("out/a.png")).shape == (40, 60, 3)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")],
)
def test_a_picture_that_is_too_large_for_the_memory_is_named(folder, weights, capsys, monkeypatch, error):
    def read(path, *more):
        if path.name == "b.png":
            raise error
        return read_picture(path, *more)

    monkeypatch.setattr("wbsr.upscale.run.read_picture", read)
    save(folder / "a.png", folder / "b.png", folder / "c.png")
    assert upscale("a.png", "b.png", "c.png", "-o", "out", weights=weights) == 1
    assert "b.png is too large for the memory: cut it up, or lower --memory" in capsys.readouterr().err
    assert tree(folder / "out") == ["a.png", "c.png"]
