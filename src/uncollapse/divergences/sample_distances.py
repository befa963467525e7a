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


def pull_in(real: Tensor, fake: Tensor, factor: float = 1.5, quantile: float = 0.99) -> tuple[Tensor, Tensor]:
    r"""Rows that lie far out moved towards the data's mean, so that no mean over them is that of a few far ones.

    .. math:: x \mapsto m + (x - m) \min\left(1, \frac{r}{\lVert x - m \rVert}\right), \quad
              r = 1.5\, Q_{0.99}(\lVert X - m \rVert)

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
    mean = real.mean(0)
    reach = factor * torch.linalg.vector_norm(real - mean, dim=1).quantile(quantile)

    def pulled(x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x - mean, dim=1, keepdim=True)
        return torch.where(norm > reach, mean + (x - mean) * (reach / norm.clamp_min(1e-300)), x)

    return pulled(real), pulled(fake)
