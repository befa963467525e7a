"""Mixtures by expectation maximisation, quick and the same at every call: of Gaussians, and of counts (latent classes)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.distributions.mixtures import DiagonalMixture

STEPS = 12  # of expectation maximisation
SMOOTHING = 2.0  # observations' weight of the data's own frequencies in those of each component
STIFFNESS = 0.02  # the same of variances, which a small part of the whole would widen


class Clusters(NamedTuple):
    """A fitted mixture by its joint log densities: rows [N, M] to log p(x, k) [N, K]."""

    joint: Callable[[Tensor], Tensor]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), [N]."""
        return self.joint(x).logsumexp(-1)

    def information(self, x: Tensor) -> float:
        """I(x; k) in nats: the entropy of the components less their mean entropy given each x."""
        p = self.joint(x).softmax(-1)
        return float(torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(-1).mean())


def gaussian_clusters(x: Tensor, k: int, tied: bool, least: float = 1e-4, seed: int = 0) -> Clusters:
    """A mixture of k Gaussians fitted to rows [N, M]: spherical with one variance, or each diagonal with its own.

    Args:
        x: Rows [N, M], float64.
        k: Components.
        tied: Whether one variance serves all components and dimensions.
        least: Smallest variance, as a share of the rows' own.
        seed: Of the rows that it starts from.

    Example:
        >>> x = torch.tensor([-3.0, 3.0]).double().repeat(50).unsqueeze(1)
        >>> round(gaussian_clusters(x, 2, tied=True).information(x), 4)
        0.6931
    """
    variance = x.var(0, correction=0).clamp_min(1e-12)
    whole = variance.mean().expand_as(variance) if tied else variance
    p = _nearest(x, k, seed)
    for _ in range(STEPS):
        size = p.sum(0).clamp_min(1e-8).unsqueeze(-1)
        mean = p.T @ x / size
        within = (p.T @ x.square() / size - mean.square()).clamp_min(0)
        if tied:
            scales = (size * within).sum(0).mean().div(len(x)).expand_as(within)
        else:
            scales = (size * within + STIFFNESS * whole) / (size + STIFFNESS)
        mixture = DiagonalMixture(size.squeeze(-1).log(), mean, 0.5 * torch.maximum(scales, least * whole).log())
        p = mixture.components(x).softmax(-1)
    return Clusters(mixture.components)


def count_clusters(counts: Tensor, k: int, groups: int, seed: int = 0) -> Clusters:
    """A mixture of k products of categorical distributions, fitted to counts [N, groups * levels]: latent classes.

    Args:
        counts: How often each level was seen in each group; one-hot where each group has one observation.
        k: Components.
        groups: Independent variables; one for a bag of words.
        seed: Of the rows that it starts from.
    """
    whole = counts.mean(0) + 1.0 / len(counts) / (counts.shape[1] / groups)
    whole = whole.unflatten(-1, (groups, -1)) / whole.unflatten(-1, (groups, -1)).sum(-1, keepdim=True)
    p = _nearest(counts, k, seed).to(counts.dtype)
    log_p, log_w = counts, counts
    for _ in range(STEPS):
        size = p.sum(0).clamp_min(1e-8)
        seen = (p.T @ counts).unflatten(-1, (groups, -1)) + SMOOTHING * whole
        log_p = (seen / seen.sum(-1, keepdim=True)).log().flatten(1)
        log_w = (size / size.sum()).log()
        p = torch.addmm(log_w, counts, log_p.T).softmax(-1)
    return Clusters(lambda x: torch.addmm(log_w, x, log_p.T).double())


def _nearest(x: Tensor, k: int, seed: int) -> Tensor:
    """Which of k rows is the nearest, one-hot [N, k]; the rows are far from each other, as k-means++ chooses them."""
    generator = torch.Generator().manual_seed(seed)
    chosen = x[torch.randint(len(x), (), generator=generator)].unsqueeze(0)
    away = (x - chosen).square().sum(-1)
    for _ in range(k - 1):
        share = away.cumsum(0).cpu()
        u = torch.rand((), generator=generator, dtype=share.dtype) * share[-1]
        new = x[min(int(torch.searchsorted(share, u)), len(x) - 1)]
        chosen = torch.cat((chosen, new.unsqueeze(0)))
        away = torch.minimum(away, (x - new).square().sum(-1))
    return torch.nn.functional.one_hot(torch.cdist(x, chosen).argmin(-1), k).to(x.dtype)
