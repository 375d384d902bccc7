"""A subnet of the supernet: a width and a depth, passed as an argument and never kept as hidden state."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Subnet:
    """The backbone built with `width` channels and `depth` blocks; prints and parses as `w36d4`."""

    width: int
    depth: int

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("depth", self.depth)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"subnet {name} must be a whole number, got {value!r}")
            if value < 1:
                raise ValueError(f"subnet {name} must be at least 1, got {value}")

    def __str__(self) -> str:
        return f"w{self.width}d{self.depth}"

    @classmethod
    def parse(cls, text: str) -> Subnet:
        """Read `w36d4` or `36x4` (width, then depth).

        Raises:
            ValueError: the text has neither form.
        """
        match = re.fullmatch(r"w(\d+)d(\d+)|(\d+)x(\d+)", text.strip().lower())
        if match is None:
            raise ValueError(f"a subnet is written like w36d4 or 36x4 (width, depth), got {text!r}")
        width, depth = (group for group in match.groups() if group is not None)
        return cls(int(width), int(depth))
