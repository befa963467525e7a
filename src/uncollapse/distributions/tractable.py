"""A model whose maximum-likelihood estimate is known in closed form: where learning by gradient can be checked."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from zuko.lazy import LazyDistribution as Conditional

from uncollapse.distributions.conditional import Density
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.parts import Part


class Location(Part, Conditional):
    r"""The Gaussian with unknown mean, :math:`p_\theta(x) = \mathcal N(x; \theta, I)`: a density of data, not of a latent.

    Args:
        features: Size of x.

    Raises:
        ValueError: If that is not positive.

    Example:
        >>> round(Location(1)().log_prob(torch.zeros(1)).item(), 4)
        -0.9189
    """

    given: ClassVar[tuple[str, ...]] = ("features",)
    density: ClassVar[Density] = Density.EXACT

    def __init__(self, features: int):
        super().__init__()
        if features < 1:
            raise ValueError(f"expected data of at least 1 feature, came {features}")
        self.features = features
        self.theta = nn.Parameter(torch.zeros(features))

    def forward(self, c: Any = None) -> Distribution:
        return DiagonalNormal(self.theta, torch.zeros_like(self.theta))

    @staticmethod
    def closed_form(x: Tensor) -> Tensor:
        r"""The maximum-likelihood estimate :math:`\hat\theta = \frac1N \sum_i x_i`: x [N, D] to [D].

        Example:
            >>> Location.closed_form(torch.tensor([[1.0], [3.0]]))
            tensor([2.])
        """
        return x.mean(0)
