"""Decoding: every kind of image becomes the same kind of pixels, or is refused with a reason."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from wbsr_base.pixels.images import check_image, decode_image, find_images


def encode(pixels, extension=".png"):
    return cv2.imencode(extension, pixels)[1].tobytes()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depths_are_scaled_to_one(dtype):
    pixels = noise(7, 9, 3, dtype=dtype)
    image = decode_image(encode(pixels), "a.png")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, pixels.astype(np.float32) / np.iinfo(dtype).max)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_becomes_three_equal_channels(dtype):
    pixels = noise(5, 6, dtype=dtype)
    image = decode_image(encode(pixels), "grey.png")
    np.testing.assert_array_equal(image, np.stack([pixels / np.float32(np.iinfo(dtype).max)] * 3, axis=-1))


def test_opaque_alpha_is_dropped_and_transparency_refused():
    pixels = noise(6, 6, 4)
    pixels[..., 3] = 255
    np.testing.assert_array_equal(decode_image(encode(pixels), "a.png"), pixels[..., :3] / np.float32(255))
    assert check_image(encode(pixels), "a.png") == (6, 6)
    pixels[2, 3, 3] = 254
    for check in (decode_image, check_image):
        with pytest.raises(ValueError, match=r"a\.png has transparent pixels.*flatten"):
            check(encode(pixels), "a.png")


def test_grey_with_alpha_and_palettes_become_colours():
    for mode in ("LA", "P", "1"):
        file = io.BytesIO()
        Image.fromarray(noise(8, 8)).convert(mode).save(file, "png")
        expected = np.asarray(Image.open(file).convert("RGB"))[..., ::-1] / np.float32(255)
        np.testing.assert_array_equal(decode_image(file.getvalue(), mode), expected)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_file_that_was_cut_off_is_named(extension):
    data = encode(noise(64, 64, 3), extension)
    assert decode_image(data, "whole").shape == (64, 64, 3)
    with pytest.raises(ValueError, match=r"cut\.img.*(damaged|cut off).*replace or remove"):
        decode_image(data[: int(len(data) * 0.9)], "cut.img")


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_cut_off_file_is_found_without_decoding(extension):
    data = encode(noise(64, 64, 3), extension)
    with pytest.raises(ValueError, match="cut off"):
        check_image(data[: int(len(data) * 0.5)], "cut")


def test_data_behind_the_image_is_no_damage():
    data = encode(noise(32, 32, 3), ".jpg")
    np.testing.assert_array_equal(decode_image(data + bytes(5000), "a.jpg"), decode_image(data, "a.jpg"))


@pytest.mark.parametrize("data", [b"", b"no image at all"])
def test_what_is_no_image_is_named(data):
    for check in (decode_image, check_image):
        with pytest.raises(ValueError, match=r"x\.png is no image that can be read"):
            check(data, "x.png")


def test_float_pixels_are_refused():
    with pytest.raises(ValueError, match="8 or 16 bits per channel, got float32"):
        decode_image(encode(np.zeros((4, 4, 3), np.float32), ".tiff"), "f.tiff")


def test_the_size_follows_the_orientation_of_a_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(noise(20, 30, 3)).save(file, "jpeg", exif=exif)
    assert decode_image(file.getvalue(), "a").shape[:2] == check_image(file.getvalue(), "a") == (30, 20)


def test_a_folder_is_listed_with_its_subfolders_sorted_and_without_hidden_and_other_files(tmp_path):
    names = ["b.png", "a.JPG", "deep/c.tif", ".hidden.png", "notes.txt", "folder.png/d.bmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.JPG", "b.png", "deep/c.tif", "folder.png/d.bmp"]
    with pytest.raises(FileNotFoundError, match=r"no image in .*nothing: it must hold files ending in \.bmp, \.jpeg"):
        find_images(tmp_path / "nothing")
