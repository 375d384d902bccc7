"""Executes plans of windows: one cut for all windows of a shape, network calls by batches, few writes.

There is no loop over patches or windows. Where windows lie and which part of which output goes where is one table of
numbers, made on the host from the choice and brought to the device in one transfer that nobody waits for. The canvas
is laid out by patches, the last of a row or column at its full size; what lies past the image is cut off at the end.
"""

from __future__ import annotations

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
from wbsr_models.inference.window_planner import WindowPlan
from wbsr_models.inference.windows import Ints, Places

Call = tuple[int, int]  # of a subnet's network, on so many windows
Writes = list[list[Call]]  # of one side, by what is written together


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
            del image  # as large as the canvas
        if plan.places:
            writes = [_writes(places, plan) for places in plan.places]
            table = _Table.of(plan, writes, self.pool.source.scale, lr.device)
            for outputs, targets in zip(self._outputs(lr, plan, writes, table), table.targets, strict=True):
                if canvas is None:
                    canvas = self._canvas(lr, plan, outputs.shape[1])
                self._write(canvas, outputs, targets)
        if canvas is None:
            raise ValueError("there is no window to run: the image is empty")
        return self._seen(canvas, plan).permute(2, 0, 1)

    def _outputs(self, lr: Tensor, plan: WindowPlan, writes: Sequence[Writes], table: _Table) -> Iterator[Tensor]:
        """The windows' outputs, (n, C, scale h, scale w), by what is written together."""
        image = lr[None].to(dtype_of(self.pool.settings.precision)).contiguous(memory_format=torch.channels_last)[0]
        for places, of_side, top, left in zip(plan.places, writes, table.top, table.left, strict=True):
            windows = cut(image, top, left, *plan.layout.window(places.side))
            calls = iter(torch.split(windows, [size for write in of_side for _, size in write]))
            for write in of_side:
                outputs = [self.captures(subnet, self.pool.network(subnet), next(calls)) for subnet, _ in write]
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


def _writes(places: Places, plan: WindowPlan) -> Writes:
    """Calls of one side by what is written together."""
    most, writes, windows = plan.together // plan.layout.area(places.side), list[list[Call]](), 0
    for batch in places.batches:
        for _ in range(batch.calls):
            windows += batch.size
            if not writes or windows > most:
                writes.append([])
                windows = batch.size
            writes[-1].append((batch.subnet, batch.size))
    return writes


@dataclass(frozen=True)
class _Table:
    """A plan's numbers on the device: tops and lefts of the windows by side, and the targets of each write."""

    top: tuple[Tensor, ...]
    left: tuple[Tensor, ...]
    targets: list[Targets]

    @classmethod
    def of(cls, plan: WindowPlan, writes: Sequence[Writes], scale: int, device: torch.device) -> _Table:
        """The table of a plan, in one transfer."""
        counts, columns = list[int](), list[Ints]()
        for places, of_side in zip(plan.places, writes, strict=True):
            begins = np.cumsum([0, *(sum(size for _, size in write) for write in of_side)])
            upto = np.searchsorted(places.window, begins)
            counts += np.diff(upto).tolist()
            window = places.window - begins[:-1].repeat(np.diff(upto))  # counted from a write's first
            ends = [np.full(len(window), scale * side - 1) for side in plan.layout.window(places.side)]
            columns.append(np.stack([window, places.row, places.col, scale * places.down, scale * places.right, *ends]))
        numbers = np.concatenate(columns, axis=1)
        corners = np.concatenate([[places.top, places.left] for places in plan.places], axis=1)
        flat = sent(torch.from_numpy(np.concatenate([corners.ravel(), numbers.ravel()])), device)
        first, second = torch.split(flat, [corners.size, numbers.size])
        top, left = first.view(corners.shape).unbind()
        where, begin, end = torch.split(second.view(*numbers.shape, 1), [3, 2, 2])
        down, right = torch.minimum(begin + torch.arange(scale * plan.layout.patch_size, device=device), end).unbind()
        which, *place = where.view(3, -1).unbind()
        parts = which[:, None, None], down[:, :, None], right[:, None, :], *place
        targets = [Targets(*each) for each in zip(*(torch.split(part, counts) for part in parts), strict=True)]
        sides = [len(places.top) for places in plan.places]
        return cls(torch.split(top, sides), torch.split(left, sides), targets)
