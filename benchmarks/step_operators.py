"""Operators of one training step by part, and how often the host waits for a value: what a GPU has to launch.

    python benchmarks/step_operators.py [--precision fp32] [--loss BDLoss]

Counted on a CPU, batch 1, without views and what else launches nothing, Adam fused as on a GPU: SRResNet x4, the full
network and the cheapest subnet under WBSRModel, and the full network under BasicSR's SRModel. The network's part is its
forward and backward pass alone. Beside it at most 60 are wanted, and no read by the host. The last column is what a
step launches beside its recording (`compute: {graphs: true}`) where images are resident, from the draws of its batch
on; a GPU adds the copy of the draws to the device.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from train_speed import make_data, make_up_images

import wbsr.plugin  # noqa: F401  the registries
from wbsr_arch.subnet import Subnet
from wbsr_base.basicsr import SRModel
from wbsr_base.recorded_step import WARM_UPS, RecordedStep
from wbsr_data import HESPairedImageDataset
from wbsr_losses import GaussianMixture
from wbsr_models import WBSRModel
from wbsr_models.training.moving_average import MovingAverage

PARTS = ("network", "loss", "optimiser", "EMA", "rest")
SCALE = 4

READS = {  # operators and methods by which the host learns a value, or a shape that depends on values
    *("_local_scalar_dense", "equal", "is_nonzero", "item", "masked_select", "nonzero", "nonzero_static", "unique_dim"),
    *("_unique2", "unique_consecutive", "allclose", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__"),
    "__index__",
}
QUIET = {  # views, memory without content, and marks for a profiler: nothing to launch
    *("alias", "as_strided", "detach", "diagonal", "expand", "narrow", "permute", "select", "slice", "split"),
    *("squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_reshape_alias", "_unsafe_view", "lift_fresh"),
    *("empty", "empty_like", "empty_strided", "new_empty", "_record_function_enter_new", "_record_function_exit"),
}


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that run, but for the quiet ones, by the part that is under way."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = "rest"
        self.by_part: dict[str, Counter[str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.by_part.setdefault(self.part, Counter())[name] += name not in QUIET
        return func(*args, **(kwargs or {}))

    @property
    def counts(self) -> Counter[str]:
        """Of all parts."""
        return sum(self.by_part.values(), Counter())

    def of(self, part: str) -> int:
        """How many operators a part has."""
        return self.by_part.get(part, Counter()).total()

    @contextmanager
    def during(self, part: str, after: str = "rest") -> Iterator[None]:
        """Count for a part, and then for another."""
        self.part = part
        yield
        self.part = after

    def as_part(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose operators count for a part."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.during(part):
                return function(*args, **kwargs)

        return counted


class Methods(TorchFunctionMode):
    """Counts what Python calls on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[getattr(func, "__name__", "")] += 1
        return func(*args, **(kwargs or {}))


def reads(operators: Operators, methods: Methods) -> dict[str, int]:
    """The calls by which the host waited for the device."""
    return {name: count for name, count in (operators.counts + methods.counts).items() if name in READS}


def count_step(model: Any, iteration: int) -> tuple[Operators, Methods]:
    """The operators of one step of an SRModel or a descendant, from the learning rate to the average.

    A backward pass begins in the loss and reaches the network with the gradient of its output.
    """
    operators, methods = Operators(), Methods()

    def begin(*_: Any) -> None:
        operators.part = "network"

    def move(*_: Any) -> None:
        operators.part = "optimiser" if operators.part == "rest" else "rest"

    def end(_module: nn.Module, _arguments: Any, output: torch.Tensor) -> None:
        operators.part = "rest"
        output.register_hook(begin)  # type: ignore[no-untyped-call]

    with ExitStack() as stack:
        for handle in (
            model.net_g.register_forward_pre_hook(begin),
            model.net_g.register_forward_hook(end),
            model.optimizer_g.register_step_pre_hook(move),
            model.optimizer_g.register_step_post_hook(move),
        ):
            stack.callback(handle.remove)
        for owner, name, part in (
            (torch.autograd, "backward", "loss"),
            (model.cri_pix, "forward", "loss"),
            (MovingAverage, "update", "EMA"),
            (type(model), "model_ema", "EMA"),
        ):
            stack.enter_context(patch.object(owner, name, operators.as_part(part, getattr(owner, name))))
        data = batch(iteration)
        stack.enter_context(operators)
        stack.enter_context(methods)
        model.update_learning_rate(iteration)
        model.feed_data(data)
        model.optimize_parameters(iteration)
    return operators, methods


class Unseen:
    """A `Recorder` whose recordings launch nothing that is counted: they do not run."""

    def run(self, function: Callable[[], Any]) -> Any:
        """As it is."""
        return function()

    def watch(self, function: Callable[[], Any]) -> tuple[Any, None]:
        """As it is."""
        return function(), None

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Once, for its result."""
        return lambda: None, function()


def count_beside_recording(model: Any, batches: Iterator[Mapping[str, Any]]) -> tuple[Operators, Methods]:
    """The operators of a step that is replayed, from the draws of its batch on, but for the recording's own."""
    model.recordings = RecordedStep(model.optimizer_g, model.device, Unseen(), logging.warning)
    for iteration in range(1, WARM_UPS + 3):
        with Operators() as operators, Methods() as methods:
            model.update_learning_rate(iteration)
            model.feed_data(next(batches))
            model.optimize_parameters(iteration)
    return operators, methods


def resident_batches(folder: Path, size: int = 1, patch_size: int = 8) -> Iterator[Mapping[str, Any]]:
    """Batches of made-up images that stay in memory."""
    if not (folder / "pairs").exists():
        make_up_images(folder / "images", 2, (96, 96))
        make_data(folder, folder / "images")
    roots = {"dataroot_gt": str(folder / "pairs/HR"), "dataroot_lq": str(folder / f"pairs/LRx{SCALE}")}
    turns = {"use_hflip": True, "use_rot": True, "hes": {"num_classes": 2, "cache": False}}
    where = {"name": "made up", "phase": "train", "io_backend": {"type": "disk"}, "resident": "cpu", **roots}
    dataset = HESPairedImageDataset({"scale": SCALE, "gt_size": SCALE * patch_size, **where, **turns})
    sampler = dataset.training_sampler(batches_per_epoch=100, batch_size=size, total_iterations=100)
    yield from dataset.training_loader(sampler, size, torch.device("cpu")) or ()


def batch(iteration: int, size: int = 1, patch_size: int = 8) -> dict[str, Any]:
    """What a loader would deliver; the sizes change no count."""
    generator = torch.Generator().manual_seed(iteration)
    return {
        "lq": torch.rand(size, 3, patch_size, patch_size, generator=generator),
        "gt": torch.rand(size, 3, SCALE * patch_size, SCALE * patch_size, generator=generator),
        "lq_path": ["image.png"] * size,
    }


def options(folder: Path, loss: str) -> dict[str, Any]:
    """What BasicSR makes of an option file for one process, but for the model and its network."""
    mixture = folder / "mixture.json"
    GaussianMixture([0.6, 0.4], [[0.3] * 3, [0.7] * 3], (0.04 * torch.eye(3)).expand(2, 3, 3)).save(mixture)
    return {
        "name": "step",
        "scale": SCALE,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "datasets": {"train": {"type": "HESPairedImageDataset", "gt_size": 8 * SCALE}},
        "path": {},
        "train": {
            "optim_g": {"type": "Adam", "lr": 2e-4, "fused": True},
            "scheduler": {"type": "MultiStepLR", "milestones": [100]},
            "total_iter": 100,
            "ema_decay": 0.999,
            "pixel_opt": {"type": loss, **({"mixture": str(mixture)} if loss == "BDLoss" else {})},
        },
        "val": {},
    }


def models(folder: Path, loss: str, precision: str, small: bool = False) -> Iterator[tuple[str, Any]]:
    """Names of the steps, and models that take them.

    Args:
        folder: for the mixture of BDLoss.
        loss: `BDLoss` or `L1Loss`.
        precision: of WBSRModel.
        small: two blocks and eight features in place of SRResNet's.
    """
    features, blocks = (8, 2) if small else (64, 16)
    backbone = {"type": "MSRResNet", "num_feat": features, "num_block": blocks, "upscale": SCALE}
    cheapest, full = Subnet(features * 9 // 16, blocks // 4 or 1), Subnet(features, blocks)
    network = {"type": "Supernet", "backbone": backbone, "widths": [cheapest.width, features]}
    network["depths"] = [cheapest.depth, blocks]
    for subnet in (full, cheapest):
        opt = options(folder, loss)
        opt["train"]["compute"] = {"precision": precision}
        with patch("wbsr_models.wbsr_model.draw_subnets", lambda *_, subnet=subnet: [subnet]):
            yield f"WBSRModel, {subnet}", _as_on_a_gpu(WBSRModel(opt | {"network_g": network}))
    yield "SRModel", _as_on_a_gpu(SRModel(options(folder, loss) | {"network_g": backbone}))


def _as_on_a_gpu(model: Any) -> Any:
    """A model whose loss leaves its errors to the log line."""
    model.cri_pix.deferred = True
    return model


def main() -> None:
    """Count and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=["BDLoss", "L1Loss"], default="BDLoss")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of WBSRModel")
    arguments = parser.parse_args()
    beside = ("beside the network", "reads by the host", "beside a recording")
    sys.stdout.write(f"| step | {' | '.join((*PARTS, *beside))} |\n|---|{'---|' * (len(PARTS) + 3)}\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models(Path(folder), arguments.loss, arguments.precision):
            count_step(model, 1)  # makes the optimiser's state
            operators, methods = count_step(model, 2)
            parts = [operators.of(part) for part in PARTS]
            row = [name, *parts, sum(parts) - parts[0], sum(reads(operators, methods).values())]
            outside, _ = count_beside_recording(model, resident_batches(Path(folder)))
            sys.stdout.write(f"| {' | '.join(map(str, [*row, outside.counts.total()]))} |\n")


if __name__ == "__main__":
    main()
