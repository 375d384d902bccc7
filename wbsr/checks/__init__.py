"""Checks of an option file before BasicSR starts: what BasicSR lets slip becomes an error that says what to change.

source        the YAML text: duplicate keys, numbers that YAML reads as text
structure     the keys that BasicSR needs, and those under `path:` that it would turn into folders
unknown       keys that nobody reads (`reading` finds out who reads what, in the source of the registered classes)
values        values of a wrong type or range (`basicsr_keys` says which is meant, `kinds` what that is)
components    types that are registered nowhere, options that a loss or metric would swallow (`arguments`)
optimization  optimisers and schedules that would fail, at the start or at the end
trials        networks and losses, built and run on next to nothing
files         folders, meta files and checkpoints that are not there
pairs         damaged images and sizes that do not match
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from wbsr.checks.components import check_components
from wbsr.checks.files import check_files
from wbsr.checks.optimization import check_optimization
from wbsr.checks.pairs import check_pairs
from wbsr.checks.structure import check_blocks, check_structure
from wbsr.checks.trials import check_trials
from wbsr.checks.unknown import check_unknown
from wbsr.checks.values import check_values


def check_options(opt: dict[str, Any], is_train: bool, auto_resume: bool = False, allow_unknown: bool = False) -> None:
    """Check the options of a training or a test, as the YAML file (and `--force_yml`) gives them.

    A registered class may have a static method `check_options(block)`: it is called with a copy of its block (a model's
    with all options; a dataset's with `phase` and `scale`, as BasicSR adds them) and raises what it finds.

    Args:
        opt: the options; left as they are.
        is_train: whether they are for a training.
        auto_resume: whether training goes on from the newest state, if there is one: then no pretrained files are read.
        allow_unknown: warn of keys that nobody reads, where they would be errors.

    Raises:
        ValueError, TypeError, FileNotFoundError: the first fault found, with what to change.
    """
    options = copy.deepcopy(opt)
    check_blocks(options)
    check_unknown(options, allow_unknown)
    check_values(options, is_train)
    check_structure(options, is_train)
    check_components(options, is_train)
    if is_train:
        check_optimization(options)
    check_files(options, read_pretrained=not _resumes(options, auto_resume))
    check_pairs(options, is_train)
    check_trials(options, is_train)


def _resumes(opt: dict[str, Any], auto_resume: bool) -> bool:
    """Whether training goes on from a state."""
    states = Path("experiments", str(opt["name"]), "training_states").glob("*.state")
    return bool(opt["path"].get("resume_state")) or (auto_resume and any(states))
