"""Convolutional encoder and decoder for images whose sides are multiples of four, 28 x 28 and 32 x 32 among them."""

from math import prod

import torch.nn.functional as F
from torch import Size, Tensor, nn

from uncollapse.networks.base import Network, widths


def quarter(shape: Size, side: str) -> tuple[int, int]:
    """Height and width after two halvings."""
    if len(shape) < 3 or shape[-1] % 4 or shape[-2] % 4:
        raise ValueError(
            f"expected an image as {side}, (..., channels, height, width) with sides that are multiples of 4, came "
            f"{tuple(shape)}; write an MLP for other data"
        )
    return shape[-2] // 4, shape[-1] // 4


class ConvEncoder(Network):
    """Two strided convolutions, a third at a quarter of the size, and an affine map to the output.

    Args:
        input: Shape of an image, (channels, height, width).
        output: Shape of one output.
        width: Maps of the first layer; the later ones have twice as many.

    Raises:
        ValueError: If the input is not an image with sides that are multiples of 4.

    Example:
        >>> import torch
        >>> ConvEncoder(Size((1, 28, 28)), Size((16,)), width=8)(torch.zeros(2, 5, 1, 28, 28)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, input: Size, output: Size, width: int = 32):
        super().__init__(input, output)
        height, breadth = quarter(self.input, "input")
        widths([width])
        self.layers = nn.Sequential(
            nn.Conv2d(prod(self.input[:-2]), width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(2 * width * height * breadth, prod(output)),
        )

    def forward(self, x: Tensor) -> Tensor:
        leading = self.leading(x)
        images = x.reshape(-1, prod(self.input[:-2]), *self.input[-2:])
        return self.layers(images).reshape(*leading, *self.output)


class ConvDecoder(Network):
    """The encoder's mirror image: an affine map to a quarter of the size, then two strided transposed convolutions.

    Args:
        input: Shape of one input.
        output: Shape of the result; its last two dimensions are height and width, all before them are maps.
        width: Maps of the last hidden layer; the earlier ones have twice as many.

    Raises:
        ValueError: If the output is not an image with sides that are multiples of 4.

    Example:
        >>> import torch
        >>> ConvDecoder(Size((16,)), Size((2, 3, 32, 32)), width=8)(torch.zeros(4, 16)).shape
        torch.Size([4, 2, 3, 32, 32])
    """

    def __init__(self, input: Size, output: Size, width: int = 32):
        super().__init__(input, output)
        widths([width])
        self.start = Size((2 * width, *quarter(self.output, "output")))
        self.affine = nn.Linear(prod(input), prod(self.start))
        self.layers = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, prod(self.output[:-2]), 4, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.affine(self.flat(x)))
        return self.layers(h.reshape(-1, *self.start)).reshape(*self.leading(x), *self.output)
