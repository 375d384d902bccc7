"""The image sets of a preset: whether they are there and whole, and LR/HR pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wbsr_lab.tables.options import Folders
from wbsr_lab.tables.recipe import ImageSet, Preset


@dataclass(frozen=True)
class Found:
    """A set as it stands on disk: its folder, how many images are in it, and what is wrong with it, if something is."""

    name: str
    folder: Path | None
    images: int
    fault: str | None


def all_sets(preset: Preset) -> dict[str, ImageSet]:
    """The training set, as `train`, and the test sets."""
    return {"train": preset.train, **preset.tests}


def check(preset: Preset, data: Path | None) -> list[Found]:
    """Look for the sets of a preset below `data`."""
    return [_find(name, one, data) for name, one in all_sets(preset).items()]


def faults(found: list[Found]) -> str | None:
    """What to tell of sets that can't be used; None if all can."""
    wrong = [f"{each.name}: {each.fault}" for each in found if each.fault]
    if not wrong:
        return None
    return "the image sets are not whole: " + "; ".join(wrong) + " (see docs/guide/tables.md, or `--check-data`)"


def places(preset: Preset, scale: int) -> Folders:
    """Where the pairs of every set are, or will be, relative to the folder of the results."""
    made = {name: Path("data") / f"{name}_x{scale}" for name in all_sets(preset)}
    train = made.pop("train")
    return Folders(train, made)


def make_pairs(preset: Preset, data: Path | None, out: Path, scale: int) -> Folders:
    """Prepare LR/HR pairs of every set in `out`/data; what stands there is kept.

    Returns:
        `places`.

    Raises:
        ValueError, OSError: as in `wbsr_data.preparation.prepare`.
    """
    from wbsr_data.preparation import prepare
    from wbsr_data.preparation.recipe import Recipe
    from wbsr_data.preparation.target import Target

    made = places(preset, scale)
    for name, one in all_sets(preset).items():
        hr = _bundled(one.hr, out) if one.bundled else (data or Path()) / one.hr
        prepare(
            hr, Target(out / (made.train if name == "train" else made.tests[name])), Recipe((scale,), one.sub_images)
        )
    return made


def _find(name: str, one: ImageSet, data: Path | None) -> Found:
    if one.bundled:
        return Found(name, None, 0, None)
    if data is None:
        return Found(name, None, 0, f"--data must be given, the folder that holds {one.hr}/")
    from wbsr_data.sources import find_sources

    folder = data / one.hr
    if not folder.is_dir():
        return Found(name, folder, 0, f"there is no folder {folder}")
    try:
        images = len(find_sources(folder))
    except (FileNotFoundError, ValueError) as error:
        return Found(name, folder, 0, str(error))
    wanted = one.count
    fault = None if wanted in (None, images) else f"{folder} must hold {wanted} images, got {images}"
    return Found(name, folder, images, fault)


def _bundled(kind: str, out: Path) -> Path:
    """The photographs that scikit-image carries, `train` or `test`, as HR files."""
    from wbsr_lab.demo.photographs import write_hr

    folder = out / "photographs" / kind
    write_hr(folder, kind)
    return folder


def summary(found: list[Found], sets: Mapping[str, ImageSet]) -> str:
    """One line for each set."""
    lines = []
    for each in found:
        if sets[each.name].bundled:
            state = "carried by scikit-image"
        else:
            state = each.fault or f"{each.images} images in {each.folder}"
        lines.append(f"  {'missing' if each.fault else 'ok':8}{each.name}: {state}")
    return "\n".join(lines) + "\n"
