"""The gated PixelCNN's two stacks: logits of each pixel from the pixels before it, all in one pass or one at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

Choose = Callable[[Tensor, tuple[int, int, int]], Tensor]
"""From logits [N, outputs] of a place (channel, row, column) to its values [N]."""


def gate(u: Tensor) -> Tensor:
    """tanh(a) ⊙ sigmoid(b) of the two halves of the maps: [N, 2 M, H, W] to [N, M, H, W]."""
    a, b = u.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class MaskedConv(nn.Conv2d):
    """A convolution along a row up to the pixel itself, of which a map sees only the channels before its own, or its own too.

    Maps lie in as many groups as the image has channels; what is gated lies in two halves of that order.

    Args:
        input: Maps that come in.
        output: Maps that go out.
        columns: Pixels that it sees, the last of them the pixel itself.
        channels: Channels of the image.
        halves: 2 where the output is gated, else 1.
        strict: Whether a group is hidden from itself, as the first layer needs it (mask A); else it sees itself (mask B).
    """

    mask: Tensor | None

    def __init__(self, input: int, output: int, columns: int, channels: int, halves: int = 1, strict: bool = False):
        super().__init__(input, output, (1, columns))
        seen, seer = torch.arange(input) * channels // input, torch.arange(output // halves) * channels * halves // output
        allowed = (seen < seer.unsqueeze(1)) if strict else (seen <= seer.unsqueeze(1))
        mask = torch.ones_like(self.weight, requires_grad=False)
        mask[..., -1] = allowed.repeat(halves, 1).unsqueeze(-1)
        self.register_buffer("mask", None if mask.all() else mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        return F.conv2d(x, weight, self.bias)


class Layer(nn.Module):
    """One gated layer: a vertical stack that sees the rows above, a horizontal one that sees its own row's past."""

    def __init__(self, channels: int, maps: int, kernel: int, context: int, first: bool):
        super().__init__()
        self.reach, self.first, self.input = kernel // 2, first, channels if first else maps
        self.vertical = nn.Conv2d(self.input, 2 * maps, (self.reach + 1, kernel))
        self.across = nn.Conv2d(2 * maps, 2 * maps, 1, bias=False)
        self.horizontal = MaskedConv(self.input, 2 * maps, self.reach + 1, channels, halves=2, strict=first)
        self.out = MaskedConv(maps, maps, 1, channels)
        self.context = nn.Conv2d(context, 4 * maps, 1, bias=False) if context else None

    def rows(self, v: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Of the vertical stack v [N, I, R + reach, W], with the earlier rows on top, and z's maps s [N, Z, R, W]: what it says
        before its gate, and what the horizontal stack takes over, [N, 2 M, R, W] each."""
        u = self.vertical(F.pad(v, (self.reach, self.reach)))
        if self.context is None:
            return u, self.across(u)
        to_v, to_h = self.context(s).chunk(2, 1)
        u = u + to_v
        return u, self.across(u) + to_h

    def columns(self, h: Tensor, across: Tensor) -> Tensor:
        """Of the horizontal stack h [N, I, R, C + reach], with the earlier columns at its left: [N, M, R, C]."""
        y = self.out(gate(self.horizontal(h) + across))
        return y if self.first else h[..., self.reach :] + y


class GatedPixelCNN(nn.Module):
    r"""Logits of the pixels of an image, row by row from the top left, each a function of those before it and of maps of z.

    .. math:: v \leftarrow \tanh(u_a) \odot \sigma(u_b), \quad u = W * v + V s, \qquad
              h \leftarrow h + O \left[ \tanh(y_a) \odot \sigma(y_b) \right], \quad y = W' * h + U u + V' s

    The vertical stack v runs over the image moved down by a row, so that at each pixel it sees all rows above and nothing else,
    to both sides: there is no blind spot. The horizontal stack h sees its own row's past. Within a pixel the channels follow
    one another.

    Args:
        shape: Shape of an image, (channels, height, width).
        outputs: Logits of each value.
        context: Maps of z.
        layers: Number of layers.
        maps: Maps of each stack, a multiple of the channels.
        kernel: Side of the square, centred on the pixel, of which a layer sees the past half; odd.
        first: The same of the first layer, which sees the pixels themselves.
        skip: Whether z's maps enter each layer, or the first alone.

    References:
        van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders, equation 4 and figure 2. The mask of
        the colours: van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section 3.4.

    Example:
        >>> network = GatedPixelCNN(Size((1, 4, 4)), outputs=2, context=3, layers=2, maps=8)
        >>> network(torch.zeros(5, 1, 4, 4), torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 2, 1, 4, 4])
    """

    def __init__(
        self,
        shape: Size,
        outputs: int,
        context: int,
        layers: int = 6,
        maps: int = 32,
        kernel: int = 5,
        first: int = 7,
        skip: bool = True,
    ):
        super().__init__()
        self.shape, self.outputs, channels = Size(shape), outputs, shape[0]
        _admit(channels, layers, maps, kernel, first)
        self.layers = nn.ModuleList(
            Layer(channels, maps, kernel if i else first, context if skip or i == 0 else 0, first=i == 0) for i in range(layers)
        )
        self.hidden = MaskedConv(maps, maps, 1, channels)
        self.logits = MaskedConv(maps, channels * outputs, 1, channels)
        self.width = 6 * maps * shape[1] * shape[2]

    @property
    def stack(self) -> list[Layer]:
        """The layers, the lowest first."""
        return cast(list[Layer], list(self.layers))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """All logits in one pass: x in [0, 1] [N, C, H, W] and z's maps s [N, Z, H, W] to [N, outputs, C, H, W]."""
        h = 2 * x - 1  # the border, zero, is no value of binary data
        v = F.pad(h, (0, 0, 1, -1))
        for layer in self.stack:
            u, across = layer.rows(F.pad(v, (0, 0, layer.reach, 0)), s)
            h = layer.columns(F.pad(h, (layer.reach, 0)), across)
            v = u if layer is self.stack[-1] else gate(u)
        return self.read(h)

    def read(self, h: Tensor) -> Tensor:
        """Logits of the last layer's maps: [N, M, R, W] to [N, outputs, C, R, W]."""
        logits = self.logits(F.relu(self.hidden(F.relu(h))))
        return logits.unflatten(1, (self.shape[0], self.outputs)).movedim(1, 2)

    @torch.no_grad()
    def generate(self, s: Tensor, choose: Choose) -> Tensor:
        """An image, place by place, each computed once: s [N, Z, H, W] to [N, C, H, W] in [0, 1].

        A finished row moves the vertical stack by one row, a finished pixel moves the horizontal stack by one column: the whole
        image costs about what one pass costs.

        Args:
            s: z's maps.
            choose: Called with the logits of each place in turn; gives its values in [0, 1].
        """
        channels, height, width = self.shape
        x = s.new_zeros(len(s), *self.shape)
        cache = self._empty(s)
        for i in range(height):
            across = self._next_row(cache, x[:, :, i - 1 : i] if i else None, s[:, :, i : i + 1])
            for j, c in ((j, c) for j in range(width) for c in range(channels)):
                logits = self._next_pixel(cache, across, j)
                x[:, c, i, j] = choose(logits[:, :, c, 0, 0], (c, i, j))
                cache.rows[0][:, c, 0, self.stack[0].reach + j] = 2 * x[:, c, i, j] - 1
        return x

    def _empty(self, s: Tensor) -> "_Cache":
        above = [s.new_zeros(len(s), layer.input, layer.reach + 1, self.shape[2]) for layer in self.stack]
        return _Cache(above, [])

    def _next_row(self, cache: "_Cache", x: Tensor | None, s: Tensor) -> list[Tensor]:
        """Move the vertical stack by the finished row x [N, C, 1, W] (None: above the image); clear the horizontal one."""
        across = []
        v = torch.zeros_like(cache.above[0][:, :, :1]) if x is None else 2 * x - 1
        for above, layer in zip(cache.above, self.stack, strict=True):
            above.copy_(torch.cat((above[:, :, 1:], v), 2))
            u, to_h = layer.rows(above, s)
            across.append(to_h)
            v = gate(u)
        cache.rows[:] = [
            a.new_zeros(*a.shape[:2], 1, layer.reach + self.shape[2]) for a, layer in zip(cache.above, self.stack, strict=True)
        ]
        return across

    def _next_pixel(self, cache: "_Cache", across: list[Tensor], j: int) -> Tensor:
        """Logits of column j, after what was written of it so far was moved through the horizontal stack."""
        h = cache.rows[0]
        for i, (row, layer) in enumerate(zip(cache.rows, self.stack, strict=True)):
            if i:
                row[..., layer.reach + j] = h[..., 0]
            h = layer.columns(row[..., j : j + layer.reach + 1], across[i][..., j : j + 1])
        return self.read(h)


class _Cache(NamedTuple):
    """What the next place needs of the earlier ones, a tensor for each layer's input."""

    above: list[Tensor]  # the last rows of the vertical stack [N, I, reach + 1, W]
    rows: list[Tensor]  # this row of the horizontal stack [N, I, 1, reach + W]


def _admit(channels: int, layers: int, maps: int, kernel: int, first: int) -> None:
    """Refuse sizes that make no PixelCNN."""
    wrong: dict[str, Any] = {"kernel": kernel, "first": first}
    for name, size in wrong.items():
        if size < 3 or size % 2 == 0:
            raise ValueError(f"expected an odd {name} of at least 3, came {size}; write {name}=5")
    if layers < 1 or maps < 1 or maps % channels:
        raise ValueError(
            f"expected at least 1 layer, and maps in multiples of the {channels} channels, came layers={layers}, maps={maps}; "
            f"write maps={max(1, maps // channels) * channels}"
        )
