"""Checks of an option file before BasicSR starts: what BasicSR lets slip becomes an error that says what to change.

source        the YAML text: duplicate keys, numbers that YAML reads as text
structure     the keys that BasicSR needs, and those under `path:` that it would turn into folders
spelling      keys which are nearly, but not quite, ones that BasicSR knows
components    types that are registered nowhere, options that a loss or metric would swallow
optimization  optimisers and schedules that would fail, at the start or at the end
files         folders, meta files and checkpoints that are not there
pairs         damaged images and sizes that do not match, in validation and test
"""

from __future__ import annotations

import copy
from typing import Any

from wbsr.checks.components import check_components
from wbsr.checks.files import check_files
from wbsr.checks.optimization import check_optimization
from wbsr.checks.pairs import check_pairs
from wbsr.checks.spelling import check_spelling
from wbsr.checks.structure import check_structure


def check_options(opt: dict[str, Any], is_train: bool, auto_resume: bool = False) -> None:
    """Check the options of a training or a test, as the YAML file (and `--force_yml`) gives them.

    A registered class may have a static method `check_options(block)`: it is called with a copy of its block (a model's
    with all options; a dataset's with `phase` and `scale`, as BasicSR adds them) and raises what it finds.

    Args:
        opt: the options; left as they are.
        is_train: whether they are for a training.
        auto_resume: whether training goes on from the newest state, so that pretrained files are not read.

    Raises:
        ValueError, TypeError, FileNotFoundError: the first fault found, with what to change.
    """
    options = copy.deepcopy(opt)
    check_structure(options, is_train)
    check_spelling(options)
    check_components(options, is_train)
    if is_train:
        check_optimization(options)
    check_files(options, read_pretrained=not (auto_resume or options["path"].get("resume_state")))
    check_pairs(options, is_train)
