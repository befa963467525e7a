"""What a perfect sampler of K modes scores: against all its outcomes, another derivation, and simulation."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import binom

from laws.numerics import assert_mean
from uncollapse.divergences import mode_entropy, reverse_kl_floor


def divergence(counts: np.ndarray, k: int) -> float:
    """KL(shares || uniform) of counts."""
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(shares * k)).sum())


@pytest.mark.parametrize("k", range(1, 5))
def test_the_floor_is_that_of_all_outcomes(k: int) -> None:
    """Mean and deviation over every way in which n draws fall on k modes, by its multinomial probability."""
    for n in range(1, 8):
        outcomes = [np.array(c) for c in product(range(n + 1), repeat=k) if sum(c) == n]
        p = np.array([math.factorial(n) / math.prod(map(math.factorial, map(int, c))) / k**n for c in outcomes])
        values = np.array([divergence(c, k) for c in outcomes])
        mean = float(p @ values)
        deviation = math.sqrt(float(p @ (values - mean) ** 2))
        assert reverse_kl_floor(k, n) == pytest.approx((mean, deviation), rel=1e-10, abs=1e-7)


@pytest.mark.parametrize(
    ("k", "n"), [(2, 30), (2, 200), (3, 60), (4, 100), (8, 300), (25, 60), (25, 300), (300, 30), (300, 400)]
)
def test_the_floor_by_the_counts_of_two_modes(k: int, n: int) -> None:
    """The variance of a sum is that of one term and its covariance with another, whose count is binomial given the first."""
    c = np.arange(n + 1)
    f = np.where(c > 0, c / n * np.log(np.maximum(c, 1) * k / n), 0.0) - c / n + 1 / k  # adds to 0 over the modes
    p = binom.pmf(c, n, 1 / k)
    centred = f - p @ f
    given = np.array([binom.pmf(c, n - first, 1 / (k - 1)) @ centred if k > 2 else centred[n - first] for first in c])
    variance = k * p @ centred**2 + k * (k - 1) * p @ (centred * given)
    assert reverse_kl_floor(k, n) == pytest.approx((k * p @ f, math.sqrt(variance)), rel=1e-6)


def test_the_floor_of_a_thousand_modes() -> None:
    """By the sum over a binomial count; a few draws cannot score more than log K."""
    for n, expected in ((2500, 0.2229), (2000, 0.2846), (1000, 0.5730), (256, 1.5305), (50, 3.0294)):
        c = np.arange(1, n + 1)
        mean = 1000 * float((binom.pmf(c, n, 1e-3) * c / n * np.log(c * 1000 / n)).sum())
        assert reverse_kl_floor(1000, n).mean == pytest.approx(mean, rel=1e-9) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(1000, 50), (1000, 2500), (20, 30)])
def test_a_perfect_sampler_scores_the_floor(k: int, n: int) -> None:
    """1,000 samples at 6 standard errors (2e-9); their standard deviation is good to 2.2 %."""
    found = torch.tensor([mode_entropy(torch.randint(k, (n,)), k).reverse_kl for _ in range(1000)], dtype=torch.double)
    floor = reverse_kl_floor(k, n)
    assert_mean(found, floor.mean)
    assert float(found.std()) == pytest.approx(floor.deviation, rel=0.1)


@pytest.mark.parametrize(("k", "n"), [(2, 10**6), (100, 10**6), (1000, 10**6), (10**5, 10**6)])
def test_many_draws_have_the_moments_of_a_chi_square_distribution(k: int, n: int) -> None:
    """(K − 1) / 2N and √((K − 1) / 2) / N, up to terms of order K / N; for the mean the next is (K² − 1) / 12 N²."""
    mean, deviation = reverse_kl_floor(k, n)
    assert mean == pytest.approx((k - 1) / (2 * n) + (k**2 - 1) / (12 * n**2), rel=2 * (k / n) ** 2 + 1e-8)
    assert deviation == pytest.approx(math.sqrt((k - 1) / 2) / n, rel=k / n + 1e-6)


def test_extremes() -> None:
    """One mode, one draw, and hardly any draw for the modes: two of them share a mode once in K."""
    assert reverse_kl_floor(1, 10) == (0.0, 0.0)
    assert reverse_kl_floor(7, 1) == pytest.approx((math.log(7), 0.0), abs=1e-6)
    k = 10**5
    same = math.log(2) / k
    assert reverse_kl_floor(k, 2) == pytest.approx((math.log(k / 2) + same, math.log(2) * math.sqrt((1 - 1 / k) / k)), rel=1e-9)
    for given in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match=f"expected at least 1 mode and 1 draw, got k={given[0]} and n={given[1]}"):
            reverse_kl_floor(*given)
