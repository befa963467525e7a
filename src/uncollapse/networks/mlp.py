"""Fully connected networks."""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

from uncollapse.networks.base import Network, widths
from uncollapse.networks.initial import start_even


class MLP(Network):
    r"""A multilayer perceptron, :math:`h_{l+1} = a(W_l h_l + b_l)`, the last layer linear.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        hidden: Width of each hidden layer; none gives an affine map.
        activation: Class of the nonlinearity.
        squash: Whether the result lies in (0, 1), by a sigmoid, as a generator of images has it; else it is any real number.
        even: Whether weights start by their number, so that rectified values keep their scale (He et al., 2015); else, as torch
            has it, they shrink a little from layer to layer.

    Example:
        >>> MLP(Size((1, 8, 8)), Size((4,)), hidden=[16])(torch.zeros(3, 2, 1, 8, 8)).shape
        torch.Size([3, 2, 4])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        hidden: list[int] = [200, 200],
        activation: type[nn.Module] = nn.ReLU,
        squash: bool = False,
        even: bool = False,
    ):
        super().__init__(input, output)
        sizes = [prod(input), *widths(hidden)]
        layers = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), activation())]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], prod(output)), *([nn.Sigmoid()] if squash else []))
        if even:
            start_even(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.shaped(self.layers(self.flat(x)))


class GatedLinear(nn.Module):
    r"""A gated layer, :math:`(W x + b) \odot \operatorname{sigmoid}(V x + c)`, as one matrix product.

    Weights start as He et al. (2015); the VampPrior's networks are made of these (Tomczak and Welling, 2018, appendix).
    """

    def __init__(self, input: int, output: int):
        super().__init__()
        self.linear = nn.Linear(input, 2 * output)
        nn.init.kaiming_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(self.linear(x), -1)


class GatedMLP(Network):
    r"""A multilayer perceptron with gated hidden layers (Dauphin et al., 2017, equation 1), the last layer linear.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        hidden: Width of each hidden layer.
        dropout: Share of the inputs that is dropped in training.

    Example:
        >>> GatedMLP(Size((1, 28, 28)), Size((80,)), hidden=[300, 300])(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 80])
    """

    def __init__(self, input: Size, output: Size, hidden: list[int] = [300, 300], dropout: float = 0.0):
        super().__init__(input, output)
        sizes = [prod(input), *widths(hidden)]
        gated = [GatedLinear(i, o) for i, o in pairwise(sizes)]
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.layers = nn.Sequential(*gated, nn.Linear(sizes[-1], prod(output)))

    def forward(self, x: Tensor) -> Tensor:
        return self.shaped(self.layers(self.dropout(self.flat(x))))


class Bias(Network):
    """A network that ignores its input: one learned vector for all. A decoder that is one collapses by construction.

    Example:
        >>> Bias(Size((3,)), Size((2,)))(torch.ones(4, 3)).tolist() == torch.zeros(4, 2).tolist()
        True
    """

    def __init__(self, input: Size, output: Size):
        super().__init__(input, output)
        self.value = nn.Parameter(torch.zeros(output))

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(*self.leading(x), *self.output)
