"""ClassSR's Class-Module (Kong et al., CVPR 2021): which branch a patch needs, seen from its LR pixels alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_CELL = 4  # LR pixels of a side that the first convolution turns into one
_SLOPE = 0.1  # of the leaky rectifiers, below 0


class PatchClassifier(nn.Module):
    """Five convolutions, the mean over the patch, and a linear layer.

    The first convolution reads cells of 4 x 4 pixels that don't overlap, the others each cell by itself; the last has
    32 channels, those before it `width`. Patches may be of any size; one of less than 4 pixels is continued by its last
    row or column.

    Args:
        num_classes: B.
        in_channels: of the patches.
        width: channels of the first four convolutions.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, _CELL, _CELL)]
        for channels in (width, width, width, 32):
            layers += [nn.LeakyReLU(_SLOPE, inplace=True), nn.Conv2d(width, channels, 1)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(32, num_classes)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the classes, easiest first: (N, C, h, w), range 0-1, to (N, B)."""
        height, width = x.shape[-2:]
        if min(height, width) < _CELL:
            x = F.pad(x, (0, max(0, _CELL - width), 0, max(0, _CELL - height)), mode="replicate")
        logits: Tensor = self.head(self.features(x).mean((-2, -1)))
        return logits
