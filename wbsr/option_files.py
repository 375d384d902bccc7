"""The option files that ship: where they lie, what each is about, and which one a name means.

They stand in `options/` of a clone; a wheel carries them as `wbsr/options/`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class OptionFile:
    """A shipped option file: its path, and its name, `train/RCAN/WBSR_RCAN_x4`."""

    path: Path
    name: str

    @property
    def group(self) -> str:
        """The folder it stands in, `train/RCAN`."""
        return str(PurePosixPath(self.name).parent)

    @property
    def stem(self) -> str:
        """The last part of the name, `WBSR_RCAN_x4`."""
        return PurePosixPath(self.name).name

    def about(self) -> str:
        """The comment in its first line, as far as its last whole sentence goes; with … if no sentence ends there."""
        with self.path.open(encoding="utf-8") as file:
            comment = file.readline().lstrip("#").strip()
        if comment.endswith((".", ":")):
            return comment
        sentences, end, _ = comment.rpartition(". ")
        return f"{sentences}." if end else f"{comment} …"


def folder(package: Path = _PACKAGE) -> Path:
    """The folder of the option files.

    Args:
        package: the folder of the package `wbsr`, for tests.

    Raises:
        FileNotFoundError: it is neither in the package nor beside it in a clone.
    """
    clone = package.parent
    for place, is_there in ((package / "options", True), (clone / "options", (clone / "setup.py").is_file())):
        if is_there and place.is_dir():
            return place
    raise FileNotFoundError(f"the option files {package / 'options'} are not there: install wbsr anew")


def option_files(root: Path | None = None) -> list[OptionFile]:
    """All option files, in order of their names.

    Args:
        root: their folder; None takes the shipped ones.
    """
    root = root or folder()
    paths = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yml"))
    return [OptionFile(root / f"{name}.yml", name) for name in sorted(paths)]


def find(name: str, root: Path | None = None) -> OptionFile:
    """The option file that a name means: its last parts, such as `RCAN/WBSR_RCAN_x4`, with or without `.yml`.

    Args:
        name: one or more of the last parts; `options/` in front, as the files themselves write it, is passed over.
        root: the folder of the option files; None takes the shipped ones.

    Raises:
        ValueError: there is no such file, or more than one.
    """
    files = option_files(root)
    wanted = PurePosixPath(name.removeprefix("options/").removesuffix(".yml")).parts
    found = [file for file in files if wanted and PurePosixPath(file.name).parts[-len(wanted) :] == wanted]
    found = [file for file in found if file.name == "/".join(wanted)] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{name!r} names {len(found)} option files: write {_either([file.name for file in found])}")
    near = _near("/".join(wanted), files)
    hint = f"did you mean {_either(near)}? " if near else ""
    raise ValueError(f"there is no option file {name!r}: {hint}`wbsr options` lists them")


def _near(name: str, files: list[OptionFile]) -> list[str]:
    """Up to six names that a slip may have made another of: stems that look like it, or names that hold it."""
    stems = {file.stem.lower(): file.stem for file in files}
    close = [stems[near] for near in difflib.get_close_matches(name.lower().split("/")[-1], stems, n=2)]
    holding = [file.stem for file in files if name and name.lower() in file.name.lower()]
    return (holding or close)[:6]


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
