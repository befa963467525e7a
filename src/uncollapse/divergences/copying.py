"""Does a generator copy its training set? Which samples are near copies of a training row, and whether chance explains them."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from numpy import logaddexp
from scipy.special import ndtri_exp
from scipy.stats import hypergeom
from torch import Tensor

from uncollapse.divergences import samples as rows_of
from uncollapse.divergences.samples import blocks, flat

RARE = 500  # one held-out row in so many counts as a near copy, at least one in all
NUMBERS = 2**22  # of training rows that are held in float64 at a time


class Copying(NamedTuple):
    """How many samples are near copies of a training row, against held-out rows of the same distribution."""

    share: float  # of the samples, less the share of held-out rows: 0 without copying, 1 where all are copied
    standard_error: float  # of the share; samples near one training row count as one draw
    z: float  # normal score of the p-value, ties counted half: about N(0, 1) without copying
    p_value: float  # that samples of the data's own distribution have as many
    rows: int  # different training rows that have a near copy
    threshold: float  # distance to the nearest training row, in units of that to the second nearest, of a near copy
    pairs: Tensor  # the near copies, the nearest first: sample and its training row, [C, 2]


@torch.no_grad()
def copying(samples: Tensor, train: Tensor | Iterable[Tensor], heldout: Tensor) -> Copying:
    r"""Near copies of training rows among samples, against held-out rows.

    .. math:: r(x) = \frac{d_1(x)}{d_2(x)}, \qquad r(x) \le q \text{ of a near copy}

    with :math:`d_1, d_2` the distances from x to its nearest and second nearest row of the whole training set. Where x knows
    nothing of these rows, :math:`r^D` is uniform on (0, 1) in D dimensions wherever x lies, in the limit of many rows: they
    are a Poisson process near x whatever their density. So blurred samples, samples shrunk towards the mean, and samples far
    from all data have no small ratios, though :math:`d_1` itself is small for the first two: a rank test of :math:`d_1` calls
    them copies. A copy has r = 0, and r is small while its error is small beside the distances of training rows.

    The threshold q is the ratio of one held-out row in 500, the smallest of fewer. The share is the samples' excess,

    .. math:: \hat c = \frac{\hat p_s - \hat p_h}{1 - \hat p_h}, \quad \hat p = \tfrac1n \#\{x : r(x) \le q\}

    The p-value is exact for samples of the held-out rows' distribution without ties: of the samples and the held-out rows,
    ordered by r, it is the probability that so many samples precede the held-out row at q (negative hypergeometric). For it
    one sample, and one held-out row, of all that are nearest to the same training row is counted, so that a generator that
    draws few points over and over is no copier by one coincidence.

    Averages of two training rows, and copies whose error is as large as the distances between training rows, are not seen; nor
    are copies in another representation, such as shifted images: hand over features in which these are near. Held-out rows
    that stand in the training set too hide copies. Memory is bounded: distances and training rows are taken by blocks.

    Args:
        samples: N draws of the generator [N, *shape].
        train: All rows that it was trained on [n, *shape], or blocks of them, where they are more than memory holds.
        heldout: Rows of the same distribution that it has never seen [M, *shape]; 500 or more, to find a few copies.

    Raises:
        ValueError: If there are fewer than two rows of each, the sizes differ, or a number is not finite.

    References:
        Meehan, Chaudhuri and Dasgupta (2020), A Non-Parametric Test to Detect Data-Copying in Generative Models, for the
        comparison of distances to the training set with those of held-out rows, which they rank as they are, within cells;
        the ratio: Lowe (2004), Distinctive Image Features from Scale-Invariant Keypoints, section 7.1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> train, heldout, fresh = torch.randn(2000, 5), torch.randn(500, 5), torch.randn(400, 5)
        >>> found = copying(torch.cat((train[:40], fresh[:360])), train, heldout)
        >>> round(found.share, 2), found.rows, found.p_value < 1e-6, found.pairs[:2].tolist()
        (0.1, 42, True, [[0, 0], [1, 1]])
        >>> copying(fresh, train, heldout).p_value > 0.05, copying(0.5 * fresh, train, heldout).p_value > 0.05
        (True, True)
    """
    samples, heldout = flat(samples, heldout)
    ratios, nearest = _ratios(torch.cat((samples, heldout)), (train,) if isinstance(train, Tensor) else train)
    n = len(samples)
    own, other = _one_each(ratios[:n], nearest[:n]), _one_each(ratios[n:], nearest[n:])
    k = max(1, len(other) // RARE)
    threshold = other.kthvalue(k).values
    p_value, z = _preceding(int((own <= threshold).sum()), int((other <= threshold).sum()), len(own), len(other))
    near = ratios <= threshold
    share, error = _excess(near[:n], near[n:], nearest[:n])
    order = ratios[:n].argsort(stable=True)[: int(near[:n].sum())]
    pairs = torch.stack((order, nearest[order]), 1)
    return Copying(share, error, z, p_value, len(pairs[:, 1].unique()), float(threshold), pairs)


def _ratios(x: Tensor, train: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Distance of each row to its nearest training row in units of that to the second nearest, and which row that is: [n]."""
    distances, indices, seen = x.new_full((len(x), 2), math.inf), torch.zeros(len(x), 2, dtype=torch.long, device=x.device), 0
    most = max(1, min(rows_of.BUDGET // len(x), NUMBERS // x.shape[1]))
    for block in train:
        for rows in block.split(most):
            part, _ = flat(rows.to(x.device), x, least=1)
            some, places = _two_nearest(x, part)
            distances, order = torch.cat((distances, some), 1).topk(2, largest=False)
            indices = torch.cat((indices, places + seen), 1).gather(1, order)
            seen += len(part)
    if seen < 2:
        raise ValueError(f"expected at least 2 training rows, got {seen}; use all that the generator was trained on")
    first, second = distances.unbind(1)
    return torch.where(first > 0, first / second, torch.zeros_like(first)), indices[:, 0]


def _two_nearest(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the two nearest rows, or the one that there is, by differences, and their places: [n, 2]."""
    places = torch.cat([d.topk(min(2, len(rows)), largest=False).indices for _, d in blocks(x, rows)])
    return torch.stack([torch.linalg.vector_norm(x - rows[column], dim=1) for column in places.unbind(1)], 1), places


def _one_each(values: Tensor, owner: Tensor) -> Tensor:
    """The first value of each owner."""
    _, group = owner.unique(return_inverse=True)
    first = torch.full_like(owner, len(owner)).scatter_reduce(0, group, torch.arange(len(owner), device=owner.device), "amin")
    return values[first[first < len(owner)]]


def _preceding(x: int, k: int, n: int, m: int) -> tuple[float, float]:
    """The probability that of n + m values in random order at least x of the n precede the k-th of the m; and the normal score
    of that probability, with half of that of just x."""
    log_p, beyond = (float(hypergeom.logsf(at - 1, n + m, n, at + k - 1)) if at <= n else -math.inf for at in (x, x + 1))
    return math.exp(log_p), -float(ndtri_exp(logaddexp(log_p, beyond) - math.log(2)))


def _excess(near: Tensor, other: Tensor, owner: Tensor) -> tuple[float, float]:
    """The share of near copies above that of held-out rows, and its standard error, samples of one owner together."""
    n, m = len(near), len(other)
    base = float(other.sum()) / (m + 1)
    share = (float(near.double().mean()) - base) / (1 - base)
    _, group = owner.unique(return_inverse=True)
    sums = torch.zeros(n, dtype=torch.double, device=near.device).index_add(0, group, near.double() - near.double().mean())
    variance = float(sums.square().sum()) / (n * (n - 1)) + (1 - share) ** 2 * base * (1 - base) / (m + 2)
    return share, math.sqrt(variance) / (1 - base)
