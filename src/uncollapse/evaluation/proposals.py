"""Where the importance samples of an observation come from: small values, handed to `log_likelihood`."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.parts import Part
from uncollapse.vae import VAE

SMALLEST = 1e-6  # scale of a unit whose draws do not differ


class Proposal(Part, ABC):
    """r(z), where the importance samples of an observation come from."""

    @abstractmethod
    def at(self, model: VAE, parameters: Tensor) -> Distribution:
        """r for observations with these variational parameters [B, P]: batch shape [B], or [] where all have the same."""


@dataclass(frozen=True)
class FromPosterior(Proposal):
    r"""The posterior itself, :math:`r(z) = q(z \mid x)`.

    Example:
        >>> FromPosterior()
        FromPosterior()
    """

    def at(self, model: VAE, parameters: Tensor) -> Distribution:
        return model.posterior.at(parameters)


@dataclass(frozen=True)
class Widened(Proposal):
    """The posterior with a larger scale, for one with lighter tails than p(z|x): so the weights keep a finite variance.

    Args:
        factor: How many times as large; 1 is the posterior.

    Raises:
        ValueError: If factor is not above 0.

    Example:
        >>> Widened(1.5)
        Widened(factor=1.5)
    """

    factor: float = 1.2

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ValueError(f"expected a finite factor above 0, came {self.factor}; 1.2 widens the posterior by a fifth")

    def at(self, model: VAE, parameters: Tensor) -> Distribution:
        return model.posterior.at(model.posterior.widen(parameters, self.factor))


@dataclass(frozen=True)
class FromPrior(Proposal):
    """The prior, r(z) = p(z): needs no posterior, and more samples than there are in any but a small latent space.

    Example:
        >>> FromPrior()
        FromPrior()
    """

    def at(self, model: VAE, parameters: Tensor) -> Distribution:
        return model.prior()


@dataclass(frozen=True)
class Matched(Proposal):
    r"""The diagonal Gaussian with the moments of the posterior's draws, widened: for a posterior that has no density.

    .. math:: r(z) = \mathcal N(\bar z, \operatorname{diag} (f s)^2)

    Args:
        factor: How many times as large as the draws' standard deviation its scale is.
        draws: How many draws the moments are of.

    Raises:
        ValueError: If factor is not above 0, or there are fewer than two draws.

    Example:
        >>> Matched()
        Matched(factor=1.2, draws=256)
    """

    factor: float = 1.2
    draws: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf or self.draws < 2:
            raise ValueError(f"expected a factor above 0 and at least 2 draws, came {self.factor} and {self.draws}")

    def at(self, model: VAE, parameters: Tensor) -> Distribution:
        z = model.posterior.at(parameters).sample(Size((self.draws,)))
        scale = z.std(0).clamp_min(SMALLEST)
        return DiagonalNormal(z.mean(0), scale.log() + math.log(self.factor))


def natural(model: VAE) -> Proposal:
    """The proposal that stands for a model's posterior: itself, or the Gaussian matched to it where it has no density.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Implicit, Normal
        >>> from uncollapse.networks import MLP
        >>> natural(VAE(Normal(2), Bernoulli(2, (4,), MLP), Implicit(2, (4,), MLP)))
        Matched(factor=1.2, draws=256)
    """
    return FromPosterior() if model.posterior.density.weighs else Matched()
