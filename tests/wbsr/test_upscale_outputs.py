"""No two outputs of a run bear one name, none replaces an input, and trees of folders are mirrored."""

import numpy as np
import pytest
from PIL import Image
from upscaling import save_weights, textured, upscale

from wbsr_base.pixels.reading import read_picture


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
