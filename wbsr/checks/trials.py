"""What an option file names, tried in small: networks without weights, losses on a few pixels, an optimiser's step.

BasicSR hands options on as they are, and what a constructor or the first step makes of them is an error deep inside of
it, once folders are made. Here the same is tried where it costs next to nothing.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wbsr.checks.arguments import check_arguments
from wbsr.checks.components import Component, components, find
from wbsr_base.options import suggest

_MOST_LAYERS = 10_000  # that a network may have; of those that BasicSR ships option files for, RCAN has most, 2,300
_IMAGE_MODELS = ("SRModel", "SRGANModel", "ESRGANModel", "SwinIRModel", "WBSRModel", "ClassSRModel")
_SIDE = 48  # LR pixels, where no training patch says it
_IMAGE_LOSSES = ("L1Loss", "MSELoss", "CharbonnierLoss")


def check_trials(opt: Mapping[str, Any], is_train: bool) -> None:
    """Try the networks and the losses of an option file whose keys and values have been checked.

    Raises:
        ValueError: what was tried failed, or does not fit the images.
    """
    with _as_if_nothing_was_logged():
        for component in components(opt, is_train):
            if component.kind == "arch":
                _try_network(component, opt)
            elif component.kind == "loss":
                _try_loss(component, opt)


def _try_network(component: Component, opt: Mapping[str, Any]) -> None:
    made, options, where = find(component), dict(component.options), component.where
    backbone = options.get("backbone")
    if made.__module__.startswith("wbsr_arch") and isinstance(backbone, Mapping):
        from wbsr_arch.backbone import check

        made, options, where = check(backbone), dict(backbone), f"{where}:backbone"
        check_arguments(made, options, where)
    options.pop("type", None)
    network = build(made, options, where)
    if component.where == "network_g" and opt["model_type"] in _IMAGE_MODELS:
        _try_on_images(network, made.__name__, where, opt, options)


def build(made: type[nn.Module], options: Mapping[str, Any], where: str) -> nn.Module:
    """A network by its options, on `meta` where its constructor allows it, so that its weights take no memory.

    Raises:
        ValueError: it can't be built, or is too large.
    """
    try:
        with limited(where), torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    return made(**options)
            except (RuntimeError, NotImplementedError):  # its constructor computes with values
                return made(**options)
    except _TooLargeError as error:
        raise ValueError(str(error)) from error
    except Exception as error:
        raise ValueError(f"{where}: {made.__name__} can't be built with these options: {_told(error)}") from error


class _TooLargeError(Exception):
    pass


@contextlib.contextmanager
def limited(where: str) -> Iterator[None]:
    """Stop the building of a network that has more layers, or more weights, than any machine trains."""
    layers, weights, most = 0, 0, _memory()

    def count_layer(*_: Any) -> None:
        nonlocal layers
        layers += 1
        if layers > _MOST_LAYERS:
            raise _TooLargeError(
                f"{where}: the network has more than {_MOST_LAYERS:,} layers: lower its number of blocks"
            )

    def count_weight(module: nn.Module, name: str, weight: Tensor | None) -> None:
        nonlocal weights
        weights += 0 if weight is None else weight.numel() * weight.element_size()
        if weights > most:
            raise _TooLargeError(
                f"{where}: the network's weights take more than the {most / 2**30:.0f} GiB of this machine's memory: "
                "lower its number of channels"
            )

    register = nn.modules.module
    hooks = [
        register.register_module_module_registration_hook(count_layer),
        register.register_module_parameter_registration_hook(count_weight),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return 2**40


def _try_on_images(
    network: nn.Module, name: str, where: str, opt: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Hand the network, made by `options`, an image as the data sets deliver it, whose result has their channels and is
    larger by `scale`."""
    scale, channels, side = opt.get("scale"), _channels(opt), _side(opt)
    if scale is None:
        return
    shape = _output(network, channels, side)
    if isinstance(shape, Exception):
        other = options.get("num_in_ch", 4 - channels)
        if other != channels and ("num_in_ch" in options or isinstance(_output(network, other, side), tuple)):
            raise ValueError(
                f"{where}: {name} takes images of {_count(other)}, but the data sets deliver {_count(channels)}: write "
                f"num_in_ch: {channels} and num_out_ch: {channels}"
                + {1: ", or color: y in each data set", 3: ", or leave color: y out of the data sets"}.get(other, "")
            )
        raise ValueError(f"{where}: {name} does not run on an image of {side} x {side}: {_told(shape)}") from shape
    wanted = (1, channels, scale * side, scale * side)
    if shape[1:2] != (channels,):
        raise ValueError(
            f"{where}: {name} makes {_count(shape[1])} of {_count(channels)}: write num_out_ch: {channels}"
        )
    if shape != wanted:
        raise ValueError(
            f"{where}: {name} makes an image of {shape[-2]} x {shape[-1]} from one of {side} x {side}, but scale is "
            f"{scale}: let its upscale and scale be the same"
        )


def _output(network: nn.Module, channels: int, side: int) -> tuple[int, ...] | Exception:
    """The shape of a network's output, or what it raised; run without computing where that is possible."""
    from wbsr_arch.cost import kept_attributes

    device = next((weight.device for weight in network.state_dict().values()), torch.device("cpu"))
    try:
        with torch.no_grad(), warnings.catch_warnings(), kept_attributes(network):
            warnings.simplefilter("ignore")
            output = network(torch.zeros(1, channels, side, side, device=device))
            return tuple(output.shape)
    except Exception as error:  # noqa: BLE001  returned, and told by the caller
        return error


def _channels(opt: Mapping[str, Any]) -> int:
    """The channels of the data sets' images.

    Raises:
        ValueError: some are in colour, and some are not.
    """
    sets = opt["datasets"]
    grey = [key for key, block in sets.items() if block.get("color") == "y"]
    if grey and len(grey) < len(sets):
        other = next(key for key in sets if key not in grey)
        raise ValueError(
            f"datasets:{grey[0]} has color: y, one channel, but datasets:{other} has three: give both the same color"
        )
    return 1 if grey else 3


def _side(opt: Mapping[str, Any]) -> int:
    """The side of the LR patches that a training takes."""
    size = opt["datasets"].get("train", {}).get("gt_size")
    return max(1, size // opt["scale"]) if isinstance(size, int) and "scale" in opt else _SIDE


def _try_loss(component: Component, opt: Mapping[str, Any]) -> None:
    """Build a loss of BasicSR; ours checks itself, and the perceptual one would load a network.

    A loss that is for images of so many channels alone says so by its attribute `channels`.
    """
    made, where = find(component), component.where
    channels = getattr(made, "channels", None)
    if channels is not None and channels != _channels(opt):
        raise ValueError(
            f"{where}: {component.type} takes images of {_count(channels)}, but the data sets deliver "
            f"{_count(_channels(opt))}: use L1Loss, or leave color: y out of the data sets"
        )
    options = {key: value for key, value in component.options.items() if key != "type"}
    if not made.__module__.startswith("basicsr."):
        return
    if component.type == "PerceptualLoss":
        _check_layers(options, where)
        return
    try:
        loss = made(**options)
        value = loss(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)) if component.type in _IMAGE_LOSSES else None
    except Exception as error:
        raise ValueError(f"{where}: {component.type} can't be computed with these options: {_told(error)}") from error
    if value is not None and (value.dim() != 0 or not torch.isfinite(value)):
        raise ValueError(f"{where}: {component.type} must make one finite number of a batch, got {value}")


def _check_layers(options: Mapping[str, Any], where: str) -> None:
    from wbsr_base.basicsr import VGG_LAYERS

    vgg = options.get("vgg_type", "vgg19")
    if vgg not in VGG_LAYERS:
        raise ValueError(f"{where}:vgg_type: there is no {vgg!r}{suggest(str(vgg), VGG_LAYERS)}")
    for layer in options["layer_weights"]:
        if layer not in VGG_LAYERS[vgg]:
            raise ValueError(f"{where}:layer_weights: {vgg} has no layer {layer!r}{suggest(layer, VGG_LAYERS[vgg])}")
    criterion = options.get("criterion", "l1")
    if criterion not in ("l1", "l2", "fro"):
        raise ValueError(f"{where}:criterion must be l1, l2 or fro, got {criterion!r}")


def _count(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"


@contextlib.contextmanager
def _as_if_nothing_was_logged() -> Iterator[None]:
    """Leave BasicSR's logger as it was: it opens its log file only the first time that somebody asks for it."""
    from wbsr_base.basicsr import initialized_logger

    logger, known = logging.getLogger("basicsr"), set(initialized_logger)
    handlers, propagate = list(logger.handlers), logger.propagate
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name in set(initialized_logger) - known:
            del initialized_logger[name]
        logger.handlers[:], logger.propagate = handlers, propagate
