"""`BDLoss` as BasicSR uses it: built from options, trusted with any batch."""

import contextlib
import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wbsr_base.protocols import ChecksLater
from wbsr_losses import BDLoss, GaussianMixture, tabulated


@pytest.fixture
def file(tmp_path):
    """A mixture of three colours, one of them saturated white and very narrow."""
    means = torch.tensor([[0.2, 0.3, 0.4], [0.6, 0.5, 0.4], [1.0, 1.0, 1.0]])
    covariances = torch.tensor([0.02, 0.04, 1.6e-5])[:, None, None] * torch.eye(3)
    path = tmp_path / "mixture.json"
    GaussianMixture([0.5, 0.4, 0.1], means, covariances).save(path)
    texture = torch.tensor([1e-4, 1e-3, 1e-2])[:, None, None]
    GaussianMixture([0.5, 0.4, 0.1], [[0.01], [0.05], [0.15]], texture).save(tmp_path / "texture.json")
    return str(path)


def options(form, file):
    if form == "monte_carlo":
        return {"form": form}
    if form == "weighted":
        file = file.replace("mixture.json", "texture.json")
        return {"form": form, "y": "texture", "mixture": file}
    return {"form": form, "mixture": file}


FORMS = pytest.mark.parametrize("form", ["gaussian", "laplace", "monte_carlo", "weighted"])


def batch(seed=0, shape=(2, 3, 8, 8)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator).requires_grad_(), torch.rand(shape, generator=generator)


def test_basicsr_builds_it_from_an_option_block(hr):
    from basicsr.losses import build_loss

    loss = build_loss({"type": "BDLoss", "dataroot_gt": str(hr), "components": 2, "loss_weight": 0.5})
    pred, target = batch()
    assert loss(pred, target).item() == pytest.approx(0.5 * F.l1_loss(pred, target).item(), abs=1e-2)


def test_importing_the_package_inside_basicsr_registers_it_and_alone_loads_nothing():
    registers = "from wbsr import compat; compat.install(); import wbsr_losses; "
    registers += "from basicsr.utils.registry import LOSS_REGISTRY; LOSS_REGISTRY.get('BDLoss')"
    light = "import sys, wbsr_losses; from wbsr_losses import GaussianMixture, fit_mixture; "
    light += "assert not {'basicsr', 'sklearn', 'torchvision'} & set(sys.modules)"
    for code in (registers, light):
        root = __file__.rsplit("/tests/", 1)[0]
        ended = subprocess.run([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True)
        assert ended.returncode == 0, ended.stderr


def test_the_default_stays_near_l1(file):
    pred, target = batch()
    got = BDLoss(mixture=file)(pred, target)
    assert got.item() == pytest.approx(F.l1_loss(pred, target).item(), rel=0.02)


@FORMS
def test_reductions_and_weights_are_those_of_basicsr(form, file):
    pred, target = batch()
    none, mean, total = (BDLoss(reduction=r, **options(form, file))(pred, target) for r in ("none", "mean", "sum"))
    assert none.shape == pred.shape
    torch.testing.assert_close(mean, none.mean())
    torch.testing.assert_close(total, none.sum())
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 2
    weighted = BDLoss(**options(form, file))(pred, target, mask)
    torch.testing.assert_close(weighted, none[:, :, :4].mean())


@FORMS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_out_in_float32(form, dtype, file):
    pred, target = batch()
    half = pred.detach().to(dtype).requires_grad_()
    got = BDLoss(**options(form, file))(half, target.to(dtype))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, BDLoss(**options(form, file))(half.float(), target.to(dtype).float()))
    got.backward()
    assert half.grad.dtype == dtype


@FORMS
def test_autocast_makes_no_difference(form, file):
    pred, target = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = BDLoss(**options(form, file))(pred, target)
    torch.testing.assert_close(got, BDLoss(**options(form, file))(pred, target), rtol=0, atol=0)


@FORMS
@pytest.mark.parametrize("scale", [0.0, 1.0, 50.0, 1e6])
def test_training_from_any_start_is_free_of_nan_and_comes_home(form, scale, file):
    torch.manual_seed(0)
    offset = (scale * torch.randn(1, 3, 1, 1)).requires_grad_()
    loss = BDLoss(noise_sigma=0.05, **options(form, file))
    optimizer = torch.optim.Adam([offset], lr=max(scale, 1) / 50)
    _, target = batch()
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(offset.expand_as(target), target)
        value.backward()
        assert torch.isfinite(offset.grad).all()
        optimizer.step()
        values.append(value.item())
    assert all(math.isfinite(v) for v in values)
    if form == "laplace" and scale > 1:  # far outside the data its two terms cancel, as the docstring says
        assert values[-1] <= values[0]
    else:
        assert values[-1] < values[0] or scale == 0


def test_monte_carlo_draws_are_repeatable_and_differ_from_step_to_step():
    pred, target = batch()
    one, other = BDLoss(form="monte_carlo", noise_sigma=0.3), BDLoss(form="monte_carlo", noise_sigma=0.3)
    first, second = one(pred, target).item(), one(pred, target).item()
    assert first != second
    assert other(pred, target).item() == first


def test_the_mixture_travels_with_the_loss(file):
    loss = BDLoss(mixture=file)
    assert {"mixture.weights", "mixture.means", "mixture.covariances"} == set(loss.state_dict())
    other = BDLoss(mixture=file)
    other.load_state_dict(loss.state_dict())
    pred, target = batch()
    assert other(pred, target).item() == loss(pred, target).item()
    double = loss.to(torch.float64)
    assert double(pred.double(), target.double()).dtype == torch.float64


def other_mixture(form):
    dimension = 1 if form == "weighted" else 3
    means = torch.tensor([0.02, 0.1, 0.3])[:, None].expand(-1, dimension)
    return GaussianMixture([0.2, 0.3, 0.5], means, (0.01 * torch.eye(dimension)).expand(3, -1, -1))


@pytest.mark.parametrize("form", ["gaussian", "laplace", "weighted"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("copied", [False, True])
def test_another_mixture_that_is_loaded_is_what_counts(form, whole, copied, file, tmp_path):
    loss, (pred, target) = BDLoss(noise_sigma=0.1, **options(form, file)), batch()
    loss(pred, target)
    if copied:
        loss = copy.deepcopy(loss)
    other_mixture(form).save(tmp_path / "other.json")
    other = BDLoss(noise_sigma=0.1, **{**options(form, file), "mixture": tmp_path / "other.json"})
    assert set(loss.state_dict()) == {"mixture.weights", "mixture.means", "mixture.covariances"}
    if whole:
        loss.load_state_dict(other.state_dict())
    else:
        loss.mixture.load_state_dict(other.mixture.state_dict())
    assert torch.equal(loss(pred, target), other(pred, target))


@FORMS
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_copy_goes_on_alike_and_alone(form, copied, file):
    loss, (pred, target) = BDLoss(noise_sigma=0.1, **options(form, file)), batch()
    loss(pred, target)
    other = copied(loss)
    assert torch.equal(other(pred, target), loss(pred, target))
    other.deferred = True
    other(pred * math.nan, target)
    loss.check()
    with pytest.raises(ValueError, match="the prediction must be finite"):
        other.check()


def test_the_table_is_made_once(file, monkeypatch):
    made = []
    real = tabulated.tabulate
    monkeypatch.setattr("wbsr_losses.densities.tabulate", lambda *args: made.append(1) or real(*args))
    loss, (pred, target) = BDLoss(mixture=file), batch()
    for _ in range(3):
        loss(pred, target).backward()
    copy.deepcopy(loss).to("meta")
    assert made == [1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"noise_sigm": 0.1}, TypeError, "unexpected keyword argument 'noise_sigm'"),
        ({"noise_sigma": 0}, ValueError, r"noise_sigma must be a number of at least 1e-05, got 0"),
        ({"noise_sigma": float("nan")}, ValueError, "noise_sigma must be a number of at least"),
        ({"noise_sigma": "2e-2"}, TypeError, "which YAML reads as text: write 2.0"),
        ({"loss_weight": float("nan")}, ValueError, "loss_weight must be finite, got nan"),
        ({"form": "huber"}, ValueError, "form must be one of gaussian, laplace, monte_carlo, weighted, got 'huber'"),
        ({"reduction": "avg"}, ValueError, "reduction must be one of none, mean, sum, got 'avg'"),
        ({"mixture": None}, ValueError, "give either dataroot_gt .* or mixture .*, got neither"),
        ({"dataroot_gt": "x"}, ValueError, "give either dataroot_gt .* or mixture .*, got both"),
        ({"mixture": "nothing.json"}, FileNotFoundError, "there is no mixture file nothing.json"),
        ({"mixture": None, "dataroot_gt": "nowhere"}, FileNotFoundError, "there is no folder nowhere"),
        ({"form": "monte_carlo"}, ValueError, "needs no mixture: remove it"),
        ({"samples": 5}, ValueError, "samples must be at least 1, and goes with form: monte_carlo alone"),
        ({"per_channel": True}, TypeError, "unexpected keyword argument 'per_channel'"),
        ({"noise_sigma": "learned"}, TypeError, "noise_sigma must be a number, got 'learned'"),
        ({"noise_sigma": "estimated"}, TypeError, "noise_sigma must be a number, got 'estimated'"),
        ({"y": "texture"}, ValueError, "y: texture and form: weighted go together, got y: texture, form: "),
        ({"components": 2.5}, TypeError, "components must be a whole number, got 2.5"),
        ({"components": "bic"}, TypeError, "components must be a whole number, got 'bic'"),
    ],
)
def test_wrong_options_are_refused(change, error, message, file):
    with pytest.raises(error, match=message):
        BDLoss(**{"mixture": file, **change})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reduction": "none"}, ValueError, "reduction must be mean or sum in a training, which needs one number"),
        (
            {"form": "gausian"},
            ValueError,
            "form must be one of gaussian, laplace, monte_carlo, weighted, got 'gausian'",
        ),
        ({"mixture": "nothing.json"}, FileNotFoundError, "there is no mixture file nothing.json"),
        ({"mixture": None, "dataroot_gt": "nowhere"}, FileNotFoundError, "there is no folder nowhere"),
        ({"mixture": None, "dataroot_gt": ".", "components": 0}, ValueError, "components must be .* at least 1, got 0"),
        ({"y": "residual"}, ValueError, "y: residual needs scale"),
    ],
)
def test_the_options_of_a_training_are_checked_without_a_fit(change, error, message, file, monkeypatch):
    monkeypatch.setattr("wbsr_losses.bd_loss.fit_mixture", None)
    block = {"type": "BDLoss", "mixture": file}
    BDLoss.check_options(block)
    with pytest.raises(error, match=message):
        BDLoss.check_options(block | change)


def test_a_mixture_of_another_dimension_is_refused(tmp_path):
    GaussianMixture([1.0], [[0.5]], [[[0.1]]]).save(tmp_path / "grey.json")
    with pytest.raises(ValueError, match=r"the mixture .*grey\.json must have dimension 3, got 1"):
        BDLoss(mixture=tmp_path / "grey.json")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 8, 8), (2, 3, 8, 4)), r"one shape, got \(2, 3, 8, 8\) and \(2, 3, 8, 4\)"),
        (((2, 1, 8, 8), (2, 1, 8, 8)), r"takes RGB images \(N, 3, H, W\), got \(2, 1, 8, 8\): use L1Loss"),
        (((3, 8, 8), (3, 8, 8)), "takes RGB images"),
        (((0, 3, 8, 8), (0, 3, 8, 8)), "takes RGB images"),
    ],
)
def test_other_shapes_are_refused(shapes, message, file):
    with pytest.raises(ValueError, match=message):
        BDLoss(mixture=file)(*(torch.zeros(shape) for shape in shapes))


def test_a_weight_of_another_shape_is_refused(file):
    pred, target = batch()
    with pytest.raises(ValueError, match=r"weight must be \(N, 1 or 3, H, W\) as \(2, 3, 8, 8\), got \(8, 8\)"):
        BDLoss(mixture=file)(pred, target, torch.ones(8, 8))


@FORMS
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(form, value, file):
    loss = BDLoss(**options(form, file))
    pred, target = batch()
    broken = pred.detach().clone()
    broken[0, 1, 2, 3] = value
    with pytest.raises(ValueError, match="the prediction must be finite, got 1 values of NaN or infinity"):
        loss(broken, target)
    with pytest.raises(ValueError, match="the target must be finite, got 1 values"):
        loss(pred, broken)
    with pytest.raises(ValueError, match="the weight must be finite"):
        loss(pred, target, broken)
    with pytest.raises(ValueError, match="predictions up to 3e\\+38 where 0-1 is meant"):
        loss(torch.full_like(pred, 3e38), target)


@FORMS
def test_weights_that_sum_to_zero_are_named(form, file):
    pred, target = batch()
    with pytest.raises(ValueError, match="the weight must not sum to 0, which reduction mean divides by"):
        BDLoss(**options(form, file))(pred, target, torch.zeros_like(pred))


@FORMS
def test_deferred_errors_are_those_of_the_first_bad_step_and_said_once(form, file):
    loss, (pred, target) = BDLoss(**options(form, file)), batch()
    assert isinstance(loss, ChecksLater)
    loss.deferred = True
    broken = target.clone()
    broken[0, 1, 2, 3] = math.inf
    for message, arguments in (
        ("the prediction must be finite, got 1 values of NaN or infinity: lower", (broken, target)),
        ("the target must be finite, got 1 values of NaN or infinity: check the HR images", (pred, broken)),
        ("the weight must be finite, got 1 values", (pred, target, broken)),
        ("the weight must not sum to 0", (pred, target, torch.zeros_like(pred))),
        ("predictions up to 3e\\+38 where 0-1 is meant", (torch.full_like(pred, 3e38), target)),
    ):
        loss(pred, target)
        loss.check()
        loss(*arguments)
        loss(pred, target)
        loss(pred * math.nan, target * math.nan)
        with pytest.raises(ValueError, match=message):
            loss.check()
        loss.check()


READS = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.nonzero,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.equal,
    torch.ops.aten.masked_select,
    torch.ops.aten.repeat_interleave,
}


class NoReads(TorchDispatchMode):
    """Fails where the host would have to know a number of a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        index = args[1] if func.overloadpacket in {torch.ops.aten.index, torch.ops.aten.index_put} else ()
        masks = [mask for mask in index if mask is not None and mask.dtype in {torch.bool, torch.uint8}]
        reads = func.overloadpacket in READS and func is not torch.ops.aten.repeat_interleave.self_int
        assert not masks, f"{func} with a mask"
        assert not reads, f"{func}"
        return func(*args, **(kwargs or {}))


class NoCopiesToTheHost(TorchFunctionMode):
    """Fails at the methods by which Python reads a tensor; some of them are no operations."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in {torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.cpu, torch.Tensor.numpy}, f"{func}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("read", [lambda t: t.tolist(), lambda t: bool(t.any()), lambda t: t[t > 0], torch.nonzero])
def test_reads_are_seen(read):
    with pytest.raises(AssertionError), NoReads(), NoCopiesToTheHost():
        read(torch.ones(3))


@FORMS
def test_a_step_reads_nothing_back(form, file):
    pred, target = batch()
    pred = torch.cat([pred[:1], 50 * pred[1:] - 20])  # beyond a table too
    for more in ({}, {"reduction": "none"}, {"y": "residual", "scale": 4}):
        if form == "weighted" and "y" in more:
            continue
        loss = BDLoss(**{**options(form, file), **more})
        loss.deferred = True
        with NoReads(), NoCopiesToTheHost():
            loss(pred, target, torch.ones_like(target)).sum().backward(retain_graph=True)
        loss.check()


@pytest.mark.parametrize("form", ["gaussian", "laplace", "weighted"])
def test_a_step_runs_where_tensors_hold_no_numbers(form, file, monkeypatch):
    # on the meta device, which autocast does not know, nobody can read any
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    loss = BDLoss(**options(form, file)).to("meta")
    pred, target = (tensor.detach().to("meta") for tensor in batch())
    loss(pred.requires_grad_(), target).backward()
    assert pred.grad.shape == pred.shape


def test_images_of_whole_numbers_are_refused(file):
    image = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"the prediction must be floating point .* got torch.uint8: divide it by 255"):
        BDLoss(mixture=file)(image.byte(), image)
    with pytest.raises(ValueError, match=r"the target must be floating point .* got torch.int64"):
        BDLoss(mixture=file)(image, image.long())


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation returns, apart from views of the loss's own buffers."""

    def __init__(self, loss):
        super().__init__()
        self.numbers = 0
        self.own = {buffer.untyped_storage().data_ptr() for buffer in loss.buffers()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        sizes = [x.numel() for x in made if x.untyped_storage().data_ptr() not in self.own]
        self.numbers = max([self.numbers, *sizes])
        return result


@FORMS
def test_no_tensor_is_larger_than_components_times_pixels(form, file, monkeypatch):
    monkeypatch.setattr("wbsr_losses.blocks.CPU_VALUES", 1 << 10)
    pred, target = batch(shape=(2, 3, 64, 64))
    loss = BDLoss(**options(form, file))
    with LargestTensor(loss) as largest:
        loss(pred, target).backward()
    components = 64 if form == "monte_carlo" else loss.mixture.components
    assert largest.numbers <= components * 2 * 64 * 64


def test_weight_decay_is_the_loss_on_the_weights():
    # λ‖θ‖² is `weight_decay: 2λ` with Adam
    decay, results = 0.03, []
    for explicit in (True, False):
        theta = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
        optimizer = torch.optim.Adam([theta], lr=0.01, weight_decay=0.0 if explicit else 2 * decay)
        for _ in range(20):
            optimizer.zero_grad()
            (theta.cos().sum() + (decay * theta.square().sum() if explicit else 0)).backward()
            optimizer.step()
        results.append(theta.detach())
    torch.testing.assert_close(*results)


@pytest.mark.gpu
@FORMS
def test_a_step_on_cuda_does_not_wait_for_the_device(form, file):
    loss = BDLoss(**options(form, file)).cuda()
    pred, target = (tensor.detach().cuda() for tensor in batch())
    pred.requires_grad_()
    loss(pred, target).backward()  # makes what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(pred, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    loss.check()
    loss(pred * math.nan, target)
    with pytest.raises(ValueError, match="the prediction must be finite"):
        loss.check()


@pytest.mark.gpu
@FORMS
def test_cuda_agrees_with_cpu(form, file, monkeypatch):
    # each device has draws of its own
    monkeypatch.setattr(BDLoss, "_draw", lambda _, target, count: target.movedim(1, -1).reshape(-1, 3)[:count])
    pred, target = batch(shape=(4, 3, 64, 48))
    cpu = BDLoss(**options(form, file))(pred, target)
    (slope,) = torch.autograd.grad(cpu, pred)
    there = pred.detach().cuda().requires_grad_()
    cuda = BDLoss(**options(form, file)).cuda()(there, target.cuda())
    (slope_there,) = torch.autograd.grad(cuda, there)
    torch.testing.assert_close(cuda.cpu(), cpu, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope_there.cpu(), slope, rtol=1e-3, atol=1e-7)
