"""Fourier features in front of a network: so that it learns what changes fast over its input."""

import math
from math import prod

import torch
from torch import Size, Tensor

from uncollapse.networks.base import Factory, Network
from uncollapse.networks.mlp import MLP


class Fourier(Network):
    r"""Another network that sees its input beside cosines and sines of random projections of it.

    .. math:: \gamma(x) = (x, \cos 2 \pi B x, \sin 2 \pi B x), \quad B_{ij} \sim \mathcal N(0, s^2)

    A perceptron of x alone learns slowly what changes over a small part of its input's range, such as a density with narrow
    modes. B is drawn once, saved with the weights, and not learned.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        network: Factory of the network, called with the shape of the features and with the output's.
        features: Rows of B: half as many numbers as are added.
        scale: Standard deviation s of the frequencies, in periods a unit of the input: about 1 / (2 π) over the width of the
            narrowest mode at most.

    Raises:
        ValueError: If features is below 1 or the scale not above 0.

    References:
        Tancik et al. (2020), Fourier Features Let Networks Learn High Frequency Functions, equation 1 and section 6; x itself
        beside them is ours.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> network = Fourier(Size((2,)), Size((1,)), features=64)
        >>> network(torch.zeros(3, 2)).shape, network.network.input
        (torch.Size([3, 1]), torch.Size([130]))
    """

    frequencies: Tensor

    def __init__(self, input: Size, output: Size, network: Factory = MLP, features: int = 128, scale: float = 0.5):
        super().__init__(input, output)
        if features < 1 or not scale > 0:
            raise ValueError(f"expected at least 1 feature and a scale above 0, came features={features}, scale={scale}")
        size = prod(input)
        self.register_buffer("frequencies", 2 * math.pi * scale * torch.randn(size, features))
        self.network = network(Size((size + 2 * features,)), self.output)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(*self.leading(x), -1)
        angles = rows @ self.frequencies
        return self.network(torch.cat((rows, angles.cos(), angles.sin()), -1))
