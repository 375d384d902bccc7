"""Resuming a training: by the schedule of the option file, whatever it was before, and with the losses' own state.

BasicSR takes learning rates and schedules from the training state, so that a new `lr` or new `milestones` are ignored
without a word, and a prolonged cosine schedule ends in an error. `resume_training` is wrapped: where the file says
something else than the state, the file holds, and a line in the log says what differs. Moments and the count of steps
are the state's. A training whose file has not changed goes on as BasicSR has it go on, to the last bit.

A loss that is `KeepsState` has an entry of its own in the training state.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from wbsr_base.hooks.kernels import KERNELS
from wbsr_base.protocols import KeepsState

Method = Callable[..., Any]
LOSSES = "losses"  # the key of the training state

_MARK = "resumes_by_the_file"
_NOT_ASKED_FOR = {"params", "lr", "initial_lr", "decoupled_weight_decay", *KERNELS}  # of an optimiser's group
_COUNTS = {"last_epoch", "verbose", "base_lrs", "cumulative_period"}  # of a schedule; and what begins with _


def mend() -> None:
    """Wrap the method once."""
    from basicsr.models.base_model import BaseModel

    if not hasattr(BaseModel.resume_training, _MARK):
        BaseModel.resume_training = _by_the_file(BaseModel.resume_training)
        setattr(BaseModel.resume_training, _MARK, True)


def states_of_losses(model: Any) -> dict[str, Any]:
    """What a training state holds of a model's losses, by the names of its attributes."""
    states = {name: loss.training_state() for name, loss in _losses(model).items()}
    return {LOSSES: states} if states else {}


def _losses(model: Any) -> dict[str, KeepsState]:
    return {n: v for n, v in vars(model).items() if isinstance(v, nn.Module) and isinstance(v, KeepsState)}


def _by_the_file(original: Method) -> Method:
    @functools.wraps(original)
    def resume_training(self: Any, resume_state: Mapping[str, Any]) -> None:
        groups = [[_asked_for(group) for group in own.param_groups] for own in self.optimizers]
        rates = [[group.get("initial_lr", group["lr"]) for group in own.param_groups] for own in self.optimizers]
        schedules = [copy.deepcopy(_settings(own.state_dict())) for own in self.schedulers]
        try:
            original(self, resume_state)
        except (AssertionError, ValueError, KeyError) as error:
            raise ValueError(
                f"the training state is of another optimiser, schedule or network than the option file: {error}: start "
                "anew, by pretrain_network_g without resume_state"
            ) from error
        changed = _put_back_groups(self, groups)
        changed += _put_back_schedules(self, rates, schedules, resume_state["schedulers"])
        if changed:
            logging.getLogger("basicsr").warning(
                f"The option file differs from the training state, and holds from iteration {resume_state['iter'] + 1} "
                f"on: {'; '.join(changed)}."
            )
        for name, loss in _losses(self).items():
            loss.resume(resume_state.get(LOSSES, {}).get(name, {}))

    return resume_training


def _asked_for(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in _NOT_ASKED_FOR}


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _COUNTS and not name.startswith("_")}


def _put_back_groups(model: Any, groups: list[list[dict[str, Any]]]) -> list[str]:
    """Give the optimisers the file's options again; say which differed."""
    changed = []
    for number, (optimizer, own) in enumerate(zip(model.optimizers, groups, strict=True)):
        for group, options in zip(optimizer.param_groups, own, strict=True):
            for name, value in options.items():
                if not _same(group.get(name), value):
                    changed.append(f"train:{_name(model, number)}:{name} {_shown(group.get(name))} → {_shown(value)}")
                    group[name] = value
    return list(dict.fromkeys(changed))


def _put_back_schedules(
    model: Any, rates: list[list[float]], schedules: list[dict[str, Any]], states: list[dict[str, Any]]
) -> list[str]:
    """Give the schedules the file's options again, at the step where the state is; say which differed."""
    changed = []
    for schedule, settings, state in zip(model.schedulers, schedules, states, strict=True):
        number = next((n for n, own in enumerate(model.optimizers) if own is schedule.optimizer), 0)
        saved, before = _settings(state), list(schedule.base_lrs)
        differ = [name for name, value in settings.items() if not _same(saved.get(name), value)]
        lines = [f"train:scheduler:{name} {_shown(saved.get(name))} → {_shown(settings[name])}" for name in differ]
        if not _same(before, rates[number]):
            lines.append(f"train:{_name(model, number)}:lr {_shown(before)} → {_shown(rates[number])}")
        if not lines:
            continue
        for name in differ:
            setattr(schedule, name, settings[name])
        for name in saved.keys() - settings.keys():  # of a schedule of another type
            delattr(schedule, name)
        if "periods" in settings:
            schedule.cumulative_period = [sum(schedule.periods[: n + 1]) for n in range(len(schedule.periods))]
            if schedule.last_epoch > schedule.cumulative_period[-1]:
                raise ValueError(
                    f"the training state is of iteration {schedule.last_epoch + 1}, behind the end of "
                    f"train:scheduler:periods {_shown(schedule.periods)}: let them, and train:total_iter, end later"
                )
        schedule.base_lrs = list(rates[number])
        for group, rate in zip(schedule.optimizer.param_groups, rates[number], strict=True):
            group["initial_lr"] = rate
        _move_to(schedule, schedule.last_epoch)
        changed += lines
    return list(dict.fromkeys(changed))


def _move_to(schedule: Any, step: int) -> None:
    """Set the learning rates to what they would be, had the schedule run to a step from the start.

    BasicSR's schedules either ask for nothing but the step, or change the rate at some steps and leave it otherwise.
    """
    groups = schedule.optimizer.param_groups
    for group in groups:
        group["lr"] = group["initial_lr"]
    marks = {*getattr(schedule, "milestones", ()), *getattr(schedule, "restarts", ()), step}
    for mark in sorted(mark for mark in marks if 0 <= mark <= step):
        schedule.last_epoch = mark
        for group, rate in zip(groups, schedule.get_lr(), strict=True):
            group["lr"] = rate
    schedule.last_epoch = step
    schedule._last_lr = [group["lr"] for group in groups]


def _name(model: Any, number: int) -> str:
    """What the option file calls an optimiser."""
    for attribute, value in vars(model).items():
        if value is model.optimizers[number] and attribute.startswith("optimizer_"):
            return str(attribute).replace("optimizer_", "optim_")
    return "optim_g"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return bool(one == other)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):  # BasicSR counts milestones
        value = sorted(value)
    return str(list(value)) if isinstance(value, tuple) else str(value)
