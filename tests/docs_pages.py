"""What the tests of the docs read in Markdown: pages, code, tables."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


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


def guide(page):
    """The text of a page of the guide."""
    return (ROOT / "docs" / "guide" / f"{page}.md").read_text(encoding="utf-8")
