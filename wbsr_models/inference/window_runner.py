"""Executes plans of windows: one cut for all windows of a shape, network calls by batches, few writes.

There is no loop over patches or windows. Where windows lie and which part of which output goes where is one table of
numbers, made on the host from the choice and brought to the device in one transfer that nobody waits for. The canvas
is laid out by patches, the last of a row or column at its full size; what lies past the image is cut off at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wbsr_base.devices import keep_freed_blocks, sent
from wbsr_base.pixels.windows import cut
from wbsr_base.precision import dtype_of
from wbsr_models.inference.capture import Captures
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.window_planner import BATCH_PIXELS, Group, WindowPlan
from wbsr_models.inference.windows import Layout

WRITE_PIXELS = 2 * BATCH_PIXELS  # LR pixels of windows whose outputs are written together

Write = Sequence[Group]


class WindowRunner:
    """Upscales an image window by window.

    Args:
        pool: the networks, and the settings that they are made by.
        memory: where the canvas lies.
        captures: runs batches, as captured graphs where that pays.
    """

    def __init__(self, pool: NetworkPool, memory: Memory, captures: Captures) -> None:
        self.pool, self.memory, self.captures = pool, memory, captures

    @torch.no_grad()
    def __call__(self, lr: Tensor, plan: WindowPlan) -> Tensor:
        """Run the plan of an LR image (C, H, W): (C, scale H, scale W), each patch written once.

        Raises:
            ValueError: there is no window, and no interpolation.
        """
        if lr.device.type == "cpu":
            keep_freed_blocks()
        canvas: Tensor | None = None
        if plan.interpolates:
            image = self.pool.interpolation((lr.cpu() if self.memory.on_cpu(lr) else lr)[None])[0]
            canvas = self._canvas(lr, plan, len(image))
            self._seen(canvas, plan).copy_(image.permute(1, 2, 0))
        if plan.groups:
            writes = list(_writes(plan))
            table = _Table.of(writes, plan.layout, self.pool.source.scale, lr.device)
            for outputs, targets in zip(self._outputs(lr, plan, writes, table), table.targets, strict=True):
                if canvas is None:
                    canvas = self._canvas(lr, plan, outputs.shape[1])
                self._write(canvas, outputs, targets)
        if canvas is None:
            raise ValueError("there is no window to run: the image is empty")
        return self._seen(canvas, plan).permute(2, 0, 1)

    def _outputs(self, lr: Tensor, plan: WindowPlan, writes: Sequence[Write], table: _Table) -> Iterator[Tensor]:
        """The windows' outputs, (n, C, scale h, scale w), by what is written together."""
        image = lr[None].to(dtype_of(self.pool.settings.precision)).contiguous(memory_format=torch.channels_last)[0]
        by_side = itertools.groupby(writes, lambda write: write[0].side)
        for (side, members), tops, lefts in zip(by_side, table.tops, table.lefts, strict=True):
            together = list(members)
            sizes = [group.batch for write in together for group in write for _ in range(group.calls)]
            batches = iter(torch.split(cut(image, tops, lefts, *plan.layout.window(side)), sizes))
            for write in together:
                outputs = [
                    self.captures(group.subnet, self.pool.network(group.subnet), next(batches))
                    for group in write
                    for _ in range(group.calls)
                ]
                yield outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _write(self, canvas: Tensor, outputs: Tensor, targets: Targets) -> None:
        """Bring the patches in outputs (n, C, scale h, scale w) to a canvas (rows, side, cols, side, C)."""
        patches = outputs.permute(0, 2, 3, 1)[targets.which, targets.down, targets.right]
        where = targets.row.to(canvas.device), targets.col.to(canvas.device)
        canvas.transpose(1, 2).index_put_(where, patches.to(canvas.device, canvas.dtype))

    def _canvas(self, lr: Tensor, plan: WindowPlan, channels: int) -> Tensor:
        """(rows, side, cols, side, C): of patches, `side` SR pixels each; its values are undefined."""
        layout, side = plan.layout, plan.layout.patch_size * self.pool.source.scale
        device = "cpu" if self.memory.on_cpu(lr) else lr.device
        return torch.empty(layout.rows, side, layout.cols, side, channels, dtype=lr.dtype, device=device)

    def _seen(self, canvas: Tensor, plan: WindowPlan) -> Tensor:
        """(scale H, scale W, C): what of a canvas lies within the image."""
        height, width = (side * self.pool.source.scale for side in (plan.layout.height, plan.layout.width))
        rows, side, cols, _, channels = canvas.shape
        return canvas.view(rows * side, cols * side, channels)[:height, :width]


@dataclass(frozen=True)
class Targets:
    """Which parts of outputs go where, for each of N patches whose sides are P SR pixels.

    `which`: (N, 1, 1), the window; `down`: (N, P, 1), rows of its output, and `right`: (N, 1, P), columns; those past
    the image repeat the last. `row`, `col`: (N,), the patch's place on the canvas.
    """

    which: Tensor
    down: Tensor
    right: Tensor
    row: Tensor
    col: Tensor


def _writes(plan: WindowPlan) -> Iterator[Write]:
    """Groups of one side whose outputs are written together, as many as memory is taken for anyway."""
    for side, members in itertools.groupby(plan.groups, lambda group: group.side):
        most, together, windows = WRITE_PIXELS // plan.layout.area(side), list[Group](), 0
        for group in members:
            windows += group.calls * group.batch
            if together and windows > most:
                yield together
                together, windows = [], group.calls * group.batch
            together.append(group)
        yield together


@dataclass(frozen=True)
class _Table:
    """A plan's numbers on the device: tops and lefts of the windows by side, and the targets of each write."""

    tops: tuple[Tensor, ...]
    lefts: tuple[Tensor, ...]
    targets: list[Targets]

    @classmethod
    def of(cls, writes: Sequence[Write], layout: Layout, scale: int, device: torch.device) -> _Table:
        """The table of a plan, in one transfer."""
        groups = [group for write in writes for group in write]
        windows = np.concatenate([group.places.windows for group in groups], axis=1)
        which, down, right, row, col = np.concatenate([group.places.patches for group in groups], axis=1)
        patches = [group.places.patches.shape[1] for group in groups]
        before = itertools.chain.from_iterable(
            np.cumsum([0, *(group.calls * group.batch for group in write)])[:-1] for write in writes
        )
        which = which + np.repeat(np.array(list(before)), patches)  # counted from a write's first window
        sizes = np.repeat([layout.window(group.side) for group in groups], patches, axis=0).T
        numbers = np.stack([which, row, col, scale * down, scale * right, *(scale * sizes - 1)])
        flat = sent(torch.from_numpy(np.concatenate([windows.ravel(), numbers.ravel()])), device)
        first, second = torch.split(flat, [windows.size, numbers.size])
        tops, lefts = first.view(windows.shape).unbind()
        places, corners, ends = torch.split(second.view(*numbers.shape, 1), [3, 2, 2])
        inside = torch.arange(scale * layout.patch_size, device=device)
        rows, cols = torch.minimum(corners + inside, ends).unbind()
        window, *place = places.view(3, -1).unbind()
        parts = window[:, None, None], rows[:, :, None], cols[:, None, :], *place
        counts = [sum(group.places.patches.shape[1] for group in write) for write in writes]
        targets = [Targets(*each) for each in zip(*(torch.split(part, counts) for part in parts), strict=True)]
        by_side = [
            sum(group.calls * group.batch for group in members)
            for _, members in itertools.groupby(groups, lambda group: group.side)
        ]
        return cls(torch.split(tops, by_side), torch.split(lefts, by_side), targets)
