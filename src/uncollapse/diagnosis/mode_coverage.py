"""Which known modes a generator's samples lie in."""

import math
from typing import NamedTuple, Protocol

import torch
from scipy.stats import binom
from torch import Tensor

from uncollapse.divergences import mode_entropy, reverse_kl_floor
from uncollapse.divergences.modes import Spread

NEAR = 3.0  # standard deviations within which a sample is of high quality
RARE = 0.25  # of its fair share, below which a mode is missing
CHANCE = 0.001  # that any mode of a sampler that gives each a quarter of its share is called missing


class KnownModes(Protocol):
    """Modes of data that are known: of a density, or by a classifier."""

    def __len__(self) -> int: ...

    def assign(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of each sample [N], and how far it lies from that, in standard deviations."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """What neighbours among samples [N, *shape] are found by, [N, ...]: what tells the modes apart."""
        ...


class ModeCoverage(NamedTuple):
    """Which known modes n samples lie in, by PacGAN's protocol."""

    modes: int  # with at least one sample of high quality
    known: int  # K
    high_quality: float  # share of samples within 3 standard deviations of a mode
    reverse_kl: float  # KL of the modes of samples of high quality to the uniform distribution, nats
    floor: float  # its mean for a perfect sampler with as many samples of high quality
    deviation: float  # and its standard deviation
    missing: int  # modes that get less than a quarter of their share, beyond chance
    n: int
    of_all: Spread  # over the nearest modes of all samples, of whatever quality


@torch.no_grad()
def mode_coverage(x: Tensor, modes: KnownModes, near: float = NEAR) -> ModeCoverage:
    r"""Modes captured, share of high quality, and the reverse KL over modes.

    .. math:: \log K - \mathbb H[\hat p], \quad \hat p_k = \tfrac1{n_{\mathrm{hq}}} \#\{i : k_i = k,\, d_i < 3\}

    Args:
        x: Samples [n, *shape].
        modes: What is known of the modes, all equally likely.
        near: Standard deviations within which a sample is of high quality.

    References:
        Srivastava et al. (2017), VEEGAN, section 4.1; Lin et al. (2018), PacGAN, section 4.1 (the reverse KL); of stacked
        digits, section 4.2 counts the modes of all samples: `of_all`.

    Example:
        >>> from uncollapse.data.modes import Modes
        >>> known = Modes(torch.eye(8), sigma=0.1)
        >>> mode_coverage(known.means[:2].repeat(50, 1), known)[:3]
        (2, 8, 1.0)
    """
    mode, away = modes.assign(x)
    good, k = mode[away < near], len(modes)
    quality, of_all = len(good) / len(x), mode_entropy(mode, k)
    if len(good) < 2:
        return ModeCoverage(len(good), k, quality, math.log(k), *reverse_kl_floor(k, len(x)), k, len(x), of_all)
    spread = mode_entropy(good, k)
    counts = torch.bincount(good.cpu(), minlength=k).numpy()
    missing = int((binom.cdf(counts, len(good), RARE / k) < CHANCE / k).sum())
    return ModeCoverage(spread.captured, k, quality, *spread[1:4], missing, len(x), of_all)
