"""Posteriors that find their parameters by ascent on the ELBO of the model that holds them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Size, Tensor, nn
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Posterior
from uncollapse.distributions.still import evaluating


class Ascending(Posterior, ABC):
    """The family of another posterior, whose parameters `encode` ascends to; the model says whose ELBO, by `attach`.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        family: Factory of the posterior whose family it is.
    """

    def __init__(self, features: int, shape: Size, family: Callable[[int, Size], Posterior]):
        super().__init__(features, shape)
        self.family = family(features, Size(shape))
        self.support, self.density = self.family.support, self.family.density
        self.self_contained = self.family.self_contained
        self.log_joint: Callable[[Tensor, Tensor], Tensor] | None = None

    def attach(self, log_joint: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Called by the model that holds this posterior, with its log p(x, z) in nats: x [B, *shape], z [K, B, L] to [K, B]."""
        self.log_joint = log_joint

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """The parameters that the ascent came to, [B, P]."""

    def at(self, parameters: Tensor) -> Distribution:
        return self.family.at(parameters)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        return self.family.widen(parameters, factor)

    def joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) of the model, [K, B] nats.

        Raises:
            ValueError: If no model holds this posterior.
        """
        if self.log_joint is None:
            name = type(self).__name__
            raise ValueError(f"{name} ascends the ELBO of a model: hand it to VAE(prior, likelihood, posterior) first")
        return self.log_joint(x, z)

    def model(self) -> nn.Module | None:
        """The model whose log p(x, z) is ascended; None where that is a plain function."""
        model = getattr(self.log_joint, "__self__", None)
        return model if isinstance(model, nn.Module) else None

    def still(self) -> AbstractContextManager[None]:
        """Within it the model is as it stands: no dropout, and no statistic follows the data."""
        model = self.model()
        return nullcontext() if model is None else evaluating(model)
