"""The weights in a file that a network asks for, whatever key they stand under, and whatever prefix their names share.

Programs save weights as they are, or under a key: BasicSR under `params` and `params_ema`, others under `state_dict`,
`model`, `generator`; and wrappers put `module.` and the like before every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsr_base.options import suggest

if TYPE_CHECKING:
    from torch import Tensor, nn

KEYS = (
    "params_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "g_ema",
    "generator",
    "net",
    "ema",
)

_BASICSRS = ("params", "params_ema", None)  # what BasicSR asks for by itself, and need not be there
_NAMED = 5  # weights that a message names
_FORMATS = ("float64", "float32", "bfloat16", "float16")  # of weights that are no whole numbers


@dataclass(frozen=True)
class Found:
    """Weights of a file: the `key` they stand under (empty for the file itself), the `prefix` that was taken off their
    names, and `weights` by the names that are left."""

    key: str
    prefix: str
    weights: dict[str, Tensor]


def find(content: Mapping[str, Any], own: Mapping[str, Tensor], path: str, asked: str | None = None) -> Found:
    """The weights in a file for a network whose own are `own`.

    Args:
        content: of the file.
        own: the network's state dict.
        path: of the file, for the errors.
        asked: the key that the user names; None or `params` or `params_ema` lets others stand in.

    Raises:
        ValueError: the key that is asked for is not there, or nothing in the file has the network's names.
    """
    from torch import Tensor

    groups = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    if asked not in _BASICSRS and asked not in groups:
        raise ValueError(f"weights {path} have no key {asked!r}{suggest(str(asked), groups or content)}")
    order = [key for key in (asked, "params", *KEYS, *groups) if key in groups]
    candidates = [(str(key), groups[key]) for key in dict.fromkeys(order)]
    if asked in groups and asked not in _BASICSRS:
        candidates = [(str(asked), groups[asked])]
    for key, group in [*candidates, ("", content)]:
        weights = {name: value for name, value in group.items() if isinstance(value, Tensor)}
        prefix = shared_prefix(weights, own)
        if prefix is not None:
            start = len(prefix)
            return Found(key, prefix, {n[start:]: value for n, value in weights.items() if n.startswith(prefix)})
    raise ValueError(
        f"weights {path} hold none of this network's weights, such as {next(iter(own), '?')}: {_told(content)}"
    )


def shared_prefix(weights: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """What stands before the network's own names in a file's names: the text by which most of them are found.

    Returns:
        An empty text where the names are the network's own; None where no name is.
    """
    prefixes = {""}
    for name in list(own)[:_NAMED]:
        prefixes |= {other[: -len(name)] for other in weights if other.endswith(f".{name}")}
    counts = {prefix: sum(prefix + name in weights for name in own) for prefix in prefixes}
    best = max(sorted(counts, key=len), key=lambda prefix: counts[prefix])
    return best if counts[best] else None


def differences(found: Found, own: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from being loaded strictly, in words: names that are missing, names too many, other shapes."""
    missing = [f"they lack {name}" for name in own if name not in found.weights]
    more = [f"they have {name}, which the network lacks" for name in found.weights if name not in own]
    shapes = [
        f"{name} is {tuple(weight.shape)} there and {tuple(own[name].shape)} here"
        for name, weight in found.weights.items()
        if name in own and weight.shape != own[name].shape
    ]
    return [*missing, *more, *shapes]


def fitting(found: Found, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those weights whose names and shapes are the network's."""
    return {name: weight for name, weight in found.weights.items() if name in own and weight.shape == own[name].shape}


def check_finite(weights: Mapping[str, Any], path: str) -> None:
    """Refuse weights that are no numbers.

    Raises:
        ValueError: a weight holds NaN or infinity, or is stored so that it can't be told; it is named.
    """
    import torch

    for name, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or not weight.is_floating_point():
            continue
        kind = str(weight.dtype).removeprefix("torch.")
        if weight.layout != torch.strided or kind not in _FORMATS:
            layout = str(weight.layout).removeprefix("torch.")
            raise ValueError(
                f"weights {path}: {name} must be strided and of {', '.join(_FORMATS)}, got {layout} and {kind}: "
                "convert it first"
            )
        if not torch.isfinite(weight).all():
            raise ValueError(
                f"weights {path}: {name} holds what is no finite number, so their training diverged, or they "
                "overflowed in half precision: take an earlier checkpoint"
            )


def load_into(net: nn.Module, found: Found, path: str, strict: bool) -> list[str]:
    """Load weights into a network.

    Args:
        net: the bare network.
        found: the weights.
        path: of their file, for the errors.
        strict: refuse weights that differ; otherwise those that fit by name and shape are loaded.

    Returns:
        What did not fit.

    Raises:
        ValueError: the weights are not finite, differ where they must not, or none fits.
    """
    own = net.state_dict()
    check_finite(found.weights, path)
    differ = differences(found, own)
    name = type(net).__name__
    weights, key = fitting(found, own), found.key or "none"
    if differ and (strict or not weights):
        remedy = f"; {len(weights)} of {len(own)} weights fit, and strict_load_g: false loads them" if weights else ""
        raise ValueError(
            f"weights {path} (key {key}) are of another architecture than {name}, or of other settings of it: "
            f"{differ[0]}{_more(differ)}: compare num_feat, num_block and upscale{remedy}"
        )
    net.load_state_dict(weights, strict=strict)
    return differ


def _more(differ: list[str]) -> str:
    return f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""


def _told(content: Mapping[str, Any]) -> str:
    """What stands in a file."""
    names = [
        f"{key} ({len(value)} entries)" if isinstance(value, Mapping) else str(key) for key, value in content.items()
    ]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"its keys are {', '.join(names[:_NAMED])}{more}" if names else "it is empty"
