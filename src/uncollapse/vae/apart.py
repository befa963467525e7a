"""Procedures that learn the encoder by one gradient and the rest by another."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.distributions.still import frozen
from uncollapse.learning import Logged, MakeUpdate, Objective, Procedure
from uncollapse.vae.model import VAE


class Apart(Procedure, ABC):
    """Encoder and decoder learn apart: `of_phi` is differentiated for the encoder alone, `of_theta` for all other weights.

    Args:
        objective: What is maximised, of a model with an encoder.

    Attributes:
        phi: The encoder's parameters.
        theta: All others of the objective.

    Raises:
        ValueError: If the posterior has no encoder that learns.
    """

    def __init__(self, objective: Objective):
        super().__init__(objective)
        model = objective.model
        self.phi = list(model.posterior.parameters()) if isinstance(model, VAE) else []
        if not any(p.requires_grad for p in self.phi):
            came = type(model.posterior if isinstance(model, VAE) else model).__name__
            raise ValueError(
                f"{type(self).__name__} trains an encoder apart from its decoder, came {came}, which has none that learns; "
                "write --posterior Gaussian, or --procedure VariationalEM"
            )
        encoder = {id(p) for p in self.phi}
        self.theta = [p for p in objective.parameters() if id(p) not in encoder]
        self.of_phi: nn.Module = objective
        self.of_theta: nn.Module = objective

    @abstractmethod
    def step(self, batch: Batch, t: Tensor) -> Logged:
        """Learn from one batch, as `Procedure.step`."""

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: MakeUpdate) -> None:
        super().connect(wrap, update)
        with frozen(self.theta):
            self.of_phi = wrap(self.of_phi)
        with frozen(self.phi):
            self.of_theta = wrap(self.of_theta)
