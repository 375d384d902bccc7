"""A trained network from one checkpoint file, and how it routes if nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wbsr_arch.classsr import ClassSR
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.supernet import Supernet
from wbsr_models.checkpoints.metadata import Metadata, load_checkpoint, read_metadata
from wbsr_models.routing.policies import default_policy
from wbsr_models.routing.policy import Policy

NETWORKS: dict[str, type[DynamicNetwork]] = {"ClassSR": ClassSR, "Supernet": Supernet}


def load_supernet(path: str | Path) -> tuple[DynamicNetwork, Metadata]:
    """The supernet, or ClassSR, of a WBSR checkpoint on the CPU, for evaluation, with its EMA weights where it has any.

    Raises:
        FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
    """
    content = load_checkpoint(path)
    metadata = read_metadata(content, path)
    if metadata is None:
        raise ValueError(
            f"weights {path} is a stock checkpoint without a `wbsr` entry, such as a single subnet that was exported: "
            "give the checkpoint of WBSRModel, or what `wbsr export --subnet all` makes of it"
        )
    arguments = {key: value for key, value in metadata.network.items() if key != "type"}
    try:
        supernet = NETWORKS[metadata.network.get("type", "Supernet")](**arguments)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"weights {path}: wbsr:network describes no supernet that can be built: {error}") from error
    weights = content.get("params_ema", content.get("params"))
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights {path} hold no `params`: they are damaged, or another kind of file")
    try:
        supernet.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"weights {path} don't fit the network that their `wbsr` entry describes: {first}") from error
    check_finite(supernet.state_dict(), path)
    return supernet.eval(), metadata


def check_finite(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that are no numbers: they make every picture black.

    Raises:
        ValueError: NaN or infinity; it names the first tensor that holds some.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(
                f"weights {path}: {name} holds what is no finite number, so their training diverged, or they "
                "overflowed in half precision: take an earlier checkpoint"
            )


def own_policy(network: DynamicNetwork, metadata: Metadata) -> Policy:
    """How the network of a checkpoint routes if nobody says."""
    return default_policy(network, metadata.profile, (metadata.training or {}).get("stage") != "branches")
