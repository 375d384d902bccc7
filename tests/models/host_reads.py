"""Finds on a CPU what would make the host wait for a GPU."""

import torch
from torch.overrides import TorchFunctionMode


class Reads(TorchFunctionMode):
    """Names what makes a host wait for its GPU: reading a tensor, or moving one there or back."""

    NAMES = ("cpu", "tolist", "item", "nonzero", "__bool__", "__int__", "__float__", "masked_select")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        moves = name == "to" and any(isinstance(each, torch.device) for each in (*args, *kwargs.values()))
        if name in self.NAMES or moves:
            self.found.append(name)
        if name == "__getitem__" and getattr(args[1], "dtype", None) is torch.bool:
            self.found.append("mask")
        return func(*args, **kwargs)
