"""Checkpoints that are whole or absent, and a full disk that is an error.

BasicSR writes straight into the checkpoint's own file, so a process killed meanwhile leaves half a file; and when
writing fails it warns, goes on training and loses the work. Here a file is written beside, flushed to the disk, and
renamed into place; what cannot be written stops the training. The format on disk stays BasicSR's.
"""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbsr_base.compat.resume import SEED
from wbsr_base.files import write_whole
from wbsr_base.protocols import AddsToCheckpoint, AddsToTrainingState
from wbsr_base.weights.files import serialized

ATTEMPTS = 3
PAUSE = 1.0  # seconds between two attempts


def atomic_save(obj: Any, path: str | os.PathLike[str]) -> None:
    """`torch.save` that leaves either the whole new file at `path` or the previous one, whatever happens meanwhile.

    A path that ends in `.safetensors` gets that format, see `wbsr_base.weights.files`.

    Raises:
        OSError: the file could not be written in three attempts; a previous file of that name is as it was.
    """
    target = Path(path)
    content = serialized(obj, target.suffix)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            write_whole(target, content, durable=True)
        except OSError as error:
            if attempt == ATTEMPTS:
                reason = f"cannot save {target} ({error.strerror or error}): free space or mend the folder, then go on"
                raise OSError(error.errno, reason) from error
            time.sleep(PAUSE)
        else:
            return


def mend() -> None:
    """Give `BaseModel` methods that save atomically, if its own swallow errors."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    for method in (save_network, save_training_state):
        if "Just ignore it" in inspect.getsource(getattr(BaseModel, method.__name__)):
            setattr(BaseModel, method.__name__, master_only(method))


def save_network(
    self: Any,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = "params",
) -> None:
    """Save `models/{net_label}_{current_iter}.pth`: per parameter key a state dict on the CPU, as BasicSR does.

    A model that is `AddsToCheckpoint` adds its entries.

    Raises:
        ValueError: not as many parameter keys as networks.
        OSError: the file could not be written.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    if len(nets) != len(keys):
        raise ValueError(f"save_network needs one parameter key per network, got {len(nets)} networks and keys {keys}")
    content: dict[str, Any] = {key: _cpu_state(self.get_bare_model(one)) for one, key in zip(nets, keys, strict=True)}
    if isinstance(self, AddsToCheckpoint):
        content.update(self.network_metadata(net_label))
    label = "latest" if current_iter == -1 else current_iter
    atomic_save(content, Path(self.opt["path"]["models"]) / f"{net_label}_{label}.pth")


def _cpu_state(net: nn.Module) -> dict[str, torch.Tensor]:
    state = net.state_dict()
    for key in list(state):
        state[key.removeprefix("module.")] = state.pop(key).cpu()
    return state


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Save `training_states/{current_iter}.state`, as BasicSR does, and `manual_seed`; nothing at the end of training
    (-1).

    A model that is `AddsToTrainingState`, and losses that are `KeepsState`, add their entries.

    Raises:
        OSError: the file could not be written.
    """
    from wbsr_base.hooks.resuming import states_of_losses

    if current_iter == -1:
        return
    state = {
        "epoch": epoch,
        "iter": current_iter,
        "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
    }
    if SEED in self.opt:
        state[SEED] = self.opt[SEED]
    state.update(states_of_losses(self))
    if isinstance(self, AddsToTrainingState):
        state.update(self.training_extras())
    atomic_save(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")
