"""Which pixels are drawn, and from what kinds of image."""

import cv2
import numpy as np
import pytest
from PIL import Image

from wbsr_losses.pixels import list_images, sample_pixels


def write(folder, name, image):
    folder.mkdir(exist_ok=True)
    path = folder / name
    assert cv2.imwrite(str(path), image)
    return path


def drawn(folder, count=60, seed=0):
    return sample_pixels(list_images(folder), count, seed)


def test_values_are_rgb_in_0_1(tmp_path):
    write(tmp_path / "a", "x.png", np.full((8, 8, 3), (10, 20, 255), np.uint8))  # OpenCV writes BGR
    np.testing.assert_allclose(drawn(tmp_path / "a"), np.tile([1.0, 20 / 255, 10 / 255], (60, 1)))


@pytest.mark.parametrize(
    ("image", "rgb"),
    [
        (np.full((8, 8), 51, np.uint8), (51, 51, 51)),
        (np.full((8, 8, 4), (10, 20, 30, 255), np.uint8), (30, 20, 10)),
        (np.full((8, 8, 3), (0, 128 * 257, 65535), np.uint16), (255, 128, 0)),
        (np.full((8, 8, 3), (100, 128 * 257 + 129, 65000), np.uint16), (253, 129, 0)),
    ],
    ids=["grey", "RGBA", "16-bit", "16-bit, rounded"],
)
def test_other_kinds_become_8_bit_rgb(tmp_path, image, rgb):
    write(tmp_path / "a", "x.png", image)
    np.testing.assert_allclose(drawn(tmp_path / "a")[0] * 255, rgb, atol=1e-9)


def test_transparent_images_are_refused_as_the_data_sets_refuse_them(tmp_path):
    write(tmp_path / "a", "x.png", np.full((8, 8, 4), (10, 20, 30, 0), np.uint8))
    with pytest.raises(ValueError, match=r"a/x\.png has transparent pixels, whose colour is unknown: flatten it"):
        drawn(tmp_path / "a")


def test_opaque_8_bit_images_give_the_pixels_that_opencv_reads(tmp_path):
    folder, rng = tmp_path / "a", np.random.default_rng(0)
    for name in ("colour.png", "photo.jpg", "old.bmp", "new.webp", "scan.tif"):
        write(folder, name, rng.integers(0, 256, (20, 30, 3), np.uint8))
    write(folder, "grey.png", rng.integers(0, 256, (20, 30), np.uint8))
    write(folder, "opaque.png", np.dstack([rng.integers(0, 256, (20, 30, 3), np.uint8), np.full((20, 30), 255, "u1")]))
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).quantize(32).save(folder / "palette.png")
    draw, expected = np.random.default_rng(5), []
    for path in sorted(folder.iterdir()):
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR).reshape(-1, 3)
        expected.append(pixels[draw.integers(len(pixels), size=25)][:, ::-1] / 255)
    np.testing.assert_array_equal(drawn(folder, 8 * 25, seed=5), np.concatenate(expected))


def test_every_image_gives_the_same_number_whatever_its_size(tmp_path):
    write(tmp_path / "a", "large.png", np.full((100, 100, 3), 255, np.uint8))
    write(tmp_path / "a", "small.png", np.zeros((4, 4, 3), np.uint8))
    assert drawn(tmp_path / "a", 60)[:, 0].mean() == 0.5


def test_more_images_than_samples_are_drawn_from(tmp_path):
    for number in range(10):
        write(tmp_path / "a", f"{number}.png", np.full((4, 4, 3), number, np.uint8))
    values = drawn(tmp_path / "a", 4)[:, 0] * 255
    assert len(values) == 4
    assert len(set(values.round())) == 4


def test_the_seed_decides(hr):
    np.testing.assert_array_equal(drawn(hr, seed=3), drawn(hr, seed=3))
    assert (drawn(hr, seed=3) != drawn(hr, seed=4)).any()


def test_subfolders_count_and_other_or_hidden_files_do_not(tmp_path):
    write(tmp_path / "a", "x.png", np.zeros((4, 4, 3), np.uint8))
    write(tmp_path / "a" / "deep", "y.JPG", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    write(tmp_path / "a", ".x.png", np.zeros((4, 4, 3), np.uint8))
    assert list_images(tmp_path / "a").names == ("deep/y.JPG", "x.png")


def test_a_missing_and_an_empty_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image in .*empty"):
        list_images(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_a_broken_image_is_named(hr, content):
    (hr / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png is .*damaged.*replace or remove it"):
        drawn(hr)


@pytest.fixture
def lmdb_folder(tmp_path, hr):
    lmdb = pytest.importorskip("lmdb")
    root = tmp_path / "hr.lmdb"
    with lmdb.open(str(root), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        for path in sorted(hr.iterdir()):
            transaction.put(path.stem.encode(), path.read_bytes())
    (root / "meta_info.txt").write_text("".join(f"{p.name} (48,40,3) 1\n" for p in sorted(hr.iterdir())))
    return root


def test_an_lmdb_gives_what_its_folder_gives(hr, lmdb_folder):
    np.testing.assert_array_equal(drawn(lmdb_folder), drawn(hr))


def test_an_lmdb_without_a_key_or_a_list_is_named(lmdb_folder):
    meta = lmdb_folder / "meta_info.txt"
    meta.write_text(meta.read_text() + "more.png (4,4,3) 1\n")
    with pytest.raises(ValueError, match=r"the LMDB .*hr\.lmdb lacks the key 'more'"):
        drawn(lmdb_folder)
    meta.write_text("\n")
    with pytest.raises(FileNotFoundError, match=r"no image in .*hr\.lmdb: its meta_info\.txt lists none"):
        list_images(lmdb_folder)
    meta.unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold meta_info\.txt"):
        list_images(lmdb_folder)
