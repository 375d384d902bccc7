"""Which weights `wbsr upscale` takes: a file, the name of shipped weights, or the shipped ones of a scale."""

from __future__ import annotations

from pathlib import Path

from wbsr_base.options import suggest

SHIPPED = Path(__file__).parent / "weights"  # NAME_x4.pth
DEFAULT_SCALE = 4


def find_weights(weights: str | None, scale: int | None = None, folder: Path = SHIPPED) -> Path:
    """The checkpoint to load.

    Args:
        weights: a path, or the name of shipped weights; None takes the shipped ones of the scale.
        scale: of the upscaling; None is 4, or what there is.
        folder: where shipped weights lie.

    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: no weights are given, and none, or several, are shipped for the scale.
    """
    shipped = {path.stem: path for path in sorted(folder.glob("*.pth"))}
    if weights is not None:
        if weights not in shipped and not Path(weights).is_file():
            names = suggest(weights, shipped) if shipped else ""
            raise FileNotFoundError(f"weights {weights}: there is no such file{names}")
        return shipped.get(weights, Path(weights))
    if not shipped:
        raise ValueError("no weights are shipped with this version: give --weights FILE, a checkpoint of WBSRModel")
    wanted = scale or DEFAULT_SCALE
    fitting = [path for name, path in shipped.items() if name.endswith(f"_x{wanted}")]
    if scale is None and not fitting:
        fitting = list(shipped.values())
    if not fitting:
        raise ValueError(
            f"no weights are shipped that upscale by {wanted} (shipped: {', '.join(shipped)}): give --weights, a "
            f"checkpoint of WBSRModel or ClassSRModel that does"
        )
    if len(fitting) > 1:
        names = ", ".join(path.stem for path in fitting)
        raise ValueError(f"{names} upscale by {wanted}: choose one by --weights NAME, or give a checkpoint")
    return fitting[0]
