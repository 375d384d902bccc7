"""Keys that BasicSR would pass over without a word because of a slip, such as `ema_deacy`.

Other models and datasets have keys of their own, so an unknown key is no error by itself; one that is nearly a known
key is. Our own keys are those of the table of blocks in `wbsr/checks/schema.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from wbsr.checks.schema import own_keys

_NEAR = 0.85  # difflib's ratio: `ema_deacy` and `ema_decay` have 0.89, `optim_d` and `optim_g` (exempt) 0.86
_SHORT = 4  # letters; such a word is near to many: `res` is meant for `hes` only where it is a block

_BASICSR = {
    "": """name model_type scale num_gpu manual_seed datasets network_g network_d path train val logger dist_params
        find_unused_parameters""",
    "train": """ema_decay optim_g optim_d scheduler total_iter warmup_iter pixel_opt perceptual_opt gan_opt ldl_opt
        net_d_iters net_d_init_iters fix_flow flow_lr_mul""",
    "val": "val_freq save_img suffix pbar metrics",
    "logger": "print_freq save_checkpoint_freq use_tb_logger wandb",
    "datasets:*": """name type dataroot_gt dataroot_lq meta_info_file filename_tmpl io_backend gt_size use_hflip use_rot
        color mean std num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode num_prefetch_queue
        pin_memory persistent_workers""",
}


def check_spelling(opt: Mapping[str, Any]) -> None:
    """Raise ValueError at the first key that is nearly a known one."""
    blocks: list[tuple[str, Any, str]] = [("", opt, "")]
    blocks += [(f"{name}:", opt.get(name), name) for name in ("train", "val", "logger")]
    blocks += [(f"datasets:{phase}:", block, "datasets:*") for phase, block in opt["datasets"].items()]
    for where, block, place in blocks:
        known, ours = _BASICSR[place].split(), own_keys(place)
        for key, value in (block or {}).items():
            if key in known or key in ours:
                continue
            near = _slip_of_ours(str(key), ours, value) or _slip_of(str(key), [*known, *ours])
            if near:
                raise ValueError(f"{where}{key} is no key that BasicSR or WBSR reads: did you mean {where}{near}?")


def _slip_of(key: str, known: Collection[str]) -> str | None:
    """The known key that `key` misspells; a name that ends otherwise, such as `network_e`, is another name."""
    if key.startswith(("network_", "optim_")):
        return None
    near = difflib.get_close_matches(key, known, n=1, cutoff=_NEAR)
    return near[0] if near and not key.startswith(near[0]) else None


def _slip_of_ours(key: str, ours: Collection[str], value: Any) -> str | None:
    """The key of ours from which `key` is one letter off: missing, added, another, or two that changed places."""
    near = [own for own in ours if len(own) > _SHORT or isinstance(value, Mapping)]
    return next((own for own in near if _is_one_letter_off(key, own)), None)


def _is_one_letter_off(key: str, known: str) -> bool:
    """Whether two different words are one slip apart."""
    pairs = enumerate(zip(key, known, strict=False))
    at = next((place for place, (one, other) in pairs if one != other), min(len(key), len(known)))
    came, meant = key[at:], known[at:]
    return came[1:] in (meant, meant[1:]) or came in (meant[1:], meant[1::-1] + meant[2:])
