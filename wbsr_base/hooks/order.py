"""How many iterations a training will really run, and which samples it sees in which order.

BasicSR counts the epochs with a ceiling while its loader drops the last, incomplete batch, so training can stop long
before `total_iter` and still report success; and its sampler is fixed, so no dataset learns how far training is.
`create_train_val_dataloader` is wrapped: a shortage is an error before training starts, and a training set that is
`DrawsItsOrder` brings its own sampler, and one that is `BringsItsLoader` its loader too. Without `manual_seed` each
rank makes up a seed of its own; the first rank's then holds for all, for draws must be shared out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed
from torch.utils.data import DataLoader, Sampler

from wbsr_base.protocols import BringsItsLoader, DrawsItsOrder

Loaders = tuple[Any, Any, list[Any], int, int]  # train loader, train sampler, val loaders, epochs, iterations


def mend() -> None:
    """Wrap `create_train_val_dataloader` once."""
    import basicsr.train

    if not hasattr(basicsr.train.create_train_val_dataloader, "__wrapped__"):
        basicsr.train.create_train_val_dataloader = _wrap(basicsr.train.create_train_val_dataloader)


def _wrap(original: Callable[..., Loaders]) -> Callable[..., Loaders]:
    @functools.wraps(original)
    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> Loaders:
        opt["manual_seed"] = common_seed(opt)
        loader, sampler, val_loaders, epochs, iterations = original(opt, logger)
        check_iterations(opt, loader, epochs, iterations)
        own = own_sampler(opt, loader, iterations)
        if own is not None:
            brought = own_loader(opt, loader, own)
            if brought is not None:
                opt["datasets"]["train"]["prefetch_mode"] = None  # there is nothing to read ahead
            loader, sampler = brought or _rebuild(opt, loader, own), own
        return loader, sampler, val_loaders, epochs, iterations

    return create_train_val_dataloader


def common_seed(opt: dict[str, Any]) -> int:
    """The first rank's seed; all ranks must ask for it."""
    seeds = [opt["manual_seed"]]
    if opt["dist"]:
        torch.distributed.broadcast_object_list(seeds, 0)
    return int(seeds[0])


def own_sampler(opt: dict[str, Any], loader: DataLoader[Any], iterations: int) -> Sampler[Any] | None:
    """The sampler that the training set brings, or None if it is not `DrawsItsOrder`."""
    dataset = loader.dataset
    if not isinstance(dataset, DrawsItsOrder):
        return None
    return dataset.training_sampler(
        batches_per_epoch=len(loader),
        batch_size=loader.batch_size,  # type: ignore[arg-type]  # BasicSR's loaders have one
        total_iterations=iterations,
        start_iteration=opt.get("resume_iter", 0),
        rank=opt["rank"],
        world_size=opt["world_size"],
        seed=opt["manual_seed"],
    )


def own_loader(opt: dict[str, Any], loader: DataLoader[Any], sampler: Sampler[Any]) -> Any:
    """The loader that the training set brings for its sampler, or None if it is not `BringsItsLoader` or has none."""
    dataset = loader.dataset
    if not isinstance(dataset, BringsItsLoader):
        return None
    device = torch.device("cuda", torch.cuda.current_device()) if opt["num_gpu"] != 0 else torch.device("cpu")
    return dataset.training_loader(sampler, loader.batch_size, device)  # type: ignore[arg-type]


def _rebuild(opt: dict[str, Any], loader: DataLoader[Any], sampler: Sampler[Any]) -> Any:
    from basicsr.data import build_dataloader

    return build_dataloader(
        loader.dataset,
        opt["datasets"]["train"],
        num_gpu=opt["num_gpu"],
        dist=opt["dist"],
        sampler=sampler,
        seed=opt["manual_seed"],
    )


def check_iterations(opt: dict[str, Any], loader: DataLoader[Any], epochs: int, iterations: int) -> None:
    """Refuse a training that would end before `train:total_iter`.

    Raises:
        ValueError: fewer iterations would run; it says how many, and which `dataset_enlarge_ratio` is enough.
    """
    done, epoch = opt.get("resume_iter", 0), opt.get("resume_epoch", 0)
    ends = _last_iteration(done, epoch, epochs, len(loader))
    if ends >= iterations:
        return
    block = opt["datasets"]["train"]
    images, ratio = len(loader.dataset), block.get("dataset_enlarge_ratio", 1)  # type: ignore[arg-type]
    batch, world = loader.batch_size or block["batch_size_per_gpu"], opt["world_size"]

    def lasts(candidate: int) -> bool:
        per_epoch = math.ceil(images * candidate / (block["batch_size_per_gpu"] * world))  # as BasicSR counts them
        real = math.ceil(images * candidate / world) // batch  # as its loader makes them
        return _last_iteration(done, epoch, math.ceil(iterations / per_epoch), real) >= iterations

    enough = next(filter(lasts, _growing(ratio, until=iterations * batch * world + 1)), None)
    remedy = f"set datasets:train:dataset_enlarge_ratio to {enough} or more" if enough else "start without resuming"
    raise ValueError(
        f"training would stop after {ends} of the {iterations} iterations that train:total_iter asks for: {images} "
        f"samples x dataset_enlarge_ratio {ratio} make {len(loader)} batches of {batch} per epoch for each of {world} "
        f"processes (an incomplete batch is dropped): {remedy}"
    )


def _last_iteration(done: int, epoch: int, epochs: int, batches: int) -> int:
    """Where BasicSR stops: it runs epoch number `epochs` too, and the epoch it resumes in from its start."""
    return done + max(epochs + 1 - epoch, 0) * batches


def _growing(ratio: float, until: int) -> Iterator[int]:
    """Whole ratios above `ratio`, the steps growing by a sixteenth, up to twice the ratio that surely is enough."""
    candidate = math.floor(ratio) + 1
    while candidate <= 2 * until:
        yield candidate
        candidate += max(1, candidate // 16)
