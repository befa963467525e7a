"""Priors p(z)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints
from torch.distributions import Uniform as TorchUniform

from uncollapse import noise
from uncollapse.distributions.conditional import Prior
from uncollapse.distributions.densities import StandardNormal, inside
from uncollapse.distributions.mixtures import DiagonalMixture


class Normal(Prior):
    r"""The standard normal prior, :math:`p(z) = \mathcal N(0, I)`.

    Args:
        features: Size L of the latent.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, section 3.

    Example:
        >>> p = Normal(2)()
        >>> round(float(p.log_prob(torch.zeros(2))), 4)
        -1.8379
    """

    like: Tensor

    def __init__(self, features: int):
        super().__init__(features)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, c: Any = None) -> Distribution:
        return StandardNormal(self.features, self.like)


class _Box(TorchUniform):
    """Uniform on a box, its noise drawn by global row; no draw rounds to an end, where a density is none."""

    def __init__(self, low: Tensor, high: Tensor, ends: tuple[float, float]):
        super().__init__(low, high, validate_args=False)
        self.ends = ends

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        z = self.low + (self.high - self.low) * noise.uniform(shape, self.low, batch=-2 if len(shape) > 1 else -1)
        return z.clamp(*self.ends)


class Uniform(Prior):
    r"""The uniform prior on a box, :math:`p(z) = (b - a)^{-L}` for :math:`z \in (a, b)^L`.

    Its posterior must live on the same interval: write ``--posterior LogitNormal`` beside it.

    Args:
        features: Size L of the latent.
        low: Lower end a of the interval.
        high: Upper end b of the interval.

    Raises:
        ValueError: If low is not below high.

    Example:
        >>> round(float(Uniform(3, -1.0, 1.0)().log_prob(torch.zeros(3))), 4)
        -2.0794
    """

    low: Tensor
    high: Tensor

    def __init__(self, features: int, low: float = 0.0, high: float = 1.0):
        super().__init__(features)
        if not low < high:
            raise ValueError(f"expected low < high, came low={low}, high={high}")
        self.register_buffer("low", torch.full((features,), low), persistent=False)
        self.register_buffer("high", torch.full((features,), high), persistent=False)
        self.interval, self.support = (low, high), constraints.interval(low, high)

    def forward(self, c: Any = None) -> Distribution:
        ends = inside(*self.interval, self.low)
        return Independent(_Box(self.low, self.high, ends), 1, validate_args=False)


class Mixture(Prior):
    r"""A mixture of diagonal Gaussians whose weights, means and scales are learned.

    .. math:: p(z) = \sum_{c=1}^C \pi_c \, \mathcal N(z; \mu_c, \operatorname{diag} \sigma_c^2)

    A generator learns its prior by draws, and these have no gradient for the weights: there, equal weights. Components that
    lie apart let it jump between modes of the data, where a single Gaussian leaves draws in between.

    Args:
        features: Size L of the latent.
        components: Number C of Gaussians.
        spread: Standard deviation of the means at the start.
        scale: Standard deviation σ of each component at the start.
        weighted: Whether the weights are learned; False: they stay equal, and draws have a gradient.

    Raises:
        ValueError: If components is below 1, or the scale not above 0.

    References:
        Dilokthanakul et al. (2016), Deep Unsupervised Clustering with Gaussian Mixture Variational Autoencoders; of a
        generator: Gurumurthy, Sarvadevabhatla and Babu (2017), DeLiGAN, section 4.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> Mixture(2, components=3)().sample((5,)).shape
        torch.Size([5, 2])
    """

    def __init__(self, features: int, components: int = 10, spread: float = 1.0, scale: float = 1.0, weighted: bool = True):
        super().__init__(features)
        if components < 1 or not scale > 0:
            raise ValueError(f"expected at least 1 component and a scale above 0, came components={components}, scale={scale}")
        self.logits = nn.Parameter(torch.zeros(components), requires_grad=weighted)
        self.loc = nn.Parameter(spread * torch.randn(components, features))
        self.log_scale = nn.Parameter(torch.full((components, features), math.log(scale)))

    def forward(self, c: Any = None) -> Distribution:
        return DiagonalMixture(self.logits, self.loc, self.log_scale)

    @classmethod
    def fitted(cls, z: Tensor, components: int = 10, seed: int = 0) -> "Mixture":
        """The mixture that expectation maximisation fits to latents z [N, L] (scikit-learn's GaussianMixture).

        Example:
            >>> z = torch.cat([torch.randn(500, 1) - 9, torch.randn(500, 1) + 9])
            >>> sorted(round(m) for m in Mixture.fitted(z, components=2).loc.flatten().tolist())
            [-9, 9]
        """
        from sklearn.mixture import GaussianMixture

        components = min(components, len(z))
        found = GaussianMixture(components, covariance_type="diag", random_state=seed, reg_covar=1e-6, max_iter=200)
        found.fit(z.detach().double().cpu().numpy())
        self = cls(z.shape[-1], components)
        values = (found.weights_ + 1e-12, found.means_, found.covariances_)
        weights, means, variances = (torch.as_tensor(v, dtype=z.dtype) for v in values)
        with torch.no_grad():
            self.logits.copy_(weights.log())
            self.loc.copy_(means)
            self.log_scale.copy_(0.5 * variances.log())
        return self.to(z.device)
