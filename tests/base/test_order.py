"""The number of iterations is checked before training starts, and a dataset may bring its own order."""

import logging
import math

import pytest
import torch

from wbsr import compat
from wbsr_base.hooks import order

LOGGER = logging.getLogger("test")


@pytest.fixture
def build(images, options, monkeypatch):
    """Call BasicSR's create_train_val_dataloader for a training set of 10 images."""
    compat.install()
    import basicsr.train

    def run(iterations, batch=4, ratio=1, kind="PairedImageDataset", **more):
        monkeypatch.chdir(images(10))
        train = options["datasets"]["train"] | {"phase": "train", "scale": 2, "type": kind}
        train |= {"batch_size_per_gpu": batch, "dataset_enlarge_ratio": ratio}
        opt = {"datasets": {"train": train}, "train": {"total_iter": iterations}}
        opt |= {"num_gpu": 0, "dist": False, "rank": 0, "world_size": 1, "manual_seed": 3} | more
        run.opt = opt
        return basicsr.train.create_train_val_dataloader(opt, LOGGER)

    return run


def test_a_training_that_would_stop_early_is_refused_with_a_ratio_that_is_enough(build):
    with pytest.raises(ValueError, match=r"stop after 22 of the 30 .*dataset_enlarge_ratio to 2 or more"):
        build(iterations=30)
    build(iterations=30, ratio=2)


def test_a_batch_larger_than_the_set_is_refused(build):
    with pytest.raises(ValueError, match=r"stop after 0 of the 5 .*make 0 batches of 16.*ratio to 4 or more"):
        build(iterations=5, batch=16)
    build(iterations=5, batch=16, ratio=4)


def test_resuming_counts_from_where_it_goes_on(build):
    build(iterations=22, resume_iter=20, resume_epoch=6)
    with pytest.raises(ValueError, match="stop after 22 of the 30"):
        build(iterations=30, resume_iter=18, resume_epoch=9)


@pytest.mark.parametrize("resume", [(0, 0), (7, 3)])
def test_the_last_iteration_is_that_of_basicsr_loop(resume):
    done, start = resume
    for epochs in range(1, 6):
        for batches in range(4):
            iteration = done
            for _ in range(start, epochs + 1):
                iteration += batches
            assert order._last_iteration(done, start, epochs, batches) == iteration


def test_a_dataset_with_a_training_sampler_draws_its_own_order(build):
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.utils.registry import DATASET_REGISTRY

    class Backwards(list):
        def set_epoch(self, epoch):
            self.epoch = epoch

    class OwnOrderDataset(PairedImageDataset):
        def training_sampler(self, **given):
            self.given = given
            return Backwards(range(9, -1, -1))

    if "OwnOrderDataset" not in DATASET_REGISTRY:
        DATASET_REGISTRY.register(OwnOrderDataset)
    loader, sampler, _, epochs, iterations = build(iterations=4, kind="OwnOrderDataset", resume_iter=1, resume_epoch=0)
    assert isinstance(sampler, Backwards)
    assert loader.dataset.given == {
        "batches_per_epoch": 2,
        "batch_size": 4,
        "total_iterations": 4,
        "start_iteration": 1,
        "rank": 0,
        "world_size": 1,
        "seed": 3,
    }
    drawn = [path for batch in loader for path in batch["lq_path"]]
    assert drawn == [loader.dataset.paths[i]["lq_path"] for i in range(9, 1, -1)]
    assert (epochs, iterations) == (math.ceil(4 / 3), 4)


@pytest.mark.parametrize("brings", [True, False])
def test_of_a_loader_that_a_dataset_brings_nothing_is_read_ahead(build, options, brings):
    """BasicSR's CUDA prefetcher would read its tensors, on a stream of its own."""
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.utils.registry import DATASET_REGISTRY

    class Loader(list):
        dataset = None

    class OwnLoaderDataset(PairedImageDataset):
        def training_sampler(self, **given):
            return range(8)

        def training_loader(self, sampler, batch_size, device):
            return Loader([sampler, batch_size, device]) if brings else None

    DATASET_REGISTRY._obj_map["OwnLoaderDataset"] = OwnLoaderDataset
    options["datasets"]["train"]["prefetch_mode"] = "cuda"
    loader, *_ = build(iterations=4, kind="OwnLoaderDataset")
    assert (loader == [range(8), 4, torch.device("cpu")]) == brings
    assert build.opt["datasets"]["train"]["prefetch_mode"] == (None if brings else "cuda")
