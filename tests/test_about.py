"""The version stands in one place, and what else names it agrees."""

import re
from pathlib import Path

import yaml

import wbsr

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version_and_of_the_paper():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == wbsr.__version__
    assert [author["name"] for author in cited["authors"]] == ["The WBSR authors"]
    paper = cited["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Yu", "Yang", "Liu", "Li", "Zhang", "Ji"]
    assert paper["year"] == 2024


def test_the_changelog_tells_of_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{wbsr.__version__}] - " in text


def test_continuous_integration_runs_every_python_that_setup_allows():
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    least, below = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    assert tested == [f"3.{minor}" for minor in range(int(least), int(below))]
