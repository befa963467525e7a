"""Residual generator and critic without normalisation, the networks of R3GAN in small."""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.nn.modules.conv import _ConvNd

from uncollapse.networks.base import Network, widths
from uncollapse.networks.dcgan import halvings
from uncollapse.networks.initial import weighted

_SLOPE = 0.2  # of the rectifiers below zero
_EXPANSION = 2  # maps within a block, for each of its input


class Block(nn.Module):
    r"""A residual block, :math:`x + W_3\, a(W_2\, a(W_1 x))`: the outer two mix maps, the inner one is a grouped 3 x 3.

    :math:`W_3` starts at zero, so that the block starts as the identity, and the others as Fixup (Zhang et al., 2019) has them.

    Args:
        maps: Maps of its input and its output.
        groups: Of the inner convolution.
        blocks: How many blocks there are in the network, for the scale of the weights at the start.
    """

    def __init__(self, maps: int, groups: int, blocks: int):
        super().__init__()
        inner = _EXPANSION * maps
        self.layers = nn.Sequential(
            nn.Conv2d(maps, inner, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(inner, inner, 3, padding=1, groups=groups),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(inner, maps, 1, bias=False),
        )
        first, second, last = weighted(self.layers)
        for layer in (first, second):
            _start(layer, gain=nn.init.calculate_gain("leaky_relu", _SLOPE) * blocks**-0.25)  # L^(-1/(2m-2)) for m = 3 layers
        nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Resample(nn.Module):
    """Bilinear interpolation from one height and width to another, smoothed where it makes images smaller.

    It is two matrix products, so that its gradient is the same at every run, on every device.

    Example:
        >>> [round(v, 2) for v in Resample(Size((1, 4)), Size((1, 2)))(torch.tensor([[0.0, 0.0, 7.0, 7.0]])).flatten().tolist()]
        [1.0, 6.0]
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, before: Size, after: Size):
        super().__init__()
        self.register_buffer("rows", _interpolation(before[0], after[0]).T.contiguous(), persistent=False)
        self.register_buffer("columns", _interpolation(before[1], after[1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns


def _interpolation(before: int, after: int) -> Tensor:
    """The matrix [before, after] that a row of pixels is multiplied by."""
    unit = torch.eye(before)[None, None]
    return F.interpolate(unit, size=(before, after), mode="bilinear", antialias=True, align_corners=False)[0, 0]


def _trunk(maps: list[int], sizes: list[Size], blocks: int, groups: int) -> list[nn.Module]:
    """Blocks of each size, with what leads from one size to the next between them."""
    total = blocks * len(maps)
    layers: list[nn.Module] = [Block(maps[0], groups, total) for _ in range(blocks)]
    for (i, o), ends in zip(pairwise(maps), pairwise(sizes), strict=True):
        layers += [*_transition(i, o, Resample(*ends)), *(Block(o, groups, total) for _ in range(blocks))]
    return layers


def _transition(i: int, o: int, resample: Resample) -> list[nn.Module]:
    """Resampling and, where the number of maps changes, their mixing, at the smaller of both sizes."""
    if i == o:
        return [resample]
    mixing = _mixing(i, o, bias=False)
    return [mixing, resample] if i > o else [resample, mixing]


def _mixing(i: int, o: int, bias: bool = True) -> nn.Module:
    """A convolution of single pixels that keeps their variance at the start."""
    return _start(nn.Conv2d(i, o, 1, bias=bias))


def _start(layer: nn.Linear | _ConvNd, gain: float = 1.0) -> nn.Module:
    """The layer with weights that give outputs of the inputs' scale times the gain, and biases of zero."""
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _admit(maps: list[int], blocks: int, groups: int) -> list[int]:
    """Refuse what makes no residual network."""
    if not widths(maps) or blocks < 1 or groups < 1 or any(_EXPANSION * width % groups for width in maps):
        raise ValueError(
            f"expected maps of at least one size, at least 1 block, and groups that share out {_EXPANSION} times the maps of "
            f"each size evenly, came maps={list(maps)}, blocks={blocks}, groups={groups}; write groups=1"
        )
    return list(maps)


class ResidualGenerator(Network):
    r"""Learned small maps, scaled by an affine map of z, then residual blocks between bilinear doublings.

    .. math:: h_0 = B \odot (W z + b), \qquad B \in \mathbb R^{C \times H \times W}

    There is no normalisation. The blocks start as identities.

    Args:
        input: Shape of one input.
        output: Shape of the result; its last two dimensions are height and width, all before them are channels.
        maps: Maps at each size, the smallest size first; each size doubles the one before.
        blocks: Blocks at each size.
        groups: Of the inner convolutions.
        squash: Whether the result lies in (0, 1), by a sigmoid; else it is any real number.

    Raises:
        ValueError: If the output is no image, too small for so many sizes, or groups do not share out the maps.

    References:
        Huang, Gokaslan, Kuleshov and Tompkin (2024), The GAN is dead; long live the GAN! A modern baseline GAN, section 4; the
        start of the weights: Zhang, Dauphin and Ma (2019), Fixup initialization.

    Example:
        >>> ResidualGenerator(Size((16,)), Size((3, 28, 28)), maps=[16, 8, 8])(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 3, 28, 28])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        maps: list[int] = [128, 64, 32],
        blocks: int = 1,
        groups: int = 4,
        squash: bool = True,
    ):
        super().__init__(input, output)
        maps = _admit(maps, blocks, groups)
        sizes = halvings(self.output, len(maps) - 1, "output")[::-1]
        self.start = nn.Parameter(torch.randn(maps[0], *sizes[0]))
        self.affine = _start(nn.Linear(prod(input), maps[0]))
        self.layers = nn.Sequential(*_trunk(maps, sizes, blocks, groups), _mixing(maps[-1], prod(self.output[:-2])))
        self.squash = nn.Sigmoid() if squash else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.affine(x.reshape(-1, prod(self.input)))[..., None, None] * self.start
        return self.squash(self.layers(h)).reshape(*self.leading(x), *self.output)


class ResidualCritic(Network):
    r"""The generator's mirror image: residual blocks between bilinear halvings, then each map weighed by a learned one.

    .. math:: D(x) = W s + b, \qquad s_c = \sum_{ij} B_{cij} h_{cij}(x)

    There is no normalisation: each row is judged by itself, as penalties on gradients need it.

    Args:
        input: Shape of an image, (channels, height, width).
        output: Shape of one output.
        maps: Maps at each size, the image's own first; each size halves the one before, rounded up.
        blocks: Blocks at each size.
        groups: Of the inner convolutions.

    Raises:
        ValueError: If the input is no image, too small for so many sizes, or groups do not share out the maps.

    References:
        Huang, Gokaslan, Kuleshov and Tompkin (2024), The GAN is dead; long live the GAN! A modern baseline GAN, section 4.

    Example:
        >>> ResidualCritic(Size((3, 28, 28)), Size((1,)), maps=[8, 8, 16])(torch.rand(2, 5, 3, 28, 28)).shape
        torch.Size([2, 5, 1])
    """

    def __init__(self, input: Size, output: Size, maps: list[int] = [32, 64, 128], blocks: int = 1, groups: int = 4):
        super().__init__(input, output)
        maps = _admit(maps, blocks, groups)
        sizes = halvings(self.input, len(maps) - 1, "input")
        self.layers = nn.Sequential(_mixing(prod(self.input[:-2]), maps[0]), *_trunk(maps, sizes, blocks, groups))
        self.end = nn.Parameter(torch.randn(maps[-1], *sizes[-1]) / sizes[-1].numel() ** 0.5)
        self.affine = _start(nn.Linear(maps[-1], prod(output)))

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, prod(self.input[:-2]), *self.input[-2:])
        s = (self.layers(images) * self.end).sum((-2, -1))
        return self.affine(s).reshape(*self.leading(x), *self.output)
