"""The docs are true: links lead somewhere, what they name exists, examples run, and figures are the measured ones."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from docs_pages import GUIDE, PAGES, ROOT, by_page, code_blocks, guide, name_of, rows

from wbsr.shipped import find_weights

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
    """By file outside docs/: the pages of docs/ that it names."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for pattern in ("benchmarks/*.py", "options/**/*.yml", "tests/**/*.py", "wbsr*/**/*.py"):
        files += sorted(ROOT.glob(pattern))
    page = re.compile(r"(?<![\w/])docs/[a-z0-9_/]+\.md")
    found = {name_of(file): page.findall(file.read_text(encoding="utf-8")) for file in files}
    return {file: pages for file, pages in found.items() if pages}


@pytest.mark.parametrize(("file", "pages"), mentions().items(), ids=list(mentions()))
def test_every_page_that_code_and_option_files_name_exists(file, pages):
    assert [page for page in sorted(pages) if not (ROOT / page).is_file()] == []


# The table of method.md

FUNCTIONS = sorted(set(re.findall(r"`(wbsr_\w+(?:\.\w+)+)`", guide("method"))))
TESTS = sorted(set(re.findall(r"`(test_\w+\.py::test_\w+)`", guide("method"))))


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
        exec(compile(block, f"<example of {name_of(path)}>", "exec", dont_inherit=True), names)


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
def measured(model, test_set):
    result = json.loads((ROOT / "benchmarks" / "results" / model / f"{test_set}.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in result["rows"]}


def rows_of(model, text):
    """The rows below the one that begins with the model's name, as name and cells."""
    (table,) = (part for part in text.split("\n\n") if part.startswith(f"| {model} |"))
    return [(first.strip("*`").partition(",")[0], cells) for first, *cells in rows(table)[1:]]


@pytest.mark.parametrize("model", ["light_x4", "light_x2"])
def test_the_quality_of_each_subnet_is_the_measured_one(model):
    found = rows_of(model, guide("models"))
    assert len(found) == 10
    for name, cells in found:
        assert cells[2:] == [f"{measured(model, one)[name]['psnr_y']:.3f}" for one in ("Set5", "Set14")], name


@pytest.mark.parametrize("model", ["light_x4", "light_x2"])
def test_what_each_routing_costs_is_the_measured(model):
    found = rows_of(model, guide("routing"))
    assert len(found) == 8
    for name, cells in found:
        expected = []
        for one in (measured(model, test_set) for test_set in ("Set5", "Set14")):
            row, below = one[name], one[name]["psnr_y"] - one["full"]["psnr_y"]
            expected += [f"{100 * row['flops_share']:.1f}", f"{100 * row['flops_share_run']:.1f}", f"{below:.3f}"]
        assert cells == expected, name
