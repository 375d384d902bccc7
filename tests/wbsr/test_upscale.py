"""`wbsr upscale` keeps what a picture is, loses nothing, and goes on after a bad one."""

import io
import json
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from wbsr import cli
from wbsr.shipped import find_weights
from wbsr.upscale.picture import bicubic, to_tensor
from wbsr.upscale.writing import write_picture
from wbsr_arch import Supernet
from wbsr_base.pixels.reading import read_picture
from wbsr_models import DynamicUpscaler, Profile
from wbsr_models.checkpoints.metadata import Metadata
from wbsr_models.routing.edge_table import EdgeTable

NETWORK = {
    "type": "Supernet",
    "backbone": {"type": "MSRResNet", "num_feat": 4, "num_block": 2, "upscale": 2},
    "widths": [2, 4],
    "depths": [1, 2],
}
TABLE = ((4.0, 3.0, 2.0, 1.0), (8.0, 6.0, 4.0, 2.0), (9.0, 6.0, 4.0, 1.0))
EDGES = EdgeTable((0.03,), ((50.0, 50.0, 50.0, 50.0, 50.0), (20.0, 21.0, 22.0, 23.0, 24.0)))
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Nearly bicubic: the network adds little to the upsampled image, so colours are kept."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(**{key: value for key, value in NETWORK.items() if key != "type"})
    state = {name: 0.01 * weight for name, weight in supernet.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    entry = Metadata(NETWORK, Profile(8, (0.02, 0.05), TABLE, (0.3, 0.3, 0.4), EDGES))
    torch.save({"params": state, "wbsr": entry.plain()}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path


def pixels(channels=3, dtype=np.uint8, size=(20, 30)):
    """A smooth picture with some texture on the right."""
    rows, cols = np.mgrid[: size[0], : size[1]] / max(size)
    planes = np.stack([rows, cols, 1 - rows, 0.5 + cols / 3][:channels], axis=2)
    planes[:, size[1] // 2 :] *= np.random.default_rng(0).uniform(0.8, 1, (size[0], size[1] - size[1] // 2, 1))
    return (planes * np.iinfo(dtype).max).astype(dtype)


def run(*arguments, weights=None):
    given = [] if weights is None else ["--weights", str(weights)]
    return cli.main(["upscale", *map(str, arguments), *given, "--device", "cpu"])


def deep_png_of_grey_and_alpha(planes):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = planes.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in planes)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_eta_routes_by_edges_and_tells_what_was_interpolated(folder, weights):
    picture = pixels(size=(24, 40))
    picture[:, :16] = 128
    cv2.imwrite("in/a.png", picture)
    assert run("in/a.png", "-o", "out", "--eta", "1", "--map", "--report", "report.json", weights=weights) == 0
    content = json.loads((folder / "report.json").read_text())
    assert (content["settings"]["mode"], content["settings"]["eta"]) == ("arm", 1.0)
    patches = content["images"][0]["patches"]
    assert patches["bicubic"] > 0
    assert patches["w4d2"] > 0
    assert sum(patches.values()) == 15
    assert content["images"][0]["flops_share"] == pytest.approx(patches["w4d2"] / 15)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "a_scores.png", "a_subnets.png"]
    assert run("in/a.png", "-o", "out", "--mode", "arm", "--overwrite", weights=weights) == 2


PICTURES = {
    "rgb.png": (3, np.uint8),
    "rgb.jpg": (3, np.uint8),
    "rgb.webp": (3, np.uint8),
    "rgb.tif": (3, np.uint8),
    "rgb.bmp": (3, np.uint8),
    "grey.png": (1, np.uint8),
    "grey.jpg": (1, np.uint8),
    "grey.tiff": (1, np.uint8),
    "alpha.png": (4, np.uint8),
    "alpha.webp": (4, np.uint8),
    "alpha.tif": (4, np.uint8),
    "grey_alpha.png": (2, np.uint8),
    "deep.png": (3, np.uint16),
    "deep_grey.png": (1, np.uint16),
    "deep_grey.tif": (1, np.uint16),
    "deep_alpha.png": (4, np.uint16),
    "deep.tif": (3, np.uint16),
    "deep_alpha.tif": (4, np.uint16),
}


def save(path, channels, dtype):
    planes = pixels(channels, dtype)
    if dtype == np.uint8 or channels == 1:
        Image.fromarray(planes[..., 0] if channels == 1 else planes).save(path, icc_profile=ICC)
    elif path.suffix == ".png":
        order = [2, 1, 0, 3][:channels]
        cv2.imwrite(str(path), planes[..., order])
    else:
        extra = ["unassalpha"] if channels == 4 else None
        tifffile.imwrite(path, planes, photometric="rgb", extrasamples=extra, iccprofile=ICC)
    return planes


def load(path, dtype):
    """An independent reading of a picture, (H, W, C)."""
    if dtype == np.uint8:
        with Image.open(path) as image:
            found = np.asarray(image)
    elif path.suffix == ".png":
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        found = found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]
    else:
        found = tifffile.imread(path)
    return found[..., None] if found.ndim == 2 else found


def test_every_kind_of_picture_stays_what_it_is(folder, weights):
    made = {name: save(folder / "in" / name, *kind) for name, kind in PICTURES.items()}
    pieces = [
        ["in/" + name for name in PICTURES if name.startswith(start)] for start in ("rgb", "grey", "alpha", "deep")
    ]
    for number, piece in enumerate(pieces):
        assert run(*piece, "-o", f"out{number}", weights=weights) == 0
    for name, (channels, dtype) in PICTURES.items():
        found = load(next(folder.glob(f"out*/{name}")), dtype)
        assert found.dtype == dtype, name
        assert found.shape == (40, 60, channels), name
        size = (60, 40)
        planes = np.moveaxis(made[name].astype(np.float32), 2, 0)
        expected = np.stack(
            [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)) for plane in planes]
        )
        off = np.abs(np.moveaxis(found.astype(np.float32), 2, 0) - expected).mean() / np.iinfo(dtype).max
        assert off < 0.03, name
        if channels in (2, 4) and not name.endswith(".webp"):
            top = np.iinfo(dtype).max
            assert np.array_equal(found[..., -1], expected[-1].round().clip(0, top).astype(dtype)), name
        if name not in ("rgb.bmp",) and (dtype == np.uint8 or channels == 1 or name.endswith(".tif")):
            with Image.open(next(folder.glob(f"out*/{name}"))) as image:
                assert image.info["icc_profile"] == ICC, name


def test_rarer_pictures_are_read(folder):
    planes = pixels(2, np.uint16)
    (folder / "grey_alpha.png").write_bytes(deep_png_of_grey_and_alpha(planes))
    picture = read_picture(folder / "grey_alpha.png")
    assert np.array_equal(picture.colour[..., 0], planes[..., 0])
    assert np.array_equal(picture.alpha, planes[..., 1])
    Image.fromarray(pixels()).quantize(8).save(folder / "palette.png")
    with Image.open(folder / "palette.png") as image:
        assert np.array_equal(read_picture(folder / "palette.png").colour, np.asarray(image.convert("RGB")))
    Image.fromarray(pixels()[..., 0] > 99).save(folder / "bits.png")
    assert read_picture(folder / "bits.png").is_grey
    Image.fromarray(pixels()).save(folder / "keyed.png", transparency=(0, 0, 255))
    assert read_picture(folder / "keyed.png").alpha is not None


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.webp", "turned.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_pillow_does(folder, name, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    Image.fromarray(pixels()).save(folder / name, exif=exif)
    with Image.open(folder / name) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(folder / name)
    assert np.array_equal(picture.colour, expected)
    kept = Image.Exif()
    kept.load(picture.exif)
    assert dict(kept) == {0x010F: "Maker"}


@pytest.mark.parametrize("name", ["shot.jpg", "shot.png", "shot.webp", "shot.tif"])
def test_exif_and_colour_profile_are_carried_over(folder, weights, name):
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Camera"
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0xA002: 30}
    exif[0x8825] = {1: "N"}
    Image.fromarray(pixels()).save(folder / "in" / name, exif=exif.tobytes(), icc_profile=ICC)
    assert run("in", "-o", "out", weights=weights) == 0
    with Image.open(folder / "out" / name) as image:
        found = image.getexif()
        assert image.size == (40, 60)
        assert image.info["icc_profile"] == ICC
        assert found.get(0x0112, 1) == 1
        assert found[0x0110] == "Camera"
        assert found.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
        assert 0xA002 not in found.get_ifd(0x8769)
        assert found.get_ifd(0x8825)[1] == "N"


def test_exif_and_profile_of_16_bit_png(folder, weights):
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    blocks = [np.frombuffer(ICC, np.uint8), np.frombuffer(exif.tobytes()[6:], np.uint8)]
    kinds = [cv2.IMAGE_METADATA_ICCP, cv2.IMAGE_METADATA_EXIF]
    _, data = cv2.imencodeWithMetadata(".png", pixels(3, np.uint16), kinds, blocks)
    (folder / "in" / "deep.png").write_bytes(bytes(data))
    assert run("in", "-o", "out", weights=weights) == 0
    with Image.open(folder / "out" / "deep.png") as image:
        assert image.getexif()[0x0110] == "Camera"
        assert image.info["icc_profile"] == ICC


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (9, 8), (41, 23)])
def test_any_size_and_the_same_from_python(folder, weights, size):
    Image.fromarray(pixels(size=size)).save(folder / "a.png")
    assert run("a.png", "-o", "b.png", "--budget", 0.9, weights=weights) == 0
    lr = to_tensor(read_picture(folder / "a.png"))
    sr, _ = DynamicUpscaler.from_checkpoint(weights)(lr, budget=0.9)
    expected = (sr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(folder / "b.png")), expected)


def test_a_bad_picture_is_told_and_the_others_go_on(folder, weights, capsys):
    Image.fromarray(pixels()).save(folder / "in" / "good.png")
    good = (folder / "in" / "good.png").read_bytes()
    (folder / "in" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "in" / "text.jpg").write_text("no picture")
    (folder / "in" / "empty.png").write_bytes(b"")
    Image.fromarray(pixels(4)).convert("CMYK").save(folder / "in" / "print.jpg")
    frames = [Image.fromarray(pixels() // (i + 1)) for i in range(2)]
    frames[0].save(folder / "in" / "pages.tif", save_all=True, append_images=frames[1:])
    Image.fromarray(pixels()).save(folder / "in" / "zoo.png")
    assert run("in", "gone.png", "-o", "out", "--report", "report.json", weights=weights) == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["good.png", "zoo.png"]
    told = capsys.readouterr().err
    assert "2 of 8 pictures upscaled" in told
    for reason in (
        "in/cut.png is damaged or cut off",
        "in/text.jpg is no PNG, JPEG, WebP, TIFF or BMP picture",
        "in/empty.png is no PNG",
        "in/print.jpg is CMYK without a colour profile",
        "in/pages.tif holds 2 pictures",
        "gone.png names no picture",
    ):
        assert told.count(reason) == 1
    report = json.loads((folder / "report.json").read_text())
    assert len(report["failed"]) == 6
    assert [image["input"] for image in report["images"]] == ["in/good.png", "in/zoo.png"]


def test_networks_are_compiled_where_it_is_asked_for(folder, weights, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: asked.append(options))
    Image.fromarray(pixels()).save(folder / "a.png")
    given = ("a.png", "-o", "out", "--overwrite", "--subnet", "w4d2", "--report", "r.json")
    assert run(*given, weights=weights) == 0
    assert not asked
    assert json.loads((folder / "r.json").read_text())["settings"]["capture"] == "auto"
    assert run(*given, "--compile", weights=weights) == 0
    assert asked == [{"dynamic": True}]
    assert json.loads((folder / "r.json").read_text())["settings"]["capture"] == "compile"


def test_the_report_counts_patches_and_flops(folder, weights):
    Image.fromarray(pixels()).save(folder / "a.png")
    assert run("a.png", "-o", "b.png", "--subnet", "w4d2", "--report", "r.json", weights=weights) == 0
    report = json.loads((folder / "r.json").read_text())
    image = report["images"][0]
    assert report["settings"]["mode"] == "w4d2"
    assert (image["input_size"], image["output_size"]) == ([30, 20], [60, 40])
    assert image["patches"] == {"w2d1": 0, "w2d2": 0, "w4d1": 0, "w4d2": 12}
    assert image["flops_share"] == 1
    macs = 20 * 30 * 9 * (3 * 4 + 4 * 4 * 4 + 4 * 16 + 4 * (4 * 4 + 4 * 3))  # first, body, up; last two at x2
    assert image["flops_full"] == pytest.approx(2 * macs)
    assert image["flops_run"] == pytest.approx(image["flops_full"] * image["flops_share_run"])
    assert image["milliseconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "mode", "budget", "told"),
    [
        ([], "budget", 0.6, "routing budget 0.6: "),
        (["--cost", "flops", "--no-flat"], "budget", 0.6, "routing budget 0.6: "),
        (["--quality", "fast"], "budget", 0.4, "routing budget 0.4: "),
        (["--quality", "balanced"], "budget", 0.6, "routing budget 0.6: "),
        (["--quality", "best"], "full", None, "routing full: 100.0% of the full network's FLOPs"),
        (["--budget", "0.8"], "budget", 0.8, "routing budget 0.8: "),
        (["--mode", "paper"], "paper", None, "routing paper: "),
        (["--subnet", "w2d1"], "w2d1", None, "routing w2d1: "),
    ],
)
def test_a_measured_network_keeps_a_budget_unless_told_otherwise(
    folder, weights, capsys, arguments, mode, budget, told
):
    Image.fromarray(pixels(size=(40, 48))).save(folder / "a.png")
    assert run("a.png", "-o", "b.png", "--report", "r.json", *arguments, weights=weights) == 0
    report = json.loads((folder / "r.json").read_text())
    assert (report["settings"]["mode"], report["settings"].get("budget")) == (mode, budget)
    assert report["settings"]["flat"] is ("--no-flat" not in arguments)
    assert report["images"][0]["flops_share"] <= (budget or 1)
    assert told in capsys.readouterr().err


def test_a_network_that_was_not_measured_routes_by_its_classes(folder, weights, capsys):
    content = torch.load(weights, weights_only=True)
    content["wbsr"] = Metadata(NETWORK, Profile(8, (0.02, 0.05))).plain()
    torch.save(content, folder / "young.pth")
    Image.fromarray(pixels()).save(folder / "a.png")
    assert run("a.png", "-o", "b.png", weights=folder / "young.pth") == 0
    assert "routing paper: " in capsys.readouterr().err


def test_maps_and_comparison_stand_beside_the_result(folder, weights):
    Image.fromarray(pixels(4)).save(folder / "a.png")
    assert run("a.png", "-o", "out", "--map", "--compare", weights=weights) == 0
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == ["a.png", "a_compare.png", "a_scores.png", "a_subnets.png"]
    for name in names[1:]:
        with Image.open(folder / "out" / name) as image:
            assert image.mode == "RGB"
            assert image.height > 40  # the legend is below
    compare = np.asarray(Image.open(folder / "out" / "a_compare.png"))
    baseline = bicubic(read_picture(folder / "a.png"), 2).colour
    assert np.array_equal(compare[:40, :60], baseline)


def test_nothing_is_overwritten_unless_told(folder, weights, capsys):
    Image.fromarray(pixels()).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"mine")
    assert run("a.png", "-o", "b.png", weights=weights) == 1
    assert "b.png is there already: give --overwrite" in capsys.readouterr().err
    assert (folder / "b.png").read_bytes() == b"mine"
    assert run("a.png", "-o", "b.png", "--overwrite", weights=weights) == 0
    assert Image.open(folder / "b.png").size == (60, 40)


def test_a_failing_write_leaves_no_file(folder, weights, monkeypatch):
    Image.fromarray(pixels()).save(folder / "a.png")

    def full_disk(path, data):
        io.FileIO(path, "w").write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    assert run("a.png", "-o", "out", weights=weights) == 1
    assert list((folder / "out").iterdir()) == []


def test_a_picture_is_written_while_the_next_is_upscaled(folder, weights, monkeypatch):
    for name in "abc":
        Image.fromarray(pixels()).save(folder / "in" / f"{name}.png")
    began = threading.Event()

    def reading(path, *more):
        if path.name == "b.png":
            began.set()
        return read_picture(path, *more)

    def writing(picture, path):
        assert began.wait(timeout=60)
        write_picture(picture, path)

    monkeypatch.setattr("wbsr.upscale.run.read_picture", reading)
    monkeypatch.setattr("wbsr.upscale.run.write_picture", writing)
    assert run("in", "-o", "out", "--report", "r.json", weights=weights) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    report = json.loads((folder / "r.json").read_text())
    assert [image["input"] for image in report["images"]] == ["in/a.png", "in/b.png", "in/c.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "-o", "one.png"], "-o one.png is one file, got 2 pictures: name a folder"),
        (["in", "-o", "in"], "would be written onto in/a.png, which is to be read"),
        (["in", "in/sub/a.png", "-o", "out"], "in/a.png and in/sub/a.png would both be written to out/a.png"),
        (["in/*.png", "-o", "out", "--ext", "jpg", "--weights", "gone.pth"], "weights gone.pth: there is no such file"),
        (["in", "-o", "out", "--weights", "in/a.png"], "in/a.png can't be read as a checkpoint"),
        (["in", "-o", "out", "--budget", "0.01"], "budget must be at least 0.2778, the cheapest"),
        (["in", "-o", "out", "--budget", "1.2"], r"budget must be in (0, 1], a share of"),
        (["in", "-o", "out", "--mode", "budget"], "routing `budget` needs budget"),
        (["in", "-o", "out", "--subnet", "w9d9"], "must name one of w2d1, "),
        (["in", "-o", "out", "--subnet", "w2d1", "--mode", "full"], "--subnet w2d1 is a mode of its own"),
        (
            ["in", "-o", "out", "--quality", "fast", "--budget", "0.5"],
            "--quality fast is a routing of its own, and so is",
        ),
        (["in", "-o", "out", "--quality", "best", "--subnet", "w2d1"], "and so is `full`: leave out one"),
        (["in", "-o", "out", "--alpha", "2"], "routing `budget` takes no alpha, got 2.0: use routing `eq16`"),
        (["in", "-o", "out", "--scale", "3"], "--scale is 3, but weights"),
        (["in", "-o", "out", "--halo", "-1"], "halo must be a whole number of at least 0, got -1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(folder, weights, capsys, arguments, message):
    (folder / "in" / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/a.png"):
        Image.fromarray(pixels()).save(folder / "in" / name)
    before = sorted(folder.rglob("*"))
    given = [] if "--weights" in arguments else ["--weights", str(weights)]
    assert cli.main(["upscale", *arguments, *given]) == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_absent_is_an_error(folder, weights, capsys):
    Image.fromarray(pixels()).save(folder / "a.png")
    assert cli.main(["upscale", "a.png", "-o", "b.png", "--weights", str(weights), "--device", "cuda"]) == 2
    assert "device is cuda, but there is no CUDA device here: use cpu" in capsys.readouterr().err


def test_what_a_format_cannot_hold_is_an_error(folder, weights, capsys):
    Image.fromarray(pixels(4)).save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), pixels(3, np.uint16))
    assert run("alpha.png", "-o", "alpha.jpg", weights=weights) == 1
    assert "alpha.jpg: JPEG can't hold transparency: write PNG, WebP or TIFF" in capsys.readouterr().err
    assert run("deep.png", "-o", "deep.webp", weights=weights) == 1
    assert "deep.webp: WEBP can't hold 16 bits per channel: write PNG or TIFF" in capsys.readouterr().err


def test_shipped_weights_are_found_by_scale_and_name(tmp_path):
    with pytest.raises(ValueError, match="no weights are shipped with this version: give --weights FILE"):
        find_weights(None, None, tmp_path)
    for name in ("A_x2", "A_x4"):
        (tmp_path / f"{name}.pth").touch()
    assert find_weights(None, None, tmp_path).name == "A_x4.pth"
    assert find_weights(None, 2, tmp_path).name == "A_x2.pth"
    assert find_weights("A_x2", None, tmp_path).name == "A_x2.pth"
    with pytest.raises(ValueError, match=r"no weights are shipped that upscale by 3 \(shipped: A_x2, A_x4\): give --w"):
        find_weights(None, 3, tmp_path)
    (tmp_path / "B_x2.pth").touch()
    with pytest.raises(ValueError, match=r"A_x2, B_x2 upscale by 2: choose one by --weights NAME"):
        find_weights(None, 2, tmp_path)
    with pytest.raises(FileNotFoundError, match="weights A_x8: there is no such file: did you mean"):
        find_weights("A_x8", None, tmp_path)
