"""ClassSR's architecture: published sizes, costs counted by hand, and which branch upscales which patch."""

import pytest
import torch

from wbsr_arch import ClassSR, Subnet, Supernet
from wbsr_arch.classifier import PatchClassifier

SRRESNET = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16, "upscale": 4}
RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_group": 10, "num_block": 20, "upscale": 4}
TINY = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}


def parameters(network):
    return sum(weight.numel() for weight in network.parameters())


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ClassSR(TINY, [4, 6, 8]).eval()


def test_the_classifier_has_the_published_layers():
    """4x4 of 3 channels to 128, thrice 128 to 128, 128 to 32, and 32 to 3, each with a bias."""
    expected = (48 + 1) * 128 + 3 * (128 + 1) * 128 + (128 + 1) * 32 + (32 + 1) * 3
    assert parameters(PatchClassifier(3)) == expected == 60_035


@pytest.mark.parametrize(
    ("backbone", "widths", "total", "published"),
    [(SRRESNET, [36, 52, 64], 3_062_060, 3.1), (RCAN, [36, 50, 64], 30_114_876, 30.1)],
    ids=["SRResNet", "RCAN"],
)
def test_parameters_round_to_those_of_the_classsr_paper(backbone, widths, total, published):
    """WBSR's table gives 3.12 and 30.10 M: no one classifier fits both, see docs/findings/rivals.md."""
    network = ClassSR(backbone, widths)
    assert parameters(network) == total == sum(network.num_parameters.values()) + 60_035
    assert round(total / 1e6, 1) == published


def test_the_flops_of_branches_are_counted_by_hand():
    """SRResNet x4, per LR pixel: the first convolution, 2 x 16 in the body, two upsampling ones on 1 and 4 times
    as many pixels, and two on 16 times as many; 2 x multiply-accumulates."""
    network = ClassSR(SRRESNET, [36, 52, 64])
    for subnet in network.subnets:
        w = subnet.width
        macs = 27 * w + 32 * 9 * w * w + 9 * w * 4 * w + 4 * 9 * w * 4 * w + 16 * (9 * w * w + 27 * w)
        assert network.flops[subnet] == 2 * macs * 32 * 32
    assert [round(flops / 1e9, 2) for flops in network.flops.values()] == [1.66, 3.44, 5.19]


def test_rcan_branches_cost_what_is_published():
    network = ClassSR(RCAN, [36, 50, 64])
    assert [round(flops / 1e9, 2) for flops in network.flops.values()] == [10.33, 19.91, 32.6]


def test_the_flops_of_the_classifier_are_counted_by_hand(network):
    """64 cells of 4 x 4 in a patch of 32 x 32, and one linear layer for the patch."""
    assert network.router_flops == 2 * (64 * (48 * 128 + 3 * 128 * 128 + 128 * 32) + 32 * 3) == 7_602_368
    assert network.router is network.classifier


def test_a_branch_is_the_stock_architecture_with_its_own_weights(network):
    from basicsr.archs import build_network

    x = torch.rand(2, 3, 8, 8)
    for number, subnet in enumerate([Subnet(4, 2), Subnet(6, 2), Subnet(8, 2)]):
        assert network.subnets[number] == subnet
        stock = build_network(network.options(subnet)).eval()
        stock.load_state_dict(network.extract(subnet).state_dict(), strict=True)
        with torch.no_grad():
            assert torch.equal(stock(x), network(x, subnet))
    shared = {weight.data_ptr() for branch in network.branches for weight in branch.parameters()}
    assert len(shared) == sum(len(list(branch.parameters())) for branch in network.branches)


def test_an_extracted_branch_shares_nothing(network):
    before = network(torch.ones(1, 3, 8, 8)).detach()
    for weight in network.extract(network.full).parameters():
        weight.data.zero_()
    assert torch.equal(network(torch.ones(1, 3, 8, 8)), before)


def test_each_patch_is_upscaled_by_the_branch_of_its_class(network):
    x, classes = torch.rand(5, 3, 8, 8), torch.tensor([3, 1, 3, 1, 1])
    output = network(x, classes=classes)
    for i, number in enumerate(classes.tolist()):
        assert torch.allclose(output[i], network.branches[number - 1](x[i : i + 1])[0], atol=1e-6)


def test_a_mixture_weighs_all_branches_by_the_classifiers_probabilities(network):
    torch.nn.init.normal_(network.classifier.head.weight, std=10)
    x = torch.rand(4, 3, 32, 32)
    output, probabilities = network(x, mixed=True)
    assert torch.allclose(probabilities, network.classifier(x).softmax(1))
    expected = sum(probabilities[:, b].view(-1, 1, 1, 1) * network.branches[b](x) for b in range(3))
    assert torch.allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (4, 4), (33, 30)])
def test_the_classifier_takes_patches_of_any_size(network, size):
    assert network.classifier(torch.rand(2, 3, *size)).shape == (2, 3)


def test_a_branch_has_the_name_and_cost_of_the_supernets_subnet_of_its_size(network):
    supernet = Supernet(TINY, [4, 8], [1, 2])
    for subnet in (Subnet(4, 2), Subnet(8, 2)):
        assert network.flops[subnet] == supernet.flops[subnet]
        assert network.num_parameters[subnet] == supernet.num_parameters[subnet]
        assert network.share(subnet) == supernet.share(subnet)


def test_a_backbone_that_a_supernet_refuses_may_be_branches():
    """SwinIR packs query, key and value in one weight, which can't be sliced, but independent branches share none."""
    swin = {"type": "SwinIR", "img_size": 8, "window_size": 4, "depths": [2], "num_heads": [2], "embed_dim": 8}
    network = ClassSR({**swin, "upscale": 2, "upsampler": "pixelshuffledirect"}, [4, 8], "embed_dim", "window_size")
    assert network.subnets == (Subnet(4, 4), Subnet(8, 4))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"widths": [8]}, ValueError, r"two branches at least, got \[8\]: add a smaller width in front"),
        ({"widths": [4, 6]}, ValueError, r"widths must end with the backbone's num_feat of 8, got \[4, 6\]: append 8"),
        ({"widths": [6, 4, 8]}, ValueError, "widths must increase without repeating"),
        ({"width_arg": "feat"}, ValueError, "width_arg names 'feat', which backbone MSRResNet does not take"),
        ({"backbone": {**TINY, "num_feet": 8}}, TypeError, "no argument 'num_feet': did you mean 'num_feat'"),
        ({"backbone": {**TINY, "type": "MSRResnet"}}, ValueError, "did you mean 'MSRResNet'"),
    ],
)
def test_wrong_options_say_what_to_change(changes, error, message):
    options = {"type": "ClassSR", "backbone": TINY, "widths": [4, 8], **changes}
    with pytest.raises(error, match=message):
        ClassSR.check_options(options)
    with pytest.raises(error, match=message):
        ClassSR(**{key: value for key, value in options.items() if key != "type"})


def test_an_unknown_branch_is_refused(network):
    with pytest.raises(ValueError, match="the network has no subnet w4d1: its subnets are w4d2, w6d2, w8d2"):
        network(torch.rand(1, 3, 8, 8), Subnet(4, 1))


def test_a_young_classifier_already_tells_patches_apart():
    """Else all it can learn at first is its bias, and so one branch for all patches."""
    torch.manual_seed(0)
    contrast = torch.linspace(0.05, 1, 8).view(8, 1, 1, 1)
    logits = PatchClassifier(3)(0.5 + contrast * (torch.rand(8, 3, 32, 32) - 0.5))
    assert logits.std(0).max() > 0.01
