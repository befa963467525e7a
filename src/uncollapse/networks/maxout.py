"""Maxout networks, the critics of experiments with mixtures in the plane."""

from itertools import pairwise
from math import prod

from torch import Size, Tensor, nn

from uncollapse.networks.base import Network, widths
from uncollapse.networks.initial import start_normal
from uncollapse.networks.minibatch import MinibatchStd


class Maxout(nn.Module):
    r"""A maxout layer, :math:`h_i = \max_k (W_k x + b_k)_i` over k pieces: convex and piecewise linear, learned.

    Example:
        >>> import torch
        >>> Maxout(3, 7, pieces=5)(torch.zeros(4, 3)).shape
        torch.Size([4, 7])
    """

    def __init__(self, input: int, output: int, pieces: int):
        super().__init__()
        self.linear, self.shape = nn.Linear(input, pieces * output), (pieces, output)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(-1, self.shape).amax(-2)


class MaxoutMLP(Network):
    """A multilayer perceptron whose hidden layers are maxout layers, the last layer linear.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        hidden: Width of each hidden layer.
        pieces: Affine maps whose greatest a unit takes.
        std: Standard deviation of the weights at the start, with biases of zero; PacGAN's is 0.02. None: torch's own start.
        minibatch_std: Whether the last layer sees how much the rows of the batch differ (`MinibatchStd`).

    Raises:
        ValueError: If pieces is not at least 2.

    References:
        Goodfellow, Warde-Farley, Mirza, Courville and Bengio (2013), Maxout networks, section 2. With 5 pieces and hidden
        layers of 200, 200 and 200 it is the critic of the mixtures in Lin, Khetan, Fanti and Oh (2018), PacGAN.

    Example:
        >>> import torch
        >>> MaxoutMLP(Size((2,)), Size((1,)), hidden=[20, 20])(torch.zeros(3, 4, 2)).shape
        torch.Size([3, 4, 1])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        hidden: list[int] = [200, 200, 200],
        pieces: int = 5,
        std: float | None = None,
        minibatch_std: bool = False,
    ):
        super().__init__(input, output)
        if pieces < 2:
            raise ValueError(f"expected at least 2 pieces to take the greatest of, came {pieces}; write an MLP for 1")
        sizes = [prod(input), *widths(hidden)]
        layers: list[nn.Module] = [Maxout(i, o, pieces) for i, o in pairwise(sizes)]
        seen = [MinibatchStd()] if minibatch_std else []
        self.layers = nn.Sequential(*layers, *seen, nn.Linear(sizes[-1] + minibatch_std, prod(output)))
        if std is not None:
            start_normal(self, std)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, prod(self.input))
        return self.layers(rows).reshape(*self.leading(x), *self.output)
