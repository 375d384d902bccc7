"""Images that stay in memory: the batches of a training are those of a plain loader, bit for bit; and what fits."""

import dataclasses
import logging
import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wbsr_base.hooks.order import own_loader
from wbsr_data import Crop, Crops, DDAPairedImageDataset, HESPairedImageDataset
from wbsr_data import resident_filling as filling
from wbsr_data.resident_batch import DrawnBatch
from wbsr_data.resident_loader import Batches
from wbsr_data.resident_options import ResidentOptions
from wbsr_data.resident_pixels import Pixels

CPU = torch.device("cpu")
PLAN = {"batches_per_epoch": 5, "batch_size": 4, "total_iterations": 20, "seed": 1}


@pytest.fixture
def images(pairs, write_pair):
    """The six pairs, and one of another size."""
    write_pair(pairs, "6.png", np.random.default_rng(1).integers(0, 256, (90, 80, 3), dtype=np.uint8))
    return pairs


@pytest.fixture
def deep(images, write_pair):
    """Those, and one of 16 bits."""
    write_pair(images, "7.png", np.random.default_rng(2).integers(0, 2**16, (64, 70, 3), dtype=np.uint16))
    return images


def batches(dataset, resident, **plan):
    """All batches of a training of four epochs, or from epoch 1 on of a resumed one."""
    given = {**PLAN, **plan}
    sampler = dataset.training_sampler(**given)
    if resident:
        loader = dataset.training_loader(sampler, given["batch_size"], CPU)
    else:
        loader = DataLoader(dataset, given["batch_size"], sampler=sampler, drop_last=True)
    assert len(loader) == given["batches_per_epoch"]
    for epoch in range(1 if "start_iteration" in plan else 0, 4):
        sampler.set_epoch(epoch)
        yield from loader


def assert_same(one, other):
    assert list(one) == list(other)
    for key, value in other.items():
        if torch.is_tensor(value):
            assert one[key].dtype == value.dtype, key
            assert one[key].stride() == value.stride() or key == "thresholds", key
            assert torch.equal(one[key], value), key
        else:
            assert one[key] == value, key


@pytest.mark.parametrize(
    ("hes", "more", "plan"),
    [
        pytest.param({}, {}, {}, id="hes"),
        pytest.param({"sample_level": 0.1}, {}, {}, id="hes, both stages in one epoch"),
        pytest.param({"thresholds": "linear", "delta": 0.5, "sample_level": 0.0}, {}, {}, id="hes, linear"),
        pytest.param({"sampling": "uniform"}, {}, {}, id="uniform"),
        pytest.param({"sampling": "samplingaug"}, {}, {}, id="samplingaug"),
        pytest.param({"sampling": "bspa", "stride": 5}, {}, {}, id="bspa"),
        pytest.param({"seed": 9}, {"gt_size": 40}, {}, id="a seed of its own, larger patches"),
        pytest.param({}, {"use_rot": False}, {}, id="horizontal flips alone"),
        pytest.param({}, {"use_hflip": False}, {}, id="no horizontal flips"),
        pytest.param({}, {"use_hflip": False, "use_rot": False}, {}, id="no flips"),
        pytest.param({}, {"mean": [0.4, 0.5, 0.6], "std": [1.0, 2.0, 0.5]}, {}, id="mean and std"),
        pytest.param({}, {"color": "y"}, {}, id="luma"),
        pytest.param({}, {"color": "y", "mean": [0.4], "std": [0.7]}, {}, id="luma, mean and std"),
        pytest.param({}, {}, {"batch_size": 2, "rank": 1, "world_size": 2}, id="rank 1 of 2"),
        pytest.param({}, {}, {"start_iteration": 7}, id="resumed"),
        pytest.param({}, {}, {"start_iteration": 7, "rank": 2, "world_size": 3}, id="resumed, rank 2 of 3"),
    ],
)
@pytest.mark.parametrize("folder", ["images", "deep"])
def test_batches_are_those_of_a_plain_loader(folder, hes, more, plan, options, request):
    folder = request.getfixturevalue(folder)
    made = [HESPairedImageDataset(options(folder, hes, resident=where, **more)) for where in ("cpu", False)]
    found, expected = batches(made[0], True, **plan), batches(made[1], False, **plan)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def followed(dataset, resident, start=0, state=None):
    """All batches of a DDA training that reports made-up losses of the classes."""
    given = {"batches_per_epoch": 10, "batch_size": 4, "total_iterations": 40, "seed": 1}
    sampler = dataset.training_sampler(**given, start_iteration=start)
    if state is not None:
        dataset.resume_training(state)
    loader = dataset.training_loader(sampler, 4, CPU) if resident else DataLoader(dataset, 4, sampler=sampler)
    iteration = start
    for epoch in range(start // 10, 4):
        sampler.set_epoch(epoch)
        for batch in loader:
            yield batch
            iteration += 1
            if iteration % 6 == 0:
                dataset.meter.losses.update(
                    iteration // 6, [0.1, 0.1, 0.2, 0.6] if iteration < 24 else [0.6, 0, 0, 0.1]
                )


def test_dda_follows_its_losses_from_memory_too_and_goes_on(images, options):
    made = [DDAPairedImageDataset(options(images, {"refresh": 6}, resident="cpu")) for _ in range(3)]
    whole = list(followed(made[0], True))
    for one, other in zip(whole, followed(made[1], False), strict=True):
        assert_same(one, other)
    stopped = followed(made[1], True)
    for _ in range(27):
        next(stopped)
    again = list(followed(made[2], True, start=26, state=made[1].training_extras()))
    for one, other in zip(again[:10], whole[26:], strict=False):
        assert_same(one, other)


def test_lmdb_stays_in_memory_too(images, options):
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    for side in ("hr", "lr"):
        names = sorted(path.name for path in (images / side).iterdir())
        make_lmdb_from_imgs(str(images / side), str(images / f"{side}.lmdb"), names, [n.split(".")[0] for n in names])
    roots = {"dataroot_gt": str(images / "hr.lmdb"), "dataroot_lq": str(images / "lr.lmdb")}
    lmdb = HESPairedImageDataset(options(images, resident="cpu", io_backend={"type": "lmdb"}, **roots))
    plain = HESPairedImageDataset(options(images))
    for one, other in zip(batches(lmdb, True), batches(plain, False), strict=True):
        assert torch.equal(one["gt"], other["gt"])
        assert torch.equal(one["lq"], other["lq"])
    again = HESPairedImageDataset(options(images, resident="cpu", io_backend={"type": "lmdb"}, **roots))
    next(batches(again, True))  # an LMDB can be open only once in a process


@pytest.mark.parametrize("scale", [1, 3])
def test_a_gather_is_what_a_crop_cuts_in_all_orientations(scale):
    rng = np.random.default_rng(0)
    shapes = np.array([[9, 12], [11, 8]])
    kept = [rng.integers(0, 256, (*(scale * shape), 3), dtype=np.uint8) for shape in shapes]
    pixels = Pixels(scale * shapes, "uint8", 3, scale, CPU, CPU)
    for number, image in enumerate(kept):
        pixels.put(number, image)
    turns = np.array(np.meshgrid(*3 * [[False, True]])).reshape(3, -1)
    crops = Crops(rng.integers(0, 2, 8), rng.integers(0, 5, 8), rng.integers(0, 4, 8), *turns)
    walks = torch.from_numpy(np.stack(pixels.walks(crops, 5)))
    for place, patch in enumerate(pixels.gather(walks, 5 * scale)):
        crop = crops[place]
        assert isinstance(crop, Crop)
        cut = crop.cut(kept[crop.image], 5, scale)[..., ::-1].transpose(2, 0, 1)
        assert np.array_equal(patch.numpy(), cut)


def test_8_bits_among_16_keep_their_values():
    narrow = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    pixels = [Pixels(np.array([[16, 16]]), kind, 3, 1, CPU, CPU) for kind in ("uint8", "uint16")]
    crops = Crops(*(np.zeros(1, np.int64) for _ in range(3)), *(np.zeros(1, bool) for _ in range(3)))
    for each in pixels:
        each.put(0, narrow)
    eight, sixteen = (
        each.to_float(each.gather(torch.from_numpy(np.stack(each.walks(crops, 16))), 16)) for each in pixels
    )
    assert torch.equal(eight, sixteen)


def test_the_loader_takes_the_place_of_basicsrs_and_the_log_says_what_it_took(images, options, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    caplog.set_level(logging.INFO, "basicsr.wbsr_data")
    dataset = HESPairedImageDataset(options(images, resident="cpu"))
    sampler = dataset.training_sampler(**PLAN)
    loader = own_loader({"num_gpu": 0}, DataLoader(dataset, 4), sampler)
    assert loader.dataset is dataset
    assert loader.batch_size == 4
    assert re.search(r"datasets:train: 7 pairs of images, 0\.3 MB, decoded in [\d.]+ s, stay on cpu\.", caplog.text)


@pytest.mark.parametrize("prefetcher", ["CPUPrefetcher", "CUDAPrefetcher"])
def test_basicsrs_prefetchers_take_it(images, options, prefetcher, monkeypatch):
    import contextlib

    from basicsr.data import prefetch_dataloader

    stream = type("Stream", (), {"wait_stream": lambda self, other: None})
    for name, stand_in in (("Stream", stream), ("current_stream", stream)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    dataset = HESPairedImageDataset(options(images, resident="cpu"))
    sampler = dataset.training_sampler(**PLAN)
    loader = dataset.training_loader(sampler, 4, CPU)
    kind = getattr(prefetch_dataloader, prefetcher)
    feeding = kind(loader, {"num_gpu": 0}) if prefetcher == "CUDAPrefetcher" else kind(loader)
    expected = batches(HESPairedImageDataset(options(images)), False)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        feeding.reset()
        while (batch := feeding.next()) is not None:
            assert torch.equal(batch["gt"], next(expected)["gt"])


def drawn_batch():
    """A batch of three draws, and how often it was cut so far."""
    cuts = []

    def cut(draws):
        cuts.append(draws)
        return {"lq": 2 * draws, "gt": 3 * draws, "difficulty": draws}

    draws = torch.arange(3)
    return DrawnBatch({"lq": None, "gt": None, "lq_path": ["a"] * 3, "difficulty": draws}, draws, cut), cuts


def test_a_drawn_batch_is_cut_once_and_not_before_its_patches_are_touched():
    batch, cuts = drawn_batch()
    assert list(batch) == ["lq", "gt", "lq_path", "difficulty"]
    assert len(batch) == 4
    assert "gt" in set(batch)
    assert batch["lq_path"] == ["a"] * 3
    assert batch["difficulty"].tolist() == [0, 1, 2]
    batch["more"] = 1
    del batch["lq_path"]
    assert cuts == []
    assert batch.draws is not None
    assert batch["gt"].tolist() == [0, 3, 6]
    assert batch.draws is None
    assert {**batch, "more": 2}["lq"].tolist() == [0, 2, 4]
    assert len(cuts) == 1


def test_patches_that_replace_those_of_a_drawn_batch_stay():
    batch, cuts = drawn_batch()
    batch["lq"] = torch.ones(3)
    assert batch.draws is None
    assert batch["gt"].tolist() == [0, 3, 6]
    assert batch["lq"].tolist() == [1, 1, 1]
    del batch["gt"]
    assert "gt" not in batch
    assert len(cuts) == 1


def test_images_on_the_host_make_ready_batches_for_a_gpu(images, options, monkeypatch):
    dataset = HESPairedImageDataset(options(images, resident="cpu"))
    sampler = dataset.training_sampler(**PLAN)
    loader = dataset.training_loader(sampler, 4, CPU)
    sent = []
    monkeypatch.setattr(Batches, "_sent", lambda self, tensor: sent.append(tensor.shape) or tensor)
    assert isinstance(next(iter(loader)), DrawnBatch)
    assert sent == [(7, 4)]
    sent.clear()
    loader._batches = dataclasses.replace(loader._batches, device=torch.device("cuda", 0))
    batch = next(iter(loader))
    assert type(batch) is dict
    assert sent == [(4,), (4, 3, 16, 16), (4, 3, 32, 32)]
    assert_same(batch, next(batches(HESPairedImageDataset(options(images)), False)))


def test_nothing_stays_where_it_is_not_wanted_or_not_worth_it(images, options):
    for where in (False, "auto"):
        dataset = HESPairedImageDataset(options(images, resident=where))
        assert dataset.training_loader(dataset.training_sampler(**PLAN), 4, CPU) is None


@pytest.mark.parametrize(
    ("resident_mb", "free", "said"),
    [
        (1, 10**9, None),
        (None, None, None),
        (None, 500_000, r"0\.2 of half of what is free on cpu: raise resident_mb, or write false for workers"),
        (1, 200_000, r"0\.2 of what is free on cpu: free memory, or write false for workers"),
    ],
)
def test_what_does_not_fit_is_refused(images, options, monkeypatch, resident_mb, free, said):
    monkeypatch.setattr(filling, "free_bytes", lambda place: free)
    more = {} if resident_mb is None else {"resident_mb": resident_mb}
    dataset = HESPairedImageDataset(options(images, resident="cpu", **more))
    sampler = dataset.training_sampler(**PLAN)
    if said is None:
        assert dataset.training_loader(sampler, 4, CPU) is not None
    else:
        wanted = rf"train:resident is cpu, but the decoded images take 0\.3 MB, more than the {said}"
        with pytest.raises(ValueError, match=wanted):
            dataset.training_loader(sampler, 4, CPU)


def test_auto_takes_the_gpu_then_the_host_and_the_log_says_what_has_no_room(images, options, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    monkeypatch.setattr(filling, "free_bytes", lambda place: 3_000_000)
    caplog.set_level(logging.INFO, "basicsr.wbsr_data")
    dataset, gpu = HESPairedImageDataset(options(images)), torch.device("cuda", 0)
    one = filling.Filling(dataset.images, dataset.index, "datasets:train", gpu, progress=False)
    assert one._places(ResidentOptions("auto")) == [gpu, CPU]
    assert one._places(ResidentOptions("cuda")) == [gpu]
    assert one._fits(2_000_000, gpu, ResidentOptions("auto")) is False
    assert "take 2.0 MB, more than the 1.5 of half of what is free on cuda:0." in caplog.text
    assert one._fits(2_000_000, gpu, ResidentOptions("auto", 3)) is True
    with pytest.raises(
        ValueError, match=r"resident is cuda, but .* 2\.0 MB, more than the 1\.0 of resident_mb: .*write cpu"
    ):
        one._fits(2_000_000, gpu, ResidentOptions("cuda", 1))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert one._places(ResidentOptions("auto")) == [gpu]  # or each process would fill the host's memory


@pytest.mark.parametrize(("room_on_host", "said"), [(True, "stay on cpu."), (False, "workers decode the images")])
def test_auto_without_room_on_the_gpu(images, options, monkeypatch, caplog, room_on_host, said):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    monkeypatch.setattr(filling, "free_bytes", lambda place: 10**9 if room_on_host and place == CPU else 0)
    caplog.set_level(logging.INFO, "basicsr.wbsr_data")
    dataset = HESPairedImageDataset(options(images))
    one = filling.Filling(dataset.images, dataset.index, "datasets:train", CPU, progress=False)
    found = one._filled([torch.device("cuda", 0), CPU], ResidentOptions("auto"))
    assert (found is not None) == room_on_host
    assert said in caplog.text
    if found is not None:
        assert found.lr.device == found.hr.device == CPU


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resident": "cuda"}, "datasets:train:resident is cuda, but there is no CUDA device here: write auto, cpu"),
        ({"resident": "gpu"}, "datasets:train:resident must be one of auto, cuda, cpu, False, got 'gpu'"),
        ({"resident": True}, "must be one of auto, cuda, cpu, False, got True"),
        ({"resident_mb": 0}, "resident_mb must be at least 1, got 0: resident: false keeps nothing"),
    ],
)
def test_wrong_options_say_what_to_change(pairs, options, change, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for make in (HESPairedImageDataset, HESPairedImageDataset.check_options):
        with pytest.raises(ValueError, match=message):
            make(options(pairs, **change))


def test_cuda_is_refused_where_the_training_runs_on_the_cpu(pairs, options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    dataset = HESPairedImageDataset(options(pairs, resident="cuda"))
    with pytest.raises(ValueError, match=r"resident is cuda, but the training runs on the cpu: set num_gpu: auto"):
        dataset.training_loader(dataset.training_sampler(**PLAN), 4, CPU)


def test_an_image_that_went_bad_or_shrank_since_it_was_indexed_is_named(pairs, options, write_pair):
    bad, shrunk = (HESPairedImageDataset(options(pairs, resident="cpu")) for _ in range(2))
    content = (pairs / "hr" / "3.png").read_bytes()
    (pairs / "hr" / "3.png").write_bytes(content[:-300])
    with pytest.raises(ValueError, match=r"hr/3\.png is damaged or cut off"):
        bad.training_loader(bad.training_sampler(**PLAN), 4, CPU)
    write_pair(pairs, "3.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(ValueError, match=r"lr/3\.png has shrunk since it was indexed: start the training again"):
        shrunk.training_loader(shrunk.training_sampler(**PLAN), 4, CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("where", ["cuda", "cpu", "auto"])
@pytest.mark.parametrize("more", [{}, {"mean": [0.4, 0.5, 0.6], "std": [1.0, 2.0, 0.5]}, {"color": "y"}], ids=str)
@pytest.mark.parametrize("folder", ["images", "deep"])
def test_a_gpu_gets_the_batches_of_a_plain_loader(folder, more, where, options, request):
    folder, device = request.getfixturevalue(folder), torch.device("cuda", torch.cuda.current_device())
    dataset = HESPairedImageDataset(options(folder, resident=where, **more))
    sampler = dataset.training_sampler(**PLAN)
    loader = dataset.training_loader(sampler, 4, device)
    expected = batches(HESPairedImageDataset(options(folder, **more)), False)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        for batch in loader:
            assert batch["lq"].device == batch["gt"].device == batch["difficulty"].device == device
            assert_same({k: v.cpu() if torch.is_tensor(v) else v for k, v in batch.items()}, next(expected))
