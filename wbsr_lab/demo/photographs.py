"""The demo's images: real photographs in scikit-image's wheel, cut into training pairs and held-out test pairs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TRAIN = (
    "coffee.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
    "grass.png",
    "gravel.png",
    "brick.png",
    "camera.png",
)
TEST = ("astronaut.png", "chelsea.png", "rocket.jpg")
SUB_IMAGE = 256  # HR pixels: small files decode fast


def prepare(root: Path, scale: int, shipped_scale: int) -> None:
    """Write `train/` and `test/` below `root`, each with `HR` and `LRx{scale}`, and the test photographs once more for
    the model that ships, as `shipped/`; a folder that is there is replaced.

    Raises:
        FileNotFoundError: scikit-image does not carry one of the photographs.
    """
    shutil.rmtree(root, ignore_errors=True)
    for name in TRAIN:
        for part, image in _parts(name):
            _write_pair(image, root / "train", part, scale)
    for name in TEST:
        image = _read(name)
        _write_pair(image, root / "test", f"{Path(name).stem}.png", scale)
        _write_pair(image, root / "shipped", f"{Path(name).stem}.png", shipped_scale)


def write_hr(folder: Path, kind: str) -> None:
    """Write the photographs of `kind`, `train` (as sub-images) or `test`, as HR files; what stands there is kept.

    Raises:
        FileNotFoundError: scikit-image does not carry one of the photographs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRAIN if kind == "train" else TEST:
        for part, image in _parts(name) if kind == "train" else [(f"{Path(name).stem}.png", _read(name))]:
            if not (folder / part).is_file():
                cv2.imwrite(str(folder / part), image)


def _parts(name: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The sub-images of a photograph, by file name."""
    image = _read(name)
    for row in range(0, image.shape[0] - SUB_IMAGE + 1, SUB_IMAGE):
        for col in range(0, image.shape[1] - SUB_IMAGE + 1, SUB_IMAGE):
            yield f"{Path(name).stem}_{row:04}_{col:04}.png", image[row : row + SUB_IMAGE, col : col + SUB_IMAGE]


def _read(name: str) -> NDArray[np.uint8]:
    import skimage.data

    path = Path(skimage.data.__file__).parent / name
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path}: scikit-image does not carry this photograph: reinstall scikit-image")
    return np.asarray(image, dtype=np.uint8)


def _write_pair(image: NDArray[np.uint8], folder: Path, name: str, scale: int) -> None:
    from wbsr_base.pixels.bicubic import crop_to_multiple, resize

    hr = crop_to_multiple(image, scale)
    for kind, picture in (("HR", hr), (f"LRx{scale}", resize(hr, 1 / scale))):
        target = folder / kind / name
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), picture)
