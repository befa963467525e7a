"""torch Distributions that are mixtures: log p(z) by one matrix product where the components are diagonal Gaussians."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse import noise
from uncollapse.distributions.densities import LOG_2PI, Squeezed, Unvalidated, squeezed_mean, wide


class DiagonalMixture(Unvalidated):
    r"""Σ_c π_c N(z; μ_c, diag σ_c²) with event shape [L]: logits [C], loc and log_scale [C, L].

    .. math:: \log p(z) = \log \sum_c \exp\Big(k_c + \sum_l z_l \frac{\mu_{cl}}{\sigma_{cl}^2}
              - \tfrac12 z_l^2 \frac{1}{\sigma_{cl}^2}\Big), \quad
              k_c = \log \pi_c - \tfrac12 \sum_l \Big(\frac{\mu_{cl}^2}{\sigma_{cl}^2} + \log 2 \pi \sigma_{cl}^2\Big)

    So the components' densities at N points are one product of [N, 2 L] and [2 L, C]: nothing of size N C L is ever made. The
    three terms are far larger than their sum where σ is small, so they are summed in float64, which no autocast lowers. A
    device without float64 (mps) takes the differences z - μ one by one.

    Draws have a gradient for μ and σ, so they are reparameterised only where the weights need none.
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor):
        super().__init__(Size(), loc.shape[-1:])
        self.log_weights, self.loc, self.log_scale = wide(logits).log_softmax(-1), wide(loc), wide(log_scale)
        self.has_rsample = not logits.requires_grad
        self.wide = loc.device.type != "mps"
        if self.wide:
            mu, log_sigma = loc.double(), log_scale.double()
            precision = torch.exp(-2 * log_sigma)
            self.factor = torch.cat((-0.5 * precision, precision * mu), -1)
            constant = 0.5 * (precision * mu.square()).sum(-1) + log_sigma.sum(-1) + 0.5 * loc.shape[-1] * LOG_2PI
            self.constant = self.log_weights.double() - constant

    @property
    def mean(self) -> Tensor:
        return self.log_weights.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        weights, mean = self.log_weights.exp(), self.mean
        return weights @ ((2 * self.log_scale).exp() + (self.loc - mean).square())

    def components(self, value: Tensor) -> Tensor:
        """log π_c N(z; μ_c, diag σ_c²) of each component: value [..., L] to [..., C]."""
        if not self.wide:
            eps = (value.unsqueeze(-2) - self.loc) * torch.exp(-self.log_scale)
            log_p = -0.5 * eps.square().sum(-1) - self.log_scale.sum(-1) - 0.5 * self.event_shape[0] * LOG_2PI
            return log_p + self.log_weights
        z = value.double().reshape(-1, self.event_shape[0])
        log_p = torch.addmm(self.constant, torch.cat((z.square(), z), -1), self.factor.T)
        kind = torch.promote_types(torch.promote_types(value.dtype, self.loc.dtype), torch.float32)
        return log_p.to(kind).reshape(*value.shape[:-1], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.components(value).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self._drawn(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        if not self.has_rsample:
            raise NotImplementedError("draws of a mixture have no gradient for its weights; keep these as they are")
        return self._drawn(sample_shape)

    def _drawn(self, sample_shape: Any) -> Tensor:
        shape = self._extended_shape(sample_shape)
        chosen = choose(self.log_weights, shape[:-1])
        eps = noise.normal(shape, self.loc, batch=-2 if len(shape) > 1 else -1)
        return torch.addcmul(self.loc[chosen], eps, self.log_scale[chosen].exp())


class SqueezedMixture(Squeezed):
    """A mixture of logit-normals on one interval: logits [C], loc and log_scale [C, L] of the Gaussians that are squeezed."""

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, low: float, high: float):
        self.mixture = DiagonalMixture(logits, loc, log_scale)
        super().__init__(self.mixture, low, high)

    @property
    def mean(self) -> Tensor:
        means = squeezed_mean(self.mixture.loc, self.mixture.log_scale, self.low, self.high)
        return (self.mixture.log_weights.exp().unsqueeze(-1) * means).sum(0)


class FamilyMixture(Unvalidated):
    """1/K Σ_k of K members of any family, by their parameters [K, P]; `at` gives the member of each row of parameters.

    log p(z) asks every component at every point, so memory grows with N K L: `DiagonalMixture` is the form for Gaussians.
    """

    def __init__(self, at: Callable[[Tensor], Distribution], parameters: Tensor, support: constraints.Constraint):
        self.at, self.parameters, self.members, self.over = at, parameters, at(parameters), support
        self.log_weights = parameters.new_zeros(len(parameters)).log_softmax(-1)
        super().__init__(Size(), self.members.event_shape)

    @property
    def support(self) -> Any:
        return constraints.independent(self.over, 1)

    @property
    def mean(self) -> Tensor:
        return self.members.mean.mean(0)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.members.log_prob(value.unsqueeze(-2)) + self.log_weights).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.at(self.parameters[choose(self.log_weights, Size(sample_shape))]).sample()


def choose(log_weights: Tensor, shape: Size) -> Tensor:
    """Indices of components [*shape], each with its weight, by global row: the last dimension of shape is the batch.

    Example:
        >>> choose(torch.tensor([0.0, -torch.inf]), Size((2, 3))).tolist()
        [[0, 0, 0], [0, 0, 0]]
    """
    u = noise.uniform(Size((*shape, 1)), log_weights, batch=-2 if shape else -1).squeeze(-1)
    ends = log_weights.exp().cumsum(-1)
    return torch.searchsorted(ends, u * ends[-1], right=True).clamp_max(len(ends) - 1)
