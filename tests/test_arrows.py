"""Arrows point down only: which folder may import which, read from every import, those inside functions included, and
from every module that a string names, which may be imported by that name."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("wbsr_base", "wbsr_arch", "wbsr_data", "wbsr_losses", "wbsr_models", "wbsr", "wbsr_lab")
MAY_IMPORT = {
    "wbsr_base": set(),
    "wbsr_arch": {"wbsr_base"},
    "wbsr_data": {"wbsr_base"},
    "wbsr_losses": {"wbsr_base"},
    "wbsr_models": {"wbsr_base", "wbsr_arch", "wbsr_data", "wbsr_losses"},
    "wbsr": {"wbsr_base", "wbsr_arch", "wbsr_data", "wbsr_losses", "wbsr_models"},
    "wbsr_lab": {"wbsr_base", "wbsr_arch", "wbsr_data", "wbsr_losses", "wbsr_models", "wbsr"},
}
ROOMS = ("routing", "checkpoints", "inference", "testing", "training")  # of wbsr_models, from below
PROGRAM = ("wbsr.cli", "wbsr.__main__")  # the command `wbsr`, above all packages: it names each command's module
NAMED = re.compile(r"(wbsr(?:_\w+)?(?:\.\w+)+)(?::\w+)?")


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules():
    return {module_of(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def imports(module, path, known):
    """The modules of ours that a file names, in an import or a string, wherever it stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base.split(".")[0] in PACKAGES:
                for alias in node.names:
                    yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = NAMED.fullmatch(node.value)
            if named and named[1] in known:
                yield named[1]


def graph(name_of):
    """The arrows between what `name_of` makes of modules, but for those that stay within one."""
    known, arrows = modules(), defaultdict(set)
    for module, path in known.items():
        for other in imports(module, path, known):
            if name_of(other) != name_of(module):
                arrows[name_of(module)].add(name_of(other))
    return arrows


def folder_of(module):
    """A file's folder; the `__init__` of a package that has rooms is its front door, which names what lies behind."""
    if module in PROGRAM:
        return "the program"
    place = ROOT / Path(*module.split("."))
    if not place.is_dir():
        return module.rpartition(".")[0]
    return f"{module}, front door" if module in PACKAGES else module


def package_of(module):
    return "the program" if module in PROGRAM else module.split(".")[0]


def circle(arrows):
    """A way that ends where it began, or None."""
    done, way = set(), []

    def visit(node):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return None
        way.append(node)
        found = next(filter(None, map(visit, sorted(arrows.get(node, ())))), None)
        way.pop()
        done.add(node)
        return found

    return next(filter(None, map(visit, sorted(arrows))), None)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_those_below_it_alone(package):
    assert graph(package_of)[package] <= MAY_IMPORT[package]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_those_below_it_alone(room):
    above = {f"wbsr_models.{other}" for other in ROOMS[ROOMS.index(room) + 1 :]} | {"wbsr_models"}
    assert graph(folder_of)[f"wbsr_models.{room}"] & above == set()


def test_no_circle_between_folders():
    assert circle(graph(folder_of)) is None


def test_no_circle_between_files():
    assert circle(graph(lambda module: module)) is None


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_all_imports_are_seen():
    known = modules()
    assert "wbsr_models.inference.upscaler" in set(imports("wbsr.upscale", known["wbsr.upscale"], known))
    assert "wbsr_lab.tables" in set(imports("wbsr.cli", known["wbsr.cli"], known))
    assert len(known) > 150


def test_basicsr_is_imported_mended_from_one_place():
    """Outside of the ground nobody imports BasicSR by itself, but for what its option files need before it is there."""
    by_itself = set()
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "basicsr" for name in names) and not module.startswith("wbsr_base."):
                by_itself.add(module)
    assert by_itself <= {"wbsr.checks.source"}
