"""Resuming a training that was killed, on any machine.

BasicSR loads a training state onto the current CUDA device, which ends in an error where there is none; it takes the
newest state whatever it holds, so that a half-written one, or one whose network is missing, ends every further attempt;
and it looks for states in the current folder instead of the experiment's. Here the newest *complete* state counts.

The key that `path:param_key_*` names is that of a pretrained file, not of the network that belongs to the state. And
where the option file has no `manual_seed`, BasicSR makes one up at every start: the state's then holds.
"""

from __future__ import annotations

import inspect
import logging
import pickle
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from wbsr_base.files import sweep
from wbsr_base.weights.fitting import check_finite

SEED = "manual_seed"  # the key of the training state

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


def mend() -> None:
    """Replace `load_resume_state`, if it insists on CUDA."""
    import basicsr.train

    torch.serialization.add_safe_globals([Counter])  # the milestones of BasicSR's MultiStepRestartLR
    if "torch.cuda.current_device()" in inspect.getsource(basicsr.train.load_resume_state):
        basicsr.train.load_resume_state = load_resume_state


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The training state to go on from, on the CPU, or None for a fresh start.

    With `--auto_resume` that is the newest complete state of the experiment; otherwise, or if the experiment has no
    state yet, the one that `path:resume_state` names. Where training goes on is noted as `opt["resume_iter"]` and
    `opt["resume_epoch"]` (0 for a fresh start); `manual_seed` becomes that of the state, with which its draws began.

    Raises:
        FileNotFoundError: the named state, or a network file that belongs to the state, does not exist.
        ValueError: such a file is damaged; with `--auto_resume`, no complete state is left.
    """
    from basicsr.utils import check_resume

    opt["resume_iter"], opt["resume_epoch"] = 0, 0
    for folder in ("models", "training_states"):
        sweep(Path(opt["path"][folder]))
    state = _newest_complete(opt) if opt["auto_resume"] else None
    if state is None and opt["path"].get("resume_state"):
        state = _read_state(opt, Path(opt["path"]["resume_state"]))
    if state is not None:
        check_resume(opt, state["iter"])
        for network in _resumed(opt):
            key = f"param_key_{network.removeprefix('network_')}"
            if opt["path"].get(key) is not None:
                opt["path"][key] = "params"
        opt["resume_iter"], opt["resume_epoch"] = state["iter"], state["epoch"]
        if SEED in state:
            opt[SEED] = state[SEED]
    return state


def _resumed(opt: dict[str, Any]) -> list[str]:
    """The networks whose weights are those of the training state."""
    ignored = opt["path"].get("ignore_resume_networks") or []
    return [key for key in opt if key.startswith("network_") and key not in ignored]


def _newest_complete(opt: dict[str, Any]) -> dict[str, Any] | None:
    folder = Path(opt["path"]["training_states"])
    states = [path for path in folder.glob("*.state") if path.stem.isdecimal()]
    if not states:
        return None
    problems = []
    for path in sorted(states, key=lambda path: int(path.stem), reverse=True):
        try:
            state = _read_state(opt, path)
        except (ValueError, FileNotFoundError) as error:
            logging.getLogger("wbsr").warning("%s: trying the state before it", error)
            problems.append(str(error))
        else:
            opt["path"]["resume_state"] = str(path)
            return state
    raise ValueError(
        f"none of the {len(states)} training states in {folder} is complete ({problems[0]}): "
        "to start afresh, leave out --auto_resume (the old folder is kept under another name)"
    )


def _read_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """A training state whose networks are there and readable as well."""
    state = _load(path, "training state")
    missing = [key for key in ("epoch", "iter", "optimizers", "schedulers") if key not in state]
    if missing:
        raise ValueError(f"{path} is no training state of BasicSR: it lacks {', '.join(missing)}")
    for network in _resumed(opt):
        name = f"net_{network.removeprefix('network_')}_{state['iter']}.pth"
        network_file = Path(opt["path"]["models"]) / name
        for weights in _load(network_file, f"network of the training state {path}").values():
            if isinstance(weights, dict):
                check_finite(weights, str(network_file))
    return state


def _load(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"the {what} does not exist: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"the {what} is damaged: {path} ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"the {what} is damaged: {path} holds a {type(content).__name__}, not a dict")
    return content
