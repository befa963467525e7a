"""Augmentations before the critic, of real and fake alike, through which the generator's gradient flows: for small data."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse import noise
from uncollapse.parts import Part
from uncollapse.processes import mean_over_processes


class Augmentation(Part, nn.Module, ABC):
    """A random change of images that keeps what makes them real; the critic never sees them without it."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The images changed, each in its own way: x [B, C, H, W] to the same shape."""

    def follow(self, real: Tensor) -> None:
        """Called after each step of the critic with its logits of real images."""


class DiffAugment(Augmentation):
    r"""Differentiable augmentation: brightness, a shift with zeros behind it, and a square that is cut out.

    .. math:: x + b \, (2 u - 1), \quad u \sim \mathcal U(0, 1),

    one number for each image, then a shift of rows and another of columns, each whole number of pixels as likely, then zeros in
    a square with its centre anywhere. The authors' images are in [−1, 1] and their b is 0.5, a quarter of the range: 0.25 here,
    where images are in [0, 1]. Their zeros are grey, these are black. Their saturation and contrast are not here.

    Args:
        brightness: b, in units of the image.
        shift: Largest shift, as a share of height and width.
        cutout: Side of the square, as a share of height and width.

    Raises:
        ValueError: If a number is out of range.

    References:
        Zhao, Liu, Lin, Zhu and Han (2020), Differentiable Augmentation for Data-Efficient GAN Training, section 4.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> DiffAugment()(torch.ones(4, 1, 8, 8)).shape
        torch.Size([4, 1, 8, 8])
    """

    def __init__(self, brightness: float = 0.25, shift: float = 0.125, cutout: float = 0.5):
        super().__init__()
        if brightness < 0 or not 0 <= shift < 1 or not 0 <= cutout < 1:
            raise ValueError(
                f"expected brightness >= 0 and shift and cutout in [0, 1), came brightness={brightness}, shift={shift}, "
                f"cutout={cutout}"
            )
        self.brightness, self.shift, self.cutout = brightness, shift, cutout

    def forward(self, x: Tensor) -> Tensor:
        u = noise.uniform(torch.Size((len(x), 5)), x)
        return cut(shifted(x + self.brightness * (2 * u[:, :1, None, None] - 1), self.shift, u[:, 1:3]), self.cutout, u[:, 3:])


class ADA(Augmentation):
    r"""Adaptive augmentation: each image is changed with a probability p, which follows how sure the critic is of real ones.

    .. math:: r = \mathbb E[\operatorname{sign} a(x_{\mathrm{real}})], \qquad
              p \leftarrow \operatorname{clip}\left(p + \eta \operatorname{sign}(r - r^*), 0, 1\right)

    Args:
        target: r*, the mean sign of the critic's logits on real images that is aimed at.
        rate: η, the change of p after each step of the critic.
        brightness: As of `DiffAugment`.
        shift: As of `DiffAugment`.
        cutout: As of `DiffAugment`.

    References:
        Karras et al. (2020), Training Generative Adversarial Networks with Limited Data, section 3 (r_t; there with more kinds
        of change, and p adjusted once in four batches).

    Example:
        >>> ada = ADA(rate=0.1)
        >>> ada.follow(torch.ones(8))
        >>> round(float(ada.p), 2)
        0.1
    """

    p: Tensor

    def __init__(
        self, target: float = 0.6, rate: float = 1e-3, brightness: float = 0.25, shift: float = 0.125, cutout: float = 0.5
    ):
        super().__init__()
        if not -1 < target < 1 or rate <= 0:
            raise ValueError(f"expected a target in (-1, 1) and a rate above 0, came target={target}, rate={rate}")
        self.target, self.rate = target, rate
        self.change = DiffAugment(brightness, shift, cutout)
        self.register_buffer("p", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        chosen = noise.uniform(x.shape[:1], x) < self.p
        return torch.where(chosen[:, None, None, None], self.change(x), x)

    @torch.no_grad()
    def follow(self, real: Tensor) -> None:
        r = mean_over_processes(real.sign().mean()).to(self.p)
        self.p.add_(self.rate * (r - self.target).sign()).clamp_(0, 1)


def shifted(x: Tensor, most: float, u: Tensor) -> Tensor:
    """Images moved by up to `most` of their size either way, zeros behind them: x [B, C, H, W] and u [B, 2] in [0, 1)."""
    b, _, *size = x.shape
    rows, columns = (
        torch.arange(n, device=x.device) + _within(u[:, i], -round(most * n), round(most * n))[:, None]
        for i, n in enumerate(size)
    )
    reach = [round(most * n) for n in size]
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    example = torch.arange(b, device=x.device)[:, None, None]
    moved = padded.movedim(1, -1)[example, (rows + reach[0])[:, :, None], (columns + reach[1])[:, None, :]]
    return moved.movedim(-1, 1)


def cut(x: Tensor, side: float, u: Tensor) -> Tensor:
    """Images with a square of this share of their sides set to 0, anywhere: x [B, C, H, W] and u [B, 2] in [0, 1)."""
    outside = []
    for i, n in enumerate(x.shape[2:]):
        half = side * n / 2
        outside.append((torch.arange(n, device=x.device) + 0.5 - n * u[:, i : i + 1]).abs() >= half)
    return x * (outside[0][:, None, :, None] | outside[1][:, None, None, :]).to(x)


def _within(u: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers from low to high, each as likely as the others, of u in [0, 1)."""
    return low + (u * (high - low + 1)).long()
