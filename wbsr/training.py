"""`wbsr train` and `wbsr test`: BasicSR's pipelines with the plugin loaded and the option file checked.

The arguments are BasicSR's own and are handed to it as they are; the current folder is its root, which gets
`experiments/`, `results/` and `tb_logger/`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbsr.checks.source import override, read_options


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
    arguments = _peek(argv)
    opt = None if arguments.opt is None or arguments.help else read_options(Path(arguments.opt))
    importlib.import_module("wbsr.plugin")
    if opt is not None:
        check(command, override(opt, arguments.force_yml or []), arguments.auto_resume)
    sys.argv = [f"wbsr {command}", *argv]  # BasicSR parses it, and notes it in the experiment's copy of the options
    pipeline = importlib.import_module(f"basicsr.{command}")
    getattr(pipeline, f"{command}_pipeline")(str(Path.cwd()))
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


def check(command: str, opt: dict[str, Any], auto_resume: bool = False) -> None:
    """Find what BasicSR would let slip in an option file for `train` or `test`; the plugin must have been imported.

    Raises:
        ValueError, TypeError, FileNotFoundError: the first fault found, with what to change.
    """
    from wbsr.checks import check_options

    check_options(opt, is_train=command == "train", auto_resume=auto_resume)


def _peek(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments that the checks need; whatever is wrong with the others is for BasicSR's parser to say."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-opt")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--auto_resume", action="store_true")
    parser.add_argument("--force_yml", nargs="+")
    try:
        return parser.parse_known_args(list(argv))[0]
    except argparse.ArgumentError:
        return argparse.Namespace(opt=None, help=True, auto_resume=False, force_yml=None)
