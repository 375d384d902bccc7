"""Data preparation: what is made of an image, going on after a kill, and what is refused."""

import json
import multiprocessing
import os
import signal
import time
import unicodedata

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from wbsr import compat

compat.install()

from basicsr.data.paired_image_dataset import PairedImageDataset  # noqa: E402
from basicsr.utils.matlab_functions import imresize  # noqa: E402

from wbsr_base.pixels.bicubic import resize  # noqa: E402
from wbsr_data.preparation import prepare  # noqa: E402
from wbsr_data.preparation.recipe import CLASSSR_FACTORS, Recipe  # noqa: E402
from wbsr_data.preparation.target import Target  # noqa: E402
from wbsr_data.sources import file_keys, safe_keys  # noqa: E402


@pytest.fixture
def hr(tmp_path):
    """A folder of three images of odd sizes."""
    folder = tmp_path / "originals"
    folder.mkdir()
    for number, (height, width) in enumerate([(50, 61), (37, 48), (25, 99)]):
        cv2.imwrite(str(folder / f"{number}.png"), noise(height, width, seed=number))
    return folder


def noise(height, width, channels=3, dtype=np.uint8, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def run(hr, out, scales=(2,), lmdb=False, compression=1, recipe=None, **more):
    return prepare(hr, Target(out, lmdb, compression), recipe or Recipe(scales), **{"workers": 0, **more})


def read(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def bicubic(hr, scale):
    """BasicSR's bicubic, rounded to 8 bits."""
    return (imresize(hr / 255.0, 1 / scale) * 255).round().clip(0, 255).astype(np.uint8)


def content(folder):
    """Everything under a folder but the journal, as bytes by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "prepare.jsonl"
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_pairs_are_cropped_to_all_scales_and_equal_basicsrs_bicubic(hr, tmp_path, workers):
    made = run(hr, tmp_path / "out", (2, 3, 4), workers=workers)
    assert made.shapes == {"0": (48, 60), "1": (36, 48), "2": (24, 96)}
    for key, shape in made.shapes.items():
        high = read(tmp_path / "out" / "HR" / f"{key}.png")
        np.testing.assert_array_equal(high, read(hr / f"{key}.png")[: shape[0], : shape[1]])
        for scale in (2, 3, 4):
            np.testing.assert_array_equal(read(tmp_path / "out" / f"LRx{scale}" / f"{key}.png"), bicubic(high, scale))
    assert (tmp_path / "out" / "meta_info.txt").read_text() == "0.png (48,60,3)\n1.png (36,48,3)\n2.png (24,96,3)\n"


def test_sub_images_cover_the_image_and_their_lr_is_cut_from_the_whole(hr, tmp_path):
    made = run(hr, tmp_path / "out", recipe=Recipe((2, 4), sub_images=32, step=16))
    assert list(made.shapes)[:6] == [f"0_s00{n}" for n in range(1, 7)]  # rows 0, 16; columns 0, 16, 28
    whole = read(hr / "0.png")[:48, :60]
    for number, (row, col) in enumerate([(0, 0), (0, 16), (0, 28), (16, 0), (16, 16), (16, 28)], start=1):
        name = f"0_s{number:03}.png"
        np.testing.assert_array_equal(read(tmp_path / "out/HR" / name), whole[row : row + 32, col : col + 32])
        lr = bicubic(whole, 4)[row // 4 : row // 4 + 8, col // 4 : col // 4 + 8]
        np.testing.assert_array_equal(read(tmp_path / "out/LRx4" / name), lr)
    assert made.shapes["2_s001"] == (24, 32)  # the side shorter than a sub-image stays whole


def test_rescaling_keeps_the_original_and_adds_smaller_ones(hr, tmp_path):
    made = run(hr, tmp_path / "out", recipe=Recipe((2,), rescale=CLASSSR_FACTORS))
    assert len(made.shapes) == 15
    assert made.shapes["0_r1"] == (50, 60)
    assert made.shapes["0_r0p6"] == (30, 36)  # ⌈50 · 0.6⌉ x ⌈61 · 0.6⌉ = 30 x 37, cropped
    smaller = (imresize(read(hr / "0.png") / 255.0, 0.6) * 255).round().clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(read(tmp_path / "out/HR/0_r0p6.png"), smaller[:30, :36])


def test_every_kind_of_file_becomes_8_bit_colour(tmp_path):
    folder = tmp_path / "kinds"
    (folder / "deep er").mkdir(parents=True)
    grey, colour = noise(16, 20, 1), noise(16, 20)
    cv2.imwrite(str(folder / "grey.png"), grey)
    cv2.imwrite(str(folder / "opaque.PNG"), np.dstack([colour, np.full((16, 20), 255, np.uint8)]))
    cv2.imwrite(str(folder / "deep er" / "sixteen.bits.tiff"), colour.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "größe #1.bmp"), colour)
    Image.fromarray(colour[..., ::-1]).save(folder / "a.webp", lossless=True)
    Image.fromarray(colour[..., ::-1]).save(folder / "a.jpg", quality=95)
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.png").write_text("what some systems leave")
    made = run(folder, tmp_path / "out")
    assert made.deep == 1
    files = {path.stem: read(path) for path in (tmp_path / "out" / "HR").iterdir()}
    assert set(files) == set(made.shapes)
    assert all(image.shape == (16, 20, 3) and image.dtype == np.uint8 for image in files.values())
    np.testing.assert_array_equal(files.pop("grey"), np.dstack([grey] * 3))
    (jpeg,) = [name for name in files if np.abs(files[name].astype(int) - colour).max() > 0]
    assert jpeg.startswith("a_")
    assert {name[:2] for name in files} == {"a_", "op", "de", "gr"}


def test_keys_are_safe_and_different():
    names = ["a.png", "a.jpg", "A.bmp", "b c.d.png", "sub/x.png", "sub_x.png", "日本.png", f"{'l' * 250}.png"]
    keys = safe_keys(names)
    assert len({key.lower() for key in keys}) == len(names)
    assert all(key.isascii() and len(key) <= 200 and not set(key) & set(". /") for key in keys)
    assert keys[3] == "b_c_d"
    assert safe_keys(names[:1]) == ["a"]


@pytest.mark.parametrize("lmdb", [False, True])
def test_stock_basicsr_reads_the_result(hr, tmp_path, lmdb):
    (hr / "1.png").rename(hr / "odd name.v2 ü.png")
    run(hr, tmp_path / "out", lmdb=lmdb)
    end = ".lmdb" if lmdb else ""
    dataset = PairedImageDataset(
        {
            "phase": "val",
            "scale": 2,
            "dataroot_gt": str(tmp_path / f"out/HR{end}"),
            "dataroot_lq": str(tmp_path / f"out/LRx2{end}"),
            "io_backend": {"type": "lmdb" if lmdb else "disk"},
            "meta_info_file": None if lmdb else str(tmp_path / "out/meta_info.txt"),
        }
    )
    assert len(dataset) == 3
    shapes = {tuple(item["gt"].shape[1:]) for item in dataset}
    assert shapes == {(50, 60), (36, 48), (24, 98)}
    for item in dataset:
        high = (item["gt"].numpy().transpose(1, 2, 0) * 255).round()
        np.testing.assert_array_equal((item["lq"].numpy().transpose(1, 2, 0) * 255).round(), bicubic(high, 2))


def test_lmdb_has_basicsrs_meta_file(hr, tmp_path):
    run(hr, tmp_path / "out", lmdb=True, compression=3)
    assert (tmp_path / "out/LRx2.lmdb/meta_info.txt").read_text().splitlines()[0] == "0.png (25,30,3) 3"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"HR.lmdb", "LRx2.lmdb", "prepare.jsonl"}


@pytest.mark.parametrize("lmdb", [False, True])
def test_killed_again_and_again_it_ends_as_if_it_had_never_been(tmp_path, lmdb):
    folder = tmp_path / "originals"
    folder.mkdir()
    for number in range(14):
        cv2.imwrite(str(folder / f"{number}.png"), noise(160, 160, seed=number))
    out, journal = tmp_path / "out", tmp_path / "out" / "prepare.jsonl"
    context, kills = multiprocessing.get_context("fork"), 0
    while kills < 40:
        done = journal.read_bytes().count(b"\n") if journal.exists() else 0
        process = context.Process(target=run, args=(folder, out), kwargs={"lmdb": lmdb, "workers": 1 + kills % 2})
        process.start()
        while process.is_alive() and (not journal.exists() or journal.read_bytes().count(b"\n") < done + 3):
            time.sleep(0.001)
        if not process.is_alive():
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
        assert not list(out.glob("**/meta_info.txt"))
    assert process.exitcode == 0
    assert kills >= 3
    whole = run(folder, tmp_path / "whole", lmdb=lmdb)
    again = run(folder, out, lmdb=lmdb)
    assert again.kept == 14
    assert again.shapes == whole.shapes
    if lmdb:
        assert records(out) == records(tmp_path / "whole")
    else:
        assert content(out) == content(tmp_path / "whole")


def records(folder):
    """Everything in the LMDBs of a folder."""
    import lmdb

    found = {}
    for path in folder.glob("*.lmdb"):
        with lmdb.open(str(path), readonly=True) as env, env.begin() as transaction:
            found[path.name] = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    return found


def test_finished_files_are_kept_and_removed_ones_made_again(hr, tmp_path):
    run(hr, tmp_path / "out")
    (tmp_path / "out/LRx2/1.png").unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/HR").iterdir()}
    cv2.imwrite(str(hr / "3.png"), noise(20, 20))
    made = run(hr, tmp_path / "out")
    assert made.kept == 2
    assert list(made.shapes) == ["0", "1", "2", "3"]
    assert (tmp_path / "out/LRx2/1.png").exists()
    assert {name for name in ("0", "2") if (path := tmp_path / f"out/HR/{name}.png").stat().st_mtime_ns == times[path]}
    assert "3.png (20,20,3)" in (tmp_path / "out/meta_info.txt").read_text()


def test_a_copy_of_the_same_images_is_gone_on_with(hr, tmp_path):
    run(hr, tmp_path / "out")
    os.utime(hr / "0.png")  # as a copy without its times has it
    assert run(hr, tmp_path / "out").kept == 3
    damaged = bytearray((hr / "0.png").read_bytes())
    damaged[-1] ^= 1
    (hr / "0.png").write_bytes(damaged)  # as many bytes, but others
    with pytest.raises(ValueError, match=r"0\.png has changed since"):
        run(hr, tmp_path / "out")


def test_a_line_cut_off_in_the_journal_does_not_count(hr, tmp_path):
    run(hr, tmp_path / "out")
    journal = tmp_path / "out" / "prepare.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert run(hr, tmp_path / "out").kept == 2
    assert len([json.loads(line) for line in journal.read_text().splitlines()]) == 4
    journal.write_text('{"settings"')
    with pytest.raises(ValueError, match=r"already holds HR, LRx2, meta_info\.txt"):
        run(hr, tmp_path / "out")
    journal.write_text("[]\n")
    with pytest.raises(ValueError, match=r"prepare\.jsonl is damaged"):
        run(hr, tmp_path / "out")


def test_what_is_there_is_only_overwritten_when_told(hr, tmp_path):
    out = tmp_path / "out"
    run(hr, out)
    before = content(out)
    with pytest.raises(ValueError, match=r"prepared with scales \[2\], and now it is \[4\].*--overwrite"):
        run(hr, out, (4,))
    cv2.imwrite(str(hr / "1.png"), noise(40, 40, seed=9))
    with pytest.raises(ValueError, match=r"1\.png has changed since .* was prepared.*--overwrite"):
        run(hr, out)
    assert content(out) == before
    made = run(hr, out, (4,), overwrite=True)
    assert made.shapes["1"] == (40, 40)
    assert {path.name for path in out.iterdir()} == {"HR", "LRx4", "meta_info.txt", "prepare.jsonl"}
    (hr / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png is gone"):
        run(hr, out, (4,))


def test_a_run_that_finished_nothing_does_not_bind_the_next(hr, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("no image")
    with pytest.raises(ValueError, match="no image that can be read"):
        run(tmp_path / "bad", tmp_path / "out")
    assert len(run(hr, tmp_path / "out", (4,)).shapes) == 3
    assert not (tmp_path / "out" / "LRx2").exists()


def test_files_of_others_are_kept_even_when_overwriting(hr, tmp_path):
    other = tmp_path / "out" / "HR" / "mine.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mine")
    with pytest.raises(ValueError, match="already holds HR, which this command did not make"):
        run(hr, tmp_path / "out")
    assert not (tmp_path / "out" / "LRx2").exists()
    for _ in range(2):
        run(hr, tmp_path / "out", overwrite=True)
        assert other.read_bytes() == b"mine"


def test_results_and_originals_must_lie_apart(hr, tmp_path):
    with pytest.raises(ValueError, match="--out must not lie in --hr"):
        run(hr, hr / "out")
    (tmp_path / "data").mkdir()
    hr.rename(tmp_path / "data" / "HR")
    with pytest.raises(ValueError, match="would be written over"):
        run(tmp_path / "data" / "HR", tmp_path / "data")


def test_results_taken_as_originals_are_not_removed(hr, tmp_path):
    run(hr, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(ValueError, match="would be written over"):
        run(tmp_path / "out" / "HR", tmp_path / "out", lmdb=True, overwrite=True)
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_stop_it_or_are_skipped_and_named(hr, tmp_path, workers):
    data = (hr / "1.png").read_bytes()
    (hr / "1.png").write_bytes(data[: len(data) // 2])
    (hr / "text.jpg").write_text("no image")
    cv2.imwrite(str(hr / "thin.png"), noise(1, 40))
    cv2.imwrite(str(hr / "clear.png"), np.zeros((20, 20, 4), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png is damaged or cut off.*--skip-bad"):
        run(hr, tmp_path / "out", workers=workers)
    made = run(hr, tmp_path / "out", skip_bad=True, workers=workers)
    assert list(made.shapes) == ["0", "2"]
    assert list(made.skipped) == ["1.png", "clear.png", "text.jpg", "thin.png"]
    assert "transparent" in made.skipped["clear.png"]
    assert "at least 2 pixels" in made.skipped["thin.png"]
    (hr / "1.png").write_bytes(data)  # mended, it is no longer skipped
    assert "1" in run(hr, tmp_path / "out", skip_bad=True, workers=workers).shapes


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no image in .*empty: it must hold files ending in \.bmp"):
        run(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 images"):
        run(tmp_path / "empty", tmp_path / "out", skip_bad=True)


def test_a_target_that_cannot_be_written_is_named(hr, tmp_path):
    run(hr, tmp_path / "out")
    (tmp_path / "out" / "HR" / "0.png").unlink()
    (tmp_path / "out" / "HR" / "0.png").mkdir()
    with pytest.raises(OSError, match=r"out can't be written \(.*run the same command again"):
        run(hr, tmp_path / "out")


def test_a_file_where_the_target_should_be_is_named(hr, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match=r"out can't be written"):
        run(hr, tmp_path / "out")


def test_two_at_once_in_one_folder_are_refused(hr, tmp_path, capfd):
    from wbsr_data.preparation.journal import Journal

    run(hr, tmp_path / "out")
    journal = Journal.read(tmp_path / "out")
    other = multiprocessing.get_context("fork").Process(target=run, args=(hr, tmp_path / "out"))
    other.start()
    other.join(30)
    assert other.exitcode == 1
    assert "another wbsr prepare is writing" in capfd.readouterr().err
    journal.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe((1,)), r"scales must be .* at least 2, got \[1\]"),
        (lambda: Recipe((2, 2)), "different whole numbers"),
        (lambda: Recipe((2, 3), sub_images=32), "sub_images must be a multiple of 6 .* got 32"),
        (lambda: Recipe((4,), sub_images=32, step=6), "step must be a multiple of 4 .* got 6"),
        (lambda: Recipe((4,), step=8), "step needs sub_images"),
        (lambda: Recipe((2,), rescale=(1.5,)), r"in \(0, 1\], got \[1\.5\]"),
        (lambda: Recipe((2,), rescale=(0.5, 0.5)), "different numbers"),
        (lambda: Target(None, compression=10), r"compression must be in 0\.\.9, got 10"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_images_of_a_few_pixels_are_prepared(tmp_path, scale):
    folder = tmp_path / "small"
    folder.mkdir()
    sides = (scale, 2 * scale, 3 * scale + 1)
    for height in sides:
        for width in (*sides, 40):
            cv2.imwrite(str(folder / f"{height}x{width}.png"), noise(height, width))
    run(folder, tmp_path / "out", (scale,))
    for path in (tmp_path / "out" / "HR").iterdir():
        high = read(path)
        far = scale * -(-40 // scale)
        periodic = np.pad(high, ((far, far), (far, far), (0, 0)), mode="symmetric")
        rows, cols = (slice(far // scale, (far + side) // scale) for side in high.shape[:2])
        expected = bicubic(periodic, scale)[rows, cols]
        assert np.abs(read(tmp_path / "out" / f"LRx{scale}" / path.name) - expected.astype(int)).max() <= 1


def test_what_is_too_small_once_rescaled_is_named_and_skipped(hr, tmp_path):
    for height in (3, 4):
        cv2.imwrite(str(hr / f"tiny{height}.png"), noise(height, 40))
    recipe = Recipe((3,), rescale=(1.0, 0.6))
    with pytest.raises(ValueError, match=r"tiny3\.png must have at least 3 .* after rescaling by 0\.6, got 3 x 40"):
        run(hr, tmp_path / "out", recipe=recipe)
    made = run(hr, tmp_path / "out", recipe=recipe, skip_bad=True)
    assert list(made.skipped) == ["tiny3.png"]
    assert made.shapes["tiny4_r0p6"] == (3, 24)


@pytest.mark.parametrize("factor", [1 / 2, 1 / 3, 1 / 4, 0.9, 0.7, 1 / 8, 2, 1.3])
def test_bicubic_is_basicsrs_but_where_a_value_lies_between_two_levels(factor):
    pixels = cv2.GaussianBlur(noise(167, 230), (5, 5), 0)
    values = imresize(pixels / np.float32(255), factor) * 255
    found = resize(pixels, factor)
    expected = values.round().clip(0, 255)
    assert found.shape == expected.shape
    differ = found != expected
    assert differ.mean() < 2e-4
    assert (np.abs(values[differ] % 1 - 0.5) < 1e-3).all()
    assert (np.abs(found - expected) <= 1).all()


def test_names_are_kept_but_in_an_lmdb(tmp_path):
    folder = tmp_path / "names"
    names = [
        "ünï.cödé.v2.png",
        "日本 (1).png",
        "a+b=c,d&e'f.png",
        "x/y.z.png",
        "tab\there.png",
        'q"u:e?s*t<i>o|n\\s.png',
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(".png", noise(16, 20))[1].tobytes())
    kept = {"ünï.cödé.v2", "日本_(1)", "a+b=c,d&e'f", "x_y.z", "tab_here", "q_u_e_s_t_i_o_n_s"}
    made = run(folder, tmp_path / "out")
    assert set(made.shapes) == kept
    assert {path.stem for path in (tmp_path / "out" / "LRx2").iterdir()} == kept
    roots = {"dataroot_gt": str(tmp_path / "out/HR"), "dataroot_lq": str(tmp_path / "out/LRx2")}
    for meta in (None, str(tmp_path / "out/meta_info.txt")):
        dataset = PairedImageDataset(
            {"phase": "val", "scale": 2, **roots, "io_backend": {"type": "disk"}, "meta_info_file": meta}
        )
        assert {item["lq_path"].rpartition("/")[2].removesuffix(".png") for item in dataset} == kept
    packed = run(folder, tmp_path / "lmdb", lmdb=True).shapes
    assert all(key.isascii() and "." not in key for key in packed)


def test_file_keys_are_different_on_every_file_system():
    names = ["a.png", "A.png", "é.png", "e\u0301.png", "b.png", "b.jpg", f"{'日' * 90}.png", "c.png"]
    keys = file_keys(names)
    assert len({unicodedata.normalize("NFC", key).casefold() for key in keys}) == len(names)
    assert all(len(key.encode()) <= 200 for key in keys)
    assert keys[-1] == "c"
    assert file_keys(["\udcff.png"]) == ["_"]  # bytes that are no text


def test_linked_folders_count_and_hidden_ones_do_not(hr, tmp_path):
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / "m.png"), noise(20, 20))
    (hr / "linked").symlink_to(tmp_path / "more", target_is_directory=True)
    (hr / "round").symlink_to(hr, target_is_directory=True)
    (hr / "linked.png").symlink_to(tmp_path / "more" / "m.png")
    (hr / ".thumbnails").mkdir()
    cv2.imwrite(str(hr / ".thumbnails" / "0.png"), noise(20, 20))
    assert set(run(hr, tmp_path / "out").shapes) == {"0", "1", "2", "linked", "linked_m"}


def test_a_link_that_leads_nowhere_is_named(hr, tmp_path):
    (hr / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"gone\.png can't be read \(No such file or directory\).*--skip-bad"):
        run(hr, tmp_path / "out")
    assert list(run(hr, tmp_path / "out", skip_bad=True).skipped) == ["gone.png"]


def test_layouts_that_would_be_misread_are_read_right_or_refused(tmp_path):
    folder, colour, grey = tmp_path / "kinds", noise(16, 20, dtype=np.uint16), noise(16, 20, 1)
    folder.mkdir()
    frames = [Image.fromarray(noise(16, 20, seed=seed)) for seed in range(2)]
    tifffile.imwrite(folder / "planes.tif", np.moveaxis(colour, 2, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(folder / "negative.tif", 255 - noise(16, 20, 1), photometric="miniswhite")
    bad = {
        "apng.png": lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
        "moving.webp": lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
        "pages.tif": lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
        "clear.png": lambda path: Image.fromarray(grey).save(path, transparency=int(grey[0, 0])),
        "lab.tif": lambda path: tifffile.imwrite(path, noise(16, 20), photometric="cielab"),
        "inks.jpg": lambda path: Image.fromarray(noise(16, 20, 4)).convert("RGB").convert("CMYK").save(path),
        "float.tif": lambda path: tifffile.imwrite(path, noise(16, 20) / np.float32(255), photometric="rgb"),
    }
    for name, write in bad.items():
        write(folder / name)
    made = run(folder, tmp_path / "out", skip_bad=True)
    assert set(made.skipped) == set(bad)
    for name, reason in made.skipped.items():
        assert reason.startswith(str(folder / name))
    np.testing.assert_array_equal(read(tmp_path / "out/HR/planes.png")[..., ::-1], (colour / 257).round())
    np.testing.assert_array_equal(read(tmp_path / "out/HR/negative.png")[..., 0], noise(16, 20, 1))


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("OpenCV: (-4:Insufficient memory) Failed to allocate")])
def test_an_image_that_is_too_large_for_the_memory_is_named(hr, tmp_path, monkeypatch, error):
    def resize(pixels, factor):
        if pixels.shape[:2] == (36, 48):
            raise error
        return bicubic(pixels, round(1 / factor)) if factor < 1 else pixels

    monkeypatch.setattr("wbsr_data.preparation.recipe.resize", resize)
    with pytest.raises(ValueError, match=r"1\.png is too large for the memory: cut it up, or lower --workers"):
        run(hr, tmp_path / "out", (2, 4))
    assert list(run(hr, tmp_path / "out", (2, 4), skip_bad=True).skipped) == ["1.png"]
