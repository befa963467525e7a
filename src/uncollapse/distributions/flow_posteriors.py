"""The posterior that a normalizing flow makes of a diagonal Gaussian."""

import math
from collections.abc import Callable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Posterior
from uncollapse.distributions.densities import DiagonalNormal, wide
from uncollapse.distributions.flows import Planar, Transformed, Transforms
from uncollapse.networks import Factory


class Flow(Posterior):
    r"""A diagonal Gaussian from the encoder, sent through K invertible maps.

    .. math:: z_0 \sim \mathcal N(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x)), \quad z = f_K(\dots f_1(z_0)), \quad
              \log q_\phi(z \mid x) = \log q_\phi(z_0 \mid x) - \sum_{k=1}^K \log |\det \partial f_k / \partial z_{k-1}|

    The maps depend on x: the encoder gives all numbers of `Planar` and `Radial`, and a context h to the networks of `IAF`,
    `MAF`, `Coupling` and `Spline`. A draw and its density come together (`draws.draw`), with nothing inverted.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape (2L + context,).
        transform: Factory of the maps: `flows.Planar`, `Radial`, `IAF`, `MAF`, `Coupling` or `Spline`.
        transforms: Number K of maps.

    Raises:
        ValueError: If there is no map, or the maps do not exist for this many latents.

    References:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 13 and algorithm 1.

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = Flow(2, (5,), MLP, transforms=8)(torch.zeros(7, 5))
        >>> z, log_q = q.rsample_and_log_prob((3,))
        >>> z.shape, torch.allclose(q.log_prob(z), log_q, atol=1e-4)
        (torch.Size([3, 7, 2]), True)
    """

    def __init__(
        self,
        features: int,
        shape: Size,
        network: Factory,
        transform: Callable[[int, int], Transforms] = Planar,
        transforms: int = 4,
    ):
        super().__init__(features, shape)
        if transforms < 1:
            raise ValueError(f"expected at least 1 transform, came {transforms}; write --posterior Gaussian for none")
        self.transform = transform(features, transforms)
        self.self_contained = self.transform.self_contained
        self.network = network(self.shape, Size((2 * features + self.transform.context,)))

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, log_sigma, c = wide(parameters).split([self.features, self.features, self.transform.context], -1)
        return Transformed(DiagonalNormal(mu, log_sigma), self.transform(c), self.transform.pairwise)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        """The parameters of the member whose base, before the maps, has a scale `factor` times as large."""
        mu, log_sigma, c = parameters.split([self.features, self.features, self.transform.context], -1)
        return torch.cat((mu, log_sigma + math.log(factor), c), -1)
