"""Generators: a distribution over data that can be sampled, and has no density."""

from typing import Any, ClassVar, NoReturn

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Density, Likelihood
from uncollapse.distributions.fields import Field
from uncollapse.networks import Factory


class PointMass(Field):
    """All mass at one value [..., *event]: its draws carry the value's gradient."""

    has_rsample = True

    def __init__(self, value: Tensor, event: Size):
        self.value = value
        super().__init__(value, event)

    @property
    def mean(self) -> Tensor:
        return self.value

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.value.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> NoReturn:
        raise NotImplementedError(
            "a generator has draws but no density; learn it by --objective GAN, or give it noise: --likelihood Gaussian"
        )


class Generator(Likelihood):
    r"""An implicit model's half: x is a function of z, :math:`x = g_\theta(z)`, :math:`z \sim p(z)`.

    There is no p(x|z) and no p(x), so it learns by a critic. `Gaussian` in its place adds noise,
    :math:`x = g_\theta(z) + \sigma \eta`, and has both (PresGAN).

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of g, called with (L,) and the shape of an observation.

    References:
        Mohamed and Lakshminarayanan (2016), Learning in Implicit Generative Models, section 2; Goodfellow et al. (2014).

    Example:
        >>> from uncollapse.networks import MLP
        >>> Generator(2, (1, 8, 8), MLP)(torch.zeros(5, 2)).sample().shape
        torch.Size([5, 1, 8, 8])
    """

    density: ClassVar[Density] = Density.SAMPLES

    def __init__(self, features: int, shape: Size, network: Factory):
        super().__init__(features, shape)
        self.network = network(Size((features,)), self.shape)

    def forward(self, c: Any = None) -> Distribution:
        return PointMass(self.network(c), self.shape)
