"""The distances of all pairs of two samples of one size, taken once for all measures that need them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.divergences.samples import blocks, flat


class SampleDistances(NamedTuple):
    """Euclidean distances among n data rows and n samples, [n, n] each."""

    real: Tensor  # among data rows; infinite on the diagonal
    fake: Tensor  # among samples; infinite on the diagonal
    across: Tensor  # of each sample to each data row

    @classmethod
    def of(cls, real: Tensor, fake: Tensor) -> "SampleDistances":
        """Of data [n, *shape] and samples [n, *shape], in float32 from float64 differences or products: 12 n² bytes.

        Raises:
            ValueError: If there are fewer than two rows, other numbers of them, other sizes, or a number is not finite.

        Example:
            >>> found = SampleDistances.of(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]]))
            >>> found.fake.tolist(), found.across.tolist()
            ([[inf, 3.0], [3.0, inf]], [[0.0, 1.0], [3.0, 2.0]])
        """
        real, fake = flat(real, fake)
        if len(real) != len(fake):
            raise ValueError(f"expected as many samples as data rows, got {len(fake)} and {len(real)}; cut the larger")
        real, fake = real - real.mean(0), fake - real.mean(0)
        of_real, of_fake = (_all_pairs(x, x).fill_diagonal_(math.inf) for x in (real, fake))
        return cls(of_real, of_fake, _all_pairs(fake, real))

    @property
    def n(self) -> int:
        """How many rows of each."""
        return len(self.across)


def _all_pairs(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([distances.float() for _, distances in blocks(x, y)])


FAREST = 1e5
"""Times the data's extent from which on distances count by their logarithm."""


def extent(real: Tensor) -> float:
    """How far apart data rows [n, D] are, as a power of two: the median of the largest differences of a row and the next.

    Example:
        >>> extent(torch.tensor([[0.0], [3.0], [1e200]], dtype=torch.double)) in (2.0, 4.0), extent(torch.ones(5, 2))
        (True, 1.0)
    """
    quarters = 0.25 * real.double()  # differences of numbers as large as there are do not overflow
    steps = (quarters[1:] - quarters[:-1]).abs().amax(1)
    steps = steps[steps > 0]
    return 2.0 ** min(1023, round(math.log2(float(steps.median()))) + 2) if len(steps) else 1.0


def in_extents(x: Tensor, size: float) -> Tensor:
    r"""Rows [n, D] in units of the data's extent, in float64, so that no difference or square overflows, vanishes or drowns.

    .. math:: x \mapsto \frac{x}{s} \, \frac{c (r)}{r}, \quad r = \max_d \frac{|x_d|}{s}, \quad
              c(r) = r \text{ up to } 10^5, \; 10^5 (1 + \log (r / 10^5)) \text{ beyond}

    Args:
        x: The rows.
        size: The extent s of the data, a power of two, so that division by it is exact.

    Example:
        >>> [f"{float(v):.2g}" for v in in_extents(torch.tensor([[2e-200], [1.0]], dtype=torch.double), 1e-200)]
        ['2', '4.5e+07']
    """
    x = x.double()
    farthest = x.abs().amax(1, keepdim=True).clamp_min(5e-324)
    beyond = farthest.log() - math.log(size) - math.log(FAREST)
    return torch.where(beyond > 0, x / farthest * (FAREST * (1 + beyond)), x / size)


def pull_in(real: Tensor, fake: Tensor, factor: float = 1.5, quantile: float = 0.99) -> tuple[Tensor, Tensor]:
    r"""Rows that lie far out moved towards the data's mean, so that no mean over them is that of a few far ones.

    .. math:: x \mapsto m + (x - m) \min\left(1, \frac{r}{\lVert x - m \rVert}\right), \quad
              r = 1.5\, Q_{0.99}(\lVert X - m \rVert)

    with m the mean of the data that lie no further than that from their median, dimension by dimension: one far row of data
    moves the mean of all.

    Args:
        real: Data [n, D].
        fake: Samples [m, D].
        factor: How far beyond the quantile of the data's distances from their mean a row may lie.
        quantile: Which quantile.

    Example:
        >>> x = torch.linspace(-1, 1, 101).unsqueeze(1)
        >>> [round(float(v), 2) for v in pull_in(x, torch.tensor([[0.5], [40.0]]))[1]]
        [0.5, 1.5]
    """

    def reach_from(middle: Tensor) -> tuple[Tensor, Tensor]:
        away = torch.linalg.vector_norm(real - middle, dim=1)
        return away, factor * away.quantile(quantile)

    away, reach = reach_from(real.median(0).values)
    mean = real[away <= reach].mean(0)
    _, reach = reach_from(mean)

    def pulled(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x - mean, dim=1, keepdim=True)
        return torch.where(norm > reach, mean + (x - mean) * (reach / norm.clamp_min(1e-300)), x)

    return pulled(real), pulled(fake)
