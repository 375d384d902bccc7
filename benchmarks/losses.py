"""What a loss costs beside the training step it is part of: time of value and gradient, and the largest tensor.

    python benchmarks/losses.py [--device cpu|cuda] [--threads N] [--repeats N] [--batch 16] [--side 128]

One step of MSRResNet (64 wide, 16 blocks, x4) with L1 is the yardstick; the losses are L1, MSE, every form of BDLoss
with a mixture of 8 components, and Eq. 14 written plainly with torch's MultivariateNormal. Each is warmed up once, then
all take turns; given are medians. On a CPU processor time is counted, which neighbours on the machine hardly change;
on a GPU the clock, after synchronising.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from turns import Clock

from wbsr_base.basicsr import MSRResNet
from wbsr_losses import BDLoss, GaussianMixture

COMPONENTS, SCALE, SIGMA = 8, 4, 0.02
Loss = Callable[[Tensor, Tensor], Tensor]


class LargestTensor(TorchDispatchMode):  # type: ignore[misc,no-untyped-call]
    """Notes the largest tensor that any operation returns, in numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return result


def mixture(dimension: int = 3) -> GaussianMixture:
    """A random mixture of 8 Gaussians; what it is makes no difference to the time."""
    generator = torch.Generator().manual_seed(0)
    roots = 0.1 * torch.randn(COMPONENTS, dimension, dimension, generator=generator)
    means = torch.rand(COMPONENTS, dimension, generator=generator)
    covariances = roots @ roots.mT + 1e-3 * torch.eye(dimension)
    return GaussianMixture(torch.full((COMPONENTS,), 1 / COMPONENTS), means, covariances)


def plain_bd_loss(one: GaussianMixture) -> Loss:
    """Eq. 14 as one would write it first."""

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        noisy = one.covariances + SIGMA**2 * torch.eye(3, device=pred.device)
        density = MixtureSameFamily(Categorical(probs=one.weights), MultivariateNormal(one.means, noisy))
        balance: Tensor = density.log_prob(pred.movedim(1, -1).reshape(-1, 3))  # type: ignore[no-untyped-call]
        return F.mse_loss(pred, target) + 2 * SIGMA**2 / 3 * balance.mean()

    return loss


def losses(device: str) -> dict[str, Loss]:
    """All losses by name."""
    one = mixture().to(device)
    found: dict[str, Loss] = {"L1": F.l1_loss, "MSE": F.mse_loss}
    forms: dict[str, dict[str, Any]] = {
        "gaussian": {"form": "gaussian"},
        "gaussian, residual": {"form": "gaussian", "y": "residual", "scale": SCALE},
        "laplace": {"form": "laplace"},
        "weighted, texture": {"form": "weighted", "y": "texture"},
    }
    with TemporaryDirectory() as folder:
        one.save(f"{folder}/3.json")
        mixture(dimension=1).save(f"{folder}/1.json")
        for name, options in forms.items():
            file = f"{folder}/{1 if options.get('y') == 'texture' else 3}.json"
            found[f"BDLoss {name}"] = BDLoss(mixture=file, **{"noise_sigma": SIGMA, **options}).to(device)
    found["BDLoss monte_carlo"] = BDLoss(form="monte_carlo", noise_sigma=SIGMA).to(device)
    found["plain MultivariateNormal"] = plain_bd_loss(one)
    return found


def works(device: str, batch: int, side: int) -> tuple[dict[str, Callable[[], None]], dict[str, Callable[[], None]]]:
    """The training step, and value and gradient of every loss, as calls without arguments."""
    generator = torch.Generator().manual_seed(0)
    pred = torch.rand(batch, 3, side, side, generator=generator).to(device).requires_grad_()
    target = torch.rand(batch, 3, side, side, generator=generator).to(device)
    net = MSRResNet(num_feat=64, num_block=16, upscale=SCALE).to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-6)
    lr = torch.rand(batch, 3, side // SCALE, side // SCALE, generator=generator).to(device)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward([F.l1_loss(net(lr), target)])
        optimizer.step()

    def value_and_gradient(loss: Loss) -> Callable[[], None]:
        return lambda: torch.autograd.backward([loss(pred, target)], inputs=[pred])

    return {"training step": step}, {name: value_and_gradient(loss) for name, loss in losses(device).items()}


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description="Time and memory of BDLoss.")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=128, help="of the HR patches")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    step, calls = works(options.device, options.batch, options.side)
    clock = Clock(time.process_time if options.device == "cpu" else time.perf_counter, torch.device(options.device))
    turns = clock.run({**step, **calls}, options.repeats)
    milliseconds = {name: float(np.median(times)) for name, times in turns.items()}
    whole, plain = milliseconds["training step"], milliseconds["plain MultivariateNormal"]
    lines = [
        f"torch {torch.__version__}, {options.device}, {options.threads} threads, "
        f"{options.batch} x 3 x {options.side} x {options.side}, training step {whole:.1f} ms\n",
        "| loss | ms | of a training step | plain Eq. 14 takes | largest tensor, numbers per pixel |",
        "|---|---|---|---|---|",
    ]
    for name, call in calls.items():
        with LargestTensor() as largest:
            call()
        share, ratio = milliseconds[name] / whole, plain / milliseconds[name]
        per_pixel = largest.numbers / (options.batch * options.side**2)
        lines.append(f"| {name} | {milliseconds[name]:.2f} | {share:.1%} | {ratio:.1f} x | {per_pixel:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
