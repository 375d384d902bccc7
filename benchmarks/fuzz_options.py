"""Option files with one random change each: what do the checks make of them, and what BasicSR, where they pass?

    python benchmarks/fuzz_options.py [--seeds 0 1 2 3 4] [--files 300]

Every file is a correct one (a stock SRModel's, a WBSRModel's, a test's) with a key deleted, misspelt or moved, or a
value of another type, nested, or extreme. It should end in one line of ours, or train: then BasicSR's own pipeline runs
on it, on tiny images, to the first step and a validation. Told are

    traceback   an error that is none of our lines
    hang        nothing came within 30 s
    silent      it runs, though the change can't have been meant, and no warning said so

and the script ends with exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

LIMIT = 30  # seconds for one file
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 1.5, -0.5, 1e30, -1e30, 1e-30, math.nan, math.inf, 10**9, 10**18, 2**63,
    "", "x", "~", "1.0", "none", "/", "..", "ünï", [], [1], ["x"], [[1]], [1, 2, 3], [None], {}, {"x": 1},
    {"type": "x"},
)  # fmt: skip
FREE = ("metrics",)  # blocks whose keys are names that a user chooses


@dataclass(frozen=True)
class Change:
    """A change of an option file: what was done, at which place, and what stood and stands there."""

    kind: str
    place: tuple[str, ...]
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        return f"{self.kind} {':'.join(self.place)}: {self.old!r} -> {self.new!r}"


# The correct files


def base_files() -> dict[str, dict[str, Any]]:
    """By name, the files that are changed; their folders are those of `make_images`."""

    def roots() -> dict[str, Any]:
        return {"dataroot_gt": "data/hr", "dataroot_lq": "data/lr", "io_backend": {"type": "disk"}}

    train = {
        "name": "train",
        "type": "PairedImageDataset",
        **roots(),
        "gt_size": 16,
        "use_hflip": True,
        "use_rot": False,
        "num_worker_per_gpu": 0,
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": 20,
        "prefetch_mode": None,
    }
    stock: dict[str, Any] = {
        "name": "fuzz",
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": train, "val": {"name": "val", "type": "PairedImageDataset", **roots()}},
        "network_g": {
            "type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2
        },
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [15], "gamma": 0.5},
            "total_iter": 20,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {
            "val_freq": 10,
            "save_img": False,
            "suffix": None,
            "pbar": False,
            "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True}},
        },
        "logger": {
            "print_freq": 1, "save_checkpoint_freq": 5, "use_tb_logger": False, "wandb": {"project": None}
        },
        "dist_params": {"backend": "nccl", "port": 29500},
    }  # fmt: skip
    ours = copy.deepcopy(stock)
    ours["model_type"] = "WBSRModel"
    ours["datasets"]["train"] |= {
        "type": "HESPairedImageDataset",
        "hes": {"num_classes": 4, "delta": 0.9, "thresholds": "quantile", "sample_level": 0.7, "stride": 8},
    }
    backbone = ours["network_g"]
    ours["network_g"] = {"type": "Supernet", "backbone": backbone, "widths": [2, 4], "depths": [1]}
    ours["train"] |= {
        "supernet": {"strategy": "random"},
        "compute": {"precision": "fp32", "clip_norm": 1.0},
        "weight_penalty": 1e-8,
        "scheduler": {
            "type": "CosineAnnealingRestartLR", "periods": [20], "restart_weights": [1], "eta_min": 1e-7
        },
        "pixel_opt": {
            "type": "BDLoss", "form": "laplace", "noise_sigma": 0.01, "components": 2, "dataroot_gt": "data/hr",
            "loss_weight": 1.0, "reduction": "mean", "y": "pixel", "covariance": "full", "seed": 0, "cache": False,
        },
    }  # fmt: skip
    ours["datasets"]["train"]["hes"] |= {
        "decoded_mb": 16,
        "seed": 0,
        "cache": True,
        "max_repeat": 10.0,
        "score": "norm",
    }
    ours["val"]["dynamic"] = {
        "routing": "paper", "halo": 4, "save_map": False, "plan": "tiles", "max_tile": 64, "precision": "fp32",
        "memory_mb": 100, "batch_pixels": 4096, "canvas_device": "auto", "self_ensemble": False,
    }  # fmt: skip
    test = copy.deepcopy(ours)
    test["datasets"] = {"test_1": test["datasets"]["val"]}
    test["val"]["dynamic"] = {"routing": "full", "halo": 4, "patch_size": 8, "compare": False}
    for key in ("train", "logger"):
        del test[key]
    del test["val"]["val_freq"]
    classsr = copy.deepcopy(ours)
    classsr["model_type"] = "ClassSRModel"
    classsr["datasets"]["train"]["hes"] = {"sampling": "uniform", "num_classes": 2, "stride": 8}
    classsr["network_g"] = {"type": "ClassSR", "backbone": copy.deepcopy(backbone), "widths": [2, 4]}
    classsr["train"] |= {"classsr": {"stage": "branches"}, "pixel_opt": {"type": "MSELoss"}}
    del classsr["train"]["supernet"]
    gan = copy.deepcopy(stock)
    gan["model_type"] = "SRGANModel"
    gan["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4, "skip_connection": True}
    gan["train"] |= {
        "optim_d": {"type": "Adam", "lr": 1e-4},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "loss_weight": 0.1},
        "net_d_iters": 1,
        "net_d_init_iters": 0,
    }
    swin = copy.deepcopy(stock)
    swin["model_type"] = "SwinIRModel"
    swin["network_g"] = {
        "type": "SwinIR", "upscale": 2, "in_chans": 3, "img_size": 8, "window_size": 4, "img_range": 1.0,
        "depths": [1], "embed_dim": 4, "num_heads": [2], "mlp_ratio": 2, "upsampler": "pixelshuffledirect",
    }  # fmt: skip
    single = copy.deepcopy(stock)
    single["datasets"] = {"test_1": {**roots(), "name": "single", "type": "SingleImageDataset"}}
    del single["datasets"]["test_1"]["dataroot_gt"], single["train"], single["logger"], single["val"]["val_freq"]
    single["val"]["metrics"] = None
    return {
        "stock": stock, "ours": ours, "test": test, "classsr": classsr, "gan": gan, "swin": swin, "single": single
    }  # fmt: skip


def make_images(folder: Path) -> None:
    """Four pairs of images at x2."""
    rng = np.random.default_rng(0)
    for name, side in (("hr", 32), ("lr", 16)):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(4):
            image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "data" / name / f"{number}.png"), image)


# Changes


def places(options: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all keys."""
    for key, value in options.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from places(value, (*at, key))


def block_of(options: dict[str, Any], place: Sequence[str]) -> dict[str, Any]:
    """The block in which a place's last key stands."""
    for key in place[:-1]:
        options = options[key]
    return options


def misspell(word: str, rng: random.Random) -> str:
    """A slip: a letter lost, doubled, hit beside, two changed, the case, an ending, or a part lost."""
    at = rng.randrange(len(word))
    slips = [
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz_") + word[at + 1 :],
        word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
        word.upper(),
        word.capitalize(),
        word + rng.choice(["s", "_", "2", "x", "er"]),
        "_".join(word.split("_")[:-1]),
        "_".join(word.split("_")[1:]),
        word.replace("_", ""),
        word.replace("_", "-"),
    ]
    usable = [slip for slip in slips if slip and slip != word]
    return rng.choice(usable)


def change(options: dict[str, Any], rng: random.Random) -> Change:
    """Make one change in place."""
    place = rng.choice(list(places(options)))
    block, key = block_of(options, place), place[-1]
    old = block[key]
    new: Any
    kind = rng.choice(["delete", "misspell", "misspell", "move", "retype", "retype", "retype", "nest", "extreme"])
    if kind == "delete":
        del block[key]
        return Change(kind, place, old)
    if kind == "misspell":
        slip = misspell(key, rng)
        renamed = {(slip if name == key else name): value for name, value in block.items()}
        block.clear()
        block.update(renamed)
        return Change(kind, place, key, slip)
    if kind == "move":
        blocks = [(), *(p for p in places(options) if isinstance(block_of(options, p)[p[-1]], dict))]
        target = rng.choice([b for b in blocks if b != place[:-1] and b[: len(place)] != place])
        del block[key]
        block_of(options, (*target, key))[key] = old
        return Change(kind, place, ":".join(place[:-1]), ":".join(target))
    if kind == "nest":
        new = rng.choice([[old], {key: old}, {"value": old}, [[old]]])
    elif kind == "extreme" and isinstance(old, (int, float)) and not isinstance(old, bool):
        new = rng.choice([old * 10**9, -old, old / 1e9, -1, 0, 10**15, old + 0.5, 1e300, float(old)])
    else:
        new = copy.deepcopy(rng.choice(ODD))
    block[key] = new
    return Change("retype" if kind == "extreme" else kind, place, old, new)


def written_as_yaml(options: dict[str, Any]) -> str:
    """The file's text."""
    return str(yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def change_text(text: str, rng: random.Random) -> tuple[Change, str]:
    """The text with a line doubled, moved, indented otherwise or without its end, or a character lost or put in."""
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    line, kind = lines[at], rng.choice(["double", "move", "indent", "cut", "lose", "put in"])
    if kind == "double":
        lines.insert(rng.randrange(len(lines)), line)
    elif kind == "move":
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    elif kind == "indent":
        lines[at] = line[2:] if line.startswith("  ") and rng.random() < 0.5 else "  " + line
    elif kind == "cut":
        lines[at] = line[: rng.randrange(len(line))]
    else:
        where = rng.randrange(len(line))
        mark = rng.choice("\t:#-'\"{}[]&*!|>%@`,?\0ü") if kind == "put in" else ""
        lines[at] = line[:where] + mark + line[where + (kind == "lose") :]
    return Change("text", (f"line {at + 1}",), line, lines[at] if at < len(lines) else kind), "\n".join(lines) + "\n"


def is_meant(made: Change) -> bool:
    """Whether a change may run without a word: a value of the same kind, or a key that may be left out."""
    if made.kind in ("delete", "text"):
        return True
    if made.kind == "misspell":
        return (len(made.place) >= 2 and made.place[-2] in FREE) or made.new in (
            "val_",
            "test_",
            "test",
            "val_2",
            "test_12",
        )
    if made.kind == "move":
        return made.place[-1] in ("name", "seed", "prefetch_mode")
    old, new = made.old, made.new
    if made.place[-1] == "cache" and isinstance(new, str) and new:
        return True  # a folder
    if isinstance(new, type(old)) and isinstance(old, type(new)):
        return True
    numbers = (int, float)
    if (
        isinstance(old, numbers)
        and isinstance(new, numbers)
        and not isinstance(old, bool)
        and not isinstance(new, bool)
    ):
        return True
    return old is None or new is None  # what may be `~`, or is it, has two types


# What becomes of them


class _EnoughError(Exception):
    pass


class _HangError(Exception):
    pass


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `_HangError` after so many seconds."""

    def stop(*_: Any) -> None:
        raise _HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pipeline(command: str, path: Path) -> None:
    """BasicSR's own pipeline on an option file, to the end of the first step and a validation."""
    import basicsr.test
    import basicsr.train

    from wbsr_base.basicsr import initialized_logger

    initialized_logger.clear()
    build = basicsr.train.build_model

    def build_model(opt: dict[str, Any]) -> Any:
        model = build(opt)
        step = model.optimize_parameters

        def first_step(iteration: int) -> None:
            step(iteration)
            model.get_current_log()
            model.save(0, iteration)
            for loader in loaders:
                model.validation(loader, iteration, None, opt["val"]["save_img"])
            raise _EnoughError

        model.optimize_parameters = first_step
        return model

    create = basicsr.train.create_train_val_dataloader
    loaders: list[Any] = []

    def create_loaders(opt: dict[str, Any], logger: Any) -> Any:
        made = create(opt, logger)
        loaders.extend(made[2] if opt.get("val") else [])
        return made

    arguments, sys.argv = sys.argv, [command, "-opt", str(path)]
    basicsr.train.build_model, basicsr.train.create_train_val_dataloader = build_model, create_loaders
    try:
        with contextlib.suppress(_EnoughError):
            module = basicsr.train if command == "train" else basicsr.test
            getattr(module, f"{command}_pipeline")(os.getcwd())  # noqa: PTH109  as text
    finally:
        sys.argv = arguments
        basicsr.train.build_model, basicsr.train.create_train_val_dataloader = build, create
        for handler in list(logging.getLogger("basicsr").handlers):
            handler.close()
            logging.getLogger("basicsr").removeHandler(handler)


class _Said(logging.Handler):
    """Whether anything of ours was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


def outcome(command: str, text: str, folder: Path) -> tuple[str, str]:
    """What becomes of a file: `refused` or `ran`, `warned`, `traceback` or `hang`; and the text that tells it."""
    from wbsr.checks.source import read_options
    from wbsr.cli import USER_ERRORS, user_message
    from wbsr.training import check

    path = folder / "options.yml"
    path.write_text(text, encoding="utf-8")
    for made in ("experiments", "results", "tb_logger"):
        shutil.rmtree(folder / made, ignore_errors=True)
    said = _Said()
    logging.getLogger("wbsr").addHandler(said)
    try:
        with at_most(LIMIT), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            check(command, read_options(path))
            pipeline(command, path)
    except _HangError:
        return "hang", f"nothing within {LIMIT} s"
    except USER_ERRORS as error:
        message = user_message(error)
        if message is None:
            return "traceback", "".join(traceback.format_exception(error)[-3:])
        return ("refused", message) if "\n" not in message else ("traceback", f"more than one line: {message}")
    except BaseException as error:  # noqa: BLE001  whatever comes is what this is about
        return "traceback", "".join(traceback.format_exception(error)[-3:])
    finally:
        logging.getLogger("wbsr").removeHandler(said)
    return ("warned", "; ".join(said.words)) if said.words else ("ran", "")


def judge(command: str, made: Change, text: str, folder: Path) -> tuple[str, str]:
    """What becomes of a file with a change: as `outcome`, or `silent`."""
    found, told = outcome(command, text, folder)
    return ("silent", "it ran") if found == "ran" and not is_meant(made) else (found, told)


def fuzz(seed: int, files: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Change `files` files by a seed; counts of what became of them, and what must not be."""
    rng, bases = random.Random(seed), base_files()
    counts: Counter[str] = Counter()
    faults = []
    for number in range(files):
        name = rng.choice([*bases, "stock", "ours", "ours"])
        options = copy.deepcopy(bases[name])
        if rng.random() < 0.1:
            made, written = change_text(written_as_yaml(options), rng)
        else:
            made = change(options, rng)
            written = written_as_yaml(options)
        found, text = judge("train" if "train" in bases[name] else "test", made, written, folder)
        counts[found] += 1
        if found in ("traceback", "hang", "silent"):
            faults.append(f"seed {seed}, file {number} ({name}), {made}\n  {found}: {text.strip()}")
    return counts, faults


def main() -> int:
    """Fuzz by each seed, and tell what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--files", type=int, default=300, help="for each seed (default: %(default)s)")
    arguments = parser.parse_args()
    import wbsr.plugin  # noqa: F401

    warnings.simplefilter("ignore")
    wrong = 0
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as name:
            os.chdir(name)
            make_images(Path(name))
            start = time.perf_counter()
            counts, faults = fuzz(seed, arguments.files, Path(name))
            seconds = time.perf_counter() - start
            os.chdir("/")
        wrong += len(faults)
        told = ", ".join(f"{count} {found}" for found, count in sorted(counts.items()))
        sys.stdout.write("\n".join([f"seed {seed}: {told}; {seconds:.0f} s", *faults]) + "\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
