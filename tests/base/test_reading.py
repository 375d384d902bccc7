"""Whatever layout a picture file has, it is read right or refused by name; the truth are the arrays that made it."""

import io
import itertools
import struct
import zlib

import cv2
import made_pictures as made
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from wbsr_base.pixels.images import check_image, decode_pixels
from wbsr_base.pixels.reading import decode_picture

BOTH = (np.uint8, np.uint16)
CODECS = [None, "tiff_lzw", "packbits", "tiff_adobe_deflate", "group3", "group4", "jpeg", "zstd", "webp", "lzma"]
RNG = np.random.default_rng(0)


def assert_reads(data, colour, alpha=None, told="x"):
    picture = decode_picture(data, "x")
    assert picture.colour.dtype == colour.dtype, told
    np.testing.assert_array_equal(picture.colour, colour, err_msg=str(told))
    if alpha is None:
        assert picture.alpha is None, told
    else:
        np.testing.assert_array_equal(picture.alpha, alpha, err_msg=str(told))
    opaque = alpha is None or (alpha == np.iinfo(alpha.dtype).max).all()
    if opaque:  # data sets and `prepare` read the same
        bgr = colour[..., ::-1] if colour.shape[2] == 3 else np.repeat(colour, 3, axis=2)
        np.testing.assert_array_equal(decode_pixels(data, "x"), bgr, err_msg=str(told))
        assert check_image(data, "x") == colour.shape[:2]
    else:
        for read in (decode_pixels, check_image):
            with pytest.raises(ValueError, match="x has transparent pixels"):
                read(data, "x")


def multiplied(planes):
    """Planes as they are stored under associated alpha, and the colours that can be told from that."""
    top, alpha = np.iinfo(planes.dtype).max, planes[..., -1:].astype(np.float64)
    stored = np.round(planes[..., :-1] * alpha / top)
    known = np.where(alpha == 0, 0, np.round(stored * top / np.maximum(alpha, 1)).clip(0, top))
    return np.dstack([stored, alpha]).astype(planes.dtype), known.astype(planes.dtype)


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", BOTH)
def test_tiff_in_every_layout(dtype, order, tile):
    pieces = {"tile": tile} if tile else {"rowsperstrip": 7}
    for channels, by_planes, codec, predictor in itertools.product(
        (1, 2, 3, 4), (False, True), (None, "zlib", "lzw"), (False, True)
    ):
        if (by_planes and channels == 1) or (predictor and codec is None):
            continue
        planes = made.ramps(channels, dtype)
        colour, alpha = (planes[..., :-1], planes[..., -1]) if channels % 2 == 0 else (planes, None)
        written = np.moveaxis(planes, 2, 0) if by_planes else planes if channels > 1 else planes[..., 0]
        data = made.tiff(
            written,
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig=None if channels == 1 else "separate" if by_planes else "contig",
            extrasamples=None if alpha is None else ["unassalpha"],
            compression="zlib" if predictor or codec == "zlib" else None,
            predictor=2 if predictor else None,
            byteorder=order,
            **pieces,
        )
        data = made.under_lzw(data) if codec == "lzw" else data
        assert_reads(data, colour, alpha, (channels, by_planes, codec, predictor))


@pytest.mark.parametrize("dtype", BOTH)
def test_tiff_with_white_as_zero_and_with_multiplied_colours(dtype):
    top = np.iinfo(dtype).max
    for order, codec in itertools.product("<>", (None, "zlib")):
        grey = made.ramps(1, dtype)
        data = made.tiff(top - grey[..., 0], photometric="miniswhite", compression=codec, byteorder=order)
        assert_reads(data, grey, told=(order, codec))
        for channels, photometric in ((2, "minisblack"), (4, "rgb")):
            planes = made.ramps(channels, dtype)
            planes[:5, :, -1] = 0
            stored, known = multiplied(planes)
            options = {"photometric": photometric, "planarconfig": "contig", "extrasamples": ["assocalpha"]}
            data = made.tiff(stored, compression=codec, byteorder=order, **options)
            assert_reads(data, known, planes[..., -1], (order, codec, channels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_and_png_are_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for dtype, channels in itertools.product(BOTH, (1, 3, 4)):
        planes = made.ramps(channels, dtype, (12, 20))
        right = made.turned(planes, orientation)
        colour, alpha = (right[..., :3], right[..., 3]) if channels == 4 else (right, None)
        data = made.tiff(
            planes if channels > 1 else planes[..., 0],
            photometric="rgb" if channels > 1 else "minisblack",
            extrasamples=["unassalpha"] if channels == 4 else None,
            extratags=[(274, "H", 1, orientation, True)],
        )
        assert_reads(data, colour, alpha, channels)
        kind = {1: 0, 3: 2, 4: 6}[channels]
        data = made.png(planes, 8 * planes.itemsize, kind, [(b"eXIf", exif.tobytes()[6:])])
        assert_reads(data, colour, alpha, channels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_tiff_of_few_bits_and_with_a_palette(bits):
    levels = RNG.integers(0, 2**bits, (11, 13))
    rows = made.packed(levels, bits)
    grey = (levels * (255 // (2**bits - 1))).astype(np.uint8)[..., None]
    assert_reads(made.raw_tiff(levels.shape, bits, 1, rows), grey)
    assert_reads(made.raw_tiff(levels.shape, bits, 0, rows), 255 - grey)
    palette = RNG.integers(0, 256, (2**bits, 3))
    tag = (320, tuple((257 * palette.T.ravel()).tolist()))
    assert_reads(made.raw_tiff(levels.shape, bits, 3, rows, [tag]), palette[levels].astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_tiff_as_pillow_compresses_it(mode):
    picture = Image.fromarray(made.ramps(4)).convert("RGB")
    picture = picture.quantize(20) if mode == "P" else picture.convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(made.ramps(1)[..., 0]))
    written = 0
    for codec in CODECS:
        file = io.BytesIO()
        try:
            picture.save(file, "TIFF", compression=codec)
        except (OSError, RuntimeError):  # not for this mode, or not in this build
            continue
        shown = Image.open(io.BytesIO(file.getvalue())) if codec in ("jpeg", "webp") else picture
        planes = np.asarray(shown.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
        planes = planes[..., None] if planes.ndim == 2 else planes
        alpha = planes[..., -1] if mode in ("LA", "RGBA") else None
        assert_reads(file.getvalue(), planes if alpha is None else planes[..., :-1], alpha, codec)
        written += 1
    assert written >= 4


@pytest.mark.parametrize("dtype", BOTH)
def test_tiff_as_opencv_writes_it(dtype):
    for channels in (1, 3, 4):  # four channels without saying that one is alpha
        planes = made.ramps(channels, dtype)
        data = cv2.imencode(".tif", planes[..., [2, 1, 0, 3][:channels]] if channels > 1 else planes)[1].tobytes()
        assert_reads(data, planes[..., :3], planes[..., 3] if channels == 4 else None, channels)


def several_pages():
    return made.tiff(np.stack([made.ramps()] * 3), photometric="rgb")


def imagej():
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((5, 20, 20), np.uint16), imagej=True)
    return file.getvalue()


GREY, COLOUR = made.ramps(1)[..., 0], made.ramps()
REFUSED = {
    "float": (lambda: made.tiff(COLOUR / np.float32(255), photometric="rgb"), "8 or 16 bits per channel, got float32"),
    "half": (lambda: made.tiff((COLOUR / 255).astype(np.float16), photometric="rgb"), "got float16"),
    "signed": (lambda: made.tiff(COLOUR.astype(np.int8), photometric="rgb"), "got int8"),
    "signed 16": (lambda: made.tiff(GREY.astype(np.int16)), "got int16"),
    "32 bits": (lambda: made.tiff(GREY.astype(np.uint32)), "must have 8 or 16 bits per channel, got 32"),
    "12 bits": (lambda: made.raw_tiff((2, 2), 12, 1, [bytes(6)]), "must have 8 or 16 bits per channel, got 12"),
    "Lab": (lambda: made.tiff(COLOUR, photometric="cielab"), "must be grey, RGB, CMYK or have a palette, got .*CIELAB"),
    "YCbCr": (lambda: made.tiff(COLOUR, photometric="ycbcr"), "YCbCr that is not compressed by JPEG"),
    "spare": (
        lambda: made.tiff(made.ramps(4), photometric="rgb", extrasamples=["unspecified"]),
        "extra channels of the kinds 0, where one of alpha",
    ),
    "spare 16": (
        lambda: made.tiff(made.ramps(4, np.uint16), photometric="rgb", extrasamples=["unspecified"]),
        "extra channels of the kinds 0, where one of alpha",
    ),
    "five": (
        lambda: made.tiff(np.dstack([COLOUR, COLOUR[..., :2]]), photometric="rgb", extrasamples=["unassalpha", 0]),
        "extra channels of the kinds 2, 0",
    ),
    "pages": (several_pages, "holds 3 pictures, where one is wanted.*--frame N"),
    "stack": (imagej, "holds 5 pictures"),
    "volume": (
        lambda: made.tiff(np.zeros((4, 16, 16), np.uint8), photometric="minisblack", volumetric=True, tile=(1, 16, 16)),
        "must be a flat picture.*in 4 layers",
    ),
    "inks": (lambda: made.tiff(made.ramps(4), photometric="separated"), "is CMYK without a colour profile"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_layout_that_is_not_read_is_named(kind):
    make, message = REFUSED[kind]
    data = make()
    for read in (decode_picture, decode_pixels, check_image):
        with pytest.raises(ValueError, match=f"^in/x.tif .*{message}"):
            read(data, "in/x.tif")


@pytest.mark.filterwarnings("ignore")  # of Pillow, about tags that it skips
def test_a_tiff_that_was_cut_off_or_spoiled_gives_one_error_at_most():
    random = np.random.default_rng(1)
    kinds = [
        made.tiff(made.ramps(3, np.uint16), photometric="rgb", compression=c, rowsperstrip=8) for c in (None, "zlib")
    ]
    for data in (*kinds, made.under_lzw(kinds[0])):
        for share in (0.02, 0.3, 0.9):
            with pytest.raises(ValueError, match=r"^x is .*damaged"):
                decode_picture(data[: int(share * len(data))], "x")
        for _ in range(60):
            spoiled = bytearray(data)
            for at in random.integers(0, 400, 3):
                spoiled[at] = random.integers(0, 256)
            try:
                decode_picture(bytes(spoiled), "x")
            except ValueError as error:
                assert "x" in str(error)  # noqa: PT017  some spoiled bytes don't matter


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits"),
    [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
    + [(kind, bits) for kind in (4, 6) for bits in (8, 16)],
)
def test_png_of_every_kind(kind, bits, interlaced):
    channels, top = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind], 2**bits - 1
    samples = RNG.integers(0, top + 1, (19, 21, channels))
    dtype = np.uint16 if bits == 16 else np.uint8
    highest = np.iinfo(dtype).max
    if kind == 3:
        palette, clear = RNG.integers(0, 256, (top + 1, 3)), RNG.integers(0, 255, top + 1)
        colour, chunks = palette[samples[..., 0]].astype(dtype), [(b"PLTE", palette.astype("u1").tobytes())]
        assert_reads(made.png(samples, bits, kind, chunks, interlaced), colour)
        chunks.append((b"tRNS", clear.astype("u1").tobytes()))
        assert_reads(made.png(samples, bits, kind, chunks, interlaced), colour, clear[samples[..., 0]].astype(dtype))
        return
    planes = (samples * highest // top).astype(dtype)
    colour, alpha = (planes[..., :-1], planes[..., -1]) if kind in (4, 6) else (planes, None)
    assert_reads(made.png(samples, bits, kind, [(b"gAMA", struct.pack(">I", 45455))], interlaced), colour, alpha)
    if alpha is None:  # one level, or one colour, is clear
        key = samples[3, 4]
        clear = np.where((samples == key).all(axis=-1), 0, highest).astype(dtype)
        data = made.png(samples, bits, kind, [(b"tRNS", key.astype(">u2").tobytes())], interlaced)
        assert_reads(data, colour, clear)


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_of_every_kind(top_down):
    size = (11, 13)
    for bits in (1, 4, 8):
        palette = RNG.integers(0, 256, (2**bits, 3)).astype(np.uint8)
        numbers = RNG.integers(0, 2**bits, size).astype(np.uint8)
        assert_reads(made.bmp(numbers, bits, top_down, palette), palette[numbers], told=bits)
    colour = RNG.integers(0, 256, (*size, 3)).astype(np.uint8)
    assert_reads(made.bmp(colour[..., ::-1], 24, top_down), colour)
    fourth = np.dstack([colour[..., ::-1], RNG.integers(0, 255, size).astype(np.uint8)])
    assert_reads(made.bmp(fourth, 32, top_down), colour)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for header in (108, 124):
        assert_reads(made.bmp(fourth, 32, top_down, masks=masks, header=header), colour, fourth[..., 3])
        unused = np.dstack([fourth[..., :3], np.zeros(size, np.uint8)])
        assert_reads(made.bmp(unused, 32, top_down, masks=masks, header=header), colour)
    for masks in ((0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)):
        words = RNG.integers(0, 2 ** (15 + (masks[0] > 0x7C00)), size).astype("<u2")
        parts = [(words & mask) // (mask & -mask) * 255 // (mask // (mask & -mask)) for mask in masks]
        assert_reads(made.bmp(words, 16, top_down, masks=masks), np.stack(parts, axis=2).astype(np.uint8))


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_webp_with_and_without_loss(mode, lossless):
    for more in ({}, {"icc_profile": bytes(3001)}):  # a longer header
        file = io.BytesIO()
        picture = Image.fromarray(made.ramps(4)).convert(mode)
        picture.save(file, "WEBP", lossless=lossless, exact=True, **more)
        found = decode_picture(file.getvalue(), "x")
        assert found.lossless == lossless
        other = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.abs(found.colour - other[..., 2::-1].astype(int)).max() <= (mode == "L" and not lossless)
        if mode == "L":
            assert np.ptp(found.colour, axis=2).max() == 0
        if mode == "RGBA":
            np.testing.assert_array_equal(found.alpha, other[..., 3])


@pytest.mark.parametrize("form", ["WEBP", "PNG", "TIFF"])
def test_one_of_several_pictures_is_read_by_its_number(form):
    frames = [Image.fromarray(np.roll(made.ramps(4), 9 * i, axis=1)) for i in range(3)]
    file = io.BytesIO()
    more = {"lossless": True, "exact": True} if form == "WEBP" else {}
    frames[0].save(file, form, save_all=True, append_images=frames[1:], **more)
    for number, frame in enumerate(frames, start=1):
        picture = decode_picture(file.getvalue(), "x", number)
        np.testing.assert_array_equal(np.dstack([picture.colour, picture.alpha]), np.asarray(frame))
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=rf"frame must be in 1\.\.3 for x, which holds 3, got {number}"):
            decode_picture(file.getvalue(), "x", number)
    for read in (decode_picture, decode_pixels, check_image):
        with pytest.raises(ValueError, match="x holds 3 pictures, where one is wanted"):
            read(file.getvalue(), "x")


def to_srgb(lab):
    """Lab (D50) in sRGB, by the formulas of CIE and IEC, with Bradford's adaptation."""
    fy = (lab[0] + 16) / 116
    f = np.array([fy + lab[1] / 500, fy, fy - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    matrix = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = (matrix @ xyz).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_by_its_profile(form):
    paper, inks = np.array([100.0, 0, 0]), [np.array(each) for each in ([62.0, -20, -30], [55, 45, 5], [88, -4, 60])]
    corners = np.zeros((2, 2, 2, 2, 3))
    for corner in itertools.product((0, 1), repeat=4):
        mixed = np.mean([ink for ink, on in zip(inks, corner, strict=False) if on] or [paper], axis=0)
        corners[corner] = mixed * (0.3 if corner[3] else 1)
    for corner in ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        planes = np.broadcast_to(255 * np.array(corner, np.uint8), (16, 16, 4))
        file = io.BytesIO()
        options = {"quality": 100} if form == "JPEG" else {}
        Image.fromarray(planes.copy(), "CMYK").save(file, form, icc_profile=made.cmyk_profile(corners), **options)
        picture = decode_picture(file.getvalue(), "x")
        assert np.abs(picture.colour - to_srgb(corners[corner])).max() < 3, corner
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        np.testing.assert_array_equal(decode_pixels(file.getvalue(), "x"), picture.colour[..., ::-1])
    file = io.BytesIO()
    Image.fromarray(planes.copy(), "CMYK").save(file, form)
    for read in (decode_picture, decode_pixels, check_image):
        with pytest.raises(ValueError, match="x is CMYK without a colour profile, so nobody knows its colours: assign"):
            read(file.getvalue(), "x")


def test_large_scans_are_read_and_what_is_larger_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own bound, which is meant for servers
    file = io.BytesIO()
    Image.fromarray(made.ramps()).save(file, "BMP")
    assert_reads(file.getvalue(), made.ramps())
    assert Image.MAX_IMAGE_PIXELS == 100
    header = made.png(np.zeros((1, 1, 3), np.uint8), 8, 2)
    huge = bytearray(header)
    huge[16:24] = struct.pack(">II", 40_000, 30_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    for read in (decode_picture, decode_pixels, check_image):
        with pytest.raises(ValueError, match=r"x has 40000 x 30000 = 1,200,000,000 pixels, and at most .*: cut it up"):
            read(bytes(huge), "x")
