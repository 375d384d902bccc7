"""BasicSR architectures by their options, and what of their arguments a supernet may vary."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from wbsr_base.options import suggest


def architecture(name: str) -> type[nn.Module]:
    """The BasicSR architecture registered as `name`.

    Raises:
        ValueError: no architecture has that name.
    """
    from wbsr_arch import lr_resnet  # noqa: F401  registers itself
    from wbsr_base.basicsr import ARCH_REGISTRY

    if name not in ARCH_REGISTRY and f"{name}_basicsr" not in ARCH_REGISTRY:
        known = [key.removesuffix("_basicsr") for key in ARCH_REGISTRY.keys()]  # noqa: SIM118  a registry is no dict
        raise ValueError(f"backbone type {name!r} is no BasicSR architecture{suggest(name, known)}")
    found: type[nn.Module] = ARCH_REGISTRY.get(name)
    return found


def build(options: Mapping[str, Any]) -> nn.Module:
    """The network that BasicSR's `build_network` builds from `{type: ..., **arguments}`; raises what `check` does."""
    cls = check(options)
    return cls(**{key: value for key, value in options.items() if key != "type"})


def check(options: Mapping[str, Any]) -> type[nn.Module]:
    """The architecture that the options name, once they have every argument it needs and no other.

    Raises:
        ValueError: the type is missing or unknown, or an argument is missing.
        TypeError: the options are no block of keys, or the architecture has no such argument.
    """
    if not isinstance(options, Mapping):
        raise TypeError(f"backbone must be a block of keys, such as {{type: RCAN, ...}}, got {options!r}")
    if not isinstance(options.get("type"), str):
        raise ValueError("backbone must name its architecture: add `type: MSRResNet`, for example")
    cls = architecture(options["type"])
    known = inspect.signature(cls).parameters
    for argument in options:
        if argument != "type" and argument not in known:
            raise TypeError(f"backbone {options['type']} has no argument {argument!r}{suggest(argument, known)}")
    for argument, parameter in known.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and argument not in options:
            raise ValueError(f"backbone {options['type']} needs the argument {argument!r}: add it")
    return cls


def integer_argument(options: Mapping[str, Any], argument: str, role: str) -> int:
    """The value of a whole-number argument of the backbone, given in its options or the architecture's default.

    Args:
        options: the backbone's `{type: ..., **arguments}`.
        argument: the argument's name, such as `num_feat`.
        role: the supernet option that names it, `width_arg` or `depth_arg`, for the error.

    Raises:
        ValueError: no name, the architecture has no such argument, or no whole number in it.
    """
    known = inspect.signature(architecture(options["type"])).parameters
    if not isinstance(argument, str):
        raise ValueError(f"{role} must name an argument of backbone {options['type']}, got {argument!r}")
    if argument not in known:
        hint = suggest(argument, known)
        raise ValueError(f"{role} names {argument!r}, which backbone {options['type']} does not take{hint}")
    value = options.get(argument, known[argument].default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{argument} of backbone {options['type']} must be a whole number, got {value!r}")
    return value


def check_values(name: str, values: Sequence[int], full: int, argument: str) -> None:
    """Refuse the values of an argument that no network may have, or the last of which is not the backbone's own.

    Args:
        name: the option that gives them, `widths` or `depths`, for the error.
        values: what it gives.
        full: the backbone's own value.
        argument: the backbone's argument, for the error.

    Raises:
        ValueError: no list of whole numbers of at least 1 that increase up to `full`.
    """
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name} must be a list of whole numbers, such as [{full // 2}, {full}], got {values!r}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be whole numbers of at least 1, got {value!r} in {list(values)}")
    if list(values) != sorted(set(values)):
        raise ValueError(f"{name} must increase without repeating, got {list(values)}")
    if values[-1] > full:
        raise ValueError(
            f"{name} must not exceed the backbone's {argument} of {full}, got {values[-1]}: lower it "
            f"or raise {argument}"
        )
    if values[-1] < full:
        raise ValueError(f"{name} must end with the backbone's {argument} of {full}, got {list(values)}: append {full}")


def refuse_unsliceable(network: nn.Module) -> None:
    """Refuse what a leading slice would corrupt.

    Raises:
        ValueError: the network packs several projections in one weight, or keeps batch statistics.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{name} is a {type(module).__name__}: its running statistics differ from subnet to subnet and can't "
                "be shared; use a backbone without batch normalisation"
            )
    for name, _ in network.named_parameters():
        if any(part in {"qkv", "in_proj_weight", "in_proj_bias"} for part in name.split(".")):
            raise ValueError(
                f"{name} packs query, key and value in one weight, whose leading slice mixes them; "
                "use a convolutional backbone"
            )
