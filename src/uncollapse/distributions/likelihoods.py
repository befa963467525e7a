"""Likelihoods p(x|z), each a decoder and the distribution that its output parametrises."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Size
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Likelihood
from uncollapse.distributions.densities import wide
from uncollapse.distributions.fields import BernoulliField, LevelsField, LogisticField, NormalField
from uncollapse.distributions.pixelcnn import PixelCNN as PixelCNN
from uncollapse.distributions.recurrent import Recurrent as Recurrent
from uncollapse.distributions.sigmas import LearnedSigma, Sigma
from uncollapse.networks import Factory


class Bernoulli(Likelihood):
    r"""Binary data, :math:`\log p(x \mid z) = \sum_d x_d l_d(z) - \log(1 + e^{l_d(z)})` with the decoder's logits l.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the decoder, called with the shapes (L,) and of an observation.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, appendix C.1.

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> p = Bernoulli(2, (1, 8, 8), Bias)
        >>> round(p(torch.zeros(2)).log_prob(torch.ones(1, 8, 8)).item(), 3)
        -44.361
    """

    levels = 2
    instead: ClassVar[str] = "--data.binarize dynamic (or static), or --likelihood Gaussian for real numbers"

    def __init__(self, features: int, shape: Size, network: Factory):
        super().__init__(features, shape)
        self.network = network(Size((features,)), self.shape)

    def forward(self, c: Any = None) -> Distribution:
        return BernoulliField(self.network(c), self.shape)


class Gaussian(Likelihood):
    r"""Real data, :math:`p(x \mid z) = \mathcal N(\mu_\theta(z), \sigma^2)`, with sigma fixed, learned or optimal.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the decoder of the mean.
        sigma: Factory of the standard deviation: `FixedSigma`, `LearnedSigma` or `OptimalSigma`.

    References:
        Kingma and Welling (2014), appendix C.2; on sigma, Rybkin, Daniilidis and Levine (2021).

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> p = Gaussian(2, (3,), Bias)
        >>> round(p(torch.zeros(2)).log_prob(torch.zeros(3)).item(), 4)
        -2.7568
    """

    def __init__(self, features: int, shape: Size, network: Factory, sigma: Callable[[Size], Sigma] = LearnedSigma):
        super().__init__(features, shape)
        self.network = network(Size((features,)), self.shape)
        self.sigma = sigma(self.shape)

    def forward(self, c: Any = None) -> Distribution:
        return NormalField(self.network(c), self.sigma, self.shape)


class DiscretizedLogistic(Likelihood):
    r"""Discrete data on the grid k / (n − 1), each value the mass of a logistic variable around it.

    .. math:: P(x \mid z) = \operatorname{sigmoid}\frac{x + h - \mu}{s} - \operatorname{sigmoid}\frac{x - h - \mu}{s},
              \quad h = \frac{1}{2 (n - 1)}

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the decoder, whose output (2, *shape) holds locations and log scales.
        levels: Number n of values, 256 for 8-bit images.

    References:
        Kingma et al. (2016), Improving Variational Inference with Inverse Autoregressive Flow, appendix; the edges and the
        bins of width 1 / 255 as in Salimans et al. (2017), PixelCNN++, equation 2.

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> p = DiscretizedLogistic(2, (1,), Bias)(torch.zeros(2))
        >>> grid = torch.arange(256).unsqueeze(-1) / 255
        >>> round(p.log_prob(grid).exp().sum().item(), 4)
        1.0
    """

    instead: ClassVar[str] = "8-bit images as they are (--data.binarize none), or --likelihood Gaussian for real numbers"

    def __init__(self, features: int, shape: Size, network: Factory, levels: int = 256):
        super().__init__(features, shape)
        self.network = network(Size((features,)), Size((2, *self.shape)))
        self.levels: int = levels

    def forward(self, c: Any = None) -> Distribution:
        loc, log_scale = wide(self.network(c)).unbind(-1 - len(self.shape))
        return LogisticField(loc + 0.5, (log_scale - 2.0).clamp(-7.0, 7.0), self.levels, self.shape)


class Categorical(Likelihood):
    r"""Discrete data on the grid k / (n − 1), each value with a probability of its own: the softmax of the decoder's logits.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the decoder, whose output (levels, *shape) holds the logits.
        levels: Number n of values.

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> p = Categorical(2, (3,), Bias, levels=5)(torch.zeros(2))
        >>> round(p.log_prob(torch.tensor([0.0, 0.25, 1.0])).exp().item(), 4)
        0.008
    """

    instead: ClassVar[str] = "--likelihood.levels with their number, or --likelihood Gaussian for real numbers"

    def __init__(self, features: int, shape: Size, network: Factory, levels: int = 256):
        super().__init__(features, shape)
        self.network = network(Size((features,)), Size((levels, *self.shape)))
        self.levels: int = levels

    def forward(self, c: Any = None) -> Distribution:
        return LevelsField(self.network(c), self.shape)
