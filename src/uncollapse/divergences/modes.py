"""How draws are spread over modes that are known."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import kl_div
from torch import Tensor

_REACH = 12  # standard deviations of a mode's count that are summed over; beyond them lies less than 1e-30
_DEGREES = 60  # of the polynomials that a standard deviation is summed over; beyond them weights differ from 1 by 1e-17


class Spread(NamedTuple):
    """How N draws fall on K modes; entropies and divergences in nats."""

    entropy: float  # of the shares of the modes
    reverse_kl: float  # KL(shares || uniform) = log K - entropy
    floor: float  # its mean over a perfect sampler's N draws
    deviation: float  # and its standard deviation
    captured: int  # modes with a draw
    expected_captured: float  # of a perfect sampler's N draws, K (1 - (1 - 1/K)^N)


class Floor(NamedTuple):
    """The divergence to the uniform distribution that a perfect sampler's shares have, in nats."""

    mean: float
    deviation: float  # standard deviation


def reverse_kl_floor(k: int, n: int) -> Floor:
    r"""Mean and standard deviation of the reverse KL over K modes of N draws that are uniform over them, both exact.

    .. math:: \mathbb E\, \mathrm{KL}(\hat p \,\|\, \mathrm{uniform}) = K\, \mathbb E\Big[\frac cN \log \frac{cK}N\Big]
              = \mathbb E\, f(c), \quad f(c) = u \log u - u + 1, \quad u = \frac{cK}N, \quad
              c \sim \mathrm{Bin}\Big(N, \frac1K\Big)

    .. math:: \mathrm{Var} = \frac1K \sum_{j \ge 2} a_j^2 \Big[1 - \Big(\frac{-1}{K - 1}\Big)^{j - 1}\Big], \quad
              a_j = \mathbb E[f(c)\, p_j(c)]

    :math:`p_j` are the orthonormal polynomials of the binomial distribution (Krawtchouk's). The counts of two modes have
    :math:`\mathbb E[p_i(c) p_j(c')] = \delta_{ij} (-1 / (K - 1))^j`, from which the second line follows. For N far above K
    these are about :math:`(K - 1) / 2N` and :math:`\sqrt{(K - 1) / 2} / N`, the moments of a chi-square distribution; for
    fewer draws the mean approaches :math:`\log (K / N)` and the deviation is smaller.

    Args:
        k: How many modes K there are, all equally likely.
        n: How many draws N.

    Raises:
        ValueError: If either is below 1.

    References:
        The approximation: Miller (1955), Note on the Bias of Information Estimates; the expansion of two counts: Eagleson
        (1964), Polynomial Expansions of Bivariate Distributions, Annals of Mathematical Statistics 35.

    Example:
        >>> [tuple(round(value, 4) for value in reverse_kl_floor(1000, n)) for n in (50, 2000)]
        [(3.0294, 0.0299), (0.2846, 0.0118)]
    """
    if k < 1 or n < 1:
        raise ValueError(f"expected at least 1 mode and 1 draw, got k={k} and n={n}")
    if k == 1:
        return Floor(0.0, 0.0)
    c, probability = _binomial(n, 1 / k)
    f = kl_div(c * (k / n), 1.0)
    mean, root = float(probability @ f), np.sqrt(probability)
    degrees = _DEGREES if k < 4 else math.ceil(40 / math.log(k - 1)) + 1
    squares, rest = _krawtchouk_squares(c, root, root * (f - mean), n, 1 / k, min(n, degrees))
    weights = 1 - (-1 / (k - 1)) ** np.arange(len(squares), dtype=float)
    return Floor(mean, math.sqrt((float(weights @ squares) + rest) / k))


def _binomial(n: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """The counts of n trials that matter, and their probabilities, by the ratios of neighbours."""
    reach = _REACH * math.sqrt(n * p) + 60
    c = np.arange(max(0.0, math.floor(n * p - reach)), min(n, math.ceil(n * p + reach)) + 1)
    logs = np.cumsum(np.log((n - c[:-1]) / (c[:-1] + 1) * (p / (1 - p))))
    logs = np.concatenate(([0.0], logs))
    probability = np.exp(logs - logs.max())
    return c, probability / probability.sum()


def _krawtchouk_squares(
    c: np.ndarray, root: np.ndarray, f: np.ndarray, n: int, p: float, degrees: int
) -> tuple[np.ndarray, float]:
    """Squared coefficients of f in the binomial distribution's orthonormal polynomials from degree 1 on, and what is left.

    Args:
        c: Counts [C].
        root: Square roots of their probabilities [C].
        f: A function of them of mean 0, times `root` [C].
        n: Trials.
        p: Probability of each.
        degrees: How many polynomials, at most n.
    """
    before, now, below, squares = np.zeros_like(root), root, 0.0, []
    for j in range(degrees):  # the recurrence in three terms
        above = math.sqrt((j + 1) * p * (1 - p) * (n - j))
        before, now = now, ((c - p * (n - j) - j * (1 - p)) * now - below * before) / above
        below = above
        coefficient = float(now @ f)
        f = f - coefficient * now
        squares.append(coefficient**2)
    return np.array(squares), float(f @ f)


def mode_entropy(modes: Tensor, k: int) -> Spread:
    r"""How evenly draws fall on K modes: entropy, KL to the uniform distribution, and modes that were reached at all.

    .. math:: \mathbb H = -\sum_j \hat p_j \log \hat p_j, \quad
              \mathrm{KL}(\hat p \,\|\, \mathrm{uniform}) = \log K - \mathbb H

    Shares of finitely many draws are never even: `floor` and `deviation` are the mean and the standard deviation of this
    divergence over a perfect sampler's N draws (`reverse_kl_floor`). Such a sampler reaches :math:`K (1 - (1 - 1/K)^N)` modes
    in expectation. So a model is judged by what it has above the first and below the second.

    Args:
        modes: The mode of each draw [N], integers from 0 to K − 1; draws that are of no mode are left out and counted apart.
        k: How many modes K there are.

    Raises:
        ValueError: If there are fewer than two draws, or a label is no integer from 0 to K − 1.

    References:
        Metz et al. (2017), Unrolled Generative Adversarial Networks, on stacked digits.

    Example:
        >>> found = mode_entropy(torch.tensor([0, 0, 1, 1]), 4)
        >>> round(found.reverse_kl, 4), round(found.floor, 4), found.captured, round(found.expected_captured, 4)
        (0.6931, 0.4686, 2, 2.7344)
    """
    if modes.dim() != 1 or len(modes) < 2 or modes.is_floating_point() or modes.is_complex():
        raise ValueError(f"expected integer labels [N] of at least 2 draws, came {modes.dtype} of {list(modes.shape)}")
    low, high = int(modes.min()), int(modes.max())
    if low < 0 or high >= k:
        raise ValueError(
            f"expected labels from 0 to k - 1 = {k - 1}, came {low} to {high}; write k={high + 1}, or leave some out"
        )
    n, shares = len(modes), torch.bincount(modes.long(), minlength=k).double() / len(modes)
    entropy = float(torch.special.entr(shares).sum())
    floor, captured, expected = reverse_kl_floor(k, n), int((shares > 0).sum()), k * (1 - (1 - 1 / k) ** n)
    return Spread(entropy, math.log(k) - entropy, *floor, captured, expected)
