"""How draws are spread over modes that are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Spread(NamedTuple):
    """How N draws fall on K modes; entropies and divergences in nats."""

    entropy: float  # of the shares of the modes
    reverse_kl: float  # KL(shares || uniform) = log K - entropy
    floor: float  # what a perfect sampler's N draws would have of it, (K - 1) / 2N
    deviation: float  # and the standard deviation of it
    captured: int  # modes with a draw
    expected_captured: float  # of a perfect sampler's N draws, K (1 - (1 - 1/K)^N)


def mode_entropy(modes: Tensor, k: int) -> Spread:
    r"""How evenly draws fall on K modes: entropy, KL to the uniform distribution, and modes that were reached at all.

    .. math:: \mathbb H = -\sum_j \hat p_j \log \hat p_j, \quad
              \mathrm{KL}(\hat p \,\|\, \mathrm{uniform}) = \log K - \mathbb H

    Shares of finitely many draws are never even: a perfect sampler has :math:`\frac{K - 1}{2N}` of this divergence in
    expectation, with a standard deviation of about :math:`\frac1N \sqrt{(K - 1) / 2}`, up to terms of order (K / N)². It
    reaches :math:`K (1 - (1 - 1/K)^N)` modes in expectation, without any approximation. So a model is judged by what it has
    above the first and below the second.

    Args:
        modes: The mode of each draw [N], integers from 0 to K − 1; draws that are of no mode are left out and counted apart.
        k: How many modes K there are.

    Raises:
        ValueError: If there are fewer than two draws, or a label is no integer from 0 to K − 1.

    References:
        The floor: Miller (1955), Note on the Bias of Information Estimates; the measure: Metz et al. (2017), Unrolled
        Generative Adversarial Networks, on stacked digits.

    Example:
        >>> found = mode_entropy(torch.tensor([0, 0, 1, 1]), 4)
        >>> round(found.reverse_kl, 4), found.floor, found.captured, round(found.expected_captured, 4)
        (0.6931, 0.375, 2, 2.7344)
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
    return Spread(
        entropy,
        math.log(k) - entropy,
        (k - 1) / (2 * n),
        math.sqrt((k - 1) / 2) / n,
        int((shares > 0).sum()),
        k * (1 - (1 - 1 / k) ** n),
    )
