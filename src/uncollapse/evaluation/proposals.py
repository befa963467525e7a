"""Where the importance samples of an observation come from: small values, handed to `log_likelihood`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from uncollapse.parts import Part
from uncollapse.vae import VAE


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
        if self.factor <= 0:
            raise ValueError(f"expected a factor above 0, came {self.factor}; 1.2 widens the posterior by a fifth")

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
