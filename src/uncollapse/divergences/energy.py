"""The energy distance of two samples, and the energy coefficient, which is a share of its largest value."""

import torch
from torch import Tensor

from uncollapse.divergences.samples import blocks, flat


@torch.no_grad()
def energy_distance(x: Tensor, y: Tensor, unbiased: bool = True) -> float:
    r"""The squared energy distance, 0 between equal distributions alone; in the unit of the data.

    .. math:: D^2 = 2\, \mathbb E \lVert X - Y \rVert - \mathbb E \lVert X - X' \rVert - \mathbb E \lVert Y - Y' \rVert

    The U-statistic leaves out the pairs of a draw with itself: its expectation is D², and it may be negative. The V-statistic
    counts them: it is never negative, and too large by :math:`\mathbb E \lVert X - X' \rVert / n +
    \mathbb E \lVert Y - Y' \rVert / m`. In one dimension scipy's `energy_distance` is the V-statistic's root.

    Args:
        x: n draws [n, *shape].
        y: m draws [m, *shape].
        unbiased: The U-statistic; else the V-statistic.

    Raises:
        ValueError: If a sample has fewer than two draws (one for the V-statistic) or the two differ in size.

    References:
        Székely and Rizzo (2013), Energy Statistics: A Class of Statistics Based on Distances.

    Example:
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
        >>> energy_distance(x, y), energy_distance(x, y, unbiased=False)
        (2.0, 3.0)
    """
    x, y = flat(x, y, least=2 if unbiased else 1)
    within = sum(_total(a, a) / (len(a) * (len(a) - unbiased)) for a in (x, y))
    return 2 * _total(x, y) / (len(x) * len(y)) - within


@torch.no_grad()
def energy_coefficient(x: Tensor, y: Tensor, unbiased: bool = True) -> float:
    r"""The energy distance as a share of :math:`2\, \mathbb E \lVert X - Y \rVert`: 0 between equal distributions.

    .. math:: H = \frac{D^2}{2\, \mathbb E \lVert X - Y \rVert}
              = 1 - \frac{\mathbb E \lVert X - X' \rVert + \mathbb E \lVert Y - Y' \rVert}{2\, \mathbb E \lVert X - Y \rVert}

    A number without unit; it is 1 between two different constants alone. The U-statistic of D² makes it 0 on average between
    equals, so that it may be negative; the V-statistic keeps it in [0, 1]. Two samples of one and the same constant have 0.

    Args:
        x: n draws [n, *shape].
        y: m draws [m, *shape].
        unbiased: The U-statistic of D²; else the V-statistic.

    Raises:
        ValueError: If a sample has fewer than two draws (one for the V-statistic) or the two differ in size.

    References:
        Székely and Rizzo (2013), Energy Statistics: A Class of Statistics Based on Distances, the coefficient of inhomogeneity.

    Example:
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
        >>> energy_coefficient(x, y), energy_coefficient(x, y, unbiased=False), energy_coefficient(x[:1] + x * 0, y[:1] + x * 0)
        (0.5, 0.75, 1.0)
    """
    distance = energy_distance(x, y, unbiased)
    x, y = flat(x, y, least=1)
    across = 2 * _total(x, y) / (len(x) * len(y))
    return distance / across if across else 0.0


def _total(x: Tensor, y: Tensor) -> float:
    return sum(float(distances.sum()) for _, distances in blocks(x, y))
