r"""Critics, and the losses by which two players move a logit.

A critic's logit is positive where it sees draws of the first distribution (the real ones) and negative where it sees those of
the second: at its optimum it is :math:`\log \frac{p_{\mathrm{real}}}{p_{\mathrm{fake}}}`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

from uncollapse.networks import Factory
from uncollapse.parts import Part


class Critic(nn.Module):
    """A network's logit of one thing, or of several side by side, such as an observation and a latent.

    Args:
        shapes: Shape of each thing.
        network: Factory of the network, called with the shape of what it sees and with (1,): that of the one thing, or the
            number of features of all of them together.

    Example:
        >>> from uncollapse.networks import MLP
        >>> Critic([Size((1, 8, 8)), Size((2,))], MLP)(torch.zeros(5, 1, 8, 8), torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, shapes: Sequence[Size], network: Factory):
        super().__init__()
        self.shapes = [Size(shape) for shape in shapes]
        seen = self.shapes[0] if len(self.shapes) == 1 else Size((sum(prod(shape) for shape in self.shapes),))
        self.network = network(seen, Size((1,)))

    def forward(self, *things: Tensor) -> Tensor:
        """The logit [...] of things [..., *shape]."""
        if len(things) == 1:
            return self.network(things[0]).squeeze(-1)
        flat = [x.reshape(*x.shape[: x.dim() - len(shape)], -1) for x, shape in zip(things, self.shapes, strict=True)]
        return self.network(torch.cat(flat, -1)).squeeze(-1)


class Game(Part, ABC):
    r"""What the two players minimise, by the critic's logits.

    The critic minimises the cross-entropy of telling real from fake, whose minimum is
    :math:`\log 4 - 2\, \mathrm{JSD}(p_{\mathrm{real}} \,\|\, p_{\mathrm{fake}})`.
    """

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        r"""The critic's loss for each pair, :math:`-\log \sigma(a_{\mathrm{real}}) - \log (1 - \sigma(a_{\mathrm{fake}}))`.

        Example:
            >>> round(float(DensityRatio().critic(torch.zeros(()), torch.zeros(())).exp()), 4)
            4.0
        """
        return F.softplus(-real) + F.softplus(fake)

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """What the maker of the fakes minimises, for each of them."""


class DensityRatio(Game):
    r"""The logit itself, an estimate of the log density ratio: at the optimal critic the mean is KL(fake ‖ real) in nats.

    .. math:: \mathbb E_{\mathrm{fake}}[-a]
              = \mathbb E_{\mathrm{fake}}\left[\log \frac{p_{\mathrm{fake}}}{p_{\mathrm{real}}}\right]

    References:
        Sugiyama, Suzuki and Kanamori (2012), Density Ratio Estimation in Machine Learning; Mescheder et al. (2017),
        equation 3.6.

    Example:
        >>> float(DensityRatio().generator(torch.tensor(-2.0)))
        2.0
    """

    def generator(self, fake: Tensor) -> Tensor:
        return -fake


class NonSaturating(Game):
    r"""Minus the log probability of passing for real, :math:`-\log \sigma(a)`: a gradient where fakes are told apart easily.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets, section 3.

    Example:
        >>> round(float(NonSaturating().generator(torch.tensor(-2.0))), 4)
        2.1269
    """

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake)


class Saturating(Game):
    r"""The zero-sum game, :math:`\log (1 - \sigma(a))`: at the optimal critic its value is :math:`2\, \mathrm{JSD} - \log 4`
    with the critic's own share.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets, equation 1.

    Example:
        >>> round(float(Saturating().generator(torch.tensor(-2.0))), 4)
        -0.1269
    """

    def generator(self, fake: Tensor) -> Tensor:
        return -F.softplus(fake)
