"""σ that follows the training: estimated, learned, saved, and the same on all ranks."""

import socket

import pytest
import torch
from torch import distributed, multiprocessing

from wbsr_losses import BDLoss, GaussianMixture
from wbsr_losses.functional import bd_loss_gaussian, bd_loss_laplace
from wbsr_losses.likelihood import gaussian_likelihood, laplace_likelihood
from wbsr_losses.noise import PATIENCE, Noise


@pytest.fixture
def file(tmp_path):
    covariances = torch.tensor([0.02, 0.05])[:, None, None] * torch.eye(3)
    GaussianMixture([0.6, 0.4], [[0.3, 0.3, 0.3], [0.7, 0.6, 0.5]], covariances).save(tmp_path / "m.json")
    return str(tmp_path / "m.json")


def batch(error, seed=0):
    """Targets, and predictions that are wrong by Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(2, 3, 32, 32, generator=generator)
    return (target + error * torch.randn(target.shape, generator=generator)).requires_grad_(), target


@pytest.mark.parametrize(("form", "expected"), [("gaussian", 1.0), ("laplace", (2 / torch.pi) ** 0.5)])
def test_estimated_is_the_running_error_of_the_training(form, expected, file):
    loss = BDLoss(form=form, noise_sigma="estimated", mixture=file)
    for step in range(20):
        loss(*batch(0.08, step))
    assert loss.noise.value() == pytest.approx(0.08 * expected, rel=0.02)
    for step in range(500):
        loss(*batch(0.02, step))
    assert loss.noise.value() == pytest.approx(0.02 * expected, rel=0.2)


def test_only_training_steps_count(file):
    loss = BDLoss(noise_sigma="estimated", mixture=file)
    loss(*batch(0.05))
    before = loss.noise.value()
    pred, target = batch(0.5)
    loss(pred.detach(), target)
    with torch.no_grad():
        loss(pred, target)
    assert loss.noise.value() == before


def test_an_estimated_sigma_gives_the_loss_of_that_sigma(file):
    pred, target = batch(0.05)
    value = (loss := BDLoss(noise_sigma="estimated", mixture=file))(pred, target)
    torch.testing.assert_close(value, BDLoss(noise_sigma=loss.noise.value(), mixture=file)(pred, target))


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_likelihood_of_sigma_is_equation_14(per_channel, file):
    mixture = GaussianMixture.load(file).double()
    pred, target = (t.detach().double() for t in batch(0.05))
    for sigma in (0.02, 0.2):
        tensor = torch.tensor(sigma, dtype=torch.float64)
        scaled = bd_loss_gaussian(pred, target, mixture, sigma, per_channel).mean()
        expected = 3 * scaled / (2 * sigma**2) + 3 * tensor.log()
        torch.testing.assert_close(gaussian_likelihood(target - pred, pred, mixture, tensor, per_channel), expected)
        expected = 3 * bd_loss_laplace(pred, target, mixture, sigma).mean() / sigma + 3 * (2 * tensor).log()
        torch.testing.assert_close(laplace_likelihood(target - pred, pred, mixture, tensor), expected)


@pytest.mark.parametrize("form", ["gaussian", "laplace"])
def test_a_learned_sigma_finds_the_largest_likelihood(form, file):
    loss = BDLoss(form=form, noise_sigma="learned", mixture=file)
    pred, target = batch(0.2)
    fixed = BDLoss(form=form, noise_sigma=0.1, mixture=file)
    optimizer = torch.optim.Adam(loss.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss(pred, target).backward()
        optimizer.step()
    mixture, power = loss.mixture, 1 if form == "laplace" else 2
    found = loss.noise.value()

    def likelihood(sigma):  # by the loss itself, unscaled
        value = BDLoss(form=form, noise_sigma=sigma, mixture=file)(pred.detach(), target)
        return (value / (sigma if power == 1 else 2 * sigma**2) + torch.tensor(sigma).log()).item()

    assert likelihood(found) < likelihood(1.1 * found)
    assert likelihood(found) < likelihood(found / 1.1)
    assert len(list(loss.parameters())) == 1
    assert not list(fixed.parameters())
    assert mixture is not None


def test_learning_sigma_changes_neither_value_nor_gradient_of_the_prediction(file):
    pred, target = batch(0.05)
    learned = BDLoss(noise_sigma="learned", mixture=file)
    value = learned(pred, target)
    (slope,) = torch.autograd.grad(value, pred)
    same = BDLoss(noise_sigma=learned.noise.value(), mixture=file)(pred, target)
    torch.testing.assert_close(value, same)
    torch.testing.assert_close(slope, torch.autograd.grad(same, pred)[0])


def test_a_sigma_that_nobody_learns_is_an_error(file):
    loss, (pred, target) = BDLoss(noise_sigma="learned", mixture=file), batch(0.05)
    for _ in range(PATIENCE - 1):
        loss(pred, target)
    with pytest.raises(ValueError, match=r"has not moved in 100 steps, as no optimiser was given .* use WBSRModel"):
        loss(pred, target)


@pytest.mark.parametrize("setting", ["estimated", "learned"])
def test_what_is_not_finite_is_named_and_leaves_sigma_as_it_was(setting, file):
    loss = BDLoss(noise_sigma=setting, mixture=file)
    loss(*batch(0.05))
    before = loss.noise.value()
    pred, target = batch(0.05)
    broken = pred.detach().clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="the prediction must be finite, got 1 values"):
        loss(broken.requires_grad_(), target)
    assert loss.noise.value() == before


@pytest.mark.parametrize("setting", ["estimated", "learned"])
def test_it_is_saved_and_loaded(setting, file):
    one, other = (BDLoss(noise_sigma=setting, mixture=file) for _ in range(2))
    one(*batch(0.07))
    other.load_state_dict(one.state_dict())
    assert other.noise.value() == one.noise.value() != 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise_sigma": "learned", "reduction": "none"}, ValueError, "reduction mean or sum, got form: laplace"),
        ({"noise_sigma": "learned", "form": "monte_carlo", "mixture": None}, ValueError, "forms gaussian and laplace"),
        ({"noise_sigma": "guessed"}, TypeError, "noise_sigma must be a number, got 'guessed'"),
    ],
)
def test_wrong_options_are_refused(options, error, message, file):
    with pytest.raises(error, match=message):
        BDLoss(**{"mixture": file, **options})


def test_monte_carlo_takes_an_estimated_sigma():
    loss = BDLoss(form="monte_carlo", noise_sigma="estimated")
    assert torch.isfinite(loss(*batch(0.05)))
    assert loss.noise.value() == pytest.approx(0.05, rel=0.05)


def _rank(rank, port, results):
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    estimated, learned = Noise("estimated"), Noise("learned")
    error = torch.full((4,), [0.03, 0.05][rank])
    estimated.observe(error)
    learned.observe(error)
    results[rank] = torch.tensor([estimated.value(), learned.value()])
    distributed.destroy_process_group()


def test_all_ranks_have_the_same_sigma():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = torch.zeros(2, 2).share_memory_()
    multiprocessing.spawn(_rank, (port, results), nprocs=2)
    sigma = ((0.03**2 + 0.05**2) / 2) ** 0.5
    torch.testing.assert_close(results[0], torch.tensor([sigma, sigma]))
    assert torch.equal(results[0], results[1])
