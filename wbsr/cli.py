"""The command `wbsr`: a table of subcommands, each imported when it is called, and errors in one line."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from wbsr import __version__
from wbsr_base.options import suggest

# name: (module:function, which takes the arguments and returns the exit code; what it does)
COMMANDS = {
    "demo": ("wbsr_lab.demo:main", "train and test a small supernet on real photographs"),
    "options": ("wbsr.options_command:main", "list, print or copy the option files that ship"),
    "prepare": ("wbsr.prepare:main", "make LR/HR pairs, as folders or LMDB, from a folder of HR images"),
    "analyze": ("wbsr_lab.analyze:main", "show the imbalance of a training set, and of a network's errors"),
    "train": ("wbsr.training:train", "check an option file and run BasicSR's training"),
    "test": ("wbsr.training:test", "check an option file and run BasicSR's test"),
    "results": ("wbsr_lab.results:main", "make a page of tables from the result files of tests"),
    "tables": ("wbsr_lab.tables:main", "reproduce a table of the paper, from training to a page"),
    "upscale": ("wbsr.upscale:main", "upscale pictures by a trained network"),
    "info": ("wbsr.info:main", "tell what a checkpoint holds, and what its subnets cost"),
    "export": ("wbsr.export:main", "write one subnet, or all, as a checkpoint, safetensors or ONNX"),
    "calibrate": ("wbsr.calibrate:main", "measure on HR images where a trained network's compute helps most"),
}

USER_ERRORS = (ValueError, TypeError, OSError, ImportError)
STOPPED = 128 + signal.SIGINT  # as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the arguments after `wbsr`; None takes them from the command line.

    Returns:
        The exit code: 0, 2 after an error that the user can mend, or 130 where the user stopped it (Ctrl-C), each told
        in one line on stderr (with a traceback if the environment variable WBSR_DEBUG is set). Any other exception is
        passed on.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"wbsr {__version__}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        sys.stderr.write(f"wbsr: error: unknown command {name!r}{suggest(name, COMMANDS)}\n")
        return 2
    module, function = COMMANDS[name][0].split(":")
    try:
        code: int = getattr(importlib.import_module(module), function)(rest)
    except USER_ERRORS as error:
        message = user_message(error)
        if message is None or os.environ.get("WBSR_DEBUG"):
            raise
        sys.stderr.write(f"wbsr: error: {message}\n")
        return 2
    except KeyboardInterrupt:
        if os.environ.get("WBSR_DEBUG"):
            raise
        sys.stderr.write("wbsr: stopped\n")
        return STOPPED
    return code


def usage() -> str:
    """The help text: one line per subcommand."""
    lines = [f"  {name:9} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: wbsr COMMAND [ARGUMENTS]",
            "       wbsr --version",
            "",
            *lines,
            "",
            "`wbsr COMMAND --help` tells its arguments.",
            "",
        ]
    )


def user_message(error: BaseException) -> str | None:
    """What to tell the user about an error that code of ours raised on purpose; None for any other error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is not None and _is_ours(frame.tb_frame.f_globals.get("__name__", "")):
        return str(error)
    return _worker_message(str(error)) or (str(error) if _is_of_our_worker(error) else None)


def _is_ours(module: str) -> bool:
    return re.match(r"wbsr(_\w+)?(\.|$)", module) is not None


def _is_of_our_worker(error: BaseException) -> bool:
    """Whether a process of `wbsr_data.workers` raised it in our code: its cause is that traceback, as text."""
    cause = error.__cause__
    return type(cause).__name__ == "_RemoteTraceback" and _ends_in_ours(str(cause)) is not None


def _worker_message(text: str) -> str | None:
    """The message in an error which torch brings from a data-loading worker: its traceback as text, our file last."""
    if not text.startswith("Caught "):
        return None
    end = _ends_in_ours(text)
    message = None if end is None else re.search(r"^\w+: (.*)", text[end:], re.M | re.S)
    return message[1].strip() if message else None


def _ends_in_ours(text: str) -> int | None:
    """Where the last place of a traceback ends, if it is in a file of ours."""
    places = list(re.finditer(r'^  File "(.*)", line \d+, in .*$', text, re.M))
    ours = re.escape(str(Path(__file__).parents[1])) + r"[/\\]wbsr(_\w+)?[/\\]"
    return places[-1].end() if places and re.match(ours, places[-1][1]) else None
