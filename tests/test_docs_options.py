"""The docs know the commands and options: all that they name exist, and all that exist have their row in the guide."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import re

import pytest
from docs_pages import PAGES, ROOT, by_page, code_lines, guide, name_of, rows

from wbsr import cli

# By guide page: the commands whose arguments it has rows for, and the classes whose fields are its options.
COMMANDS = {
    "checkpoints": ["export", "info"],
    "data": ["analyze", "prepare"],
    "inference": ["upscale"],
    "routing": ["analyze", "calibrate", "upscale"],
    "tables": ["tables"],
    "training": ["options", "test", "train"],
}
OPTIONS = {
    "bdloss": ["wbsr_losses.options:BDLossOptions"],
    "hes": [
        "wbsr_data.hes.options:HESOptions",
        "wbsr_data.dda.options:DDAOptions",
        "wbsr_data.resident_options:ResidentOptions",
    ],
    "inference": ["wbsr_models.inference.settings:EngineSettings"],
    "rivals": ["wbsr_models.training.classsr_options:ClassSROptions", "wbsr_arch.classsr:ClassSR"],
    "routing": ["wbsr_models.testing.options:TestOptions"],
    "supernet": ["wbsr_models.training.strategy:StrategyOptions", "wbsr_arch.supernet:Supernet"],
    "training": ["wbsr_models.training.compute:ComputeOptions"],
}


def option_cells(page):
    """What stands in backticks before the column `default` under the heading Options."""
    section = re.search(r"^## Options\n(.*?)(?=^## |\Z)", guide(page), re.M | re.S)[1]
    found, width = [], 0
    for cells in rows(section):
        width = cells.index("default") if "default" in cells else width
        found += [code for cell in cells[:width] for code in re.findall(r"`([^`]+)`", cell)]
    return found


def documented_flags(page):
    return {match[0] for code in option_cells(page) if (match := re.match(r"--?[a-z][\w-]*", code))}


def documented_keys(page):
    return {code.split(":")[-1].strip() for code in option_cells(page) if not code.startswith("-")}


@functools.cache
def flags(command):
    """The arguments of a command, from its own help."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["wbsr"])  # BasicSR's parser looks there
        cli.main([command, "--help"])
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", out.getvalue())) - {"-h", "--help"}


def class_of(place):
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


def options_of(place):
    """The fields of a dataclass, or the arguments of a constructor."""
    kind = class_of(place)
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(inspect.signature(kind.__init__).parameters) - {"self"}


def places(options):
    return sorted({place for all_of_page in options.values() for place in all_of_page})


@by_page(PAGES)
def test_every_command_exists_with_its_arguments(path):
    for line in code_lines(path):
        match = re.match(r"(?:.*?(?:^|[ /]))?(?:-m )?wbsr (\w+)(?![\w.])(.*)", line.split("  #")[0].split("`")[0])
        if match is None or line.startswith(("import", "from", "pip")):
            continue
        command, arguments = match[1], match[2]
        if command.isupper():  # stands for any
            continue
        assert command in cli.COMMANDS, f"{name_of(path)}: {line}"
        unknown = set(re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", arguments)) - flags(command)
        assert not unknown, f"{name_of(path)}: {line}"


@by_page(PAGES)
def test_every_benchmark_exists_with_its_arguments(path):
    for line in code_lines(path):
        match = re.search(r"benchmarks/(\w+)\.py(.*)", line)
        if match:
            source = (ROOT / "benchmarks" / f"{match[1]}.py").read_text(encoding="utf-8")
            assert [flag for flag in re.findall(r"--[a-z-]+", match[2]) if f'"{flag}"' not in source] == []


@pytest.mark.parametrize("command", sorted({command for commands in COMMANDS.values() for command in commands}))
def test_every_argument_of_a_command_has_its_row(command):
    pages = [page for page, commands in COMMANDS.items() if command in commands]
    assert flags(command) - set().union(*map(documented_flags, pages)) - {"-o"} == set()


@pytest.mark.parametrize("page", sorted(COMMANDS))
def test_every_row_of_an_argument_is_one(page):
    assert documented_flags(page) - set().union(*map(flags, COMMANDS[page])) == set()


@pytest.mark.parametrize("place", places(OPTIONS))
def test_every_option_has_its_row(place):
    pages = [page for page, own in OPTIONS.items() if place in own]
    assert options_of(place) - set().union(*map(documented_keys, pages)) == set()


@pytest.mark.parametrize("page", ["bdloss", "hes", "supernet"])
def test_every_row_of_an_option_is_one(page):
    assert documented_keys(page) == set().union(*map(options_of, OPTIONS[page]))


def test_every_routing_and_its_options_have_their_rows():
    policies = importlib.import_module("wbsr_models.routing.policies")
    text = guide("routing")
    assert {name for name in policies.POLICIES if f"| `{name}` |" not in text} == set()
    assert set(policies.option_names()) - documented_keys("routing") - {"subnet"} == set()
