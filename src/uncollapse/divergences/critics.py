r"""Critics: a logit of what is seen, packed and noised where a remedy asks for it.

A critic's logit is positive where it sees draws of the first distribution (the real ones) and negative where it sees those of
the second: at the optimum of the minimax game it is :math:`\log \frac{p_{\mathrm{real}}}{p_{\mathrm{fake}}}`.
"""

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor, nn

from uncollapse import noise
from uncollapse.networks import Factory
from uncollapse.parts import Part
from uncollapse.schedules import Constant, Schedule, nonnegative

Things = tuple[Tensor, ...]
"""What a critic sees of each example: an observation, or an observation and a latent, each [B, *shape]."""


class Critic(Part, nn.Module):
    r"""A network's logit of one thing, or of several side by side, such as an observation and a latent.

    With a pack of m it judges m examples at once, all real or all fake, so that a lack of variety shows. With instance noise
    both kinds are blurred alike, :math:`x + \sigma_t \varepsilon`, so that their supports overlap; the first thing alone, the
    observation, and in train() alone.

    Args:
        shapes: Shape of each thing.
        network: Factory of the network, called with the shape of what it sees and with (1,): that of the one thing, its first
            dimension m times as large, or the number of features of all of them together.
        pack: Examples m that it sees at once.
        noise: Standard deviation σ of the instance noise, a number or a schedule.
        tile: Whether the things behind an image enter as maps beside its channels, for a convolutional network.
        clip: Largest absolute value of a weight, restored by `constrain` after each of its steps; None: no limit.

    Raises:
        ValueError: If the pack is not positive, a number is out of range, or what is tiled is no image.

    References:
        Packing: Lin, Khetan, Fanti and Oh (2018), PacGAN, section 2. Instance noise: Sønderby, Caballero, Theis, Shi and Huszár
        (2017), Amortised MAP Inference, section 3.4. Clipping: Arjovsky, Chintala and Bottou (2017), algorithm 1.

    Example:
        >>> from uncollapse.networks import MLP
        >>> Critic([Size((1, 8, 8)), Size((2,))], MLP)(torch.zeros(5, 1, 8, 8), torch.zeros(5, 2)).shape
        torch.Size([5])
        >>> Critic([Size((2,))], MLP, pack=3)(torch.zeros(6, 2)).shape
        torch.Size([2])
    """

    given: ClassVar[tuple[str, ...]] = ("shapes",)
    conditions: int = 0  # how many of the last things are features of a condition, at which no gradient is penalised

    def __init__(
        self,
        shapes: Sequence[Size],
        network: Factory,
        pack: int = 1,
        noise: float | Schedule = 0.0,
        tile: bool = False,
        clip: float | None = None,
    ):
        super().__init__()
        self.shapes = [Size(shape) for shape in shapes]
        if pack < 1 or (clip is not None and clip <= 0):
            raise ValueError(f"expected a pack of at least 1 and a clip above 0, or none, came pack={pack}, clip={clip}")
        if tile and len(self.shapes[0]) != 3:
            raise ValueError(
                f"tile lays things beside the channels of an image, came shape {tuple(self.shapes[0])}; leave it out"
            )
        self.pack, self.tile, self.clip = pack, tile, clip
        self.noise = nonnegative("standard deviation of the noise", noise, "write 0 for none")
        self.blurs = not (isinstance(self.noise, Constant) and self.noise.value == 0)
        self.network = network(self._seen(), Size((1,)))

    def _seen(self) -> Size:
        """The shape of what the network sees."""
        first, *rest = self.shapes
        if not rest or self.tile:
            return Size((self.pack * (first[0] + sum(prod(shape) for shape in rest)), *first[1:]))
        return Size((self.pack * sum(prod(shape) for shape in self.shapes),))

    def forward(self, *things: Tensor, t: Tensor | float = 0.0) -> Tensor:
        """The logit [...] of things [..., *shape]; with a pack that of every m rows in turn, [B] to [B / m].

        Args:
            things: What it sees.
            t: Step, for the schedule of the noise.
        """
        if self.blurs and self.training:
            x, *rest = things
            sigma = self.noise(t).to(x)
            things = (x + sigma * noise.normal(x.shape, x, batch=0), *rest)
        seen = self._together(things)
        if self.pack > 1:
            seen = seen.reshape(-1, self.pack * seen.shape[1], *seen.shape[2:])
        return self.network(seen).squeeze(-1)

    def _together(self, things: Things) -> Tensor:
        """The things of each example as one tensor."""
        if len(things) == 1:
            return things[0]
        if self.tile:
            image = things[0]
            maps = [z.flatten(1)[..., None, None].expand(-1, -1, *image.shape[-2:]) for z in things[1:]]
            return torch.cat((image, *maps), 1)
        flat = [x.reshape(*x.shape[: x.dim() - len(shape)], -1) for x, shape in zip(things, self.shapes, strict=True)]
        return torch.cat(flat, -1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Put the weights back within the clip, if there is one."""
        if self.clip is not None:
            for p in self.parameters():
                p.clamp_(-self.clip, self.clip)

    def constrained(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Values of its weights within the clip, if there is one, differentiable: what `constrain` makes of them."""
        return list(values) if self.clip is None else [value.clamp(-self.clip, self.clip) for value in values]
