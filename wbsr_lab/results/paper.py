"""What the paper reports in its Tables 1 to 4, to stand beside what is measured here.

PSNR in dB, SSIM where the paper has it, and GFLOPs per LR patch of HR size 128 by the paper's own count (see
`wbsr_arch.cost`), which for x2 is that of the x4 network on a patch of twice the side.
"""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One cell of a table."""

    psnr: float
    ssim: float | None
    gflops: float


SETS = ("B100", "Urban100", "Test2K", "Test4K")

# backbone scale row: PSNR and GFLOPs on each of the four sets
_TABLE_1 = """
SRResNet 2 SRResNet: 32.19 20.78 32.11 20.78 30.39 20.78 31.90 20.78
SRResNet 2 + ClassSR: 31.68 14.75 31.15 16.21 30.24 14.13 31.89 13.51
SRResNet 2 + ARM: 31.69 16.21 31.16 16.83 30.26 15.59 31.90 13.71
SRResNet 2 + WBSR: 32.15 12.26 31.98 13.30 30.41 12.05 32.02 12.68
RCAN 2 RCAN: 32.40 130.40 32.33 130.40 30.86 130.40 32.26 130.40
RCAN 2 + ClassSR: 31.88 91.28 31.72 103.02 30.79 83.46 32.24 83.46
RCAN 2 + ARM: 31.89 99.10 31.74 109.54 30.80 105.62 32.24 97.80
RCAN 2 + WBSR: 32.34 88.67 32.31 96.50 30.91 75.63 32.37 77.65
SRResNet 4 SRResNet: 27.34 5.19 25.30 5.19 26.19 5.19 27.65 5.19
SRResNet 4 + ClassSR: 26.53 3.83 24.53 4.23 26.20 3.62 27.66 3.30
SRResNet 4 + ARM: 26.53 4.34 24.54 4.48 26.21 3.76 27.66 3.33
SRResNet 4 + WBSR: 27.36 3.99 25.32 4.36 26.26 3.37 27.73 3.22
RCAN 4 RCAN: 27.76 32.60 25.82 32.60 26.39 32.60 27.89 32.60
RCAN 4 + ClassSR: 26.70 22.82 25.13 26.08 26.39 21.22 27.88 19.49
RCAN 4 + ARM: 26.74 25.75 25.14 28.36 26.39 26.70 27.88 25.10
RCAN 4 + WBSR: 27.75 25.10 25.81 27.01 26.45 18.52 27.94 19.40
"""

# backbone scale row: PSNR, SSIM and GFLOPs on Test2K and Test4K
_TABLE_2 = """
SRResNet 4 SRResNet: 26.19 0.7624 5.19 27.65 0.7966 5.19
SRResNet 4 + HES: 26.24 0.7665 3.58 27.71 0.7986 3.43
SRResNet 4 + L_bd: 26.21 0.7658 3.58 27.70 0.7984 3.43
SRResNet 4 + WBSR: 26.26 0.7673 3.37 27.73 0.7993 3.22
SRResNet 4 + WBSR †: 26.38 0.7684 5.19 27.80 0.8026 5.19
RCAN 4 RCAN: 26.39 0.7706 32.60 27.89 0.8058 32.60
RCAN 4 + HES: 26.43 0.7748 20.86 27.92 0.8086 19.89
RCAN 4 + L_bd: 26.42 0.7746 20.86 27.91 0.8077 19.89
RCAN 4 + WBSR: 26.45 0.7755 18.52 27.94 0.8106 19.40
RCAN 4 + WBSR †: 26.51 0.7756 32.60 28.10 0.8138 32.60
"""

# backbone scale row: PSNR, SSIM and GFLOPs on B100 and Urban100
_TABLE_3 = """
RCAN 4 RCAN: 27.40 0.7306 32.60 25.54 0.7684 32.60
RCAN 4 + BSPA: 27.54 0.7348 32.60 26.02 0.7839 32.60
RCAN 4 + SamplingAug: 27.47 0.7323 32.60 25.80 0.7771 32.60
RCAN 4 + DDA: 27.51 - 32.60 25.89 - 32.60
RCAN 4 + HES: 27.73 0.7388 32.60 26.04 0.7863 32.60
RCAN 4 + WBSR †: 27.81 0.7402 32.60 26.10 0.7889 32.60
RCAN 4 + WBSR: 27.77 0.7391 26.41 26.03 0.7850 29.67
"""

# M = widths x depths: PSNR and SSIM of SRResNet x4, on Test2K by the figure for M = 9
_TABLE_4 = """
SRResNet 4 M = 3: 26.28 0.7678
SRResNet 4 M = 6: 26.26 0.7675
SRResNet 4 M = 9: 26.26 0.7673
SRResNet 4 M = 12: 26.13 0.7657
SRResNet 4 M = 16: 26.12 0.7654
"""

Key = tuple[str, int, str]  # backbone, scale, row


def _cells(lines: str, sets: tuple[str, ...], columns: tuple[str, ...]) -> dict[Key, dict[str, Figure]]:
    found: dict[Key, dict[str, Figure]] = {}
    for line in lines.strip().splitlines():
        head, _, tail = line.partition(": ")
        backbone, scale, row = head.split(" ", 2)
        numbers = [None if text == "-" else float(text) for text in tail.split()]
        groups = zip(*[iter(numbers)] * len(columns), strict=True)
        found[backbone, int(scale), row] = {
            name: Figure(**{"ssim": None, "gflops": float("nan"), **dict(zip(columns, group, strict=True))})
            for name, group in zip(sets, groups, strict=True)
        }
    return found


_ALL = ("psnr", "ssim", "gflops")
_TABLES = {
    "table1": _cells(_TABLE_1, SETS, ("psnr", "gflops")),
    "table2": _cells(_TABLE_2, SETS[2:], _ALL),
    "table3": _cells(_TABLE_3, SETS[:2], _ALL),
    "table4": _cells(_TABLE_4, SETS[2:3], ("psnr", "ssim")),
}


def published(table: str, backbone: str, scale: int, row: str) -> dict[str, Figure]:
    """The paper's figures of one row by test set; empty where it has none. GFLOPs that it leaves out are nan."""
    return _TABLES.get(table, {}).get((backbone, scale, row), {})


class Routed(NamedTuple):
    """What dynamic inference gave in the paper: PSNR of the backbone and of WBSR, and WBSR's share of its FLOPs."""

    whole: float
    psnr: float
    share: float


def routed(backbone: str, scale: int, test_set: str) -> Routed | None:
    """WBSR beside its backbone on a test set, by Table 1; None where the paper has no such figures."""
    whole, found = (published("table1", backbone, scale, row).get(test_set) for row in (backbone, "+ WBSR"))
    if whole is None or found is None:
        return None
    return Routed(whole.psnr, found.psnr, found.gflops / whole.gflops)
