"""How sharp real digits are: how far an image of a digit lies from them, in standard deviations."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.data import Source

LEAST = 20
"""Images of each digit that are needed to know how sharp it is."""

WITHIN = 1 - math.exp(-4.5)
"""Share of a Gaussian in the plane within 3 standard deviations, 98.9 %: as many stacked digits are within 3 of their mode."""

_CHANNELS = 3
_MARGIN = 0.1  # grey levels this near to black and to white count as those
_NOISE = 0.04  # standard deviation of noise, up to which a digit counts as real
_FOLDS = 5
_ROWS = 1000  # images that are looked at together
_FITTED = 25_000  # images that are fitted to, at most about
_RIDGE = 1e-3  # of the variance, in every direction


def sharpness_statistics(x: Tensor) -> Tensor:
    r"""Logarithms of the ink, the grey, and the differences of neighbouring pixels of images.

    .. math:: \log \Big(\epsilon + \mathrm{mean}\{y,\ y (1 - y),\ |\nabla_s y|^2,\ |\nabla_s y|,\ (\Delta_s y)^2\}\Big), \quad
              s = 1, 2

    :math:`y` is the image whose grey levels from 0.1 to 0.9 are stretched to [0, 1], so that neither faint noise nor a tone
    that is a little off counts; :math:`\nabla_s` and :math:`\Delta_s` are the gradient and the Laplacian between pixels that
    are s apart, and :math:`\epsilon = 10^{-4}`. Blur and averages of images have more grey for the ink, and
    fainter differences.

    Args:
        x: Images [N, 1, H, W] in [0, 1], of more than 4 by 4 pixels.

    Returns:
        [N, 8].

    Example:
        >>> sharp, flat = (torch.arange(12) > 5).float(), torch.full((12,), 0.5)
        >>> found = sharpness_statistics(torch.stack((sharp, flat)).view(2, 1, 1, 12).expand(2, 1, 12, 12))
        >>> found.shape, bool((found[0] - found[1])[1] < 0 < (found[0] - found[1])[2])
        (torch.Size([2, 8]), True)
    """
    y = ((x.float() - _MARGIN) / (1 - 2 * _MARGIN)).clamp(0, 1)
    found = [y, y * (1 - y)]
    for s in (1, 2):
        centre = y[..., s:-s, s:-s]
        right, left, below, above = y[..., s:-s, 2 * s :], y[..., s:-s, : -2 * s], y[..., 2 * s :, s:-s], y[..., : -2 * s, s:-s]
        squares = (right - centre).square() + (below - centre).square()
        found += [squares, squares.sqrt(), (4 * centre - right - left - below - above).square()]
    return torch.stack([(part.mean((1, 2, 3)) + 1e-4).log() for part in found], 1)


@dataclass(frozen=True, eq=False)
class DigitSharpness:
    r"""A Gaussian of `sharpness_statistics` for each digit, and the unit in which stacked digits are measured by them.

    .. math:: d(x_1, x_2, x_3) = \frac1u \sqrt{\sum_c (h(x_c) - \mu_{k_c})^T \Sigma_{k_c}^{-1} (h(x_c) - \mu_{k_c})}

    Attributes:
        means: :math:`\mu_k`, [10, 8].
        whitening: :math:`W_k` with :math:`W_k^T W_k = \Sigma_k^{-1}`, [10, 8, 8].
        unit: u, such that 98.9 % of other real stacked digits lie within 3, as of a Gaussian in the plane.

    References:
        A Gaussian of each class, by whose Mahalanobis distance images are told from others: Lee, Lee, Lee and Shin (2018), A
        Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, digits = torch.rand(400, 1, 28, 28), torch.arange(400) % 10
        >>> known = DigitSharpness.fit(Source(x, digits), digits)
        >>> stacks, blurred = x[:300].view(100, 3, 28, 28), torch.full((100, 3, 28, 28), 0.5)
        >>> bool((known(stacks, digits[:300].view(100, 3)) < 3).double().mean() > 0.9)
        True
        >>> bool((known(blurred, digits[:300].view(100, 3)) > 30).all())
        True
    """

    means: Tensor
    whitening: Tensor
    unit: float

    @torch.no_grad()
    def __call__(self, x: Tensor, digits: Tensor) -> Tensor:
        """How far stacked digits [N, 3, H, W] lie from real ones, [N], in standard deviations; `digits` [N, 3] says which."""
        away = self.distances(sharpness_statistics(x.flatten(0, 1).unsqueeze(1)), digits.flatten())
        return away.view(-1, _CHANNELS).norm(dim=1) / self.unit

    def distances(self, statistics: Tensor, digits: Tensor) -> Tensor:
        """Mahalanobis distances [N] of statistics [N, 8] from those of the digits [N]."""
        away = torch.empty_like(statistics[:, 0])
        for digit in range(len(self.means)):
            rows = digits == digit
            centred = statistics[rows] - self.means[digit].to(statistics)
            away[rows] = (centred @ self.whitening[digit].to(statistics).T).norm(dim=1)
        return away

    @classmethod
    def fit(cls, images: Source, digits: Tensor) -> "DigitSharpness":
        """Fitted to real digits, half of them with a little noise; the unit is that of five folds, each held out in turn.

        Args:
            images: Real digits of one channel, in [0, 1].
            digits: Which digit each is.

        Raises:
            ValueError: If there are fewer than `LEAST` images of a digit.
        """
        chosen = torch.arange(0, len(images), max(1, len(images) // _FITTED))
        digits, generator = digits[chosen].cpu(), torch.Generator().manual_seed(0)
        counts = torch.bincount(digits, minlength=10)
        if int(counts.min()) < LEAST:
            raise ValueError(f"expected at least {LEAST} images of each digit, got {counts.tolist()}")
        found = [_both(images.batch(rows).x, generator) for rows in chosen.split(_ROWS)]
        plain, noisy = (torch.cat(parts) for parts in zip(*found, strict=True))
        away, fold = torch.empty_like(plain[:, 0]), torch.randperm(len(plain), generator=generator) % _FOLDS
        for i in range(_FOLDS):
            held_out = fold == i
            others = cls._gaussians(plain[~held_out], noisy[~held_out], digits[~held_out])
            away[held_out] = others.distances(plain[held_out], digits[held_out])
        stacks = away[torch.randint(len(away), (100_000, _CHANNELS), generator=generator)].norm(dim=1)
        known = cls._gaussians(plain, noisy, digits)
        return cls(known.means, known.whitening, float(stacks.quantile(WITHIN)) / 3)

    @classmethod
    def _gaussians(cls, plain: Tensor, noisy: Tensor, digits: Tensor) -> "DigitSharpness":
        both, digits = torch.cat((plain, noisy)).double(), torch.cat((digits, digits))
        scale = both.std(0) + 1e-6
        means, whitening = [], []
        for digit in range(10):
            rows = both[digits == digit]
            covariance = (rows / scale).T.cov() + _RIDGE * torch.eye(len(scale), dtype=torch.double)
            means.append(rows.mean(0))
            whitening.append(torch.linalg.inv(torch.linalg.cholesky(covariance)) / scale)
        return cls(torch.stack(means).float(), torch.stack(whitening).float(), 1.0)


def _both(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Statistics of images, and of the same with noise of up to 4 % of the range."""
    x = x.float().cpu()
    amount = _NOISE * torch.rand(len(x), 1, 1, 1, generator=generator)
    return sharpness_statistics(x), sharpness_statistics(x + amount * torch.randn(x.shape, generator=generator))
