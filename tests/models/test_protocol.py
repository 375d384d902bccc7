"""The protocol of ClassSR and ARM, against a slow straightforward implementation of it."""

import numpy as np
import pytest
import torch

from wbsr_arch import ClassSR, Subnet, Supernet
from wbsr_data import classify, gradient_score
from wbsr_models import DynamicUpscaler, Profile
from wbsr_models.testing.protocol import PatchProtocol, covered

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}


@pytest.fixture(scope="module")
def supernet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()


def one_by_one(network, lr, choose, patch=32, stride=28, scale=2):
    """Every patch by itself; sums and counts kept pixel by pixel."""
    height, width = lr.shape[1:]
    total, count = torch.zeros(3, height * scale, width * scale), torch.zeros(height * scale, width * scale)
    numbers, bottom, right = [], 0, 0
    for top in range(0, height - patch + 1, stride):
        numbers.append([])
        for left in range(0, width - patch + 1, stride):
            window = lr[:, top : top + patch, left : left + patch]
            numbers[-1].append(choose(window))
            with torch.no_grad():
                output = network.extract(network.subnets[numbers[-1][-1]])(window[None])[0]
            for y in range(patch * scale):
                for x in range(patch * scale):
                    total[:, top * scale + y, left * scale + x] += output[:, y, x]
                    count[top * scale + y, left * scale + x] += 1
            bottom, right = top + patch, left + patch
    return total[:, : bottom * scale, : right * scale] / count[: bottom * scale, : right * scale], np.array(numbers)


@pytest.mark.parametrize("size", [(32, 32), (59, 61), (60, 47), (91, 33)])
def test_patches_are_routed_and_upscaled_alone_and_their_overlaps_averaged(supernet, size):
    lr = torch.rand(3, *size) * torch.linspace(0.1, 1, size[1])
    thresholds = [0.1, 0.2, 0.3]

    def choose(window):
        return int(classify(gradient_score(window, 32), thresholds)) - 1

    expected, numbers = one_by_one(supernet, lr, choose)
    sr, report = PatchProtocol(DynamicUpscaler(supernet, Profile(32, tuple(thresholds))))(lr[None])
    assert np.array_equal(report.choice, numbers)
    assert sr.shape == (1, *expected.shape)
    assert torch.allclose(sr[0], expected, atol=1e-5)


def test_a_classifier_sees_the_same_patches():
    torch.manual_seed(0)
    network = ClassSR(BACKBONE, [4, 8]).eval()
    lr = torch.rand(3, 60, 89) * torch.linspace(0, 1, 89)
    with torch.no_grad():  # some patches above the border between the branches, some below
        network.classifier.head.bias[0] += network.classifier(lr[None]).diff().item()

    def choose(window):
        return int(network.classifier(window[None]).argmax())

    expected, numbers = one_by_one(network, lr, choose)
    sr, report = PatchProtocol(DynamicUpscaler(network, 32, "classsr"))(lr[None])
    assert len(np.unique(numbers)) == 2
    assert np.array_equal(report.choice, numbers)
    assert torch.allclose(sr[0], expected, atol=1e-5)


def test_flops_count_every_patch_alike_and_overlaps_as_computed(supernet):
    protocol = PatchProtocol(DynamicUpscaler(supernet, 32, "w4d1"))
    _, report = protocol(torch.rand(1, 3, 60, 32))
    share = supernet.share(Subnet(4, 1))
    assert report.flops_share == pytest.approx(share)
    assert report.flops_share_run == pytest.approx(share * 2 * 32 / 60)


def test_how_much_whole_patches_cover():
    assert [covered(side) for side in (32, 59, 60, 87, 88, 1080)] == [32, 32, 60, 60, 88, 1068]


def test_an_image_smaller_than_a_patch_says_what_to_do(supernet):
    with pytest.raises(ValueError, match="at least 32 pixels a side, got one of 31: remove it, or set val:dynamic:"):
        PatchProtocol(DynamicUpscaler(supernet, 32, "full"))(torch.rand(1, 3, 31, 40))
