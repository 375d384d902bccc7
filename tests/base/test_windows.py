"""Windows are what slices give, from images of any layout, grey ones of three equal channels among them."""

import pytest
import torch

from wbsr_base.pixels.windows import cut

IMAGES = {
    "planes": torch.rand(3, 20, 31),
    "channels last": torch.rand(20, 31, 3).permute(2, 0, 1),
    "equal channels": torch.rand(1, 20, 31).expand(3, -1, -1),
    "a part of another": torch.rand(3, 40, 50)[:, 7:27, 3:34],
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_windows_are_slices(image):
    tops, lefts = torch.tensor([0, 3, 13, 3]), torch.tensor([0, 20, 1, 20])
    found = cut(image, tops, lefts, 7, 11)
    for window, top, left in zip(found, tops, lefts, strict=True):
        assert torch.equal(window, image[:, top : top + 7, left : left + 11])


def test_a_window_may_be_the_whole_image():
    image = IMAGES["planes"]
    assert torch.equal(cut(image, torch.tensor([0]), torch.tensor([0]), 20, 31)[0], image)


def test_a_place_outside_is_refused():
    with pytest.raises(IndexError):
        cut(IMAGES["planes"], torch.tensor([14]), torch.tensor([0]), 7, 11)


def test_the_layout_is_kept():
    places = torch.tensor([0, 3]), torch.tensor([5, 1])
    assert cut(IMAGES["channels last"], *places, 7, 11).is_contiguous(memory_format=torch.channels_last)
