"""Keys that BasicSR would pass over without a word because of a slip, such as `ema_deacy`.

Other models and datasets have keys of their own, so an unknown key is no error by itself; one that is nearly a known
key is.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

_NEAR = 0.85  # difflib's ratio: `ema_deacy` and `ema_decay` have 0.89, `optim_d` and `optim_g` (exempt) 0.86

_KNOWN = {
    "": """name model_type scale num_gpu manual_seed datasets network_g network_d path train val logger dist_params
        find_unused_parameters""",
    "train": """ema_decay optim_g optim_d scheduler total_iter warmup_iter pixel_opt perceptual_opt gan_opt ldl_opt
        net_d_iters net_d_init_iters fix_flow flow_lr_mul supernet""",
    "val": "val_freq save_img suffix pbar metrics dynamic",
    "logger": "print_freq save_checkpoint_freq use_tb_logger wandb",
    "datasets": """name type dataroot_gt dataroot_lq meta_info_file filename_tmpl io_backend gt_size use_hflip use_rot
        color mean std num_worker_per_gpu batch_size_per_gpu dataset_enlarge_ratio prefetch_mode num_prefetch_queue
        pin_memory persistent_workers hes""",
}


def check_spelling(opt: Mapping[str, Any]) -> None:
    """Raise ValueError at the first key that is nearly a known one."""
    blocks: list[tuple[str, Any, str]] = [("", opt, _KNOWN[""])]
    blocks += [(f"{name}:", opt.get(name), _KNOWN[name]) for name in ("train", "val", "logger")]
    blocks += [(f"datasets:{phase}:", block, _KNOWN["datasets"]) for phase, block in opt["datasets"].items()]
    for where, block, known in blocks:
        for key in block or ():
            near = _slip_of(str(key), known.split())
            if near:
                raise ValueError(f"{where}{key} is no key that BasicSR or WBSR reads: did you mean {where}{near}?")


def _slip_of(key: str, known: Collection[str]) -> str | None:
    """The known key that `key` misspells; a name that ends otherwise, such as `network_e`, is another name."""
    if key in known or key.startswith(("network_", "optim_")):
        return None
    near = difflib.get_close_matches(key, known, n=1, cutoff=_NEAR)
    return near[0] if near and not key.startswith(near[0]) else None
