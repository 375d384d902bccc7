"""Where a preparation writes, and whether it may: what an earlier one left is gone on with, all else is refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbsr_data.preparation.journal import FILE, Journal
from wbsr_data.preparation.recipe import Recipe
from wbsr_data.preparation.stores import FolderStore, LmdbStore, Store
from wbsr_data.sources import Source

META = "meta_info.txt"


@dataclass(frozen=True)
class Target:
    """Where to, and in which form.

    Args:
        out: folder which gets a folder (or LMDB) of each kind of image.
        lmdb: LMDBs instead of folders of PNG files.
        compression: of the PNGs, 0 (fast) to 9 (small).

    Raises:
        ValueError: a compression out of 0..9.
    """

    out: Path
    lmdb: bool = False
    compression: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.compression <= 9:
            raise ValueError(f"compression must be in 0..9, got {self.compression}")

    def path(self, folder: str) -> Path:
        """Where the images of one kind (`Recipe.folders`) go."""
        return self.out / (f"{folder}.lmdb" if self.lmdb else folder)

    def open_store(self, folder: str) -> Store:
        """Open, and make if need be, where the images of one kind go."""
        return LmdbStore(self.path(folder)) if self.lmdb else FolderStore(self.path(folder))

    def open_journal(self, hr: Path, sources: Sequence[Source], recipe: Recipe, overwrite: bool) -> Journal:
        """The journal to go on with, or a new one.

        Raises:
            ValueError: the target folders hold something else and `overwrite` is not set, or lie in the HR folder, or
                around it.
        """
        _check_apart(hr.resolve(), self.out.resolve(), [self.path(folder) for folder in recipe.folders])
        settings = self._settings(hr, recipe)
        journal = Journal.read(self.out)
        if journal is not None and (overwrite or not journal.entries):  # nothing finished, nothing to protect
            self._remove(journal, hr)
            journal = None
        if journal is not None:
            self._check_same(journal, settings, {source.name: source for source in sources})
            return journal
        shared = [
            path.name for path in self._written(recipe) if path.is_file() or (path.is_dir() and any(path.iterdir()))
        ]
        if shared and not overwrite:
            raise ValueError(
                f"{self.out} already holds {', '.join(shared)}, which this command did not make there: choose another "
                "--out, or --overwrite to replace files of the same name"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / FILE).unlink(missing_ok=True)
        return Journal.create(self.out, settings, shared)

    def _written(self, recipe: Recipe) -> list[Path]:
        paths = [self.path(folder) for folder in recipe.folders]
        return paths if self.lmdb else [*paths, self.out / META]

    def _settings(self, hr: Path, recipe: Recipe) -> dict[str, Any]:
        """Everything that decides what is made, as JSON gives it back."""
        values = {"hr": str(hr.resolve()), **dataclasses.asdict(recipe), "lmdb": self.lmdb}
        values["compression"] = self.compression
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def _remove(self, journal: Journal, hr: Path) -> None:
        """Remove what an earlier preparation left, but no folder that it found there."""
        journal.close()
        old = Target(self.out, journal.settings["lmdb"])
        recipe = Recipe(tuple(journal.settings["scales"]))
        _check_apart(hr.resolve(), self.out.resolve(), old._written(recipe))
        for path in old._written(recipe):
            if path.name in journal.shared:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _check_same(self, journal: Journal, settings: Mapping[str, Any], sources: Mapping[str, Source]) -> None:
        remedy = "choose another --out, or --overwrite to make everything anew"
        for name, value in settings.items():
            before = journal.settings.get(name)
            if before != value:
                journal.close()
                raise ValueError(f"{self.out} was prepared with {name} {before}, and now it is {value}: {remedy}")
        for name, entry in journal.entries.items():
            source = sources.get(name)
            if source is None:
                change = "is gone"
            elif source.key != entry.key:
                change = f"would be called {source.key}, and was {entry.key},"
            elif not entry.is_of(source):
                change = "has changed"
            else:
                continue
            journal.close()
            raise ValueError(f"{name} {change} since {self.out} was prepared: {remedy}")


def _check_apart(hr: Path, out: Path, targets: Sequence[Path]) -> None:
    """Results must not be taken for HR images by the next run, nor HR images for results."""
    if out == hr or hr in out.parents:
        raise ValueError(f"--out must not lie in --hr, got {out} in {hr}: choose a folder beside it")
    for target in (path.resolve() for path in targets):
        if target == hr or target in hr.parents:
            raise ValueError(
                f"the HR images in {hr} would be written over, since {target} is a target: choose another --out"
            )
