"""From a folder of HR images to what BasicSR trains on, on all cores, whole again after a kill at any moment.

    HR files -> workers: decode, `Recipe`, encode -> this process: store, then note in the journal -> meta files

The same call over what an earlier one left keeps what is finished, and makes the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

from wbsr_base.errors import is_out_of_memory
from wbsr_base.files import write_whole
from wbsr_base.pixels.bicubic import Bytes, to_8_bits
from wbsr_base.pixels.images import decode_pixels
from wbsr_data.preparation.journal import Journal
from wbsr_data.preparation.recipe import Recipe, scale_of
from wbsr_data.preparation.stores import SUFFIX, Shape, Store
from wbsr_data.preparation.target import META, Target
from wbsr_data.sources import Source, file_keys, find_sources, safe_keys
from wbsr_data.workers import in_workers


@dataclass(frozen=True)
class Prepared:
    """What a preparation made.

    `shapes`: (height, width) of every HR image made, by key; `kept`: HR files that were finished before; `deep`: HR
    files whose 16 bits became 8; `skipped`: reason by name of HR files that couldn't be used.
    """

    shapes: dict[str, Shape]
    kept: int
    deep: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Made:
    """What a worker made of an HR file: encoded images by folder and key, or why it couldn't."""

    images: dict[str, dict[str, bytes]]
    shapes: dict[str, Shape]
    deep: bool
    fault: str | None = None


def prepare(
    hr: Path,
    target: Target,
    recipe: Recipe,
    *,
    skip_bad: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> Prepared:
    """Make LR/HR pairs of all images in a folder and its subfolders.

    Args:
        hr: folder of HR images: PNG, JPEG, WebP, TIFF, BMP.
        target: where to, and in which form.
        recipe: scales, sub-images, rescaling.
        skip_bad: go on past images that can't be used, instead of stopping at the first.
        overwrite: delete what an earlier preparation left in `target`, and replace files that bear the same name.
        workers: processes; None is one for each core, 0 works in this process.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: an image that can't be used (named), or none that can; a target that holds something else; workers
            below 0.
        OSError: the target can't be written.
    """
    sources = find_sources(hr, safe_keys if target.lmdb else file_keys)
    try:
        with ExitStack() as opened:
            journal = opened.enter_context(closing(target.open_journal(hr, sources, recipe, overwrite)))
            stores = {folder: opened.enter_context(closing(target.open_store(folder))) for folder in recipe.folders}
            left = _unfinished(sources, journal, stores)
            jobs = _Jobs(left, recipe, target.compression)
            skipped = _work(jobs, journal, stores, skip_bad, workers, len(sources))
            entries = [journal.entries[source.name] for source in sources if source.name not in skipped]
            if not entries:
                reason = next(iter(skipped.values()))
                raise ValueError(f"none of the {len(sources)} images in {hr} can be used: {reason}")
            made = Prepared(
                {key: shape for entry in entries for key, shape in entry.shapes.items()},
                len(sources) - len(left),
                sum(entry.deep for entry in entries),
                skipped,
            )
            _finish(made.shapes, target, stores)
    except OSError as error:
        raise OSError(f"{target.out} can't be written ({error}): mend that, and run the same command again") from error
    return made


def _finish(shapes: Mapping[str, Shape], target: Target, stores: Mapping[str, Store]) -> None:
    """Write the meta files, after all images."""
    for folder, store in stores.items():
        scale = scale_of(folder)
        store.finish({key: (h // scale, w // scale) for key, (h, w) in shapes.items()}, target.compression)
    if not target.lmdb:
        write_whole(target.out / META, "".join(f"{key}{SUFFIX} ({h},{w},3)\n" for key, (h, w) in shapes.items()))


def _unfinished(sources: Sequence[Source], journal: Journal, stores: Mapping[str, Store]) -> list[Source]:
    """The HR files of which something is not made yet, or was removed since."""
    finished = [source.name for source in sources if source.name in journal.entries]
    keys = {name: list(journal.entries[name].shapes) for name in finished}
    lacking = {key for store in stores.values() for key in store.lacks([key for each in keys.values() for key in each])}
    whole = {name for name in finished if lacking.isdisjoint(keys[name])}
    return [source for source in sources if source.name not in whole]


def _work(
    jobs: _Jobs,
    journal: Journal,
    stores: Mapping[str, Store],
    skip_bad: bool,
    workers: int | None,
    total: int,
) -> dict[str, str]:
    """Do the jobs; returns the reason by name of those that couldn't be done."""
    skipped = {}
    with tqdm(total=total, initial=total - len(jobs), desc="Preparing", unit="image") as progress:
        for source, result in zip(jobs.sources, in_workers(jobs, workers), strict=True):
            progress.update()
            if result.fault is None:
                for folder, images in result.images.items():
                    stores[folder].put(images)
                journal.add(source, result.shapes, result.deep)
            elif skip_bad:
                skipped[source.name] = result.fault
            else:
                raise ValueError(f"{result.fault}; or go on without it by --skip-bad")
    return skipped


class _Jobs:
    """What is to be made of each HR file."""

    def __init__(self, sources: Sequence[Source], recipe: Recipe, compression: int) -> None:
        self.sources, self._recipe, self._compression = sources, recipe, compression

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> _Made:
        source = self.sources[number]
        try:
            pixels = decode_pixels(source.path.read_bytes(), str(source.path))
            images: dict[str, dict[str, bytes]] = {folder: {} for folder in self._recipe.folders}
            shapes: dict[str, Shape] = {}
            for key, parts in self._recipe.apply(to_8_bits(pixels), source.key, str(source.path)):
                shapes[key] = parts[self._recipe.folders[0]].shape[:2]
                for folder, part in parts.items():
                    images[folder][key] = self._encode(part)
        except ValueError as error:
            return _Made({}, {}, False, str(error))
        except OSError as error:
            return _Made({}, {}, False, f"{source.path} can't be read ({error.strerror}): mend or remove it")
        except (MemoryError, RuntimeError, cv2.error) as error:
            if not is_out_of_memory(error):
                raise
            return _Made({}, {}, False, f"{source.path} is too large for the memory: cut it up, or lower --workers")
        return _Made(images, shapes, pixels.dtype != "uint8")

    def _encode(self, pixels: Bytes) -> bytes:
        done, data = cv2.imencode(SUFFIX, pixels, [cv2.IMWRITE_PNG_COMPRESSION, self._compression])
        if not done:
            raise ValueError(
                f"an image of {pixels.shape[0]} x {pixels.shape[1]} pixels can't be written as PNG: cut it up"
            )
        return data.tobytes()
