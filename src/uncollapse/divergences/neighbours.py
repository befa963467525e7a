"""Precision, recall, density and coverage: do samples lie where data lie, and data where samples do."""

from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.divergences.samples import admit, blocks, double

SLACK = 1e-9  # of a radius, above the rounding of float64 distances


class PRDC(NamedTuple):
    """All in [0, 1] but density, which is about 1 between equal distributions."""

    precision: float  # of the samples: how many lie near data
    recall: float  # of the data: how many lie near samples, samples being spread as far as they lie apart
    density: float  # how many balls of data a sample lies in, over k
    coverage: float  # of the data: how many have a sample near


@torch.no_grad()
def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    r"""Precision, recall, density and coverage, from balls that reach to the k-th neighbour of their own kind.

    .. math:: \text{precision} = \tfrac1M \sum_j 1\left[y_j \in \textstyle\bigcup_i B(x_i)\right], \quad
              \text{recall} = \tfrac1N \sum_i 1\left[x_i \in \textstyle\bigcup_j B(y_j)\right]

    .. math:: \text{density} = \tfrac1{k M} \sum_j \sum_i 1\left[y_j \in B(x_i)\right], \quad
              \text{coverage} = \tfrac1N \sum_i 1\left[\exists j\colon y_j \in B(x_i)\right]

    Precision and density fall with noise in the samples, recall and coverage with modes that they miss. An outlier has a large
    ball: one among the data lifts precision, which density weighs by 1 / k; one among the samples lifts recall, and coverage
    never looks at balls of samples. Between equal distributions coverage is about :math:`1 - 2^{-k}` where N = M.

    Balls are closed: a point as far away as the k-th neighbour lies in the ball. Distances are in float64, and equal ones are
    equal whatever rounding makes of them: the radii are longer by 1e-9 of themselves. It matters on grids, such as binary data,
    where a large part of the points lie on a rim.

    Args:
        real: Features of data x [N, D].
        fake: Features of samples y [M, D].
        k: Which neighbour balls reach to, the point itself not counted.

    Raises:
        ValueError: If k is below 1, there are not more than k features of each, or they are of another size, or not finite.

    References:
        Kynkäänniemi et al. (2019), Improved Precision and Recall Metric for Assessing Generative Models, equations 1
        and 2; Naeem et al. (2020), Reliable Fidelity and Diversity Metrics for Generative Models, section 3, and its
        appendix for the expected coverage.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> prdc(x, x[:2] + 0.1, k=1)
        PRDC(precision=1.0, recall=0.5, density=1.5, coverage=0.5)
    """
    admit(real, fake)
    if k < 1 or min(len(real), len(fake)) <= k:
        raise ValueError(f"expected k of at least 1 and more than k={k} features of each, came {len(real)} and {len(fake)}")
    x, y = double(real), double(fake)
    around_x, around_y = _radii(x, k), _radii(y, k)
    inside, near = 0, 0
    recalled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    covered = recalled.clone()
    for start, distances in blocks(y, x):
        inside_x = distances <= around_x
        near += int(inside_x.any(1).sum())
        inside += int(inside_x.sum())
        covered |= inside_x.any(0)
        recalled |= (distances <= around_y[start : start + len(distances), None]).any(0)
    m = len(y)
    return PRDC(near / m, float(recalled.double().mean()), inside / (k * m), float(covered.double().mean()))


def _radii(x: Tensor, k: int) -> Tensor:
    """The distance of each point's k-th neighbour [N], rounding apart; the nearest of all is the point itself."""
    return torch.cat([distances.kthvalue(k + 1, -1).values for _, distances in blocks(x, x)]) * (1 + SLACK)
