"""torch Distributions over latents: unvalidated, few kernels, their noise drawn by global row (see `uncollapse.noise`)."""

import math
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import (
    AffineTransform,
    Distribution,
    MultivariateNormal,
    SigmoidTransform,
    TransformedDistribution,
    constraints,
)

from uncollapse import noise

LOG_2PI = math.log(2 * math.pi)


class Unvalidated(Distribution):
    """A distribution whose values are checked once, at the data's door, and never in a step."""

    arg_constraints: dict[str, Any] = {}

    def __init__(self, batch: Size, event: Size):
        super().__init__(batch, event, validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


class StandardNormal(Unvalidated):
    """N(0, I) with event shape [L]; `like` says on which device and in which precision."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, features: int, like: Tensor):
        self.like = like
        super().__init__(Size(), Size((features,)))

    @property
    def mean(self) -> Tensor:
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.like.new_ones(self.event_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return noise.normal(shape, self.like, batch=-2 if len(shape) > 1 else -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value.square().sum(-1) + self.event_shape[0] * LOG_2PI)

    def entropy(self) -> Tensor:
        return self.like.new_tensor(0.5 * self.event_shape[0] * (1 + LOG_2PI))


class DiagonalNormal(Unvalidated):
    """N(loc, diag exp(2 log_scale)) with event shape [L]; loc and log_scale [..., L]."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor):
        self.loc, self.log_scale, self.scale = loc, log_scale, log_scale.exp()
        super().__init__(loc.shape[:-1], loc.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale.square()

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = noise.normal(shape, self.loc, batch=-2 if len(shape) > 1 else -1)
        return torch.addcmul(self.loc, eps, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        eps = (value - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * eps.square().sum(-1) - self.log_scale.sum(-1) - 0.5 * self.event_shape[0] * LOG_2PI

    def entropy(self) -> Tensor:
        return self.log_scale.sum(-1) + 0.5 * self.event_shape[0] * (1 + LOG_2PI)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "DiagonalNormal":
        shape = Size(batch_shape) + self.event_shape
        return DiagonalNormal(self.loc.expand(shape), self.log_scale.expand(shape))


class CholeskyNormal(MultivariateNormal):
    """N(loc, S Sᵀ) with a lower triangular S, Σ^(1/2) in z = μ + Σ^(1/2) ε: loc [..., L], scale_tril [..., L, L]."""

    def __init__(self, loc: Tensor, scale_tril: Tensor):
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = noise.normal(shape, self.loc, batch=-2 if len(shape) > 1 else -1)
        return self.loc + torch.einsum("...ij,...j->...i", self._unbroadcasted_scale_tril, eps)


class SqueezedNormal(TransformedDistribution):
    """The logit-normal, low + (high - low) sigmoid(u) with u ~ N(loc, diag exp(2 log_scale)); loc and log_scale [..., L]."""

    def __init__(self, loc: Tensor, log_scale: Tensor, low: float, high: float):
        squeeze = [SigmoidTransform(), AffineTransform(low, high - low)]
        super().__init__(DiagonalNormal(loc, log_scale), squeeze, validate_args=False)
        self.loc, self.log_scale, self.low, self.high = loc, log_scale, low, high

    @property
    def mean(self) -> Tensor:
        """By Gauss-Hermite quadrature with 64 nodes: to 1e-6 of the interval for scales up to e."""
        nodes, weights = (self.loc.new_tensor(v) for v in np.polynomial.hermite_e.hermegauss(64))
        v = torch.sigmoid(self.loc.unsqueeze(-1) + self.log_scale.exp().unsqueeze(-1) * nodes) @ (weights / weights.sum())
        return self.low + (self.high - self.low) * v
