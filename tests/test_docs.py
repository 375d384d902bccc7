"""The docs are true: what they name exists, their commands and examples run, and every option has its row."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from wbsr import cli
from wbsr.shipped import find_weights

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
METHOD = ROOT / "docs" / "guide" / "method.md"

# By guide page: the commands whose arguments it has rows for, and the classes whose fields are its options.
COMMANDS = {
    "checkpoints": ["export", "info"],
    "data": ["analyze", "prepare"],
    "inference": ["upscale"],
    "routing": ["calibrate", "upscale"],
    "tables": ["tables"],
    "training": ["options", "test", "train"],
}
OPTIONS = {
    "bdloss": ["wbsr_losses.options:BDLossOptions"],
    "hes": ["wbsr_data.hes_options:HESOptions", "wbsr_data.dda.options:DDAOptions"],
    "inference": ["wbsr_models.inference.settings:EngineSettings"],
    "rivals": ["wbsr_models.training.classsr_options:ClassSROptions", "wbsr_arch.classsr:ClassSR"],
    "routing": ["wbsr_models.testing.options:TestOptions"],
    "supernet": ["wbsr_models.training.strategy:StrategyOptions", "wbsr_arch.supernet:Supernet"],
    "training": ["wbsr_models.training.compute:ComputeOptions"],
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def by_page(paths):
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


def code_blocks(path, language):
    """The fenced blocks of a language, without the indentation of a list that they stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", path.read_text(encoding="utf-8"), re.M | re.S)
    return [textwrap.dedent(block) for _, block in found]


def code_lines(path):
    """Lines of indented blocks with their continuations joined, and inline code."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S).replace("\\\n", " ")
    return re.findall(r"^ {4,}(\S.*)", text, re.M) + re.findall(r"`([^`\n]+)`", text)


def rows(text):
    """The rows of all tables, each as its cells."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def option_cells(page):
    """What stands in backticks before the column `default` under the heading Options."""
    text = (ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8")
    section = re.search(r"^## Options\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
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


# Pages


@by_page(GUIDE)
def test_a_guide_page_is_short_says_what_to_expect_and_is_linked_from_the_readme(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert re.findall(r"^## (What to expect|Limits)$", text, re.M) == ["What to expect", "Limits"]
    assert f"docs/guide/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@by_page(PAGES)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{name_of(path)} links to {target}"
        assert not anchor or anchor in anchors(there), f"{name_of(path)} links to {target}"


def mentions():
    """By tracked file outside docs/: the pages of docs/ that it names."""
    command = ["git", "grep", "-IlE", r"docs/[a-z0-9_/]+\.md", "--", ":!docs"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split()  # none outside a clone
    page = re.compile(r"(?<![\w/])docs/[a-z0-9_/]+\.md")
    return {file: page.findall((ROOT / file).read_text(encoding="utf-8")) for file in files}


@pytest.mark.parametrize(("file", "pages"), mentions().items(), ids=list(mentions()))
def test_every_page_that_code_and_option_files_name_exists(file, pages):
    assert [page for page in sorted(pages) if not (ROOT / page).is_file()] == []


# The table of method.md

METHOD_TEXT = METHOD.read_text(encoding="utf-8")
FUNCTIONS = sorted(set(re.findall(r"`(wbsr_\w+(?:\.\w+)+)`", METHOD_TEXT)))
TESTS = sorted(set(re.findall(r"`(test_\w+\.py::test_\w+)`", METHOD_TEXT)))


def test_the_method_has_a_dozen_equations_with_their_tests():
    assert len(FUNCTIONS) >= 12
    assert len(TESTS) >= 12


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_the_method_names_exists(name):
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name", TESTS)
def test_a_test_that_the_method_names_exists(name):
    file, function = name.split("::")
    (found,) = (ROOT / "tests").rglob(file)
    names = {
        node.name for node in ast.parse(found.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    }
    assert function in names


# Commands and options


@by_page(PAGES)
def test_every_command_exists_with_its_arguments(path):
    for line in code_lines(path):
        match = re.match(r"(?:.*?(?:^|[ /]))?(?:-m )?wbsr (\w+)(?![\w.])(.*)", line.split("  #")[0].split("`")[0])
        if match is None or line.startswith(("import", "from", "pip")):
            continue
        command, arguments = match[1], match[2]
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
    text = (ROOT / "docs" / "guide" / "routing.md").read_text(encoding="utf-8")
    assert {name for name in policies.POLICIES if f"| `{name}` |" not in text} == set()
    assert set(policies.option_names()) - documented_keys("routing") - {"subnet"} == set()


# Examples


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The test's folder with a few HR images in hr/, and a checkpoint with its tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hr").mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        cv2.imwrite(str(tmp_path / "hr" / f"{i}.png"), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    shutil.copy(find_weights("light_x4"), tmp_path / "calibrated.pth")
    return tmp_path


@by_page([path for path in PAGES if code_blocks(path, "python")])
def test_the_python_examples_run(path, workplace):
    names = {"__name__": "example"}
    for block in code_blocks(path, "python"):
        exec(compile(block, f"<example of {name_of(path)}>", "exec"), names)


def fragments():
    pages = [path for path in GUIDE if code_blocks(path, "yaml")]
    return [(path, block) for path in pages for block in code_blocks(path, "yaml")]


def merged(base, block):
    """`base` with the keys of `block`, whose networks and losses take the place of the whole block."""
    result = dict(base)
    for key, value in block.items():
        whole = key in ("network_g", "pixel_opt") or not isinstance(value, dict)
        result[key] = value if whole else merged(result.get(key) or {}, value)
    return result


@pytest.mark.parametrize(("path", "block"), fragments(), ids=[path.stem for path, _ in fragments()])
def test_the_yaml_examples_pass_the_checks_in_an_option_file(path, block, tmp_path, monkeypatch):
    from wbsr.checks.source import read_options
    from wbsr.training import check
    from wbsr_lab.tables.recipe import read_preset

    importlib.import_module("wbsr.plugin")
    (tmp_path / "block.yml").write_text(block, encoding="utf-8")
    if path.stem == "tables":
        assert "holiday" in read_preset("smoke", tmp_path / "block.yml").tests
        return
    opt = merged(read_options(ROOT / "options/train/SRResNet/WBSR_SRResNet_x4.yml"), yaml.safe_load(block))
    monkeypatch.chdir(tmp_path)
    for folder in {opt["train"]["pixel_opt"]["dataroot_gt"], *_folders(opt)}:
        Path(folder).mkdir(parents=True, exist_ok=True)
        side = 36 if "LR" in folder else 144
        for i in range(4):
            cv2.imwrite(str(Path(folder) / f"{i}.png"), np.full((side, side, 3), 99, np.uint8))
    check("train", opt)


def _folders(opt):
    return [dataset[key] for dataset in opt["datasets"].values() for key in ("dataroot_gt", "dataroot_lq")]


# Figures


@functools.cache
def measured(test_set):
    result = json.loads((ROOT / "benchmarks" / "results" / "light_x4" / f"{test_set}.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in result["rows"]}


def table_of(page):
    return rows((ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8"))


def test_the_quality_of_each_subnet_is_the_measured_one():
    for first, *cells in table_of("models"):
        name = first.partition(",")[0]
        if name in measured("Set5"):
            expected = [f"{measured(one)[name]['psnr_y']:.3f}" for one in ("Set5", "Set14")]
            assert cells[2:] == expected, name


def test_what_each_routing_costs_is_the_measured():
    for first, *cells in table_of("routing"):
        name, expected = first.strip("*`"), []
        if name not in measured("Set5") or len(cells) != 6:
            continue
        for one in map(measured, ("Set5", "Set14")):
            row, below = one[name], one[name]["psnr_y"] - one["full"]["psnr_y"]
            expected += [f"{100 * row['flops_share']:.1f}", f"{100 * row['flops_share_run']:.1f}", f"{below:.3f}"]
        assert cells == expected, name
