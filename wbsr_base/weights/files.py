"""Files of weights as dictionaries: torch's `.pth`, and safetensors; `compat.saving.atomic_save` writes both.

A safetensors file holds tensors and a header of texts. Its tensors are the dictionary's `params`; further entries, in
plain types, stand in the header as JSON.
"""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = ".safetensors"
PARAMS = "params"


def read_weights(path: str | Path) -> dict[str, Any]:
    """Everything in a file of weights, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, is damaged, or holds objects that are not weights.
        ImportError: it is a safetensors file, and the library is missing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights {path}: there is no such file")
    if Path(path).suffix == SAFETENSORS:
        return _read_safetensors(Path(path))
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        if "Unsupported global" in str(error):
            raise ValueError(
                f"weights {path} hold Python objects beside weights, which are not loaded, for they may run any code: "
                "save its weights alone, by torch.save({'params': network.state_dict()}, …)"
            ) from error
        raise ValueError(f"weights {path} can't be read as a checkpoint: damaged, or another kind of file") from error
    if not isinstance(content, dict):
        raise ValueError(f"weights {path} must hold a dictionary with `params`, got {type(content).__name__}")
    return content


def serialized(content: Any, suffix: str) -> bytes | memoryview:
    """A file's bytes, in the format that its ending asks for.

    Args:
        content: of a `.pth`, what `torch.save` takes; of safetensors, a dictionary of `params` and further entries in
            plain types.
        suffix: `.safetensors`, or any other.

    Raises:
        ValueError: safetensors can't hold the content.
        ImportError: the safetensors library is missing.
    """
    if suffix == SAFETENSORS:
        return _safetensors_bytes(content)
    import torch

    written = io.BytesIO()
    torch.save(content, written)
    return written.getbuffer()


def _need_library() -> None:
    if importlib.util.find_spec("safetensors") is None:
        raise ImportError("safetensors files need the library safetensors: pip install 'wbsr[safetensors]'")


def _read_safetensors(path: Path) -> dict[str, Any]:
    _need_library()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a file is no dictionary
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights {path} can't be read as safetensors: damaged, or another kind of file") from error
    return {PARAMS: tensors, **{name: _parsed(text) for name, text in header.items()}}


def _parsed(text: str) -> Any:
    """An entry of a header: ours are JSON, others' are texts."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _safetensors_bytes(content: dict[str, Any]) -> bytes:
    _need_library()
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {name: weight.contiguous().clone() for name, weight in content[PARAMS].items()}
    rest = {name: value for name, value in content.items() if name != PARAMS}
    try:
        header = {name: json.dumps(value) for name, value in rest.items()}
    except TypeError as error:
        raise ValueError(f"a safetensors file holds one set of weights and plain entries beside: {error}") from error
    return bytes(save(tensors, metadata={"format": "pt", **header}))
