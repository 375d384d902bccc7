"""`wbsr export`: one subnet of a WBSR checkpoint as a file of its own, for programs that know nothing of WBSR.

* `pth`: a checkpoint of the backbone's BasicSR architecture with smaller arguments. RCAN's also holds its weights under
  the names of the authors' code (key `state_dict`), by which spandrel and programs built on it read it.
* `safetensors`: the same weights, with the network's options (`network_g`) as JSON in the header.
* `onnx`: input `lr` (batch, 3, height, width), output `sr`, float RGB in 0-1; batch, height and width are free.

With `--subnet all` it writes a WBSR checkpoint again, stripped to what inference needs: one set of weights (EMA where
there are any) and the `wbsr` entry, as a `pth` or as safetensors. `--half` stores weights in float16; whoever loads
them gets float32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from wbsr_arch.dynamic import DynamicNetwork
    from wbsr_arch.subnet import Subnet
    from wbsr_models.checkpoints.metadata import Metadata


def main(argv: Sequence[str]) -> int:
    """Write the subnet that is asked for.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: no WBSR checkpoint, no such subnet, the output exists already, or arguments that don't go together.
        ImportError: `onnx` or `safetensors` without the library that writes it.
        OSError: the output can't be written.
    """
    arguments = _parser().parse_args(list(argv))
    from wbsr.shipped import find_weights
    from wbsr_base.files import check_place
    from wbsr_models.checkpoints.loading import load_supernet

    out: Path = arguments.out
    if out.exists():
        raise ValueError(f"--out {out} exists already: name another file, or remove it first")
    check_place(out, "--out")
    ending = out.suffix.lstrip(".")
    kind = arguments.format or ending
    if kind not in WRITERS:
        raise ValueError(f"--format must be {', '.join(WRITERS)}, or --out end so, got {out}")
    if ending in WRITERS and kind != ending:
        raise ValueError(f"--out must not end like another format than --format {kind}, got {out}: leave out --format")
    if kind == "safetensors" and ending != kind:
        raise ValueError(f"--out must end in .safetensors for --format safetensors, by which it is read, got {out}")
    if kind == "onnx" and (arguments.half or arguments.subnet == "all"):
        raise ValueError("--half and --subnet all go with --format pth or safetensors, got onnx")
    supernet, metadata = load_supernet(find_weights(arguments.weights))
    if arguments.half:
        _halve(supernet)
    if arguments.subnet == "all":
        write_supernet(supernet, metadata, out)
        sys.stdout.write(f"{out}: {len(supernet.subnets)} subnets, {out.stat().st_size:,} bytes\n")
        return 0
    subnet = find_subnet(arguments.subnet, supernet.subnets)
    options = supernet.options(subnet)
    WRITERS[kind](supernet.extract(subnet), options, out)
    flops, parameters = supernet.flops[subnet] / 1e9, supernet.num_parameters[subnet]
    sys.stdout.write(
        f"{out}: subnet {subnet}, {parameters:,} parameters, {flops:.2f} GFLOPs for a patch of 32 x 32\n"
        f"network_g: {json.dumps(options)}\n"
    )
    return 0


def _halve(supernet: DynamicNetwork) -> None:
    """Weights in float16.

    Raises:
        ValueError: one of them is too large for that.
    """
    for name, weight in supernet.half().state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"--half can't hold {name}: a weight is above 65,504. Leave out --half")


def find_subnet(text: str, subnets: Sequence[Subnet]) -> Subnet:
    """The subnet that a user means by `full`, its number in order of cost (1 is the cheapest), or its name (`w36d4`).

    Raises:
        ValueError: there is none.
    """
    if text == "full":
        return subnets[-1]
    if text.isdecimal() and 1 <= int(text) <= len(subnets):
        return subnets[int(text) - 1]
    named = [subnet for subnet in subnets if text.strip().lower() in (str(subnet), f"{subnet.width}x{subnet.depth}")]
    if not named:
        known = ", ".join(f"{number} ({subnet})" for number, subnet in enumerate(subnets, 1))
        raise ValueError(f"--subnet must be full, or a number or name of {known}, got {text!r}")
    return named[0]


def write_pth(network: nn.Module, options: Mapping[str, Any], out: Path) -> None:
    """Write a stock checkpoint of BasicSR; options are the network's."""
    from wbsr.rcan_names import authors_names, is_authors_rcan
    from wbsr_base.compat.saving import atomic_save

    weights = network.state_dict()
    content = {"params": weights}
    if is_authors_rcan(options):
        content["state_dict"] = authors_names(weights, options)  # the same memory, which is stored once
    atomic_save(content, out)


def write_safetensors(network: nn.Module, options: Mapping[str, Any], out: Path) -> None:
    """Write the weights by BasicSR's names, and the options into the header.

    Raises:
        ImportError: the library that writes it is missing.
    """
    from wbsr_base.compat.saving import atomic_save

    atomic_save({"params": network.state_dict(), "network_g": dict(options)}, out)


def write_supernet(supernet: DynamicNetwork, metadata: Metadata, out: Path) -> None:
    """Write a WBSR checkpoint of the weights as they are."""
    from wbsr_base.compat.saving import atomic_save

    atomic_save({"params": supernet.state_dict(), "wbsr": metadata.plain()}, out)


def write_onnx(network: nn.Module, options: Mapping[str, Any], out: Path) -> None:
    """Write an ONNX file whose batch, height and width are free.

    Raises:
        ImportError: torch's exporter lacks the libraries it builds on.
    """
    import torch

    from wbsr_base.files import beside

    for library in ("onnx", "onnxscript"):
        if importlib.util.find_spec(library) is None:
            raise ImportError(f"--format onnx needs the library {library}: pip install 'wbsr[onnx]'")
    batch, height, width = map(torch.export.Dim, ("batch", "height", "width"))
    example = torch.rand(2, int(options.get("num_in_ch", 3)), 24, 20)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["lr"],
        output_names=["sr"],
        dynamic_shapes=({0: batch, 2: height, 3: width},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # with dynamo and without a file, the exporter returns the program
    with beside(out) as part:
        program.save(part)


WRITERS = {"pth": write_pth, "safetensors": write_safetensors, "onnx": write_onnx}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wbsr export", description="Write one subnet as a file of its own.")
    parser.add_argument(
        "--weights", required=True, help="a checkpoint of WBSRModel or ClassSRModel, or the name of shipped weights"
    )
    parser.add_argument(
        "--subnet",
        default="full",
        help="full, a number in order of cost (1 is the cheapest), a name such as w36d4, or all: a WBSR checkpoint",
    )
    parser.add_argument("--format", choices=tuple(WRITERS), help="default: as --out ends")
    parser.add_argument("--half", action="store_true", help="store weights in float16")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, which must not exist yet")
    return parser
