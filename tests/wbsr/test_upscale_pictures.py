"""Transparent, grey, tiled and large pictures come out as who looks at them expects."""

import io
import json

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter
from upscaling import save_weights, textured, upscale

from wbsr.upscale.transparency import with_filled_colours
from wbsr.upscale.writing import check_target
from wbsr_base.pixels.picture import Picture

BOTH = (np.uint8, np.uint16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "net.pth")


@pytest.fixture(scope="module")
def lively(tmp_path_factory):
    """Weights as drawn, which change every colour."""
    return save_weights(tmp_path_factory.mktemp("weights") / "lively.pth", share=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, planes):
    """Planes (H, W, C) in RGB order as PNG, at their depth."""
    cv2.imwrite(str(path), planes[..., [2, 1, 0, 3][: planes.shape[2]]] if planes.shape[2] > 2 else planes)


def load(path):
    planes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return planes[..., None] if planes.ndim == 2 else planes[..., [2, 1, 0, 3][: planes.shape[2]]]


def disc(colour, soft, dtype=np.uint8, size=64):
    """A disc of one colour on transparent black; a soft one fades out."""
    rows, cols = np.mgrid[:size, :size] - (size - 1) / 2
    away = size / 3 - np.hypot(rows, cols)
    alpha = np.clip(away / 6, 0, 1) if soft else (away > 0).astype(float)
    top = np.iinfo(dtype).max
    planes = np.zeros((size, size, len(colour) + 1), dtype)
    planes[alpha > 0, :-1] = np.array(colour) * (top // 255)
    planes[..., -1] = (alpha * top).round()
    return planes


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("colour", [(255, 0, 0), (20, 180, 255), (255, 255, 255)])
def test_transparent_black_does_not_darken_an_edge(folder, weights, colour, soft, dtype):
    save("a.png", disc(colour, soft, dtype))
    assert upscale("a.png", "-o", "b.png", weights=weights) == 0
    result, top = load("b.png").astype(float), np.iinfo(dtype).max
    edge = (result[..., 3] > 0.3 * top) & (result[..., 3] < 0.9 * top)
    assert edge.any()
    assert np.abs(result[edge][:, :3] * 255 / top - colour).max() <= 5


def test_alpha_is_upscaled_by_itself_and_what_is_visible_keeps_its_colour(folder, weights):
    planes = textured(4)
    planes[..., 3] = np.linspace(0, 255, 20).round()[:, None]
    planes[:, 12:15, 3] = 0
    save("a.png", planes)
    hidden = planes.copy()
    hidden[planes[..., 3] == 0, :3] = [0, 255, 99]  # another colour that nobody sees
    save("b.png", hidden)
    assert upscale("a.png", "b.png", "-o", "out", weights=weights) == 0
    assert np.array_equal(load("out/a.png"), load("out/b.png"))
    alpha = Image.fromarray(planes[..., 3].astype(np.float32)).resize((60, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(load("out/a.png")[..., 3], np.asarray(alpha).round().clip(0, 255).astype(np.uint8))
    filled = with_filled_colours(Picture(planes[..., :3], planes[..., 3])).colour
    seen = planes[..., 3] >= 4
    assert np.array_equal(filled[seen], planes[..., :3][seen])


def test_pictures_that_are_all_opaque_or_all_transparent_or_of_one_alpha_are_left_alone(folder, weights):
    colour = textured(3)
    for level in (0, 1, 128, 255):
        picture = Picture(colour, np.full(colour.shape[:2], level, np.uint8))
        assert with_filled_colours(picture) is picture
        save(f"{level}.png", np.dstack([colour, picture.alpha]))
    save("opaque.png", colour)
    assert upscale("0.png", "1.png", "128.png", "255.png", "opaque.png", "-o", "out", weights=weights) == 0
    for level in (0, 1, 128, 255):
        result = load(f"out/{level}.png")
        assert np.array_equal(result[..., :3], load("out/opaque.png"))
        assert (result[..., 3] == level).all()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "deep.png", "deep.tif", "alpha.png"])
def test_a_grey_picture_of_three_channels_stays_grey(folder, lively, name):
    dtype = np.uint16 if name.startswith("deep") else np.uint8
    grey = textured(1, dtype)
    planes = np.repeat(grey, 3, axis=2)
    planes = np.dstack([planes, 255 - grey]) if name == "alpha.png" else planes
    if name == "deep.tif":
        tifffile.imwrite(name, planes, photometric="rgb")
    elif name == "deep.png":
        save(name, planes)
    else:
        Image.fromarray(planes).save(name)
    assert upscale(name, "-o", "out", weights=lively) == 0
    result = tifffile.imread(f"out/{name}") if name == "deep.tif" else load(f"out/{name}")
    assert result.dtype == dtype
    assert result.shape == (40, 60, planes.shape[2])
    apart = np.ptp(result[..., :3].astype(int), axis=2).max()
    assert apart <= (1 if name == "a.webp" else 0)  # which WebP's decoder adds
    save("one.png", grey)
    if name in ("a.png", "deep.png"):
        assert upscale("one.png", "-o", "out", weights=lively) == 0
        assert np.array_equal(load("out/one.png")[..., 0], result[..., 0])


def test_one_coloured_pixel_is_enough_for_colour(folder, lively):
    planes = np.repeat(textured(1), 3, axis=2)
    planes[7, 9, 1] += 1
    save("a.png", planes)
    assert upscale("a.png", "-o", "out", weights=lively) == 0
    assert np.ptp(load("out/a.png").astype(int), axis=2).max() > 1


@pytest.mark.parametrize("size", [(24, 40), (21, 30), (3, 5)])
def test_wrapped_borders_read_the_opposite_side(folder, lively, size):
    planes = textured(4, size=size)
    save("a.png", planes)
    save("tiled.png", np.tile(planes, (3, 3, 1)))
    for name, wrap in (("x", "x"), ("y", "y"), ("both", "both")):
        assert upscale("a.png", "-o", f"{name}.png", "--wrap", wrap, "--subnet", "w4d2", weights=lively) == 0
    assert upscale("tiled.png", "-o", "whole.png", "--subnet", "w4d2", "--plan", "dense", weights=lively) == 0
    assert upscale("a.png", "-o", "none.png", "--subnet", "w4d2", weights=lively) == 0
    height, width = (2 * side for side in size)
    middle = load("whole.png")[height : 2 * height, width : 2 * width].astype(int)
    none, both, x, y = (load(f"{name}.png").astype(int) for name in ("none", "both", "x", "y"))
    assert none.shape == both.shape == x.shape == y.shape == middle.shape
    assert np.abs(both - middle).max() <= 1  # tiles are cut elsewhere
    assert np.abs(none - middle).max() > 5
    if min(size) > 20:
        rows, cols = slice(18, height - 18), slice(18, width - 18)
        assert np.abs(x[rows] - middle[rows]).max(initial=0) <= 1
        assert np.abs(y[:, cols] - middle[:, cols]).max(initial=0) <= 1


def test_maps_and_report_of_a_wrapped_picture_are_of_its_own_patches(folder, weights):
    save("a.png", textured(3, size=(20, 30)))
    assert (
        upscale("a.png", "-o", "b.png", "--wrap", "both", "--map", "--compare", "--report", "r.json", weights=weights)
        == 0
    )
    assert load("b_compare.png").shape[0] > 40
    image = json.loads((folder / "r.json").read_text())["images"][0]
    assert (image["input_size"], image["output_size"]) == ([30, 20], [60, 40])


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_more_exif_than_a_jpeg_holds_is_refused_before_the_run(folder, weights, capsys, monkeypatch, name):
    for size, code in ((65_499, 0), (65_500, 1)):
        exif = Image.Exif()
        exif[0x010E] = "x" * size
        Image.fromarray(textured()).save(folder / name, exif=exif)
        if code:
            monkeypatch.setattr("wbsr.upscale.run.upscale_one", None)  # not reached
        assert upscale(name, "-o", f"{size}.jpg", weights=weights) == code
    told = "65500.jpg: JPEG can't hold more than 65,527 bytes of EXIF: write PNG, WebP or TIFF"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("wrap", ["none", "both"])
def test_maps_and_comparison_show_no_colour_that_transparency_hides(folder, weights, wrap):
    planes = textured(4)
    planes[:, :15, 3] = 0
    save("a.png", planes)
    planes[:, :15, :3] = np.random.default_rng(1).integers(0, 256, (20, 15, 3))
    save("b.png", planes)
    given = ("--map", "--compare", "--wrap", wrap)
    assert upscale("a.png", "b.png", "-o", "out", *given, weights=weights) == 0
    for kind in ("subnets", "scores", "compare"):
        assert np.array_equal(load(f"out/a_{kind}.png"), load(f"out/b_{kind}.png")), kind


@pytest.mark.parametrize("dtype", BOTH)
def test_a_network_of_luma_upscales_grey_and_colour(folder, dtype):
    weights = save_weights(folder / "luma.pth", in_channels=1)
    save("grey.png", textured(1, dtype))
    save("colour.png", textured(3, dtype))
    assert upscale("grey.png", "colour.png", "-o", "out", "--map", "--compare", weights=weights) == 0
    for name, channels in (("grey", 1), ("colour", 3)):
        result, planes = load(f"out/{name}.png").astype(float), load(f"{name}.png").astype(np.float32)
        assert result.shape == (40, 60, channels)
        parts = [Image.fromarray(planes[..., i]).resize((60, 40), Image.Resampling.BICUBIC) for i in range(channels)]
        off = (result - np.stack(parts, axis=2))[4:-4, 4:-4]
        assert np.abs(off).mean() / np.iinfo(dtype).max < 0.05
        if channels == 3:  # chroma is that of bicubic
            inside = result[4:-4, 4:-4]
            whole = (inside > 0).all(axis=2) & (inside < np.iinfo(dtype).max).all(axis=2)
            assert np.ptp(off[whole], axis=1).max() / np.iinfo(dtype).max < 0.01


def test_networks_of_other_channels_are_refused(folder, capsys):
    weights = save_weights(folder / "four.pth", in_channels=4)
    save("a.png", textured(3))
    assert upscale("a.png", "-o", "b.png", weights=weights) == 2
    assert "networks of 1 or 3 input channels, got one of 4" in capsys.readouterr().err


def test_a_lossless_webp_stays_lossless(folder, weights):
    planes = textured(4)
    Image.fromarray(planes).save("a.webp", lossless=True, exact=True)
    Image.fromarray(planes).save("lossy.webp")
    save("a.png", planes)
    assert upscale("a.webp", "lossy.webp", "a.png", "-o", "out", weights=weights) == 0
    assert np.array_equal(np.asarray(Image.open("out/a.webp")), load("out/a.png"))
    assert b"VP8L" in (folder / "out/a.webp").read_bytes()
    assert b"VP8L" not in (folder / "out/lossy.webp").read_bytes()


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "BMP"), ("LA", "BMP"), ("RGBA", "JPEG"), ("LA", "JPEG")])
def test_alpha_is_refused_by_formats_without(folder, weights, capsys, mode, name):
    Image.fromarray(textured(4)).convert(mode).save("a.png")
    suffix = {"BMP": "bmp", "JPEG": "jpg"}[name]
    assert upscale("a.png", "-o", f"out.{suffix}", weights=weights) == 1
    assert f"out.{suffix}: {name} can't hold transparency: write PNG, WebP or TIFF" in capsys.readouterr().err
    assert not (folder / f"out.{suffix}").exists()
    cv2.imwrite("deep.png", np.full((8, 8, 4), 40_000, np.uint16))
    assert upscale("deep.png", "-o", f"out.{suffix}", weights=weights) == 1
    assert f"{name} can't hold transparency: write PNG or TIFF" in capsys.readouterr().err


@pytest.mark.parametrize(("suffix", "longest"), [("webp", 16383), ("jpg", 65500), ("png", 1_000_000)])
def test_what_is_too_large_for_a_format_is_told_first(folder, weights, capsys, monkeypatch, suffix, longest):
    monkeypatch.setattr("wbsr_models.inference.upscaler.DynamicUpscaler.__call__", None)  # not reached
    Image.fromarray(np.zeros((1, longest // 2 + 1), np.uint8)).save("wide.tif")
    assert upscale("wide.tif", "-o", f"out.{suffix}", weights=weights) == 1
    told = capsys.readouterr().err
    assert f"out.{suffix}, the result of wide.tif, has {2 * (longest // 2 + 1)} x 2 pixels" in told
    assert f"holds at most {longest:,} a side: write" in told
    fits = Picture(np.zeros((1, longest, 1), np.uint8))
    check_target(fits, folder / f"a.{suffix}")
    if suffix != "png":
        file = io.BytesIO()
        Image.fromarray(fits.colour[..., 0]).save(file, {"jpg": "JPEG"}.get(suffix, suffix))


def test_frames_are_chosen_by_number(folder, weights, capsys):
    frames = [Image.fromarray(textured(seed=seed)) for seed in range(3)]
    frames[0].save("pages.tif", save_all=True, append_images=frames[1:])
    frames[1].save("second.tif")
    assert upscale("pages.tif", "-o", "a.png", weights=weights) == 1
    assert "pages.tif holds 3 pictures, where one is wanted" in capsys.readouterr().err
    assert upscale("pages.tif", "-o", "a.png", "--frame", 2, weights=weights) == 0
    assert upscale("second.tif", "-o", "b.png", "--frame", 1, weights=weights) == 0
    assert np.array_equal(load("a.png"), load("b.png"))
    assert upscale("pages.tif", "-o", "c.png", "--frame", 4, weights=weights) == 1
    assert "frame must be in 1..3 for pages.tif, which holds 3, got 4" in capsys.readouterr().err


def test_results_that_are_no_numbers_are_told_and_not_written(folder, weights, capsys):
    content = torch.load(weights, weights_only=True)
    name = next(iter(content["params"]))
    content["params"][name].view(-1)[0] = float("nan")
    torch.save(content, "nan.pth")
    save("a.png", textured())
    assert upscale("a.png", "-o", "b.png", weights="nan.pth") == 2
    assert f"weights nan.pth: {name} holds what is no finite number" in capsys.readouterr().err
    content["params"][name].fill_(1e38)
    torch.save(content, "large.pth")
    assert upscale("a.png", "-o", "b.png", weights="large.pth") == 1
    assert "a.png: the network's output is not finite" in capsys.readouterr().err
    assert not (folder / "b.png").exists()


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("paper", [(255, 255, 255), (0, 0, 0), (250, 244, 229)])
def test_paper_keeps_its_colour(folder, lively, paper, dtype):
    top = np.iinfo(dtype).max
    planes = np.empty((96, 96, 3), dtype)
    planes[:] = np.array(paper) * (top // 255)
    ink = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(ink).text((8, 8), "Lorem 123\nipsum", fill=255)
    planes[np.asarray(ink) > 99] = top // 255 * 128
    save("page.png", planes)
    tiles = ("--plan", "tiles")
    assert upscale("page.png", "-o", "a.png", "--report", "a.json", *tiles, weights=lively) == 0
    assert upscale("page.png", "-o", "b.png", "--report", "b.json", *tiles, "--no-flat", weights=lively) == 0
    assert upscale("page.png", "-o", "c.png", "--plan", "dense", weights=lively) == 0
    away = np.kron(maximum_filter(np.asarray(ink) > 99, 9), np.ones((2, 2), bool)) == 0
    assert 0.3 < away.mean() < 0.95
    off = [np.abs(load(name).astype(int) - planes[-1, -1])[away].max() for name in ("a.png", "b.png", "c.png")]
    assert off[0] == off[2] == 0
    assert off[1] > 0 or paper == (0, 0, 0)
    with_rule, without = (json.loads((folder / f"{name}.json").read_text())["images"][0] for name in "ab")
    assert with_rule["patches"]["bicubic"] > 50
    assert "bicubic" not in without["patches"]
    for share in ("flops_share", "flops_share_run"):
        assert with_rule[share] < without[share]
