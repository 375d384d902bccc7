"""Decoded images in memory: kept within the limit, shared by forked workers, whole in spawned ones."""

import multiprocessing
import pickle

import numpy as np
import pytest

from wbsr_data import HESPairedImageDataset
from wbsr_data.image_cache import ImageCache
from wbsr_data.reader import PairReader


def image(number, dtype=np.uint8, side=100):
    return np.random.default_rng(number).integers(0, np.iinfo(dtype).max, (side, side + 1, 3), dtype=dtype)


def test_images_come_back_as_they_were_and_cannot_be_changed():
    cache = ImageCache(3, 1)
    cache.put(0, image(0, side=5))  # an odd number of bytes, before a 16-bit image
    cache.put(2, image(2, np.uint16))
    cache.put(2, image(9, np.uint16))  # what is there stays
    np.testing.assert_array_equal(cache.get(0), image(0, side=5))
    np.testing.assert_array_equal(cache.get(2), image(2, np.uint16))
    assert cache.get(2).dtype == np.uint16
    assert cache.get(1) is None
    with pytest.raises(ValueError, match="read-only"):
        cache.get(0)[0, 0] = 1


def test_the_limit_holds_and_small_images_still_fit():
    cache = ImageCache(60, 1)
    for number in range(50):
        cache.put(number, image(number))
    kept = [number for number in range(50) if cache.get(number) is not None]
    assert kept == list(range(33))  # 33 of 30,300 bytes in 1,000,000
    cache.put(55, np.zeros((2, 3, 3), np.uint8))
    assert cache.get(55) is not None


def test_no_limit_no_store():
    cache = ImageCache(2, 0)
    cache.put(0, image(0))
    assert cache.get(0) is None
    with pytest.raises(ValueError, match="limit_mb must be at least 0, got -1"):
        ImageCache(2, -1)


def test_memory_that_cannot_be_had_only_costs_the_store(monkeypatch):
    def refuse(*arguments):
        raise OSError(12, "Cannot allocate memory")

    too_much = ImageCache(2, 10**13)
    monkeypatch.setattr("wbsr_data.image_cache.mmap.mmap", refuse)
    for cache in (too_much, ImageCache(2, 1)):
        cache.put(0, image(0))
        assert cache.get(0) is None


def test_what_a_forked_worker_adds_all_have():
    cache = ImageCache(3, 1)
    worker = multiprocessing.get_context("fork").Process(target=cache.put, args=(1, image(1)))
    worker.start()
    worker.join()
    np.testing.assert_array_equal(cache.get(1), image(1))


def test_a_pickled_one_starts_empty():
    cache = ImageCache(3, 1)
    cache.put(1, image(1))
    other = pickle.loads(pickle.dumps(cache))
    assert other.get(1) is None
    other.put(1, image(2))
    np.testing.assert_array_equal(other.get(1), image(2))
    np.testing.assert_array_equal(cache.get(1), image(1))


@pytest.mark.parametrize("megabytes", [0, 1])
def test_items_are_the_same_and_files_are_read_once(pairs, options, monkeypatch, megabytes):
    dataset = HESPairedImageDataset(options(pairs, {"decoded_mb": megabytes}))
    dataset.training_sampler(batches_per_epoch=10, batch_size=4, total_iterations=10)
    reads, read = [], PairReader.read
    monkeypatch.setattr(PairReader, "read", lambda *place: reads.append(place[1:]) or read(*place))
    sums = [dataset[t]["gt"].sum().item() for t in range(40)]
    assert len(reads) == (len(set(reads)) if megabytes else 80)
    whole = HESPairedImageDataset(options(pairs, {"decoded_mb": 0}))
    whole.training_sampler(batches_per_epoch=10, batch_size=4, total_iterations=10)
    assert [whole[t]["gt"].sum().item() for t in range(40)] == sums
