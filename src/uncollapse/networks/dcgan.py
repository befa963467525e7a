"""Deep convolutional generator and critic, for images of any size: 28, 32 and 64 pixels among them."""

from itertools import pairwise
from math import prod

from torch import Size, Tensor, nn

from uncollapse.networks.base import Network, widths
from uncollapse.networks.batchnorm import BatchNorm
from uncollapse.networks.initial import start_even, start_normal
from uncollapse.networks.minibatch import MinibatchStd

_STD = 0.02  # of all weights at the start (Radford et al., 2016, section 4)


def halvings(shape: Size, n: int, side: str) -> list[Size]:
    """Height and width of an image, then after each of n halvings, rounded up.

    Raises:
        ValueError: If it is no image, or too small for as many.

    Example:
        >>> [tuple(size) for size in halvings(Size((3, 28, 32)), 4, "output")]
        [(28, 32), (14, 16), (7, 8), (4, 4), (2, 2)]
    """
    least = 2 ** (n - 1) + 1 if n > 0 else 1
    if len(shape) < 3 or min(shape[-2:]) < least:
        raise ValueError(
            f"expected an image as {side}, (..., channels, height, width), with sides of at least {least} for {n} halvings, "
            f"came {tuple(shape)}; write fewer layers, or an MLP for other data"
        )
    height, breadth = shape[-2:]
    return [Size((-(-height // 2**i), -(-breadth // 2**i))) for i in range(n + 1)]


def _admit(width: int, layers: int, kernel: int) -> None:
    """Refuse what makes no network: by strides of 2 an odd kernel halves a side, rounded up, and doubles it to either size."""
    widths([width])
    if layers < 1 or kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"expected at least 1 layer and an odd kernel of at least 3, came layers={layers}, kernel={kernel}")


def _start(network: nn.Module, even: bool) -> None:
    start_even(network) if even else start_normal(network, _STD)


class DCGANGenerator(Network):
    """An affine map to small maps, then transposed convolutions that double height and width up to those of the image.

    Each layer but the last is followed by batch normalisation and a rectifier.

    Args:
        input: Shape of one input.
        output: Shape of the result; its last two dimensions are height and width, all before them are channels.
        width: Maps before the last layer; the earlier layers have twice as many each.
        layers: Transposed convolutions.
        kernel: Side of each kernel, an odd number.
        finish: Whether a convolution at full size comes last, after `layers` transposed ones.
        squash: Whether the result lies in (0, 1), by a sigmoid; else it is any real number.
        momentum: Weight of the newest batch in the running averages of the normalisation.
        even: Whether weights start by their number, so that rectified values keep their scale (He et al., 2015); else as
            N(0, 0.02²).

    Raises:
        ValueError: If the output is no image, too small for so many layers, or the kernel is even.

    References:
        Radford, Metz and Chintala (2016), Unsupervised representation learning with deep convolutional generative adversarial
        networks, figure 1. For 28 pixels the defaults have the sizes of Lin et al. (2018), PacGAN, section 4.2, first setup;
        `width=8, layers=3, kernel=3, finish=True` those of Metz et al. (2017), Unrolled generative adversarial networks,
        section 3.3.1. Both end in a hyperbolic tangent.

    Example:
        >>> import torch
        >>> DCGANGenerator(Size((100,)), Size((3, 28, 28)), width=4)(torch.randn(2, 5, 100)).shape
        torch.Size([2, 5, 3, 28, 28])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        width: int = 64,
        layers: int = 4,
        kernel: int = 5,
        finish: bool = False,
        squash: bool = True,
        momentum: float = 0.1,
        even: bool = False,
    ):
        super().__init__(input, output)
        _admit(width, layers, kernel)
        sizes, channels = halvings(self.output, layers, "output")[::-1], prod(self.output[:-2])
        maps = [width * 2**i for i in range(layers + finish)][::-1]
        self.start = Size((maps[0], *sizes[0]))
        self.affine = nn.Linear(prod(input), prod(self.start), bias=False)
        blocks: list[nn.Module] = [BatchNorm(maps[0], momentum), nn.ReLU()]
        for (i, o), ends in zip(pairwise(maps), pairwise(sizes), strict=False):
            blocks += [_doubling(i, o, *ends, kernel, bias=False), BatchNorm(o, momentum), nn.ReLU()]
        last = (
            nn.Conv2d(maps[-1], channels, kernel, padding=kernel // 2)
            if finish
            else _doubling(maps[-1], channels, sizes[-2], sizes[-1], kernel, bias=True)
        )
        self.layers = nn.Sequential(*blocks, last)
        self.squash = nn.Sigmoid() if squash else nn.Identity()
        _start(self, even)

    def forward(self, x: Tensor) -> Tensor:
        h = self.affine(x.reshape(-1, prod(self.input))).reshape(-1, *self.start)
        return self.squash(self.layers(h)).reshape(*self.leading(x), *self.output)


def _doubling(i: int, o: int, before: Size, after: Size, kernel: int, bias: bool) -> nn.Module:
    """A transposed convolution from one size to the next, which is twice as large, or one less."""
    more = (after[0] - 2 * before[0] + 1, after[1] - 2 * before[1] + 1)
    return nn.ConvTranspose2d(i, o, kernel, stride=2, padding=kernel // 2, output_padding=more, bias=bias)


class DCGANCritic(Network):
    """Strided convolutions that halve height and width, and an affine map to the output; rectifiers leak.

    Without batch normalisation each row is judged by itself, as penalties on gradients need it.

    Args:
        input: Shape of an image, (channels, height, width).
        output: Shape of one output.
        width: Maps of the first layer; the later ones have twice as many each.
        layers: Convolutions.
        kernel: Side of each kernel, an odd number.
        batch_norm: Whether each layer but the first is normalised over the batch.
        first_norm: Whether the first is too.
        slope: Of the rectifiers below zero.
        minibatch_std: Whether the affine map sees how much the rows of the batch differ (`MinibatchStd`).
        even: Whether weights start by their number, as in `DCGANGenerator`; without normalisation they should.

    Raises:
        ValueError: If the input is no image, too small for so many layers, or the kernel is even.

    References:
        Radford, Metz and Chintala (2016), section 3. For 28 pixels the defaults have the sizes of Lin et al. (2018), PacGAN,
        section 4.2, first setup; `width=2` or `4` with `layers=3, kernel=3, first_norm=True, slope=0.3` those of the small
        critics of Metz et al. (2017), section 3.3.1.

    Example:
        >>> import torch
        >>> DCGANCritic(Size((3, 28, 28)), Size((1,)), width=4)(torch.rand(2, 5, 3, 28, 28)).shape
        torch.Size([2, 5, 1])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        width: int = 64,
        layers: int = 4,
        kernel: int = 5,
        batch_norm: bool = True,
        first_norm: bool = False,
        slope: float = 0.2,
        minibatch_std: bool = False,
        even: bool = False,
    ):
        super().__init__(input, output)
        _admit(width, layers, kernel)
        size = halvings(self.input, layers, "input")[-1]
        maps = [prod(self.input[:-2]), *(width * 2**i for i in range(layers))]
        normed = [first_norm, *[batch_norm] * (layers - 1)]
        blocks: list[nn.Module] = []
        for (i, o), norm in zip(pairwise(maps), normed, strict=True):
            convolution = nn.Conv2d(i, o, kernel, stride=2, padding=kernel // 2, bias=not norm)
            blocks += [convolution, *([BatchNorm(o)] if norm else []), nn.LeakyReLU(slope)]
        seen = [MinibatchStd()] if minibatch_std else []
        affine = nn.Linear((maps[-1] + minibatch_std) * size.numel(), prod(output))
        self.layers = nn.Sequential(*blocks, *seen, nn.Flatten(), affine)
        _start(self, even)

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, prod(self.input[:-2]), *self.input[-2:])
        return self.layers(images).reshape(*self.leading(x), *self.output)
