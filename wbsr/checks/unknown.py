"""Keys that nobody reads: BasicSR passes over them without a word, and trains on something else than was meant.

What is read is known: BasicSR's loops read `basicsr_keys.LOOP`, a registered class what its source asks for
(`reading.py`) or what it declares. Every other key is an error that says what was meant, if something near is known.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wbsr.checks.basicsr_keys import LOOP, UNREAD
from wbsr.checks.components import registered
from wbsr.checks.reading import Reads, reads
from wbsr.checks.schema import own_options

_SET_BY_BASICSR = {
    "": {"rank", "world_size", "dist", "is_train", "auto_resume", "root_path", "resume_iter", "resume_epoch"},
    "datasets:*": {"phase", "scale"},
}
HOOKED = {"train": {"compute"}}  # read by `wbsr_base.hooks.recorded`, whatever the model
_OF_TRAINING = ("batch_size_per_gpu", "num_worker_per_gpu", "dataset_enlarge_ratio")
_CLOSE, _NEAR = 0.85, 0.6  # difflib's ratio: `ema_deacy` and `ema_decay` have 0.89, `hs` and `hes` 0.8


@dataclass(frozen=True)
class Block:
    """A block of the option file: its place with a colon behind it, its keys, and which are known there.

    `reader` is the class that was asked; `is_open`: whether it may read more than is known of it.
    """

    where: str
    content: Mapping[str, Any]
    known: Collection[str]
    unread: Collection[str] = ()
    reader: str = ""
    is_open: bool = False


def check_unknown(opt: Mapping[str, Any], allow: bool = False) -> None:
    """Find the keys that nobody reads.

    Args:
        opt: all options.
        allow: warn of them instead.

    Raises:
        ValueError: the first of them, with what was meant.
    """
    log = logging.getLogger("wbsr")
    model = _reads("model", opt.get("model_type"))
    for block in blocks(opt):
        for key in block.content:
            if key in block.known:
                if key in _OF_TRAINING and not block.where.startswith("datasets:train"):
                    log.warning("%s%s is read of a training set alone: leave it out", block.where, key)
                continue
            if key in block.unread:
                log.warning("%s%s is read by nobody: leave it out", block.where, key)
                continue
            fault = _fault(str(key), block, opt, model)
            if block.is_open and "did you mean" not in fault:
                log.warning("%s", fault)
            elif allow:
                log.warning("%s (--allow-unknown)", fault)
            else:
                raise ValueError(fault)


def blocks(opt: Mapping[str, Any]) -> Iterator[Block]:
    """The blocks of an option file whose keys are known, from the outside in; none of a type that is not registered."""
    name = opt.get("model_type")
    model = _reads("model", name)
    for place in ("", "train", "val", "logger", "logger:wandb", "dist_params"):
        content = _at(opt, place)
        if model is not None and isinstance(content, Mapping):
            known = set(LOOP[place]) | HOOKED.get(place, set()) | (model.at(place) - _SET_BY_BASICSR.get(place, set()))
            where = f"{place}:" if place else ""
            yield Block(where, content, known, UNREAD.get(place, ()), str(name), model.is_open)
    for phase, content in (opt.get("datasets") or {}).items():
        found = _reads("dataset", content.get("type"))
        if found is not None:
            known = set(LOOP["datasets:*"]) | (found.at("") - _SET_BY_BASICSR["datasets:*"])
            where, kind = f"datasets:{phase}:", str(content["type"])
            yield Block(where, content, known, UNREAD["datasets:*"], kind, found.is_open)


def _at(opt: Mapping[str, Any], place: str) -> Any:
    for key in place.split(":") if place else ():
        opt = opt.get(key) if isinstance(opt, Mapping) else None  # type: ignore[assignment]
    return opt


def _reads(kind: str, name: Any) -> Reads | None:
    made: Any = registered(kind, name) if isinstance(name, str) else None
    return reads(made) if inspect.isclass(made) else None


def _fault(key: str, block: Block, opt: Mapping[str, Any], model: Reads | None) -> str:
    start = f"{block.where}{key} is no key that BasicSR or WBSR reads"
    free = set(block.known) - set(block.content)  # rather than what stands there already
    close = meant(key, free, _CLOSE)
    if close is not None:
        return f"{start}: did you mean {block.where}{close}?"
    for place in _elsewhere(key, block.where, opt, model):
        return f"{start}: did you mean {place}?"
    if key in _SET_BY_BASICSR[""] | _SET_BY_BASICSR["datasets:*"]:
        return f"{start}: BasicSR sets it by itself, leave it out"
    readers = _other_readers(key, block.where)
    if readers:
        return f"{start} here: {' and '.join(readers)} would, but the type is {block.reader}"
    near = meant(key, free, _NEAR) or meant(key, block.known, _NEAR)
    if near is not None:
        return f"{start}: did you mean {block.where}{near}?"
    return f"{start} (known: {', '.join(sorted(block.known))}): leave it out, or add --allow-unknown"


def meant(word: str, known: Iterable[str], ratio: float) -> str | None:
    """The known word that another one is meant for, or None.

    It differs in case or underscores alone, or by a slip, or one is the other with words before or behind it.
    """
    plain = {name.lower().replace("_", ""): name for name in known}
    own = word.lower().replace("_", "")
    if own in plain:
        return plain[own]
    near = difflib.get_close_matches(own, plain, n=1, cutoff=ratio)
    if near:
        return plain[near[0]]
    parts = f"_{word.lower()}_"
    holding = [name for name in plain.values() if parts in f"_{name}_" or f"_{name}_" in parts]
    return min(holding, key=len, default=None)


def _elsewhere(key: str, where: str, opt: Mapping[str, Any], model: Reads | None) -> Iterator[str]:
    """The places of other blocks at which a key is known."""
    import torch

    from wbsr_base.basicsr import lr_scheduler

    places = {place: set(names) for place, names in LOOP.items() if place != "datasets:*"}
    for place, names in (model.keys if model else {}).items():
        if place.startswith("datasets"):
            continue
        places.setdefault(place, set()).update(names)
    for phase, content in (opt.get("datasets") or {}).items():
        found = _reads("dataset", content.get("type")) if isinstance(content, Mapping) else None
        if not where.startswith("datasets:"):
            places[f"datasets:{phase}"] = set(LOOP["datasets:*"]) | (found or Reads()).at("")
    for place, names in own_options().items():
        places.setdefault(place.replace("*", "train"), set()).update(names)
    places["train:optim_g"] = set(inspect.signature(torch.optim.Adam).parameters) - {"params"}
    places["train:scheduler"] = set(inspect.signature(lr_scheduler.CosineAnnealingRestartLR).parameters)
    places["train:scheduler"] |= set(inspect.signature(lr_scheduler.MultiStepRestartLR).parameters)
    for place, names in places.items():
        hidden = _SET_BY_BASICSR.get("datasets:*" if place.startswith("datasets") else place, set())
        if key in names - hidden and f"{place}:" != where and place != "path":
            yield f"{place}:{key}" if place else key


def _other_readers(key: str, where: str) -> list[str]:
    """Registered classes that read a key where the file's own class doesn't."""
    from wbsr_base.basicsr import registry

    kind = "dataset" if where.startswith("datasets:") else "model"
    place = "" if kind == "dataset" else where.rstrip(":")
    names = getattr(registry, f"{kind.upper()}_REGISTRY")
    found = [name for name, made in names if inspect.isclass(made) and key in reads(made).at(place)]
    return [name.removesuffix("_basicsr") for name in found][:3]
