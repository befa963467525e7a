"""Decoders with generative skip connections: z enters every layer, so that no layer can lose it."""

from itertools import pairwise
from math import prod

import torch.nn.functional as F
from torch import Size, Tensor, nn

from uncollapse.networks.base import Network, widths
from uncollapse.networks.conv import quarter


class SkipMLP(Network):
    r"""A multilayer perceptron whose layers, the last among them, each see the input beside the layer below.

    .. math:: h_1 = a(W_0 z + b_0), \qquad h_{l+1} = a(W_l h_l + V_l z + b_l)

    With V = 0 it is the `MLP` of the same sizes. It is meant as a decoder, where each layer alone can carry z to the data.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        hidden: Width of each hidden layer; none gives an affine map.
        activation: Class of the nonlinearity.

    References:
        Dieng, Kim, Rush and Blei (2019), Avoiding Latent Variable Collapse with Generative Skip Models, section 3.

    Example:
        >>> import torch
        >>> SkipMLP(Size((8,)), Size((1, 4, 4)), hidden=[16, 16])(torch.zeros(3, 2, 8)).shape
        torch.Size([3, 2, 1, 4, 4])
    """

    def __init__(self, input: Size, output: Size, hidden: list[int] = [200, 200], activation: type[nn.Module] = nn.ReLU):
        super().__init__(input, output)
        sizes = [prod(input), *widths(hidden), prod(output)]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.skips = nn.ModuleList(nn.Linear(prod(input), o, bias=False) for o in sizes[2:])
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        z = self.flat(x)
        h = self.layers[0](z)
        for layer, skip in zip(list(self.layers)[1:], self.skips, strict=True):
            h = layer(self.activation(h)) + skip(z)
        return self.shaped(h)


class SkipConvDecoder(Network):
    r"""The convolutional decoder, each of its convolutions with the input beside the maps below.

    .. math:: h_{l+1} = a(W_l * h_l + V_l z + b_l)

    :math:`V_l z` is one number a map, the same at all pixels: what a convolution of constant maps of z comes to. With V = 0 it
    is the `ConvDecoder` of the same width.

    Args:
        input: Shape of one input.
        output: Shape of the result; its last two dimensions are height and width, all before them are maps.
        width: Maps of the last hidden layer; the earlier ones have twice as many.

    Raises:
        ValueError: If the output is not an image with sides that are multiples of 4.

    References:
        Dieng, Kim, Rush and Blei (2019), Avoiding Latent Variable Collapse with Generative Skip Models, section 3.

    Example:
        >>> import torch
        >>> SkipConvDecoder(Size((16,)), Size((3, 32, 32)), width=8)(torch.zeros(4, 16)).shape
        torch.Size([4, 3, 32, 32])
    """

    def __init__(self, input: Size, output: Size, width: int = 32):
        super().__init__(input, output)
        widths([width])
        maps = prod(self.output[:-2])
        self.start = Size((2 * width, *quarter(self.output, "output")))
        self.affine = nn.Linear(prod(input), prod(self.start))
        self.layers = nn.ModuleList(
            (
                nn.Conv2d(2 * width, 2 * width, 3, padding=1),
                nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
                nn.ConvTranspose2d(width, maps, 4, stride=2, padding=1),
            )
        )
        self.skips = nn.ModuleList(nn.Linear(prod(input), o, bias=False) for o in (2 * width, width, maps))

    def forward(self, x: Tensor) -> Tensor:
        z = self.flat(x).reshape(-1, prod(self.input))
        h = self.affine(z).reshape(-1, *self.start)
        for layer, skip in zip(self.layers, self.skips, strict=True):
            h = layer(F.silu(h)) + skip(z)[..., None, None]
        return h.reshape(*self.leading(x), *self.output)
