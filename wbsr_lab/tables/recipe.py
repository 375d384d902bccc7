"""What a table is made of, and at what size: the files in `options/tables/` and `options/tables/presets/`, typed.

A table file lists rows. A row trains by shipped option files and says what it changes in them; a preset says how large
the networks, the data and the trainings are. Nothing else decides what is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wbsr.checks.source import read_options
from wbsr.option_files import folder as options_folder
from wbsr_base.options import parse, suggest

OPTIONS = options_folder()

Backbone = Literal["SRResNet", "RCAN"]
Plot = Literal["over_flops", "by_classes", "gain_by_class", "over_iterations", "analysis", "projection", "errors"]


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table; each is itself alone.

    Args:
        name: as in the paper, where it has the row; `{backbone}` stands for the backbone's name.
        train: names of option files in options/train/BACKBONE, trained one after the other, each from the one before;
            `{backbone}` and `{scale}` are filled in.
        subnets: how many widths and depths a Supernet has; [1, 1] is the plain network.
        change: what the row changes in its option files, such as {"train:pixel_opt:type": L1Loss}.
        calibrate: if given, the trained network is calibrated on the training images by `wbsr calibrate` with these
            arguments.
        dynamic: the block val:dynamic of its test.
        backbones: that have the row.

    Raises:
        ValueError: a number out of its range, or nothing to train.
    """

    name: str
    train: tuple[str, ...] = ("WBSR_{backbone}_x{scale}",)
    subnets: tuple[int, ...] = (3, 3)
    change: dict[str, Any] = field(default_factory=dict)
    calibrate: tuple[str, ...] | None = None
    dynamic: dict[str, Any] = field(default_factory=lambda: {"routing": "paper"})
    backbones: tuple[Backbone, ...] = ("SRResNet", "RCAN")

    def __post_init__(self) -> None:
        if len(self.subnets) != 2 or not all(1 <= count <= 4 for count in self.subnets):
            raise ValueError(f"subnets must be the numbers of widths and of depths, 1 to 4, got {list(self.subnets)}")
        if not self.train:
            raise ValueError("train must name at least one option file, got none")

    def option_files(self, backbone: str, scale: int) -> list[Path]:
        """The shipped option files that the row trains by."""
        stages = [stage.format(backbone=backbone, scale=scale) for stage in self.train]
        return [OPTIONS / "train" / backbone / f"{stage}.yml" for stage in stages]


@dataclass(frozen=True)
class Table:
    """One table or figure.

    `note`: what to say about it; `draw`: what its plot shows, see `plots.py`; `classes`: the image sets on whose
    patches of each difficulty class the rows are also measured.
    """

    title: str
    rows: tuple[Row, ...]
    note: str = ""
    draw: Plot = "over_flops"
    classes: Literal["none", "tests", "train"] = "none"

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"rows must have different names, got {', '.join(names)}")


@dataclass(frozen=True)
class Size:
    """A backbone at the size of a preset: what changes in the backbone's arguments, and the values of its subnets.

    A `type` among the arguments takes another architecture under the backbone's name. `widths` and `depths` say what is
    taken if a row asks for 1, 2, 3 or 4 of them; `branches` are ClassSR's widths.
    """

    backbone: dict[str, int | str]
    widths: dict[int, list[int]]
    depths: dict[int, list[int]]
    branches: tuple[int, ...]


@dataclass(frozen=True)
class ImageSet:
    """A folder of HR images below `--data`, or the photographs that scikit-image carries (`bundled`).

    `count`: how many there must be, where that is known; `sub_images`: cut in squares of this side for training.
    """

    hr: str
    bundled: bool = False
    count: int | None = None
    sub_images: int | None = None


@dataclass(frozen=True)
class Speed:
    """How fast a card trains.

    Args:
        card: its name, or the part of it that matters, as CUDA says it.
        rates: iterations per second by training, as `benchmarks/train_speed.py` names them, for each origin of such
            figures, like `measured`.
        about: of each origin, in a line.

    Raises:
        ValueError: a rate that is no number above 0, or an origin that nothing is said about.
    """

    card: str
    rates: dict[str, dict[str, float]]
    about: dict[str, str]

    def __post_init__(self) -> None:
        if set(self.rates) != set(self.about):
            raise ValueError(
                f"about must say where rates come from: {', '.join(self.rates)}; got {', '.join(self.about)}"
            )
        for origin, rates in self.rates.items():
            for training, rate in rates.items():
                if not isinstance(rate, (int, float)) or not rate > 0:
                    raise ValueError(f"rates:{origin}:{training} must be a number above 0, got {rate!r}")


@dataclass(frozen=True)
class Preset:
    """How large everything is.

    `change`: what it changes in every training option file, such as {"train:total_iter": 100}; `iterations`: of one
    training, by backbone; `calibration`: further arguments of `wbsr calibrate`; `memory_gb`: what a run needs at most;
    `speed`: of the card that it is meant for, if it is for one.
    """

    train: ImageSet
    tests: dict[str, ImageSet]
    networks: dict[str, Size]
    iterations: dict[str, int]
    seeds: tuple[int, ...] = (0,)
    change: dict[str, Any] = field(default_factory=dict)
    calibration: tuple[str, ...] = ()
    memory_gb: float = 4.0
    speed: Speed | None = None


def names(folder: str = "") -> list[str]:
    """The tables that there are; with `presets`, the presets."""
    return sorted(path.stem for path in (OPTIONS / "tables" / folder).glob("*.yml"))


def read_table(name: str) -> Table:
    """A table by its name.

    Raises:
        FileNotFoundError: the option files are not there.
        ValueError, TypeError: no such table, or something is wrong in its file.
    """
    path = _file(name, "", "table")
    block = read_options(path)
    rows = tuple(parse(Row, row, f"{path.name}: row {number + 1}") for number, row in enumerate(block.pop("rows", [])))
    return parse(Table, {**block, "rows": rows}, path.name)


def read_preset(name: str, sets: Path | None = None) -> Preset:
    """A preset by its name, with its image sets from a file of your own if given: the blocks `train` and `tests`.

    Raises:
        FileNotFoundError: the option files, or `sets`, are not there.
        ValueError, TypeError: no such preset, or something is wrong in a file.
    """
    path = _file(name, "presets", "preset")
    block = read_options(path)
    where = path.name
    if sets is not None:
        own = read_options(sets)
        unknown = set(own) - {"train", "tests"}
        if unknown:
            raise ValueError(f"{sets}: unknown key {min(unknown)!r}{suggest(min(unknown), ('train', 'tests'))}")
        block.update(own)
        where = str(sets)
    for key, cls in (("tests", ImageSet), ("networks", Size)):
        block[key] = {name: parse(cls, one, f"{where}: {key}:{name}") for name, one in (block.get(key) or {}).items()}
    return parse(Preset, block, where)


def _file(name: str, folder: str, what: str) -> Path:
    if name not in names(folder):
        raise ValueError(f"there is no {what} {name!r}{suggest(name, names(folder))}")
    return OPTIONS / "tables" / folder / f"{name}.yml"
