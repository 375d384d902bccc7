"""The supernet's subnets are the small networks they claim to be, cost what the paper says, and share stock weights."""

import pytest
import torch

from wbsr_arch import Subnet, Supernet

SRRESNET = {"type": "MSRResNet", "num_feat": 64, "num_block": 16, "upscale": 4}
RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_group": 10, "num_block": 20, "upscale": 4}

SMALL = {
    "MSRResNet": {"type": "MSRResNet", "num_feat": 16, "num_block": 3},
    "LRResNet": {"type": "LRResNet", "num_feat": 16, "num_block": 3},
    "EDSR": {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 3},
    "RCAN": {
        "type": "RCAN",
        "num_in_ch": 3,
        "num_out_ch": 3,
        "num_feat": 16,
        "num_group": 2,
        "num_block": 3,
        "squeeze_factor": 4,
    },
}


def small_supernet(name: str, upscale: int = 4) -> Supernet:
    return Supernet({**SMALL[name], "upscale": upscale}, widths=[8, 12, 16], depths=[1, 2, 3])


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("name", SMALL)
def test_every_subnet_is_bit_equal_to_the_separately_built_small_network(name, upscale):
    from basicsr.archs import build_network

    supernet = small_supernet(name, upscale)
    shared = supernet.state_dict()
    x = torch.rand(1, 3, 7, 9)
    assert len(supernet.subnets) == 9
    for subnet in supernet.subnets:
        small = build_network({**SMALL[name], "upscale": upscale, "num_feat": subnet.width, "num_block": subnet.depth})
        slices = {key: shared[key][tuple(map(slice, value.shape))] for key, value in small.state_dict().items()}
        small.load_state_dict(slices, strict=True)
        with torch.no_grad():
            expected = small(x)
            assert torch.equal(supernet(x, subnet), expected)
            assert torch.equal(supernet.extract(subnet)(x), expected)


@pytest.mark.parametrize("name", SMALL)
def test_stock_checkpoints_load_strictly_in_both_directions(name, tmp_path):
    from basicsr.archs import build_network

    stock = build_network({**SMALL[name], "upscale": 2})
    supernet = small_supernet(name, upscale=2)
    x = torch.rand(2, 3, 8, 8)
    supernet.load_state_dict(stock.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(supernet(x), stock(x))
    other = build_network({**SMALL[name], "upscale": 2})
    other.load_state_dict(small_supernet(name, upscale=2).state_dict(), strict=True)


def test_gradients_of_a_subnet_reach_only_its_slice():
    supernet = small_supernet("MSRResNet")
    supernet(torch.rand(1, 3, 6, 6), Subnet(8, 1)).sum().backward()
    gradient = dict(supernet.named_parameters())["body.0.conv1.weight"].grad
    assert gradient is not None
    assert gradient[:8, :8].abs().sum() > 0
    assert gradient[8:].abs().sum() == 0
    assert gradient[:, 8:].abs().sum() == 0
    assert dict(supernet.named_parameters())["body.1.conv1.weight"].grad is None


def test_extract_shares_nothing_with_the_supernet():
    supernet = small_supernet("RCAN")
    before = {name: weight.clone() for name, weight in supernet.state_dict().items()}
    network = supernet.extract(Subnet(12, 2))
    for weight in network.parameters():
        assert weight.is_contiguous()
        weight.data.fill_(7)
    for name, weight in supernet.state_dict().items():
        assert torch.equal(weight, before[name])


def test_the_subnets_follow_the_supernet_across_dtypes():
    supernet = small_supernet("RCAN").to(torch.float64)
    assert supernet(torch.rand(1, 3, 6, 6, dtype=torch.float64), Subnet(8, 2)).dtype == torch.float64


@pytest.mark.parametrize(
    ("backbone", "depths", "costs", "parameters"),
    [
        (SRRESNET, [4, 8, 16], [1.08, 1.28, 1.66, 2.24, 2.64, 3.38, 3.44, 3.99, 5.19], 1_517_571),
        (RCAN, [5, 10, 20], [3.16, 5.55, 6.58, 9.95, 10.33, 11.56, 17.50, 21.53, 32.60], 15_592_355),
    ],
    ids=["SRResNet", "RCAN"],
)
def test_cost_and_parameters_are_the_papers(backbone, depths, costs, parameters):
    supernet = Supernet(backbone, widths=[36, 52, 64], depths=depths)
    assert [round(flops / 1e9, 2) for flops in supernet.flops.values()] == costs
    assert supernet.num_parameters[supernet.full] == parameters
    assert supernet.share(supernet.full) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [8, 32]}, "widths must not exceed the backbone's num_feat of 16, got 32"),
        ({"widths": [8, 12]}, r"widths must end with the backbone's num_feat of 16, got \[8, 12\]: append 16"),
        ({"widths": [16, 8]}, "widths must increase"),
        ({"widths": [8, 8, 16]}, "widths must increase without repeating"),
        ({"widths": []}, "widths must be a list"),
        ({"depths": [0, 3]}, "depths must be whole numbers of at least 1, got 0"),
        ({"depths": [1, 4]}, "depths must not exceed the backbone's num_block of 3, got 4"),
        ({"depth_arg": "num_layers"}, "depth_arg names 'num_layers', which backbone MSRResNet does not take"),
        ({"depth_arg": None}, "depth_arg must name an argument of backbone MSRResNet, got None"),
        ({"backbone": {"type": 3}}, "backbone must name its architecture: add `type: MSRResNet`"),
        ({"backbone": {"type": "MSRResnet"}}, "did you mean 'MSRResNet'"),
        ({"backbone": {"num_feat": 16}}, "backbone must name its architecture"),
        ({"backbone": {"type": "RCAN", "num_out_ch": 3}}, "backbone RCAN needs the argument 'num_in_ch': add it"),
    ],
)
def test_what_the_backbone_cannot_hold_is_refused(change, message):
    options = {"backbone": SMALL["MSRResNet"], "widths": [8, 16], "depths": [1, 3], **change}
    with pytest.raises(ValueError, match=message):
        Supernet(**options)
    with pytest.raises(ValueError, match=message):
        Supernet.check_options({"type": "Supernet", **options})


def test_an_unknown_backbone_argument_is_refused():
    with pytest.raises(TypeError, match="has no argument 'num_feet': did you mean 'num_feat'"):
        Supernet({**SMALL["MSRResNet"], "num_feet": 16}, widths=[8, 16], depths=[1, 3])


def test_a_backbone_that_is_no_block_is_refused():
    with pytest.raises(TypeError, match=r"backbone must be a block of keys, such as {type: RCAN, ...}, got None"):
        Supernet(None, widths=[8, 16], depths=[1, 3])


def test_packed_attention_weights_are_refused():
    backbone = {"type": "SwinIR", "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [1], "num_heads": [2]}
    with pytest.raises(ValueError, match="packs query, key and value"):
        Supernet(backbone, widths=[6, 12], depths=[1, 2], width_arg="embed_dim", depth_arg="mlp_ratio")


def test_an_unknown_subnet_is_named():
    with pytest.raises(ValueError, match="no subnet w9d1: its subnets are w8d1"):
        small_supernet("MSRResNet")(torch.rand(1, 3, 4, 4), Subnet(9, 1))


@pytest.mark.parametrize("text", ["w36d4", "36x4", " W36D4 "])
def test_a_subnet_parses_from_its_name(text):
    assert Subnet.parse(text) == Subnet(36, 4)
    assert str(Subnet(36, 4)) == "w36d4"


def test_a_bad_subnet_is_refused():
    with pytest.raises(ValueError, match="written like w36d4"):
        Subnet.parse("36")
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Subnet(36, 0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_cpu_and_gpu_agree(name):
    supernet, x = small_supernet(name), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = supernet(x, Subnet(12, 2))
        found = supernet.cuda()(x.cuda(), Subnet(12, 2)).cpu()
    assert torch.allclose(found, expected, atol=1e-2)
