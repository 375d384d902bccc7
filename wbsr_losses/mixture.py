"""`GaussianMixture`: p_train(y) = Σ_i φ_i N(y; μ_i, Σ_i), the HR pixel values that Eq. 10-14 divide out.

It is data, not a thing to train: φ, μ and Σ are buffers, so they follow `.to(device)` and stand in `state_dict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from wbsr_losses import mixture_file
from wbsr_losses.gaussian_density import gaussian_log_density

Numbers = torch.Tensor | Sequence[object]

SUM_TOLERANCE = 1e-4


class GaussianMixture(nn.Module):
    """A mixture of L Gaussians in D dimensions.

    Args:
        weights: φ (L,), positive, with sum 1.
        means: μ (L, D).
        covariances: Σ (L, D, D), symmetric and positive definite.

    Kept in float32, or in float64 where float64 tensors are given.

    Raises:
        ValueError: a wrong shape, a non-finite number, weights that are no probabilities, or a covariance that is not
            positive definite; each is named.
    """

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    def __init__(self, weights: Numbers, means: Numbers, covariances: Numbers) -> None:
        super().__init__()
        for name, numbers in (("weights", weights), ("means", means), ("covariances", covariances)):
            self.register_buffer(name, _tensor(name, numbers))
        self._check_shapes()
        _check_weights(self.weights)
        _check_covariances(self.covariances)

    @property
    def components(self) -> int:
        """L, the number of Gaussians."""
        return self.means.shape[0]

    @property
    def dimension(self) -> int:
        """D, the length of a point; 3 for RGB."""
        return self.means.shape[1]

    @property
    def stds(self) -> torch.Tensor:
        """s (L, D), the standard deviations of every component in each dimension by itself."""
        return self.covariances.diagonal(dim1=-2, dim2=-1).sqrt()

    def log_prob(self, x: torch.Tensor, noise_variance: float = 0.0) -> torch.Tensor:
        """log Σ_i φ_i N(x; μ_i, Σ_i + σ²I), the mixture seen through Gaussian noise.

        Differentiable once, with respect to `x`. Worked out in float32, in float64 for float64 points.

        Args:
            x: points (..., D).
            noise_variance: σ², at least 0.

        Returns:
            log-densities (...).

        Raises:
            ValueError: points of another dimension, or a negative variance.
        """
        if x.ndim == 0 or x.shape[-1] != self.dimension:
            raise ValueError(f"points must be (..., {self.dimension}) for this mixture, got {tuple(x.shape)}")
        if not noise_variance >= 0:
            raise ValueError(f"noise_variance must be at least 0, got {noise_variance}")
        flat = working_precision(x).reshape(1, -1, self.dimension).transpose(1, 2)
        value = gaussian_log_density(flat, self.weights, self.means, self.noisy_covariances(noise_variance))
        return value.reshape(x.shape[:-1])

    def noisy_covariances(self, noise_variance: float) -> torch.Tensor:
        """Σ_i + σ²I (L, D, D), in float64: beside a large Σ float32 would round a small σ² away."""
        covariances = self.covariances.double()
        eye = torch.eye(self.dimension, dtype=torch.float64, device=covariances.device)
        return covariances + noise_variance * eye

    def save(self, path: str | Path) -> None:
        """Write the mixture to a small JSON file; a crash leaves either the old file or the new one."""
        mixture_file.write(path, {name: value.double().tolist() for name, value in self.named_buffers()})

    @classmethod
    def load(cls, path: str | Path) -> GaussianMixture:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or holds no valid mixture.
        """
        content = mixture_file.read(path)
        try:
            return cls(**content)
        except ValueError as error:
            raise ValueError(f"the mixture file {path} is damaged: {error}: fit the mixture again") from error

    def _check_shapes(self) -> None:
        if self.means.ndim != 2 or 0 in self.means.shape:
            raise ValueError(f"means must be (components, dimension), got shape {tuple(self.means.shape)}")
        components, dimension = self.means.shape
        expected = {"weights": (components,), "covariances": (components, dimension, dimension)}
        for name, shape in expected.items():
            came = tuple(getattr(self, name).shape)
            if came != shape:
                raise ValueError(f"{name} must be {shape} to match means {tuple(self.means.shape)}, got {came}")


def working_precision(x: torch.Tensor) -> torch.Tensor:
    """`x` in float64 where it is, otherwise in float32: half precision can't hold a log-density."""
    return x if x.dtype == torch.float64 else x.float()


def _tensor(name: str, numbers: Numbers) -> torch.Tensor:
    try:
        tensor = torch.as_tensor(numbers)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises each of them for what is no array
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    dtype = torch.float64 if isinstance(numbers, torch.Tensor) and tensor.dtype == torch.float64 else torch.float32
    tensor = tensor.detach().to(dtype).clone()
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} must be finite, got {tensor.tolist()}")
    return tensor


def _check_weights(weights: torch.Tensor) -> None:
    if not (weights > 0).all():
        raise ValueError(f"weights must be positive, got {weights.tolist()}: leave out a component without weight")
    total = weights.double().sum().item()
    if abs(total - 1) > SUM_TOLERANCE:
        raise ValueError(f"weights must sum to 1, got {total:.6g}: divide them by their sum")


def _check_covariances(covariances: torch.Tensor) -> None:
    for index, matrix in enumerate(covariances.double()):
        if not torch.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-12):
            raise ValueError(f"covariances[{index}] must be symmetric, got {matrix.tolist()}")
        if torch.linalg.cholesky_ex(matrix).info != 0:
            least = torch.linalg.eigvalsh(matrix)[0].item()
            raise ValueError(
                f"covariances[{index}] must be positive definite, got a smallest eigenvalue of {least:.3g}: "
                "add a small number to its diagonal"
            )
