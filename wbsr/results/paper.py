"""What the paper reports: its Table 1, to stand beside what is measured here.

PSNR in dB and GFLOPs per LR patch of HR size 128, by the paper's own count (see `wbsr_arch.cost`).
"""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One cell of Table 1."""

    psnr: float
    gflops: float


SETS = ("B100", "Urban100", "Test2K", "Test4K")

_TABLE_1 = """
SRResNet 2 backbone 32.19 20.78 32.11 20.78 30.39 20.78 31.90 20.78
SRResNet 2 ClassSR 31.68 14.75 31.15 16.21 30.24 14.13 31.89 13.51
SRResNet 2 ARM 31.69 16.21 31.16 16.83 30.26 15.59 31.90 13.71
SRResNet 2 WBSR 32.15 12.26 31.98 13.30 30.41 12.05 32.02 12.68
RCAN 2 backbone 32.40 130.40 32.33 130.40 30.86 130.40 32.26 130.40
RCAN 2 ClassSR 31.88 91.28 31.72 103.02 30.79 83.46 32.24 83.46
RCAN 2 ARM 31.89 99.10 31.74 109.54 30.80 105.62 32.24 97.80
RCAN 2 WBSR 32.34 88.67 32.31 96.50 30.91 75.63 32.37 77.65
SRResNet 4 backbone 27.34 5.19 25.30 5.19 26.19 5.19 27.65 5.19
SRResNet 4 ClassSR 26.53 3.83 24.53 4.23 26.20 3.62 27.66 3.30
SRResNet 4 ARM 26.53 4.34 24.54 4.48 26.21 3.76 27.66 3.33
SRResNet 4 WBSR 27.36 3.99 25.32 4.36 26.26 3.37 27.73 3.22
RCAN 4 backbone 27.76 32.60 25.82 32.60 26.39 32.60 27.89 32.60
RCAN 4 ClassSR 26.70 22.82 25.13 26.08 26.39 21.22 27.88 19.49
RCAN 4 ARM 26.74 25.75 25.14 28.36 26.39 26.70 27.88 25.10
RCAN 4 WBSR 27.75 25.10 25.81 27.01 26.45 18.52 27.94 19.40
"""


def table_1() -> dict[tuple[str, int, str, str], Figure]:
    """The figures by backbone, scale, method (`backbone`, `ClassSR`, `ARM`, `WBSR`) and test set."""
    found = {}
    for line in _TABLE_1.split("\n")[1:-1]:
        backbone, scale, method, *numbers = line.split()
        cells = zip(numbers[::2], numbers[1::2], strict=True)
        for name, (psnr, gflops) in zip(SETS, cells, strict=True):
            found[backbone, int(scale), method, name] = Figure(float(psnr), float(gflops))
    return found


class Routed(NamedTuple):
    """What dynamic inference gave in the paper: PSNR of the backbone and of WBSR, and WBSR's share of its FLOPs."""

    whole: float
    psnr: float
    share: float


def routed(backbone: str, scale: int, test_set: str) -> Routed | None:
    """WBSR beside its backbone on a test set; None where the paper has no such figures."""
    table = table_1()
    if (backbone, scale, "WBSR", test_set) not in table:
        return None
    whole, found = (table[backbone, scale, method, test_set] for method in ("backbone", "WBSR"))
    return Routed(whole.psnr, found.psnr, found.gflops / whole.gflops)
