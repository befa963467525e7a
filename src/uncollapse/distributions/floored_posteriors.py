"""Gaussian posteriors whose divergence from N(0, I) has a floor by construction; what z then tells of x is up to the decoder.

The floor is the encoder's: it says which members of the family an observation can get. Parameters that are given instead (free,
refined or widened ones) may be any member's, and a learned prior may follow the posterior, so that its divergence has no floor.
"""

import math

import torch
import torch.nn.functional as F
from scipy.special import lambertw
from torch import Size, Tensor, nn

from uncollapse.distributions.densities import wide
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.networks import Factory
from uncollapse.processes import gathered

SMALLEST = 1e-8  # variance over a batch below which its means count as equal


class BatchNormalized(Gaussian):
    r"""A diagonal Gaussian whose means are normalised over the batch to a fixed spread γ: the BN-VAE.

    .. math:: \mu_{ij} = \gamma \, \frac{m_j(x_i) - \bar m_j}{s_j} + b_j, \qquad
              \tfrac1B \sum_i \mathrm{KL}(q(z \mid x_i) \,\|\, \mathcal N(0, I))
              \ge \tfrac L2 \gamma^2 + \tfrac12 \lVert b \rVert^2

    with the mean and the standard deviation :math:`\bar m_j, s_j` of what the network gives over the B observations of the
    global batch, and a learned shift b. The floor holds for every batch whose :math:`m_j` differ (have a variance of 1e-8 or
    more).

    A bias of the network's last layer for :math:`m_j` is taken away again, so its gradient is zero, and is made so exactly: of
    rounding errors an optimiser such as Adam makes steps of full size.

    In `train()` the statistics are the batch's, and running averages of its mean and unbiased variance are kept and saved; in
    `eval()` those are used, so that a code depends on its own observation alone, and the floor holds on average over data like
    those of the training.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with the shapes of its input and of its output, (2L,).
        gamma: Standard deviation γ of each unit's mean over a batch.
        momentum: Weight of the newest batch in the running averages.

    Attributes:
        floor: :math:`L \gamma^2 / 2`, the smallest mean divergence in nats.

    Raises:
        ValueError: If gamma is not above 0, or momentum not in (0, 1]; at the start of a training, of batches of one.

    References:
        Zhu et al. (2020), A Batch Normalized Inference Network Keeps the KL Vanishing Away, equations 7 to 9. Batch
        normalisation adds a small number to the variance, with which the floor would be missed by a little; here none is.

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = BatchNormalized(2, (5,), MLP, gamma=0.5)
        >>> [round(s, 4) for s in q(torch.randn(7, 5)).mean.std(0, correction=0).tolist()], q.floor
        ([0.5, 0.5], 0.25)
    """

    running_mean: Tensor
    running_variance: Tensor
    seen: Tensor

    def __init__(self, features: int, shape: Size, network: Factory, gamma: float = 0.7, momentum: float = 0.1):
        super().__init__(features, shape, network)
        if gamma <= 0 or not 0 < momentum <= 1:
            raise ValueError(f"expected gamma above 0 and momentum in (0, 1], came gamma={gamma}, momentum={momentum}")
        self.gamma, self.momentum, self.floor = gamma, momentum, 0.5 * features * gamma**2
        self.shift = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_variance", torch.ones(features))
        self.register_buffer("seen", torch.zeros(()))
        self._hold_bias()

    def _hold_bias(self) -> None:
        """Leave the bias of the means where it starts."""
        affine = [part for part in self.network.modules() if isinstance(part, nn.Linear)]
        bias = affine[-1].bias if affine else None
        if bias is not None and len(bias) == 2 * self.features and bias.requires_grad:
            moved = torch.cat((torch.zeros(self.features), torch.ones(self.features)))
            bias.register_hook(lambda gradient: gradient * moved.to(gradient))

    def encode(self, x: Tensor) -> Tensor:
        m, log_sigma = wide(self.network(x)).chunk(2, dim=-1)
        mean, variance = self._moments(m) if self.training else (self.running_mean, self.running_variance)
        mu = self.gamma * (m - mean) * variance.clamp_min(SMALLEST).rsqrt() + self.shift
        return torch.cat((mu, log_sigma), -1)

    def _moments(self, m: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [L] of the global batch."""
        m = gathered(m)
        variance, mean = torch.var_mean(m, 0, correction=0)
        self._follow(mean.detach(), variance.detach() * (len(m) / max(1, len(m) - 1)))
        return mean, variance

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running averages; plain means at first, a unit whose batch is not finite left out."""
        self.seen += 1
        weight = (1 / self.seen).clamp_min(self.momentum)
        for running, new in ((self.running_mean, mean), (self.running_variance, variance)):
            running.lerp_(torch.where(new.isfinite(), new, running).to(running), weight)


class Committed(Gaussian):
    r"""A diagonal Gaussian that is committed to a rate of at least δ nats for each observation: the δ-VAE of independent units.

    .. math:: \mathrm{KL}(q(z \mid x) \,\|\, \mathcal N(0, I)) \ge \delta \quad \text{for every } x

    Each unit has :math:`\delta / L` of it, by one of two rules. By the variance: σ stays below the smaller root of
    :math:`\tfrac12 (\sigma^2 - \log \sigma^2 - 1) = \delta / L`, which costs that much whatever the mean is,

    .. math:: \log \sigma = \log \sigma_l - \operatorname{softplus}(-s(x)).

    By the mean: σ lies between both roots, and the mean makes up for what σ leaves,

    .. math:: \sigma = \sigma_l + (\sigma_u - \sigma_l) \operatorname{sigmoid}(s(x)), \qquad
              \mu = \sqrt{2 \delta / L + 1 + \log \sigma^2 - \sigma^2} + \operatorname{softplus}(m(x)),

    so all means are positive and q(z) is never N(0, I): the variance's rule, which is ours, leaves room for that.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with the shapes of its input and of its output, (2L,).
        delta: Committed rate δ, in nats for all units together.
        by_mean: Whether the mean keeps the rate, as in the paper's appendix, rather than the variance.

    Attributes:
        floor: δ.

    Raises:
        ValueError: If delta is not above 0, or above 100 nats a unit.

    References:
        Razavi et al. (2019), Preventing Posterior Collapse with δ-VAEs, section 2 and the appendix on independent δ-VAEs. There
        max(0, m(x)) stands in the place of the softplus, which has a gradient on both sides.

    Example:
        >>> from uncollapse.divergences import kl_units
        >>> from uncollapse.distributions import Normal
        >>> from uncollapse.networks import MLP
        >>> q = Committed(2, (5,), MLP, delta=3.0)
        >>> bool((kl_units(q(torch.randn(7, 5)), Normal(2)()).sum(-1) >= 3).all())
        True
    """

    def __init__(self, features: int, shape: Size, network: Factory, delta: float = 1.0, by_mean: bool = False):
        super().__init__(features, shape, network)
        if not 0 < delta <= 100 * features:
            raise ValueError(f"expected delta above 0 and at most {100 * features} nats, 100 a unit, came {delta}")
        self.floor, self.by_mean = delta, by_mean
        self.charge = 1 + 2 * delta / features  # σ² - log σ² at the roots
        inner = -math.exp(-self.charge)
        self.smaller = -0.5 * (self.charge + float(lambertw(inner, 0).real))  # log σ_l
        self.larger = -0.5 * (self.charge + float(lambertw(inner, -1).real))  # log σ_u

    def encode(self, x: Tensor) -> Tensor:
        m, s = wide(self.network(x)).chunk(2, dim=-1)
        if not self.by_mean:
            return torch.cat((m, self.smaller - F.softplus(-s)), -1)
        low, high = math.exp(self.smaller), math.exp(self.larger)
        sigma = low + (high - low) * torch.sigmoid(s)
        log_sigma = sigma.log()
        least = (self.charge + 2 * log_sigma - sigma.square()).clamp_min(1e-12).sqrt()
        return torch.cat((least + F.softplus(m), log_sigma), -1)
