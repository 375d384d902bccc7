"""BasicSR's own keys: which its loops read whatever classes an option file names, and of what kind each key's value is.

What a registered class reads beside them is found in its source (`reading.py`). The places are those of an option file;
`datasets:*` is the block of any data set.
"""

from __future__ import annotations

from wbsr.checks.kinds import (
    BLOCK,
    COUNT,
    FLAG,
    LEVELS,
    MOST_ENLARGED,
    MOST_WORKERS,
    NAME,
    PATH,
    SEED,
    SIZE,
    TEMPLATE,
    TEXT,
    Kind,
    is_number,
    is_whole,
    list_of,
    number,
    one_of,
    whole,
)

# Read by BasicSR's loops and loaders.
LOOP: dict[str, dict[str, Kind]] = {
    "": {
        "name": NAME,
        "model_type": TEXT,
        "scale": SIZE,
        "num_gpu": Kind(
            "auto or a number of GPUs (0: the CPU)", lambda value: value == "auto" or (is_whole(value) and value >= 0)
        ),
        "manual_seed": SEED.or_none(),
        "find_unused_parameters": FLAG,
        "datasets": BLOCK,
        "path": BLOCK,
        "train": BLOCK,
        "val": BLOCK.or_none(),
        "logger": BLOCK,
        "dist_params": BLOCK.or_none(),
    },
    "datasets:*": {
        "name": NAME,
        "type": TEXT,
        "dataroot_gt": PATH.or_none(),
        "dataroot_lq": PATH.or_none(),
        "batch_size_per_gpu": Kind("a whole number above 0", lambda value: is_whole(value) and value > 0),
        "num_worker_per_gpu": whole(0, MOST_WORKERS),
        "dataset_enlarge_ratio": number(above=0, most=MOST_ENLARGED),
        "prefetch_mode": one_of("cpu", "cuda", None),
        "num_prefetch_queue": whole(1, 10_000),
        "pin_memory": FLAG,
        "persistent_workers": FLAG,
    },
    "train": {
        "total_iter": COUNT,
        "warmup_iter": Kind(
            "a whole number from -1 (no warm-up)",
            lambda value: is_number(value) and value >= -1 and float(value).is_integer(),
        ),
    },
    "val": {"val_freq": COUNT, "save_img": FLAG},
    "logger": {
        "print_freq": COUNT,
        "save_checkpoint_freq": COUNT,
        "use_tb_logger": FLAG,
        "wandb": BLOCK.or_none(),
    },
    "logger:wandb": {"project": TEXT.or_none(), "resume_id": TEXT.or_none()},
    "dist_params": {"backend": one_of("nccl", "gloo", "mpi"), "port": whole(1, 65535)},
}

# Read by BasicSR's models and data sets; which class reads which of them is found in its source.
OF_CLASSES: dict[str, dict[str, Kind]] = {
    "": {},
    "datasets:*": {
        "meta_info_file": PATH.or_none(),
        "filename_tmpl": TEMPLATE,
        "io_backend": BLOCK,
        "gt_size": SIZE,
        "use_hflip": FLAG,
        "use_rot": FLAG,
        "color": one_of("y", "rgb", "n", None),
        "mean": LEVELS.or_none(),
        "std": Kind(
            "a list of numbers, none of them 0",
            lambda value: list_of(lambda one: is_number(one) and one != 0, "").fits(value),
        ).or_none(),
    },
    "train": {
        "ema_decay": Kind("a number from 0 to below 1", lambda value: is_number(value) and 0 <= value < 1),
        "optim_g": BLOCK,
        "optim_d": BLOCK,
        "scheduler": BLOCK,
        "pixel_opt": BLOCK.or_none(),
        "perceptual_opt": BLOCK.or_none(),
        "ldl_opt": BLOCK.or_none(),
        "gan_opt": BLOCK,
        "feature_matching_opt": BLOCK.or_none(),
        "net_d_iters": whole(1),
        "net_d_init_iters": whole(0),
    },
    "val": {
        "suffix": Kind(
            "a text that can stand in a file's name, or ~",
            lambda value: value is None or is_whole(value) or (isinstance(value, str) and not {"/", "\0"} & set(value)),
        ),
        "pbar": FLAG,
        "metrics": BLOCK.or_none(),
    },
}

# In option files that BasicSR ships, and read by nobody.
UNREAD: dict[str, tuple[str, ...]] = {
    "": ("suffix", "crop_border", "save_img"),
    "train": ("net_d_iters", "net_d_init_iters"),
    "datasets:*": ("use_shuffle", "interval_list", "test_mode", "dataroot_flow", "gt_size", "use_rot"),
}
