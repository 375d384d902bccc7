"""CUDA graphs without CUDA: operators that are noted as they run, undone, and run again on the same tensors.

As of a graph, nothing of the Python code runs again; every operator finds the tensors that it was recorded with; and
what a recording made itself holds rubbish before each replay, as memory does that recordings share. An operator that
asks the host for a value can't be recorded.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from wbsr_base.recording import RecordingError

READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2"}


def tensors(*trees):
    return [each for each in tree_flatten(trees)[0] if isinstance(each, torch.Tensor)]


def storage(tensor):
    return tensor.untyped_storage()._cdata


class Tape(TorchDispatchMode):
    """What one recording notes."""

    def __init__(self):
        super().__init__()
        self.operators, self.made, self.before = [], {}, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        if name in READS:
            raise RuntimeError(f"operation {name} not permitted while recording")
        given = {storage(each) for each in tensors(args, kwargs)}
        if func._schema.is_mutable:
            for each in tensors(args, kwargs):
                if storage(each) not in self.made and id(each) not in self.before:
                    self.before[id(each)] = (each, each.clone())
        results = func(*args, **kwargs)
        fresh = [each for each in tensors(results) if storage(each) not in given]
        self.made.update((storage(each), each) for each in fresh)
        self.operators.append((func, args, kwargs, fresh, given))
        return results

    def undo(self):
        for tensor, value in self.before.values():
            tensor.copy_(value)

    def replay(self):
        with torch.no_grad():
            for each in self.made.values():
                each.fill_(float("nan") if each.is_floating_point() else 1)
            for func, args, kwargs, fresh, given in self.operators:
                again = [each for each in tensors(func(*args, **kwargs)) if storage(each) not in given]
                for old, new in zip(fresh, again, strict=True):
                    old.copy_(new)


class TapeRecorder:
    """A `Recorder` that makes tapes."""

    def __init__(self):
        self.tapes, self.replays = [], 0

    def run(self, function):
        return function()

    def watch(self, function):
        with Waits() as waits:
            return function(), waits.found

    def record(self, function):
        tape = Tape()
        try:
            with tape:
                result = function()
        except RuntimeError as error:
            raise RecordingError(str(error)) from error
        finally:
            with torch.no_grad():
                tape.undo()
        self.tapes.append(tape)
        return lambda: self._replay(tape), result

    def _replay(self, tape):
        self.replays += 1
        tape.replay()


class Waits(TorchDispatchMode):
    """Notes the last operator that asked the host for a value; Adam's on a CPU is none that a GPU has."""

    found = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in READS:
            self.found = func.overloadpacket.__name__
        return func(*args, **(kwargs or {}))
