"""A model whose maximum-likelihood estimate is known in closed form: where learning by gradient can be checked."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Prior
from uncollapse.distributions.densities import DiagonalNormal


class Location(Prior):
    r"""The Gaussian with unknown mean, :math:`p_\theta(x) = \mathcal N(x; \theta, I)`.

    Args:
        features: Size of x.

    Example:
        >>> round(Location(1)().log_prob(torch.zeros(1)).item(), 4)
        -0.9189
    """

    def __init__(self, features: int):
        super().__init__(features)
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
