"""A trained network from one checkpoint file, and how it routes if nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wbsr_arch.classsr import ClassSR
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.supernet import Supernet
from wbsr_base.weights.files import read_weights
from wbsr_base.weights.fitting import check_finite, differences, find
from wbsr_models.checkpoints.metadata import Metadata, read_metadata
from wbsr_models.routing.policies import default_policy
from wbsr_models.routing.policy import Policy

NETWORKS: dict[str, type[DynamicNetwork]] = {"ClassSR": ClassSR, "Supernet": Supernet}


def load_supernet(path: str | Path) -> tuple[DynamicNetwork, Metadata]:
    """The supernet, or ClassSR, of a WBSR checkpoint on the CPU, for evaluation, with its EMA weights where it has any.

    Raises:
        FileNotFoundError, ValueError: no such file, no WBSR checkpoint, or weights that are not finite.
    """
    content = read_weights(path)
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
    if not any(isinstance(content.get(key), Mapping) for key in ("params_ema", "params")):
        raise ValueError(f"weights {path} hold no `params`: they are damaged, or another kind of file")
    own = supernet.state_dict()
    found = find(content, own, str(path), "params_ema")
    check_finite(found.weights, str(path))
    differ = differences(found, own)
    if differ:
        raise ValueError(f"weights {path} don't fit the network that their `wbsr` entry describes: {differ[0]}")
    supernet.load_state_dict(found.weights)
    return supernet.eval(), metadata


def own_policy(network: DynamicNetwork, metadata: Metadata) -> Policy:
    """How the network of a checkpoint routes if nobody says."""
    return default_policy(network, metadata.profile, (metadata.training or {}).get("stage") != "branches")
