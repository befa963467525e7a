"""Duplicates in a sample, and how large a support they tell of."""

import math
from typing import NamedTuple

import torch
from scipy.special import gammaincinv
from torch import Tensor

from uncollapse.divergences.samples import NARROW, blocks, flat


class Duplicates(NamedTuple):
    """The nearest pairs of a sample, and how large a support its duplicates tell of."""

    pairs: Tensor  # rows of the nearest pairs, the nearest first: [P, 2]
    distances: Tensor  # between them: [P], float64
    found: int  # pairs within the threshold, of all n (n - 1) / 2
    support: float  # n (n - 1) / 2 found; infinite where there is none
    support_at_least: float  # at 95 % confidence


@torch.no_grad()
def duplicates(x: Tensor, threshold: float = 0.0, nearest: int = 20) -> Duplicates:
    r"""The birthday paradox: how large a support a sample with these duplicates comes from.

    .. math:: \mathbb E[D] = \binom n2 \sum_i p_i^2, \quad \hat S = \binom n2 / D = \frac{n (n - 1)}{2 D}

    D pairs of duplicates among n draws estimate, without bias, the probability Σ p² that two draws are the same. Its inverse
    :math:`\hat S` is the size of the support if all of it is equally likely, and below that size otherwise. A sample that has
    a duplicate half the time tells of about :math:`n^2 / (2 \log 2) = 0.72\, n^2`. `support_at_least` divides by the upper
    95 % limit of a Poisson mean of which D was seen, 3.0 at D = 0: pairs are nearly independent while duplicates are few.

    Draws of a density never repeat, so look at the nearest pairs, or set the threshold by data: the smallest distance within
    as many real observations is one.

    Args:
        x: n draws [n, *shape].
        threshold: Distance at or below which two draws count as one; beyond 16 dimensions up to 1e-6 of that from the mean.
        nearest: How many of the nearest pairs to give.

    Raises:
        ValueError: If there are fewer than two draws, or a number is out of range.

    References:
        Arora and Zhang (2017), Do GANs Actually Learn the Distribution? An Empirical Study.

    Example:
        >>> found = duplicates(torch.tensor([[0.0], [3.0], [0.0], [5.0]]), nearest=2)
        >>> found.pairs.tolist(), found.distances.tolist(), found.found, found.support, round(found.support_at_least, 4)
        ([[0, 2], [1, 3]], [0.0, 2.0], 1, 6.0, 1.2648)
    """
    if not 0 <= threshold < math.inf or nearest < 1:
        raise ValueError(f"expected a finite threshold >= 0 and nearest >= 1, came threshold={threshold}, nearest={nearest}")
    (x,) = flat(x)
    n, found = len(x), 0
    pairs, distances = torch.empty(0, 2, dtype=torch.long, device=x.device), x.new_empty(0)
    rounding = 1e-12 if x.shape[1] > NARROW else 0.0
    reach = threshold**2 + rounding * (x - x.mean(0)).square().sum(1)
    for start, block in blocks(x, x):
        rows = torch.arange(start, start + len(block), device=x.device)
        block[torch.arange(n, device=x.device) <= rows.unsqueeze(1)] = math.inf  # each pair once
        found += int((block.square() <= reach[rows].unsqueeze(1)).sum())
        few, places = block.flatten().topk(min(nearest, block.numel()), largest=False)
        pairs = torch.cat((pairs, torch.stack((start + places // n, places % n), 1)[few < math.inf]))
        distances = torch.linalg.vector_norm(x[pairs[:, 0]] - x[pairs[:, 1]], dim=1)
        order = distances.argsort(stable=True)[:nearest]
        pairs, distances = pairs[order], distances[order]
    every = n * (n - 1) / 2
    limit = float(gammaincinv(found + 1, 0.95))
    return Duplicates(pairs, distances, found, every / found if found else math.inf, every / limit)
