"""A prior that depends on the condition."""

from typing import Any, ClassVar

from torch import Size
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Prior
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.networks import Factory


class ConditionalNormal(Prior):
    r"""A diagonal Gaussian whose mean and scale a network gives.

    .. math:: p(z \mid c) = \mathcal N(\mu(c), \operatorname{diag} \sigma^2(c))

    The network is made anew when a model holds the prior, which knows how many features C its condition has; before, it
    takes one.

    Args:
        features: Size L of the latent.
        network: Factory of the network, called with (C,) and (2L,).

    Raises:
        ValueError: If no model with a condition holds it.

    References:
        Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models, section
        4.1.

    Example:
        >>> import torch
        >>> from uncollapse.networks import MLP
        >>> prior = ConditionalNormal(2, MLP)
        >>> prior.condition_on(3)
        >>> prior(torch.zeros(5, 3)).batch_shape
        torch.Size([5])
    """

    conditional: ClassVar[bool] = True

    def __init__(self, features: int, network: Factory):
        super().__init__(features)
        self.factory = network
        self.condition_on(1)

    def condition_on(self, features: int) -> None:
        self.network = self.factory(Size((features,)), Size((2 * self.features,)))

    def forward(self, c: Any = None) -> Distribution:
        if c is None:
            raise ValueError("ConditionalNormal is p(z|c); hand it to a model with a condition, VAE(..., condition=...)")
        mu, log_sigma = self.network(c).chunk(2, dim=-1)
        return DiagonalNormal(mu, log_sigma)
