"""`wbsr train` and `wbsr test`: BasicSR's pipelines with the plugin loaded and the option file checked.

The arguments are BasicSR's own and are handed to it as they are, but for `--allow-unknown`, which is ours; the current
folder is its root, which gets `experiments/`, `results/` and `tb_logger/`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ALLOW_UNKNOWN = "--allow-unknown"


def train(argv: Sequence[str]) -> int:
    """Check the option file and run BasicSR's `train_pipeline`.

    Raises:
        ValueError, TypeError, FileNotFoundError: something in the option file or its data has to be changed first.
    """
    return _run("train", argv)


def test(argv: Sequence[str]) -> int:
    """Check the option file and run BasicSR's `test_pipeline`; raises what `train` does."""
    return _run("test", argv)


def _run(command: str, argv: Sequence[str]) -> int:
    arguments = parser(command).parse_args(list(argv))
    from wbsr.checks.source import override, read_options

    opt = read_options(Path(arguments.opt))
    importlib.import_module("wbsr.plugin")
    changed = override(opt, arguments.force_yml or [])
    check(command, changed, arguments.auto_resume, arguments.allow_unknown)
    rest = [argument for argument in argv if argument != ALLOW_UNKNOWN]
    sys.argv = [f"wbsr {command}", *rest]  # BasicSR parses it, and notes it in the experiment's copy of the options
    pipeline = importlib.import_module(f"basicsr.{command}")
    getattr(pipeline, f"{command}_pipeline")(str(Path.cwd()))
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def check(command: str, opt: dict[str, Any], auto_resume: bool = False, allow_unknown: bool = False) -> None:
    """Find what BasicSR would let slip in an option file for `train` or `test`; the plugin must have been imported.

    Raises:
        ValueError, TypeError, FileNotFoundError: the first fault found, with what to change.
    """
    from wbsr.checks import check_options

    check_options(opt, command == "train", auto_resume, allow_unknown)


def parser(command: str) -> argparse.ArgumentParser:
    """BasicSR's arguments, which it parses once more, and ours."""
    made = argparse.ArgumentParser(
        prog=f"wbsr {command}",
        description=f"Check an option file and run BasicSR's {'training' if command == 'train' else 'test'}.",
        allow_abbrev=False,
    )
    made.add_argument("-opt", required=True, metavar="FILE", help="the option file; `wbsr options` lists what ships")
    made.add_argument(
        "--force_yml", nargs="+", metavar="KEY=VALUE", help="change values, such as train:total_iter=1000"
    )
    made.add_argument(ALLOW_UNKNOWN, action="store_true", help="warn of keys that nobody reads, and go on")
    made.add_argument("--auto_resume", action="store_true", help="go on from the experiment's newest state (train)")
    made.add_argument("--debug", action="store_true", help="a short run with frequent logs")
    made.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none", help="of several processes")
    made.add_argument("--local_rank", type=int, default=0, help="set by launchers")
    return made
