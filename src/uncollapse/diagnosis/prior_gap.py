"""How far the codes of data are from the prior: a lower bound that holds in any number of dimensions."""

import math
from typing import Any

import torch
from torch import Tensor

from uncollapse.diagnosis.information import Estimate
from uncollapse.diagnosis.mixture_fits import gaussian_clusters

CLUSTERS = (1, 4, 12)  # Gaussians that are fitted to codes


def prior_gap(z: Tensor, log_p: Tensor, support: Any = None) -> Estimate:
    r"""How far the codes are from the prior, at least: what a prior that was fitted to them gains in nats.

    .. math:: \mathrm{KL}(q(z) \,\|\, p(z)) \ge \mathbb E_{q(z)}[\log h(z) - \log p(z)]

    for every density h. Here it is a Gaussian, or a mixture of some, that is fitted to one half of the codes and judged by the
    other, and the other way round; so the mean is not above the truth, and it is about 0 or below where the prior fits. By so
    many nats the ELBO would rise with h as prior, everything else left as it is.

    Args:
        z: One code of each observation [N, L].
        log_p: log p(z) of each [N].
        support: Of the prior: an interval, on which codes are looked at through the logit; else the real line.

    Example:
        >>> from uncollapse.distributions.densities import StandardNormal
        >>> _ = torch.manual_seed(0)
        >>> p, z = StandardNormal(3, torch.zeros(())), torch.randn(2000, 3)
        >>> [round(prior_gap(codes, p.log_prob(codes)).mean) for codes in (z, 0.1 * z, z + 4)]
        [0, 5, 24]
    """
    u, log_p = _on_the_line(z.double(), log_p.double(), support)
    halves = torch.randperm(len(u), generator=torch.Generator().manual_seed(3)).to(z.device).chunk(2)
    gains = [
        torch.cat([log_h - log_p[held] for held, log_h in ((b, _fitted(u[a], u[b], k)) for a, b in (halves, halves[::-1]))])
        for k in CLUSTERS
        if len(u) >= 20 * k
    ]
    return max((Estimate.of(gain) for gain in gains), key=lambda found: found.mean, default=Estimate(0.0, math.inf))


def _fitted(fit: Tensor, held: Tensor, k: int) -> Tensor:
    """log h of codes [M, L] by a mixture of k diagonal Gaussians that is fitted to others; of one, by a full covariance."""
    if k > 1:
        return gaussian_clusters(fit, k, tied=False).log_prob(held)
    covariance = torch.atleast_2d(fit.T.cov()) + 1e-12 * torch.eye(fit.shape[1], dtype=fit.dtype, device=fit.device)
    root = torch.linalg.cholesky(covariance + 1e-6 * torch.diag_embed(covariance.diagonal()))
    return torch.distributions.MultivariateNormal(fit.mean(0), scale_tril=root, validate_args=False).log_prob(held)


def _on_the_line(z: Tensor, log_p: Tensor, support: Any) -> tuple[Tensor, Tensor]:
    """Codes on the real line, and their log density under the prior there."""
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if low is None or high is None:
        return z, log_p
    v = ((z - low) / (high - low)).clamp(1e-6, 1 - 1e-6)
    return torch.logit(v), log_p + (v.log() + torch.log1p(-v) + math.log(high - low)).sum(-1)
