"""The patch index: what it holds, its size in memory, its cache and its errors."""

import dataclasses
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from wbsr_data.difficulty import classify
from wbsr_data.gradient import gradient_score
from wbsr_data.index_cache import cache_key, cached_index, file_stamp
from wbsr_data.patch_index import IndexSettings, PatchIndex

SETTINGS = IndexSettings(patch_size=16, stride=8, num_classes=3)


def image(number, height=40, width=50):
    return np.random.default_rng(number).integers(0, 20 * (number + 1), (height, width, 3)).astype(np.uint8)


def build(images, settings=SETTINGS):
    return PatchIndex.build(lambda i: images[i], [f"{i}.png" for i in range(len(images))], settings, progress=False)


@pytest.fixture
def index():
    return build([image(i) for i in range(4)])


def same(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(PatchIndex))


def test_every_candidate_has_the_score_of_its_patch(index):
    assert len(index) == 4 * 4 * 6  # rows 0 8 16 24, columns 0 8 16 24 32 34
    for i in range(0, len(index), 7):
        y, x = int(index.y[i]), int(index.x[i])
        patch = image(int(index.image[i]))[y : y + 16, x : x + 16, ::-1].transpose(2, 0, 1) / np.float32(255)
        assert gradient_score(torch.from_numpy(patch.copy()), 16).item() == index.score[i]


def test_candidates_are_sorted_by_class_in_equal_shares(index):
    assert (np.diff(index.difficulty.astype(int)) >= 0).all()
    assert index.counts.tolist() == [32, 32, 32]
    assert index.num_classes == 3
    assert (classify(index.score, index.thresholds) == index.difficulty).all()


def test_a_candidate_takes_at_most_16_bytes(index):
    columns = (index.image, index.y, index.x, index.score, index.difficulty)
    assert sum(column.nbytes for column in columns) <= 16 * len(index)


def test_images_smaller_than_a_patch_are_skipped_and_counted():
    index = build([image(0), image(1, 15, 80), image(2)])
    assert index.skipped.tolist() == [1]
    assert set(index.image.tolist()) == {0, 2}


def test_only_small_images_is_an_error():
    with pytest.raises(ValueError, match=r"at least 16 pixels.*got 2 images that are all smaller: lower gt_size"):
        build([image(0, 8, 8), image(1, 15, 16)])


def test_more_classes_than_candidates_is_an_error():
    with pytest.raises(ValueError, match="3 classes for 1 patches"):
        build([image(0, 16, 16)])


def test_flat_images_fall_in_one_class_with_a_warning(caplog):
    caplog.set_level(logging.WARNING, "basicsr.wbsr_data")
    with logging_propagates():
        index = build([np.full((40, 40, 3), 90, np.uint8)])
    assert index.counts.tolist() == [0, 0, 16]
    assert "draws uniformly" in caplog.text


def test_other_scores_make_other_classes_but_the_same_routing(index):
    for score in ("mean", "std", "bilinear"):
        other = PatchIndex.build(
            lambda i: image(i),
            list("abcd"),
            dataclasses.replace(SETTINGS, score=score),
            progress=False,
            load_hr=lambda i: image(i + 4).repeat(2, 0).repeat(2, 1),
        )
        assert other.routing.tolist() == index.thresholds.tolist() == index.routing.tolist()
        assert (classify(other.score, other.thresholds) == other.difficulty).all()
        assert other.thresholds.tolist() != index.thresholds.tolist()
    with pytest.raises(ValueError, match="bilinear compares with HR images"):
        build([image(0)], dataclasses.replace(SETTINGS, score="bilinear"))


def test_torch_keeps_its_number_of_threads():
    before = torch.get_num_threads()
    build([image(0)])
    assert torch.get_num_threads() == before


class logging_propagates:  # noqa: N801
    """BasicSR's logger keeps its messages from pytest, once BasicSR has set it up."""

    def __enter__(self):
        self.logger = logging.getLogger("basicsr")
        self.before, self.logger.propagate = self.logger.propagate, True

    def __exit__(self, *error):
        self.logger.propagate = self.before


def test_the_cache_spares_the_second_build(tmp_path, index):
    assert cached_index(tmp_path / "new" / "folder", "a" * 64, lambda: index) is index
    again = cached_index(tmp_path / "new" / "folder", "a" * 64, lambda: pytest.fail("built again"))
    assert same(again, index)


def test_the_key_changes_with_files_and_settings(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"123")
    keys = [cache_key(SETTINGS, [file_stamp(file)], ["a"])]
    assert cache_key(SETTINGS, [file_stamp(file)], ["a"]) == keys[0]
    keys.append(cache_key(dataclasses.replace(SETTINGS, stride=4), [file_stamp(file)], ["a"]))
    keys.append(cache_key(dataclasses.replace(SETTINGS, mode="linear"), [file_stamp(file)], ["a"]))
    keys.append(cache_key(SETTINGS, [file_stamp(file)], ["b"]))
    os.utime(file, ns=(1, 1))
    keys.append(cache_key(SETTINGS, [file_stamp(file)], ["a"]))
    file.write_bytes(b"1234")
    os.utime(file, ns=(1, 1))
    keys.append(cache_key(SETTINGS, [file_stamp(file)], ["a"]))
    assert len(set(keys)) == 6


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:-400] + bytes(400)])
def test_a_damaged_cache_is_built_again_with_a_warning(tmp_path, index, damage, caplog):
    cached_index(tmp_path, "b" * 64, lambda: index)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    with logging_propagates():
        assert cached_index(tmp_path, "b" * 64, lambda: index) is index
    assert "building it again" in caplog.text
    assert same(cached_index(tmp_path, "b" * 64, lambda: pytest.fail("not mended")), index)


def test_a_folder_that_cannot_be_written_only_costs_the_cache(tmp_path, index, caplog):
    (tmp_path / "file").write_text("a file where the folder should be")
    with logging_propagates():
        assert cached_index(tmp_path / "file" / "cache", "c" * 64, lambda: index) is index
    assert "is not cached" in caplog.text


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path, index):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cached_index(tmp_path, "d" * 64, lambda: index), range(16)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    assert same(cached_index(tmp_path, "d" * 64, lambda: pytest.fail("built again")), index)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist: check the folder"):
        file_stamp(tmp_path / "gone.png")
