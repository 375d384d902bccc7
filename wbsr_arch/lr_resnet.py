"""A plain residual network that computes at LR size up to its last layer: what the light models are made of.

MSRResNet spends most of its work behind its upsampling, where a pixel costs r² times as much and no subnet saves much.
Here all convolutions but the first and the last lie in the blocks, so the cost of a subnet follows width² x depth.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from wbsr_base.basicsr import ARCH_REGISTRY, default_init_weights

_SLOPE = 0.1  # of the leaky rectifiers, below 0
_BRANCH = 0.1  # of He's scale: what the second convolution of a block, and the last one, start with


@ARCH_REGISTRY.register()
class LRResNet(nn.Module):
    """A convolution, residual blocks of two, one convolution to r² sub-pixels, which correct an interpolated image.

    Args:
        num_in_ch: channels of the LR image, 1 or as many as come out: they are interpolated.
        num_out_ch: channels of the SR image.
        num_feat: channels of all convolutions between.
        num_block: residual blocks.
        upscale: r.

    Raises:
        ValueError: channels that can't be added.
    """

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 48, num_block: int = 8, upscale: int = 4
    ) -> None:
        super().__init__()
        if num_in_ch not in (1, num_out_ch):
            raise ValueError(
                f"num_in_ch of LRResNet must be 1 or its num_out_ch of {num_out_ch}, got {num_in_ch}: what comes out "
                "is added to what came in"
            )
        self.upscale = upscale
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, padding=1)
        default_init_weights(self.conv_first, a=_SLOPE)
        default_init_weights(self.conv_last, _BRANCH, a=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale (N, C, h, w), range 0-1, to (N, C', r h, r w)."""
        base = F.interpolate(x, scale_factor=self.upscale, mode="bilinear", align_corners=False)
        features = self.body(F.leaky_relu(self.conv_first(x), _SLOPE))
        return base + F.pixel_shuffle(self.conv_last(features), self.upscale)


class ResidualBlock(nn.Module):
    """x + conv(lrelu(conv(x))), which starts close to x, in a narrow slice as in all channels."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        default_init_weights(self.conv1, a=_SLOPE)
        default_init_weights(self.conv2, _BRANCH, a=_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(F.leaky_relu(self.conv1(x), _SLOPE, inplace=True))
        return x + change
